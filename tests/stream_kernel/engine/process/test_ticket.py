"""A command is settled exactly once, and says what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stream_kernel.engine.base import Answer, AtWork, Command, Loss
from stream_kernel.engine.process.deadlines import Deadlines
from stream_kernel.engine.process.ticket import LastTrace, Ticket
from stream_kernel.reports import NodeTiming, WorkerExitReport
from stream_kernel.routing.items import ItemFailure
from virtual_clock import START, on_virtual_clock

MakeCommand = Callable[..., Command]

REPORT = WorkerExitReport(
    worker_id="g#0", group="g", generation=1, reason="it ended", exit_code=3, signal="SIGKILL", stderr_tail=("last words",)
)


class Nobody:
    """A holder that is asked for nothing in these tests."""

    def cancel(self, ticket: Ticket) -> None:
        raise AssertionError("nobody cancels here")

    def expire(self, ticket: Ticket) -> None:
        raise AssertionError("nothing expires here")


def given(ticket: Ticket, number: int = 1, generation: int = 1) -> Ticket:
    """The ticket, in the hands of a worker."""
    ticket.given_to(Nobody(), number, ("g#0", 7, generation))
    return ticket


async def test_the_first_outcome_wins(make_command: MakeCommand) -> None:
    ticket = given(Ticket(make_command(), asyncio.get_running_loop()))
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


async def test_a_loss_after_a_worker_took_it_may_have_run_and_tells_what_is_known(make_command: MakeCommand) -> None:
    ticket = given(Ticket(make_command(), asyncio.get_running_loop()), generation=2)
    ticket.lose("transport", "it died", LastTrace(REPORT, AtWork(3, "score"), 0.5))
    outcome = await ticket.future
    assert isinstance(outcome, Loss)
    assert (outcome.report.delivery, outcome.report.generation, outcome.report.executing_seconds) == ("maybe_executed", 2, 0.5)
    assert (outcome.exit, outcome.at_work) == (REPORT, AtWork(3, "score"))


async def test_what_was_behind_the_head_of_a_dead_worker_is_as_if_no_worker_had_had_it(make_command: MakeCommand) -> None:
    ticket = given(Ticket(make_command(), asyncio.get_running_loop()), number=2)
    ticket.put_back()
    assert (ticket.holder, ticket.begun) == (None, None)
    ticket.lose("timeout", "the deadline passed before a worker was free")
    report = (await ticket.future).report
    assert (report.delivery, report.worker_id, report.pid) == ("not_executed", None, None)


@on_virtual_clock
async def test_what_a_worker_had_next_but_never_began_is_as_if_no_worker_had_had_it(make_command: MakeCommand) -> None:
    loop = asyncio.get_running_loop()
    rung: list[float] = []
    ticket = given(Ticket(make_command(deadline=START + 60, limit_seconds=5.0), loop), number=2)
    ticket.arm(Deadlines(lambda _: rung.append(loop.time())))
    ticket.begin(0.25)
    ticket.put_back()
    assert (ticket.begun, ticket.command.deadline) == (None, START + 60)
    await asyncio.sleep(100)
    assert rung == [START + 60]
    ticket.lose("timeout", "the deadline passed before a worker was free")
    assert (await ticket.future).report.queued_seconds == 100.0


@pytest.mark.parametrize(
    ("failed", "failures", "delivery", "result"),
    [
        (False, [], "executed", "answered"),
        (False, [ItemFailure(0, "execution", "why", executed=False)], "executed", "answered"),
        (True, [ItemFailure(0, "execution", "why")], "executed", "failed"),
        (True, [ItemFailure(0, "input", "why", executed=False)], "not_executed", "failed"),
    ],
)
async def test_an_answer_says_whether_node_code_ran(
    make_command: MakeCommand, failed: bool, failures: list[ItemFailure], delivery: str, result: str
) -> None:
    ticket = given(Ticket(make_command(), asyncio.get_running_loop()))
    timing = (NodeTiming("score", 1, 0.2),)
    ticket.answer([], failures, 0.1, timing, failed=failed)
    outcome = await ticket.future
    assert isinstance(outcome, Answer) and outcome.failures == failures
    assert (outcome.report.delivery, outcome.report.outcome, outcome.report.nodes) == (delivery, result, timing)


async def test_only_what_no_worker_has_can_be_withdrawn(make_command: MakeCommand) -> None:
    taken = given(Ticket(make_command("c-1"), asyncio.get_running_loop()))
    queued = Ticket(make_command("c-2"), asyncio.get_running_loop())
    taken.withdraw("no longer wanted")
    queued.withdraw("no longer wanted")
    assert not taken.settled
    outcome = await queued.future
    assert outcome.report.outcome == "withdrawn" and outcome.report.delivery == "not_executed"


async def test_a_cancelled_caller_is_settled_and_takes_no_outcome(make_command: MakeCommand) -> None:
    ticket = Ticket(make_command(), asyncio.get_running_loop())
    ticket.cancel()
    assert ticket.settled
    ticket.answer([], [], 0.0, failed=False)
    assert ticket.future.cancelled()


# -- its clock


@on_virtual_clock
async def test_a_disarmed_deadline_never_comes(make_command: MakeCommand) -> None:
    rung: list[Ticket] = []
    ticket = Ticket(make_command(deadline=START + 1), asyncio.get_running_loop())
    ticket.arm(Deadlines(rung.append))
    ticket.disarm()
    ticket.disarm()
    await asyncio.sleep(2)
    assert rung == []


@on_virtual_clock
async def test_a_limit_counts_from_when_a_worker_begins_the_command_and_comes_once(make_command: MakeCommand) -> None:
    loop = asyncio.get_running_loop()
    rung: list[float] = []
    ticket = Ticket(make_command(deadline=START + 3600, limit_seconds=5), loop)
    ticket.arm(Deadlines(lambda _: rung.append(loop.time())))
    await asyncio.sleep(100)
    given(ticket)
    await asyncio.sleep(100)
    assert (rung, ticket.begun) == ([], None), "it waits, in the queue and behind another, and the limit does not count yet"
    ticket.begin(0.25)
    assert (ticket.command.deadline, ticket.begun) == (START + 205, START + 200)
    await asyncio.sleep(4000)
    assert rung == [START + 205]


@on_virtual_clock
async def test_a_limit_beyond_the_deadline_changes_nothing(make_command: MakeCommand) -> None:
    loop = asyncio.get_running_loop()
    rung: list[float] = []
    ticket = given(Ticket(make_command(deadline=START + 60, limit_seconds=3600), loop))
    ticket.arm(Deadlines(lambda _: rung.append(loop.time())))
    ticket.begin(0.25)
    assert ticket.command.deadline == START + 60
    await asyncio.sleep(100)
    assert rung == [START + 60]


@on_virtual_clock
async def test_one_whose_deadline_passed_behind_another_has_a_moment_to_be_skipped(make_command: MakeCommand) -> None:
    loop = asyncio.get_running_loop()
    rung: list[float] = []
    ticket = given(Ticket(make_command(deadline=START + 1), loop))
    ticket.arm(Deadlines(lambda _: rung.append(loop.time())))
    await asyncio.sleep(3)
    ticket.begin(0.25)
    await asyncio.sleep(1)
    assert rung == [START + 1, START + 3.25]


@on_virtual_clock
async def test_times_are_split_into_queue_node_and_wire(make_command: MakeCommand) -> None:
    ticket = Ticket(make_command(), asyncio.get_running_loop())
    await asyncio.sleep(2)
    given(ticket)
    await asyncio.sleep(3)
    ticket.begin(0.25)
    await asyncio.sleep(10)
    ticket.answer([], [], 6.0, failed=False)
    report = (await ticket.future).report
    assert (report.queued_seconds, report.executing_seconds, report.wire_seconds) == (5.0, 6.0, 4.0)


@on_virtual_clock
async def test_what_no_worker_has_begun_has_spent_all_its_time_in_the_queue(make_command: MakeCommand) -> None:
    ticket = Ticket(make_command(), asyncio.get_running_loop())
    await asyncio.sleep(2)
    ticket.lose("timeout", "the deadline passed before a worker was free")
    report = (await ticket.future).report
    assert (report.queued_seconds, report.executing_seconds, report.wire_seconds) == (2.0, None, None)
