"""A payload made ready to leave the place that made it."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Packed"]


class Packed(msgspec.Struct, frozen=True):
    """A payload that nobody can change any more: encoded bytes (`msgspec.Raw`) on the wire, a private copy inline."""

    data: Any
    tag: str | None = None
    size: int = 0
    """Encoded bytes; 0 where nothing is encoded."""
