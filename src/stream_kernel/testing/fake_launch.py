"""Starts worker processes that are none."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from stream_kernel.testing.fake_child import FakeChild
from stream_kernel.testing.fake_process import ChildTraits
from stream_kernel.testing.waiting import WAIT_SECONDS, Bell

__all__ = ["FakeLaunch"]

_FIRST_PID = 1 << 30  # no system gives such a number: a signal that goes astray meets nobody


class FakeLaunch:
    """A `Launch` whose processes a test plays.

    `traits` are those of the next ones: each gets a copy when it is spawned.
    """

    def __init__(self, traits: ChildTraits | None = None) -> None:
        self.traits = traits or ChildTraits()
        self.children: list[FakeChild] = []
        """All that were ever spawned, oldest first."""
        self.failures: deque[OSError] = deque()
        """Why the next ones cannot be spawned, one each."""
        self.may_spawn = asyncio.Event()
        """While it is cleared, who spawns waits."""
        self.may_spawn.set()
        self._bell = Bell()

    async def __call__(
        self, arguments: Callable[[int, int], Sequence[str]], environment: Mapping[str, str], *, group: str, worker_id: str
    ) -> FakeChild:
        await asyncio.sleep(0)  # a process is never there at once
        await self.may_spawn.wait()
        if self.failures:
            raise self.failures.popleft()
        child = FakeChild(_FIRST_PID + len(self.children), group, worker_id, msgspec.structs.replace(self.traits))
        child.arguments = arguments(3, 4)
        child.environment = dict(environment)
        self.children.append(child)
        self._bell.ring()
        return child

    def of(self, worker_id: str) -> list[FakeChild]:
        """The incarnations of one worker, oldest first."""
        return [child for child in self.children if child.worker_id == worker_id]

    @property
    def alive(self) -> list[FakeChild]:
        """Those that have not ended."""
        return [child for child in self.children if child.is_alive]

    async def child(self, number: int = 1, timeout_seconds: float = WAIT_SECONDS) -> FakeChild:
        """The `number`-th that was ever spawned, counted from 1, as soon as it is there. Raises `TimeoutError`."""

        def look() -> FakeChild | None:
            return self.children[number - 1] if len(self.children) >= number else None

        return await self._bell.until(look, f"worker process {number}", timeout_seconds)
