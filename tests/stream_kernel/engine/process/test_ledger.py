"""What a worker owes, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec import Raw

from stream_kernel.engine.base import Answer, Command, Loss
from stream_kernel.engine.process.ledger import Ledger
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.columns import OutputColumns, outputs_to_columns
from stream_kernel.protocol.messages import ExecuteBoundaryError, ExecuteBoundaryResult
from stream_kernel.reports import WorkerExitReport
from stream_kernel.routing.items import Emission
from stream_kernel.routing.packed import Packed

MakeCommand = Callable[..., Command]

REPORT = WorkerExitReport(
    worker_id="g#0", group="g", generation=1, reason="it ended", exit_code=3, signal="SIGKILL", stderr_tail=("last words",)
)


def columns(*indexes: int) -> OutputColumns | None:
    return outputs_to_columns([Emission(index, "echo", Packed(Raw(b"1"), None, 1), terminal=True) for index in indexes])


def result(*indexes: int, more: bool = False) -> ExecuteBoundaryResult:
    return ExecuteBoundaryResult(correlation_id="c-1", terminal_outputs=columns(*indexes), more=more)


def entered(ledger: Ledger, command: Command) -> Ticket:
    ticket = Ticket(command, asyncio.get_running_loop())
    ticket.taken_by("g#0", 7, 1)
    ledger.enter(ticket)
    return ticket


async def test_a_reply_settles_its_call_and_nothing_is_owed(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    assert ledger.owes(ticket) and len(ledger) == 1
    assert ledger.receive(result(0))
    assert not ledger.owes(ticket) and len(ledger) == 0
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
    ticket.future.cancel()
    assert ledger.receive(result(0))
    assert (ledger.answered, ledger.late_replies) == (1, 1)


async def test_a_deadline_settles_the_call_and_its_reply_is_late(make_command: MakeCommand) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command())
    ledger.expire(ticket)
    ledger.expire(ticket)
    outcome = await ticket.future
    assert isinstance(outcome, Loss) and outcome.category == "timeout"
    assert ledger.receive(result(0))
    assert ledger.late_replies == 1


@pytest.mark.parametrize(("expired", "category"), [(False, "transport"), (True, "timeout")])
async def test_a_death_settles_what_is_owed(make_command: MakeCommand, expired: bool, category: str) -> None:
    ledger = Ledger()
    ticket = entered(ledger, make_command(deadline=asyncio.get_running_loop().time() + 0.01))
    rung = asyncio.Event()
    ticket.arm(lambda _: rung.set())
    ticket.expired = expired
    ledger.close(REPORT)
    outcome = await ticket.future
    assert isinstance(outcome, Loss)
    assert (outcome.category, outcome.exit) == (category, REPORT)
    assert len(ledger) == 0
    await asyncio.sleep(0.02)
    assert not rung.is_set()


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
