"""The order among the calls of one run: each stateful group takes them in the order in which they were made, whatever overtakes what
before it.

A call holds a `Turn`. It may hand work to a stateful group once every earlier call has *passed* that group: has handed over what it had for
it and cannot come back. The groups themselves take commands in the order of hand-over, so nothing more is needed behind that point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

__all__ = ["RunOrder", "Turn"]


class RunOrder:
    """The calls of one run that have not ended, in their order."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._waiting: list[asyncio.Future[None]] = []

    def turn(self) -> Turn:
        """The next place in the order; from any thread. All else belongs to the supervisor's loop."""
        turn = Turn(self)
        self._turns.append(turn)
        return turn

    def earlier(self, turn: Turn) -> list[Turn]:
        turns = self._turns[:]  # another thread may append meanwhile
        return turns[: turns.index(turn)]

    def remove(self, turn: Turn) -> None:
        if turn in self._turns:
            self._turns.remove(turn)
            self.changed()

    def changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def change(self, deadline: float) -> None:
        """Return at the next change, or at the deadline."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append(future)
        timer = loop.call_at(deadline, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            timer.cancel()


class Turn:
    """The place of one call."""

    def __init__(self, order: RunOrder) -> None:
        self._order = order
        self._passed: set[str] = set()

    def has_come(self, group: str) -> bool:
        """Whether no earlier call can hand work to `group` any more."""
        return all(group in earlier._passed for earlier in self._order.earlier(self))

    def pass_by(self, groups: Iterable[str]) -> None:
        """This call will hand nothing to these groups any more."""
        before = len(self._passed)
        self._passed.update(groups)
        if len(self._passed) > before:
            self._order.changed()

    async def change(self, deadline: float) -> None:
        """Return when an earlier call has passed or left, or at the deadline."""
        await self._order.change(deadline)

    def leave(self) -> None:
        """The call has ended."""
        self._order.remove(self)
