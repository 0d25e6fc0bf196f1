"""The deadlines of a group's commands, behind one timer of the loop.

Nearly every command is answered long before its deadline. A timer of the loop for each costs more than all else that a worker's ledger does
for it. Here one that is dropped leaves its moment and its number in a heap, and no more: nothing of the command is kept alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

__all__ = ["Deadlines"]

T = TypeVar("T")
_LOOK_SECONDS = 1.0
"""The timer is set no further ahead, so that there is none soon after nothing is outstanding any more."""
_FEW = 64
"""So many moments that nobody waits for are not worth the clearing."""


class Deadlines(Generic[T]):
    """Calls `expire` with each one whose moment comes on the clock of the loop, and not with one that was dropped before."""

    def __init__(self, expire: Callable[[T], None]) -> None:
        self._expire = expire
        self._number = 0
        self._waiting: dict[int, T] = {}
        self._moments: list[tuple[float, int]] = []
        """A heap, with those of some that were dropped."""
        self._timer: asyncio.TimerHandle | None = None
        self._timed = inf
        """When the timer comes."""

    def add(self, moment: float, late: T) -> int:
        """Call when the moment comes; gives the number to `drop` it by."""
        self._number = number = self._number + 1
        self._waiting[number] = late
        if len(self._moments) > 2 * len(self._waiting) + _FEW:
            self._moments = [each for each in self._moments if each[1] in self._waiting]
            heapify(self._moments)
        heappush(self._moments, (moment, number))
        if moment < self._timed:
            self._set_timer()
        return number

    def drop(self, number: int) -> None:
        """Do not call for this one, unless that has been done."""
        self._waiting.pop(number, None)

    def rest(self) -> None:
        """Keep no timer where nothing is outstanding."""
        if not self._waiting:
            self._set_timer()

    def _ring(self) -> None:
        due = max(self._timed, asyncio.get_running_loop().time())  # a loop comes early by what its clock cannot tell apart
        self._timer, self._timed = None, inf
        try:
            while self._moments and self._moments[0][0] <= due:
                late = self._waiting.pop(heappop(self._moments)[1], None)
                if late is not None:
                    self._expire(late)
        finally:
            self._set_timer()

    def _set_timer(self) -> None:
        """For the first one that waits."""
        while self._moments and self._moments[0][1] not in self._waiting:
            heappop(self._moments)
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timed = None, inf
        if self._moments:
            loop = asyncio.get_running_loop()
            self._timed = min(self._moments[0][0], loop.time() + _LOOK_SECONDS)
            self._timer = loop.call_at(self._timed, self._ring)
