"""The names of the package, each loaded when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stream_kernel.testing


@pytest.mark.parametrize("name", stream_kernel.testing.__all__)
def test_every_name_can_be_imported_and_is_listed(name: str) -> None:
    assert getattr(stream_kernel.testing, name).__name__ == name
    assert name in dir(stream_kernel.testing)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'stream_kernel\.testing' has no attribute 'nothing'"):
        stream_kernel.testing.nothing  # noqa: B018


def test_a_worker_with_the_nodes_imports_nothing_of_the_parent() -> None:
    program = (
        "import sys, stream_kernel.testing.nodes\n"
        "print(*(name for name in sys.modules if name in ('pydantic', 'anyio', 'asyncio', 'pytest') or 'engine' in name))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == []
