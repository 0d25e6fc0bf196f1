"""What the tests of the process engine's parts share."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest
from msgspec import Raw

from stream_kernel.engine.base import Command
from stream_kernel.routing.items import InputItem
from stream_kernel.routing.packed import Packed


@pytest.fixture
def make_command() -> Callable[..., Command]:
    """Build a command of `count` items; `size` is what it takes of the room in a queue."""

    def make(
        correlation_id: str = "c-1",
        count: int = 1,
        deadline: float = inf,
        limit_seconds: float = inf,
        size: int = 1,
        is_admitted: bool = False,
        trace_id: str | None = None,
    ) -> Command:
        items = [InputItem(Packed(Raw(b"1"), None, 1), "echo", trace_id) for _ in range(count)]
        return Command(correlation_id, "g", "r", "s", "collect", deadline, items, limit_seconds, size, is_admitted)

    return make
