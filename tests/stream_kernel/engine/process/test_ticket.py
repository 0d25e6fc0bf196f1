"""A command is settled exactly once, and says what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream_kernel.engine.base import Answer, Command, Loss
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.reports import WorkerExitReport

MakeCommand = Callable[..., Command]

REPORT = WorkerExitReport(
    worker_id="g#0", group="g", generation=1, reason="it ended", exit_code=3, signal="SIGKILL", stderr_tail=("last words",)
)


async def test_the_first_outcome_wins(make_command: MakeCommand) -> None:
    ticket = Ticket(make_command(), asyncio.get_running_loop())
    ticket.taken_by("g#0", 7, 1)
    ticket.answer([], [], 0.0, failed=False)
    ticket.lose("timeout", "too late")
    ticket.withdraw("too late")
    outcome = await ticket.future
    assert isinstance(outcome, Answer)
    assert (outcome.report.delivery, outcome.report.outcome, outcome.report.pid) == ("executed", "answered", 7)


async def test_a_loss_before_a_worker_took_it_ran_nowhere(make_command: MakeCommand) -> None:
    ticket = Ticket(make_command(), asyncio.get_running_loop())
    ticket.lose("transport", "stopping")
    outcome = await ticket.future
    assert isinstance(outcome, Loss)
    assert (outcome.report.delivery, outcome.report.pid, outcome.reason) == ("not_executed", None, "stopping")


async def test_a_loss_after_a_worker_took_it_may_have_run(make_command: MakeCommand) -> None:
    ticket = Ticket(make_command(), asyncio.get_running_loop())
    ticket.taken_by("g#0", 7, 2)
    ticket.lose("transport", "it died", exit=REPORT)
    outcome = await ticket.future
    assert isinstance(outcome, Loss)
    assert (outcome.report.delivery, outcome.report.generation) == ("maybe_executed", 2)
    assert outcome.exit is REPORT


async def test_only_what_no_worker_has_can_be_withdrawn(make_command: MakeCommand) -> None:
    taken = Ticket(make_command("c-1"), asyncio.get_running_loop())
    taken.taken_by("g#0", 7, 1)
    queued = Ticket(make_command("c-2"), asyncio.get_running_loop())
    taken.withdraw("no longer wanted")
    queued.withdraw("no longer wanted")
    assert not taken.settled
    outcome = await queued.future
    assert outcome.report.outcome == "withdrawn" and outcome.report.delivery == "not_executed"


async def test_a_cancelled_caller_is_settled_and_takes_no_outcome(make_command: MakeCommand) -> None:
    ticket = Ticket(make_command(), asyncio.get_running_loop())
    ticket.future.cancel()
    assert ticket.settled
    ticket.answer([], [], 0.0, failed=False)
    assert ticket.future.cancelled()


async def test_a_disarmed_deadline_never_comes(make_command: MakeCommand) -> None:
    loop = asyncio.get_running_loop()
    rung = asyncio.Event()
    ticket = Ticket(make_command(deadline=loop.time() + 0.01), loop)
    ticket.arm(lambda _: rung.set())
    ticket.disarm()
    ticket.disarm()
    await asyncio.sleep(0.02)
    assert not rung.is_set()


async def test_a_limit_counts_from_when_a_worker_takes_the_command_and_comes_once(make_command: MakeCommand) -> None:
    loop = asyncio.get_running_loop()
    rung: list[Ticket] = []
    ticket = Ticket(make_command(deadline=loop.time() + 3600, limit_seconds=0.01), loop)
    ticket.arm(rung.append)
    await asyncio.sleep(0.03)
    assert rung == [], "it waits, and the limit does not count yet"
    ticket.taken_by("g#0", 7, 1)
    assert ticket.command.deadline < loop.time() + 1
    while not rung:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert rung == [ticket]


async def test_a_limit_beyond_the_deadline_changes_nothing(make_command: MakeCommand) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 60
    ticket = Ticket(make_command(deadline=deadline, limit_seconds=3600), loop)
    ticket.taken_by("g#0", 7, 1)
    assert ticket.command.deadline == deadline


async def test_times_are_split_into_queue_node_and_wire(make_command: MakeCommand) -> None:
    ticket = Ticket(make_command(), asyncio.get_running_loop())
    ticket.taken_by("g#0", 7, 1)
    ticket.answer([], [], 1e-9, failed=False)
    report = (await ticket.future).report
    assert report.executing_seconds == 1e-9
    assert report.wire_seconds is not None and report.wire_seconds >= 0 and report.queued_seconds >= 0
