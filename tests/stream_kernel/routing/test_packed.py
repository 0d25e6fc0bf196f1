"""What is packed is nobody's to change."""

from __future__ import annotations

import pytest

from stream_kernel.routing.packed import Packed


def test_a_packed_payload_is_frozen() -> None:
    packed = Packed(b"1", "m:C", 1)
    with pytest.raises(AttributeError):
        packed.data = b"2"  # type: ignore[misc]
    assert Packed(b"1") == Packed(b"1", None, 0)
