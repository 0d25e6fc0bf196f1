"""What a worker owes, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec import Raw

from stream_kernel.engine.base import Answer, AtWork, Command, Loss
from stream_kernel.engine.process.deadlines import Deadlines
from stream_kernel.engine.process.ledger import DEADLINE_PASSED, Ledger
from stream_kernel.engine.process.ticket import LastTrace, Ticket
from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.columns import OutputColumns, outputs_to_columns
from stream_kernel.protocol.messages import ExecuteBoundaryError, ExecuteBoundaryResult
from stream_kernel.reports import WorkerExitReport
from stream_kernel.routing.items import Emission
from stream_kernel.routing.packed import Packed
from virtual_clock import START, on_virtual_clock

MakeCommand = Callable[..., Command]

REPORT = WorkerExitReport(
    worker_id="g#0", group="g", generation=1, reason="it ended", exit_code=3, signal="SIGKILL", stderr_tail=("last words",)
)


TRACE = LastTrace(REPORT, AtWork(1, "score"), 0.5)


class Worker:
    """A holder whose tickets never expire by themselves in these tests."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def cancel(self, ticket: Ticket) -> None:
        self._ledger.cancel(ticket)

    def expire(self, ticket: Ticket) -> None:
        raise AssertionError("nothing expires here")


def columns(*indexes: int) -> OutputColumns | None:
    return outputs_to_columns([Emission(index, "echo", Packed(Raw(b"1"), None, 1), terminal=True) for index in indexes])


def result(*indexes: int, more: bool = False, correlation_id: str = "c-1", executing_ms: float = 0.0) -> ExecuteBoundaryResult:
    return ExecuteBoundaryResult(correlation_id=correlation_id, terminal_outputs=columns(*indexes), more=more, executing_ms=executing_ms)


def entered(ledger: Ledger, command: Command) -> Ticket:
    ticket = Ticket(command, asyncio.get_running_loop())
    ticket.given_to(Worker(ledger), ledger.given + 1, ("g#0", 7, 1))
    ledger.enter(ticket)
    return ticket


async def test_a_reply_settles_its_call_and_nothing_is_owed(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    assert ledger.owes(ticket) and len(ledger) == 1
    assert ledger.receive(result(0))
    assert not ledger.owes(ticket) and len(ledger) == 0
    assert not ledger.cancel(ticket), "nobody waits for it any more"
    outcome = await ticket.future
    assert isinstance(outcome, Answer)
    assert [emission.index for emission in outcome.emissions] == [0]
    assert (ledger.answered, ledger.late_replies) == (1, 0)


async def test_a_reply_in_parts_settles_with_the_last(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command(count=3))
    assert not ledger.receive(result(0, more=True))
    assert not ledger.receive(result(1, more=True))
    assert not ticket.settled and ledger.owes(ticket)
    assert ledger.receive(result(2))
    outcome = await ticket.future
    assert isinstance(outcome, Answer)
    assert [emission.index for emission in outcome.emissions] == [0, 1, 2]


async def test_an_error_voids_the_parts_before_it(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command(count=2))
    ledger.receive(result(0, more=True))
    ledger.receive(ExecuteBoundaryError(correlation_id="c-1", category="execution", message="m", index=1, reason="it raised"))
    outcome = await ticket.future
    assert isinstance(outcome, Answer)
    assert (outcome.emissions, [failure.index for failure in outcome.failures]) == ([], [1])


async def test_a_reply_to_a_caller_that_has_gone_is_late(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    assert ledger.cancel(ticket)
    assert not ledger.cancel(ticket)
    assert ledger.owes(ticket)
    assert ledger.receive(result(0))
    assert (ledger.answered, ledger.late_replies, ticket.settled) == (1, 1, False)


async def test_a_reply_in_the_same_pass_as_the_cancel_is_late_too(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    ticket.cancel()
    assert ledger.receive(result(0))
    assert (ledger.answered, ledger.late_replies) == (1, 1)


async def test_a_deadline_settles_the_call_and_its_reply_is_late(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    ledger.expire(ticket)
    ledger.expire(ticket)
    assert not ledger.cancel(ticket), "nobody waits for it any more"
    outcome = await ticket.future
    assert isinstance(outcome, Loss) and outcome.category == "timeout"
    assert ledger.receive(result(0))
    assert ledger.late_replies == 1


async def test_whether_a_deadline_passed_at_work_or_behind_another_command_is_told(make_command: MakeCommand) -> None:
    ledger = Ledger()
    head, behind = (entered(ledger, make_command(name)) for name in ("c-1", "c-2"))
    ledger.expire(head, LastTrace(at_work=AtWork(0, "score")))
    ledger.expire(behind)
    reasons = [loss.reason for loss in (await head.future, await behind.future) if isinstance(loss, Loss)]
    assert reasons == [DEADLINE_PASSED, "the deadline passed at a worker that was at another command"]


async def test_the_oldest_is_at_work_and_the_next_begins_with_its_reply(make_command: MakeCommand) -> None:
    ledger = Ledger()
    assert ledger.head is None
    first, second = (entered(ledger, make_command(name)) for name in ("c-1", "c-2"))
    assert ledger.head is first
    assert first.begun is not None and second.begun is None
    ledger.receive(result(0))
    assert ledger.head is second and second.begun is not None
    assert (ledger.given, ledger.answered, len(ledger)) == (2, 1, 1)


async def test_the_trace_ids_are_those_of_all_that_is_owed_each_once(make_command: MakeCommand) -> None:
    ledger = Ledger()
    for name, count, trace_id in (("c-1", 3, "t1"), ("c-2", 1, None), ("c-3", 1, "t3"), ("c-4", 1, "t1")):
        entered(ledger, make_command(name, count, trace_id=trace_id))
    assert ledger.trace_ids() == ("t1", "t3")
    ledger.receive(result(0))
    assert ledger.trace_ids() == ("t3", "t1")


async def test_a_late_reply_settles_nobody_before_it_is_decided_what_becomes_of_the_worker(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    ticket.at_deadline = LastTrace(at_work=AtWork(1, "score"), executing_seconds=1.5)
    assert ledger.receive(result(0, executing_ms=1600.0))
    assert not ticket.settled and (ledger.late_replies, ledger.answered) == (1, 1)
    assert ledger.close("it ended", LastTrace(exit=REPORT), is_trusted=True, has_head_begun=True) == []
    outcome = await ticket.future
    assert isinstance(outcome, Loss)
    assert (outcome.category, outcome.reason, outcome.exit) == ("timeout", DEADLINE_PASSED, REPORT)
    assert (outcome.at_work, outcome.report.executing_seconds, outcome.report.delivery) == (AtWork(1, "score"), 1.5, "maybe_executed")


# -- the death of the worker


@pytest.mark.parametrize(("expired", "category", "reason"), [(False, "transport", "it ended"), (True, "timeout", DEADLINE_PASSED)])
async def test_a_death_settles_the_head_with_all_that_is_known(
    make_command: MakeCommand, expired: bool, category: str, reason: str
) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    ticket.at_deadline = LastTrace() if expired else None
    assert ledger.close("it ended", TRACE, is_trusted=True, has_head_begun=True) == []
    outcome = await ticket.future
    assert isinstance(outcome, Loss)
    assert (outcome.category, outcome.reason, outcome.report.delivery) == (category, reason, "maybe_executed")
    assert (outcome.exit, outcome.at_work) == (REPORT, AtWork(1, "score"))
    assert outcome.report.executing_seconds == 0.5
    assert (len(ledger), ledger.head) == (0, None)


@on_virtual_clock
async def test_after_a_death_no_deadline_comes_of_what_it_has_settled(make_command: MakeCommand) -> None:
    ledger, rung = Ledger(), list[Ticket]()
    ticket = entered(ledger, make_command(deadline=START + 1))
    ticket.arm(Deadlines(rung.append))
    ledger.close("it ended", TRACE, is_trusted=True, has_head_begun=True)
    await asyncio.sleep(2)
    assert rung == []


@pytest.mark.fault("FAULT-07")
async def test_those_behind_the_head_of_a_dead_worker_did_not_begin(make_command: MakeCommand) -> None:
    ledger = Ledger()
    first, *behind = (entered(ledger, make_command(f"c-{n}")) for n in (1, 2, 3))
    assert ledger.close("it ended", TRACE, is_trusted=True, has_head_begun=True) == behind
    assert first.settled and not any(ticket.settled for ticket in behind)


async def test_those_behind_the_head_keep_their_deadline_and_those_who_have_gone_do_not(make_command: MakeCommand) -> None:
    ledger = Ledger()
    tickets = [entered(ledger, make_command(f"c-{n}")) for n in range(4)]
    tickets[1].cancel()
    ledger.cancel(tickets[1])
    ledger.expire(tickets[2])
    assert ledger.close("it ended", TRACE, is_trusted=True, has_head_begun=True) == [tickets[3]]
    assert (await tickets[2].future).report.outcome == "timeout"


async def test_one_whose_caller_was_cancelled_in_this_very_pass_is_not_run_again(make_command: MakeCommand) -> None:
    ledger = Ledger()
    _, behind = (entered(ledger, make_command(f"c-{n}")) for n in range(2))
    behind.cancel()
    assert ledger.close("it ended", TRACE, is_trusted=True, has_head_begun=True) == []


async def test_a_head_that_did_not_begin_is_run_again_like_those_behind_it(make_command: MakeCommand) -> None:
    ledger = Ledger()
    tickets = [entered(ledger, make_command(f"c-{n}")) for n in range(2)]
    assert ledger.close("it ended", TRACE, is_trusted=True, has_head_begun=False) == tickets
    assert not any(ticket.settled for ticket in tickets)


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize("has_head_begun", [True, False])
async def test_nothing_of_a_worker_that_broke_the_protocol_is_run_again(make_command: MakeCommand, has_head_begun: bool) -> None:
    ledger = Ledger()
    tickets = [entered(ledger, make_command(f"c-{n}")) for n in range(3)]
    reason = "protocol violation: a frame is not JSON"
    assert ledger.close(reason, TRACE, is_trusted=False, has_head_begun=has_head_begun) == []
    outcomes = [await ticket.future for ticket in tickets]
    assert {(outcome.report.outcome, outcome.report.delivery) for outcome in outcomes} == {("transport", "maybe_executed")}
    assert [isinstance(outcome, Loss) and outcome.at_work for outcome in outcomes] == [AtWork(1, "score"), None, None]
    assert [isinstance(outcome, Loss) and outcome.exit for outcome in outcomes] == [REPORT] * 3


async def test_parts_of_a_reply_that_was_not_completed_are_dropped_with_the_worker(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command(count=2))
    ledger.receive(result(0, more=True))
    ledger.close("it ended", TRACE, is_trusted=True, has_head_begun=True)
    assert isinstance(await ticket.future, Loss)


async def test_abandoned_calls_fail_although_the_worker_still_owes_them(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    ledger.abandon("the supervisor is being stopped")
    outcome = await ticket.future
    assert isinstance(outcome, Loss) and outcome.category == "transport"
    assert ledger.owes(ticket)


@pytest.mark.parametrize("index", [-1, 1, 99])
async def test_a_reply_about_an_input_that_was_not_sent_is_a_violation(make_command: MakeCommand, index: int) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    with pytest.raises(ProtocolViolation, match="did not have"):
        ledger.receive(result(index))
    assert not ticket.settled
