"""The queue in front of a group: commands in order, and room for so many of them and so many bytes.

A call reserves room when it enters; its later hops go in without asking, for to refuse them would leave work half done. An empty queue
admits any call.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

from stream_kernel.engine.process.ticket import Ticket

__all__ = ["CommandQueue"]


class CommandQueue:
    """Commands that wait for a worker, and callers that wait for room."""

    def __init__(self, max_commands: int, max_bytes: int) -> None:
        self._max_commands = max_commands
        self._max_bytes = max_bytes
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        self._commands = 0
        self._bytes = 0
        self._waiting: OrderedDict[asyncio.Future[None], tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(list(self._tickets.values()))

    @property
    def waiting(self) -> int:
        """Callers that wait for room."""
        return len(self._waiting)

    def reserve(self, commands: int, size: int) -> bool:
        """Take room for a call that enters; False when there is none, or others wait for it already."""
        if self._waiting or not self._fits(commands, size):
            return False
        self.admit(commands, size)
        return True

    def admit(self, commands: int, size: int) -> None:
        """Take room, whether there is some or not."""
        self._commands += commands
        self._bytes += size

    async def wait_for_room(self, commands: int, size: int) -> None:
        """Take room as soon as there is some, in the order of asking; or when `open_all` says that it does not matter any more."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = (commands, size)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(commands, size)  # it was granted in this very pass
            elif self._waiting.pop(future, None) is not None:
                self._grant()
            raise

    def release(self, commands: int, size: int) -> None:
        """Give room back that was reserved and is not used."""
        self._commands -= commands
        self._bytes -= size
        if self._waiting:
            self._grant()

    def open_all(self) -> None:
        """Let everybody in who waits for room: this queue is not served any more, and they are to hear why."""
        while self._waiting:
            self._admit_first()

    def append(self, ticket: Ticket) -> None:
        """At the end. A command that has no reservation takes room whether there is some or not."""
        if not ticket.command.is_admitted:
            self.admit(1, ticket.command.size)
        self._tickets[ticket.command.correlation_id] = ticket

    def put_back(self, tickets: list[Ticket]) -> None:
        """At the front, in their order: they have been here before."""
        for ticket in reversed(tickets):
            self.admit(1, ticket.command.size)
            self._tickets[ticket.command.correlation_id] = ticket
            self._tickets.move_to_end(ticket.command.correlation_id, last=False)

    @property
    def first(self) -> Ticket:
        """The one that `pop` would give."""
        return next(iter(self._tickets.values()))

    def pop(self) -> Ticket:
        """The first one."""
        ticket = self._tickets.popitem(last=False)[1]
        self.release(1, ticket.command.size)
        return ticket

    def remove(self, ticket: Ticket) -> None:
        """It needs no worker any more."""
        if self._tickets.pop(ticket.command.correlation_id, None) is not None:
            self.release(1, ticket.command.size)

    def _fits(self, commands: int, size: int) -> bool:
        if not self._commands:
            return True
        return self._commands + commands <= self._max_commands and self._bytes + size <= self._max_bytes

    def _grant(self) -> None:
        while self._waiting and self._fits(*next(iter(self._waiting.values()))):
            self._admit_first()

    def _admit_first(self) -> None:
        future, (commands, size) = self._waiting.popitem(last=False)
        if not future.done():
            self.admit(commands, size)
            future.set_result(None)
