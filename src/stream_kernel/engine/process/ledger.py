"""What one worker owes: the commands it was given and has not answered, and who still waits for them.

`pending` holds the callers that wait; reply, deadline, death and cancel each pop an entry, and whoever gets it settles the call.
`owed` holds what the worker still has to answer, oldest first; an entry leaves it by its reply or by the death of the worker only. The
oldest, the *head*, is the one at work: a worker writes a whole reply before it begins the next command.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from stream_kernel.engine.process.ticket import LastTrace, Ticket
from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.columns import OutputColumns, OutputRows, are_plain, outputs_from_columns
from stream_kernel.protocol.messages import ExecuteBoundaryError, ExecuteBoundaryResult
from stream_kernel.reports import NodeTiming
from stream_kernel.routing.items import Emission, ItemFailure

__all__ = ["DEADLINE_PASSED", "Ledger"]

DEADLINE_PASSED = "a command passed its deadline"
_PASSED_BEHIND = "the deadline passed at a worker that was at another command"
_SKIP_GRACE = 0.25
"""How long a worker may take to skip a command whose deadline passed behind another, in seconds."""


class Ledger:
    """The commands of one incarnation of a worker."""

    def __init__(self) -> None:
        self._pending: dict[str, Ticket] = {}
        self._owed: dict[str, Ticket] = {}
        self._emissions: Sequence[Emission] = []
        self._failures: list[ItemFailure] = []
        self.given = 0
        """Commands that the worker was given; the number of the last one."""
        self.answered = 0
        self.late_replies = 0

    def __len__(self) -> int:
        return len(self._owed)

    @property
    def owed(self) -> Iterable[Ticket]:
        """The commands that the worker has, the one at work first."""
        return self._owed.values()

    @property
    def head(self) -> Ticket | None:
        """The command at work, or None."""
        return next(iter(self._owed.values()), None)

    def trace_ids(self) -> tuple[str, ...]:
        """Of all items that the worker has, without repetition."""
        items = (item for ticket in self._owed.values() for item in ticket.command.items)
        return tuple(dict.fromkeys(item.trace_id for item in items if item.trace_id is not None))

    def enter(self, ticket: Ticket) -> None:
        """The worker is given a command."""
        self._pending[ticket.command.correlation_id] = self._owed[ticket.command.correlation_id] = ticket
        self.given += 1
        if len(self._owed) == 1:
            ticket.begin(_SKIP_GRACE)

    def cancel(self, ticket: Ticket) -> bool:
        """The caller has gone; True when it was still waiting."""
        return self._pending.pop(ticket.command.correlation_id, None) is not None

    def owes(self, ticket: Ticket) -> bool:
        """Whether the worker has not answered this command."""
        return ticket.command.correlation_id in self._owed

    def expire(self, ticket: Ticket, trace: LastTrace | None = None) -> None:
        """The deadline has passed: whatever comes from now on is late. Without a `trace` it was not at work, but behind another."""
        if self._pending.pop(ticket.command.correlation_id, None) is not None:
            ticket.lose("timeout", _PASSED_BEHIND if trace is None else DEADLINE_PASSED, trace)

    def receive(self, reply: ExecuteBoundaryResult | ExecuteBoundaryError) -> bool:
        """Take a reply or a part of one; True when it was the last. Raises `ProtocolViolation` for one that cannot be."""
        ticket = self._owed[reply.correlation_id]
        count = len(ticket.command.items)
        has_failed = isinstance(reply, ExecuteBoundaryError)
        if isinstance(reply, ExecuteBoundaryError):
            self._forget_parts()  # those that came before are void
            _check_indexes([reply.index], count)
            self._failures.append(reply.failure())
            timing: tuple[NodeTiming, ...] = ()
        else:
            self._take_part(reply.terminal_outputs, count, terminal=True)
            self._take_part(reply.outputs, count, terminal=False)
            if reply.more:
                return False
            timing = reply.timing
        emissions, failures = self._emissions, self._failures
        self._forget_parts()
        del self._owed[reply.correlation_id]
        ticket.disarm()
        self.answered += 1
        # Of one that has expired, whoever decides what becomes of the worker tells its caller, after that.
        if ticket.expired or self._pending.pop(reply.correlation_id, None) is None:
            self.late_replies += 1
        else:
            ticket.answer(emissions, failures, reply.executing_ms / 1000, timing, failed=has_failed)
        following = self.head
        if following is not None and not following.begin(_SKIP_GRACE):
            self.expire(following)  # its timer, due in this very pass of the loop, has been put off: its caller is not to wait for that
        return True

    def abandon(self, reason: str) -> None:
        """Fail those that wait, as transport; the worker still owes its answers. One whose deadline has passed hears of that, very soon."""
        for correlation_id, ticket in list(self._pending.items()):
            if not ticket.expired:
                del self._pending[correlation_id]
                ticket.lose("transport", reason)

    def close(self, reason: str, trace: LastTrace, *, is_trusted: bool, has_head_begun: bool) -> list[Ticket]:
        """The worker is dead: nothing will come any more. Returns the commands that another is to have: it provably did not begin them.

        Those are all behind the head, and the head too unless it `has_head_begun`; none of a worker that broke the protocol, which is not
        to be trusted (`is_trusted`).
        """
        owed = list(self._owed.values())
        unbegun = (owed[1:] if has_head_begun else owed) if is_trusted else []
        # One that had its time here has had it: at another worker it would have that once more.
        waiting = [ticket for ticket in unbegun if not (ticket.settled or ticket.expired)]
        for ticket in owed:
            if ticket not in waiting:
                ticket.disarm()
        for ticket in waiting:
            del self._pending[ticket.command.correlation_id]
        for ticket in self._pending.values():
            own = trace
            if not (owed and ticket is owed[0]):  # one whose reply came late, or one that this worker never came to
                own = msgspec.structs.replace(ticket.at_deadline or LastTrace(), exit=trace.exit)
            ticket.lose("timeout" if ticket.expired else "transport", DEADLINE_PASSED if ticket.expired else reason, own)
        self._owed.clear()
        self._pending.clear()
        self._forget_parts()
        return waiting

    def _take_part(self, columns: OutputColumns | None, count: int, *, terminal: bool) -> None:
        if columns is None:
            return
        _check_indexes(columns.index, count)
        try:
            if not self._emissions and len(columns.index) > 1 and are_plain(columns):
                self._emissions = OutputRows(columns, terminal=terminal)
                return
            rows = outputs_from_columns(columns, terminal=terminal)
        except ValueError as error:
            problem = str(error)
        else:
            emissions = self._emissions if isinstance(self._emissions, list) else list(self._emissions)
            emissions += [row for row in rows if type(row) is Emission]
            self._emissions = emissions
            self._failures += [] if columns.error is None else [row for row in rows if type(row) is ItemFailure]
            return
        raise ProtocolViolation(problem)

    def _forget_parts(self) -> None:
        self._emissions, self._failures = [], []


def _check_indexes(indexes: Sequence[int], count: int) -> None:
    if indexes and not 0 <= min(indexes) <= max(indexes) < count:
        raise ProtocolViolation("a reply names an input that the command did not have")
