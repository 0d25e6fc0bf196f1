"""The commands of one hop on their way: handed over, and each that was lost and may be run again handed over once more, at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from stream_kernel.engine.base import Command, Outcome, Promise, Ticket
from stream_kernel.engine.settlement import Step

__all__ = ["Flight"]


class Flight:
    """Commands that are out. Everything happens in callbacks of their tickets, so that none waits for another."""

    def __init__(
        self,
        submit: Callable[[Command], Ticket],
        judge: Callable[[Flight, list[Step], Outcome], list[list[Step]]],
        renew: Callable[[list[Step]], Command],
        pause: Callable[[list[list[Step]]], float],
    ) -> None:
        """`judge` takes note of an outcome and gives the parts of it that are to be run again; `pause` says after how many seconds, and
        `renew` makes a command of each.
        """
        self._submit = submit
        self._judge = judge
        self._renew = renew
        self._pause = pause
        self._out = 0
        self._tickets: list[Ticket] = []
        self._outcomes: list[Outcome | None] = []
        self._waiting: dict[asyncio.TimerHandle, int] = {}
        """Parts that are about to be run again, by timer: how many."""
        self._loop = asyncio.get_running_loop()
        self._landed: asyncio.Future[None] = self._loop.create_future()

    def launch(self, part: list[Step], command: Command) -> None:
        """Hand a command over."""
        self._out += 1
        self._hand_over(part, command)

    def withdraw(self, reason: str) -> None:
        """Take back what no worker has begun with, and what is about to be run again."""
        self._out -= sum(self._waiting.values())
        self._cancel_timers()
        for ticket in self._tickets:
            ticket.withdraw(reason)

    async def settled(self) -> list[Outcome]:
        """Wait for all; what became of each command, in order of hand-over. Being cancelled cancels them."""
        try:
            if self._out:
                await self._landed
        except asyncio.CancelledError:
            self._cancel_timers()
            for ticket in self._tickets:
                ticket.cancel()
            raise
        return [outcome for outcome in self._outcomes if outcome is not None]

    def _hand_over(self, part: list[Step], command: Command) -> None:
        ticket = self._submit(command)
        self._tickets.append(ticket)
        self._outcomes.append(None)
        ticket.future.add_done_callback(partial(self._land, part, len(self._outcomes) - 1))

    def _launch_later(self, parts: list[list[Step]]) -> None:
        def launch() -> None:
            del self._waiting[timer]
            for part in parts:
                self._hand_over(part, self._renew(part))

        self._out += len(parts)
        timer = self._loop.call_later(self._pause(parts), launch)
        self._waiting[timer] = len(parts)

    def _cancel_timers(self) -> None:
        for timer in self._waiting:
            timer.cancel()
        self._waiting.clear()

    def _land(self, part: list[Step], number: int, promise: Promise) -> None:
        if self._landed.done():
            return
        try:
            if not promise.cancelled():
                outcome = self._outcomes[number] = promise.result()
                again = self._judge(self, part, outcome)
                if again:
                    self._launch_later(again)
        except BaseException as error:  # noqa: BLE001  who waits must hear of a mistake, or wait for ever
            self._landed.set_exception(error)
            return
        self._out -= 1
        if not self._out:
            self._landed.set_result(None)
