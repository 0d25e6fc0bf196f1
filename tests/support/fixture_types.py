"""The types of the fixtures in `conftest.py`, for tests that name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stream_kernel import BoundaryDispatchInput, RuntimeConfig


class Fifo(Protocol):
    """A moment that a node and a test share."""

    path: str

    def wait(self) -> str: ...

    def release(self) -> None: ...


MakeConfig = Callable[..., RuntimeConfig]
MakeInput = Callable[..., BoundaryDispatchInput]
MakeFifo = Callable[[str], Fifo]
