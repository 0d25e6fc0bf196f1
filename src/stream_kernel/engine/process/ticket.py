"""A command on its way through a group, and who settles it.

Exactly once: reply, deadline, death, withdrawal and the caller's cancel all go through `settle`, and the first one wins. What a worker
still has to answer is another matter: that is in its ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Protocol

import msgspec

from stream_kernel.engine.base import Answer, AtWork, Command, Loss, Outcome, Promise
from stream_kernel.engine.process.deadlines import Deadlines
from stream_kernel.reports import CommandReport, Delivery, NodeTiming, WorkerExitReport
from stream_kernel.routing.items import Emission, ItemFailure

__all__ = ["Holder", "LastTrace", "Ticket"]

_Outcome = Literal["answered", "failed", "transport", "timeout", "withdrawn"]


class Holder(Protocol):
    """The worker that has a ticket."""

    def cancel(self, ticket: Ticket) -> None:
        """Its caller has gone."""

    def expire(self, ticket: Ticket) -> None:
        """Its deadline has passed."""


class LastTrace(msgspec.Struct, frozen=True):
    """What is known of a command that will not be answered."""

    exit: WorkerExitReport | None = None
    at_work: AtWork | None = None
    executing_seconds: float | None = None
    is_inflicted: bool = False


class Ticket:
    """One command of one caller."""

    __slots__ = (
        "_alarm", "_begun", "_deadline", "_deadlines", "_entered", "_leave_queue", "_loop", "_worker", "at_deadline", "command", "future",
        "holder", "number",
    )  # fmt: skip

    def __init__(self, command: Command, loop: asyncio.AbstractEventLoop, now: float | None = None) -> None:
        """`now` is the time of the loop, where it is known."""
        self.command = command
        self.future = Promise()
        self.holder: Holder | None = None
        """The worker that has it; None while it waits for one."""
        self.number = 0
        """Which command of its worker it is, from 1."""
        self.at_deadline: LastTrace | None = None
        """What its worker was doing when the deadline passed there; None: it has not."""
        self._loop = loop
        self._deadline = command.deadline
        if now is None:
            now = loop.time()
        self._entered = now if command.waited_since is None else command.waited_since
        self._begun: float | None = None
        self._worker: tuple[str, int, int] | None = None
        self._deadlines: Deadlines[Ticket] | None = None
        self._alarm = 0
        """Its number among those."""
        self._leave_queue: Callable[[Ticket], None] = _nothing

    @property
    def settled(self) -> bool:
        """Whether the caller has its outcome or has gone."""
        return self.future.done()

    @property
    def expired(self) -> bool:
        """Whether its deadline has passed while it was at work: whatever comes from then on is late."""
        return self.at_deadline is not None

    @property
    def begun(self) -> float | None:
        """When it became the command at work in its worker, on the loop's clock; None: it is not, or behind another."""
        return self._begun

    def arm(self, deadlines: Deadlines[Ticket], leave_queue: Callable[[Ticket], None] | None = None) -> None:
        """Its deadline is one of those, until `disarm`. `leave_queue` is called when it is settled before a worker has it."""
        self._deadlines = deadlines
        self._leave_queue = leave_queue or _nothing
        self._alarm = deadlines.add(self.command.deadline, self)

    def disarm(self) -> None:
        """The worker owes nothing for it any more."""
        if self._deadlines is not None:
            self._deadlines.drop(self._alarm)
            self._deadlines = None

    def given_to(self, holder: Holder, number: int, worker: tuple[str, int, int]) -> None:
        """A worker (its name, its process and its generation) has it; it may be behind others there."""
        self.holder = holder
        self.number = number
        self._worker = worker

    def begin(self, grace_seconds: float) -> bool:
        """It is the command at work: its time runs. False: its deadline has passed meanwhile, and it has `grace_seconds` to be skipped."""
        self._begun = now = self._loop.time()
        command = self.command
        deadline = command.deadline
        if deadline <= now:
            command.taken_at(now)
            self._move_alarm(now + grace_seconds)
            return False
        if command.limit_seconds < deadline - now:
            command.taken_at(now)
            self._move_alarm(command.deadline)
        return True

    def put_back(self) -> None:
        """The worker that had it died, and no node code has run for it."""
        self.holder = None
        self._worker = None
        if self._begun is not None:  # it was the next one, and its time had run already
            self._begun = None
            self.command.deadline = self._deadline
            self._move_alarm(self._deadline)

    def cancel(self) -> bool:
        """The caller has gone; False when it was settled before."""
        if not self.future.cancel():
            return False
        if self.holder is None:
            self._leave_queue(self)
        else:
            self.holder.cancel(self)
        return True

    def withdraw(self, reason: str) -> None:
        """Settle it as not executed if no worker has taken it yet."""
        if self.holder is None and not self.settled:
            self._settle(Loss("transport", reason, self._tell("not_executed", "withdrawn")()))

    def answer(
        self,
        emissions: Sequence[Emission],
        failures: list[ItemFailure],
        executing_seconds: float,
        nodes: tuple[NodeTiming, ...] = (),
        *,
        failed: bool,
    ) -> None:
        """The worker replied."""
        ran = not failed or any(failure.executed for failure in failures)
        delivery: Delivery = "executed" if ran else "not_executed"
        outcome: _Outcome = "failed" if failed else "answered"
        self.future.set_result(Answer(emissions, failures, self._tell(delivery, outcome, executing_seconds, nodes)))

    def lose(self, category: Literal["transport", "timeout"], reason: str, trace: LastTrace | None = None) -> None:
        """There will be no reply. It is `maybe_executed` as soon as a worker has had it."""
        delivery: Delivery = "not_executed" if self.holder is None else "maybe_executed"
        known = trace or LastTrace()
        report = self._tell(delivery, category, known.executing_seconds)()
        self._settle(Loss(category, reason, report, known.exit, known.at_work, known.is_inflicted))

    def _move_alarm(self, moment: float) -> None:
        if self._deadlines is not None:
            self._deadlines.drop(self._alarm)
            self._alarm = self._deadlines.add(moment, self)

    def _settle(self, outcome: Outcome) -> None:
        if self.future.set_result(outcome) and self.holder is None:
            self._leave_queue(self)

    def _tell(
        self, delivery: Delivery, outcome: _Outcome, executing_seconds: float | None = None, nodes: tuple[NodeTiming, ...] = ()
    ) -> Callable[[], CommandReport]:
        """What makes the report, as of now. It does not hold this ticket, which holds it: a cycle otherwise."""
        times = (self._entered, self._begun, self._loop.time(), executing_seconds)
        return partial(_report, self.command, self._worker, times, delivery, outcome, nodes)


def _report(
    command: Command,
    worker: tuple[str, int, int] | None,
    times: tuple[float, float | None, float, float | None],
    delivery: Delivery,
    outcome: _Outcome,
    nodes: tuple[NodeTiming, ...],
) -> CommandReport:
    """`times`: when it entered, was begun and ended, on the loop's clock, and for how long its worker was at it."""
    entered, begun, ended, executing = times
    worker_id, pid, generation = worker or (None, None, None)
    return CommandReport(
        correlation_id=command.correlation_id,
        group=command.group,
        inputs=len(command.items),
        delivery=delivery,
        outcome=outcome,
        worker_id=worker_id,
        pid=pid,
        generation=generation,
        queued_seconds=(ended if begun is None else begun) - entered,
        executing_seconds=executing,
        wire_seconds=None if begun is None else max(0.0, ended - begun - (executing or 0.0)),
        nodes=nodes,
    )


def _nothing(ticket: Ticket) -> None:
    """It is in no queue."""
