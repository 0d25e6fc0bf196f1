"""A command on its way through a group, and who settles it.

Exactly once: reply, deadline, death, withdrawal and the caller's cancel all go through `settle`, and the first one wins. What a worker
still has to answer is another matter: that is in the session's `outstanding`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from stream_kernel.engine.base import Answer, Command, Loss, Outcome
from stream_kernel.reports import CommandReport, Delivery, NodeTiming, WorkerExitReport
from stream_kernel.routing.items import Emission, ItemFailure

__all__ = ["Ticket"]


class Ticket:
    """One command of one caller."""

    def __init__(self, command: Command, loop: asyncio.AbstractEventLoop) -> None:
        self.command = command
        self.future: asyncio.Future[Outcome] = loop.create_future()
        self.expired = False
        """Its deadline has passed and its worker is being killed for it."""
        self._loop = loop
        self._entered = loop.time()
        self._taken: float | None = None
        self._worker: tuple[str, int, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expire: Callable[[Ticket], None] = lambda _: None

    @property
    def settled(self) -> bool:
        """Whether the caller has its outcome or has gone."""
        return self.future.done()

    @property
    def is_taken(self) -> bool:
        """Whether a worker has had it."""
        return self._taken is not None

    def arm(self, expire: Callable[[Ticket], None]) -> None:
        """Set the timer of its deadline, which ends with `disarm`."""
        self._expire = expire
        self._timer = self._loop.call_at(self.command.deadline, expire, self)

    def disarm(self) -> None:
        """The worker owes nothing for it any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def taken_by(self, worker_id: str, pid: int, generation: int) -> None:
        """A worker has it: from now on node code may have run for it."""
        self._taken = self._loop.time()
        deadline = self.command.deadline
        self.command.taken_at(self._taken)
        if self.command.deadline < deadline and self._timer is not None:
            self._timer.cancel()
            self.arm(self._expire)
        self._worker = (worker_id, pid, generation)

    def withdraw(self, reason: str) -> None:
        """Settle it as not executed if no worker has taken it yet; its deadline timer then finds it settled."""
        if self._taken is None:
            self._settle(Loss("transport", reason, self._report("not_executed", "withdrawn")))

    def answer(
        self,
        emissions: list[Emission],
        failures: list[ItemFailure],
        executing_seconds: float,
        nodes: tuple[NodeTiming, ...] = (),
        *,
        failed: bool,
    ) -> None:
        """The worker replied."""
        ran = not failed or any(failure.executed for failure in failures)
        report = self._report("executed" if ran else "not_executed", "failed" if failed else "answered", executing_seconds, nodes)
        self._settle(Answer(emissions, failures, report))

    def lose(
        self,
        category: Literal["transport", "timeout"],
        reason: str,
        *,
        exit: WorkerExitReport | None = None,  # noqa: A002  the report's own name
    ) -> None:
        """There will be no reply. It is `maybe_executed` as soon as a worker has had it."""
        delivery: Delivery = "not_executed" if self._taken is None else "maybe_executed"
        self._settle(Loss(category, reason, self._report(delivery, category), exit))

    def _settle(self, outcome: Outcome) -> None:
        if not self.future.done():
            self.future.set_result(outcome)

    def _report(
        self,
        delivery: Delivery,
        outcome: Literal["answered", "failed", "transport", "timeout", "withdrawn"],
        executing_seconds: float | None = None,
        nodes: tuple[NodeTiming, ...] = (),
    ) -> CommandReport:
        now = self._loop.time()
        worker_id, pid, generation = self._worker or (None, None, None)
        queued = (now if self._taken is None else self._taken) - self._entered
        wire = None
        if executing_seconds is not None and self._taken is not None:
            wire = max(0.0, now - self._taken - executing_seconds)
        return CommandReport(
            correlation_id=self.command.correlation_id,
            group=self.command.group,
            inputs=len(self.command.items),
            delivery=delivery,
            outcome=outcome,
            worker_id=worker_id,
            pid=pid,
            generation=generation,
            queued_seconds=queued,
            executing_seconds=executing_seconds,
            wire_seconds=wire,
            nodes=nodes,
        )
