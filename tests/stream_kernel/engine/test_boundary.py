"""The hops of a call over an engine that the test answers by hand: nothing here depends on timing."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Literal

import pytest

from fake_engine import FakeEngine, FakeTicket, call_of, shown
from stream_kernel import BoundaryDispatchInput, BoundaryError, BoundaryExecutionError, BoundaryInputError, BoundaryTransportError
from stream_kernel.engine.base import AtWork, Loss
from stream_kernel.engine.retrying import POISON
from stream_kernel.engine.settlement import Failure
from stream_kernel.errors import BoundaryOverloadedError
from stream_kernel.reports import Delivery, WorkerExitReport
from stream_kernel.routing.items import ItemFailure
from stream_kernel.routing.router import NodeRoute
from virtual_clock import on_virtual_clock

Input = BoundaryDispatchInput
EXIT = WorkerExitReport(worker_id="A#0", group="A", generation=1, pid=7, reason="killed by SIGSEGV", signal="SIGSEGV")
A, B, C = NodeRoute("a", "A"), NodeRoute("b", "B"), NodeRoute("c", "C")


def failure(index: int = 0, *, executed: bool = True) -> ItemFailure:
    return ItemFailure(index, "execution" if executed else "input", "why", "node", executed)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_outputs_have_the_same_order_in_whatever_order_commands_are_answered(order: tuple[int, ...]) -> None:
    engine = FakeEngine(A, B, C)
    call = call_of(engine, Input("b0", "B", "b"), Input("a1", "A", "a"), Input("c2", "C", "c"), Input("b3", "B", "b"))
    tickets = await engine.commands(3)
    for index in order:
        tickets[index].echo()
        await asyncio.sleep(0)
    assert shown(await call) == ["b0", "b3", "a1", "c2"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_failure_that_is_raised_is_the_first_in_order_not_in_time(order: tuple[int, ...]) -> None:
    engine = FakeEngine(A, B, C)
    call = call_of(engine, Input(0, "B", "b", "t0"), Input(1, "A", "a", "t1"), Input(2, "C", "c", "t2"))
    tickets = await engine.commands(3)
    for index in order:
        tickets[index].answer(failures=[failure()])
        await asyncio.sleep(0)
    with pytest.raises(BoundaryExecutionError) as failed:
        await call
    assert (failed.value.group, failed.value.trace_ids, failed.value.correlation_id) == ("B", ("t0", "t1", "t2"), "c1")
    assert [command.correlation_id for command in failed.value.report.commands] == ["c1", "c2", "c3"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
async def test_the_next_hop_starts_when_all_of_the_hop_before_has_answered_as_one_batch_in_order(order: tuple[int, ...]) -> None:
    engine = FakeEngine(A, B, C)
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"), Input(2, "A", "a"))
    tickets = list(await engine.commands(2))
    answers = [((1, "from 2", "c"), (0, "from 0", "c"), (0, "end 0", None)), ((0, "from 1", "c"),)]
    for count, index in enumerate(order):
        await engine.commands(2)
        tickets[index].answer(*answers[index])
        assert count < 2
    following = (await engine.commands(3))[2]
    assert (following.command.group, following.payloads) == ("C", ["from 0", "from 2", "from 1"])
    assert [(item.source_group, item.route_hop) for item in following.command.items] == [("A", 1), ("A", 1), ("B", 1)]
    following.echo()
    assert shown(await call) == ["end 0", "from 0", "from 2", "from 1"]


async def test_a_batch_is_cut_by_size_and_one_large_item_always_goes() -> None:
    engine = FakeEngine(A)
    texts = ["x" * 400, "y" * 400, "z" * 3000, "w" * 10]
    call = call_of(engine, *(Input(text, "A", "a") for text in texts), limit=1300)
    tickets = await engine.commands(3)
    assert [ticket.payloads for ticket in tickets] == [texts[:2], texts[2:3], texts[3:]]
    for ticket in reversed(tickets):
        ticket.echo()
    assert shown(await call) == texts


async def test_under_raise_what_is_still_queued_is_withdrawn_after_a_failure() -> None:
    engine = FakeEngine(A, B, C, taken=lambda command: command.group != "C")
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"), Input(2, "C", "c"))
    tickets = await engine.commands(3)
    tickets[0].answer(failures=[failure()])
    await asyncio.sleep(0)
    # The queued one is dropped; the running one is waited for.
    assert [ticket.future.done() for ticket in tickets] == [True, False, True]
    assert not call.done()
    tickets[1].echo()
    with pytest.raises(BoundaryExecutionError) as failed:
        await call
    assert [command.outcome for command in failed.value.report.commands] == ["failed", "answered", "withdrawn"]
    assert failed.value.delivery == "executed"


async def test_under_raise_no_hop_follows_a_failure_and_under_collect_it_does() -> None:
    for on_error in ("raise", "collect"):
        engine = FakeEngine(A, B, C)
        call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"), on_error="raise" if on_error == "raise" else "collect")
        tickets = await engine.commands(2)
        tickets[0].answer((0, "on", "c"))
        tickets[1].lose("transport", "maybe_executed")
        if on_error == "raise":
            with pytest.raises(BoundaryTransportError):
                await call
            await engine.commands(2)
        else:
            (await engine.commands(3))[2].echo()
            assert shown(await call) == ["on", ("transport", "maybe_executed")]


async def test_under_raise_nothing_is_dispatched_when_one_input_is_refused() -> None:
    engine = FakeEngine(A)
    with pytest.raises(BoundaryInputError) as failed:
        await call_of(engine, Input(0, "A", "a"), Input({1}, "A", "a"))
    assert (failed.value.delivery, engine.tickets) == ("not_executed", [])
    call = call_of(engine, Input(0, "A", "a"), Input({1}, "A", "a"), on_error="collect")
    (await engine.commands(1))[0].echo()
    assert shown(await call) == [0, ("input", "not_executed")]


@pytest.mark.parametrize(
    ("other", "whole"), [("not_executed", "not_executed"), ("executed", "executed"), ("maybe_executed", "maybe_executed")]
)
async def test_delivery_is_that_of_the_whole_call(other: Delivery, whole: Delivery) -> None:
    engine = FakeEngine(A, B)
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"))
    first, second = await engine.commands(2)
    first.lose("timeout", "not_executed")
    second.lose("transport", other) if other != "executed" else second.echo()
    with pytest.raises(BoundaryError) as failed:
        await call
    assert (failed.value.group, failed.value.delivery) == ("A", whole)


async def test_a_cancelled_call_cancels_all_its_commands() -> None:
    engine = FakeEngine(A, B)
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"))
    tickets = await engine.commands(2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert all(ticket.future.cancelled() for ticket in tickets)


async def test_what_does_not_fit_after_a_hop_is_the_failure_of_the_node_that_gave_it() -> None:
    engine = FakeEngine(A, B)
    call = call_of(engine, Input(0, "A", "a", "t"))
    (await engine.commands(1))[0].answer((0, "odd", "b"))
    (await engine.commands(2))[1].answer(failures=[failure(executed=False)], executed=False)
    with pytest.raises(BoundaryExecutionError) as failed:
        await call
    assert (failed.value.group, failed.value.report.node, failed.value.delivery) == ("A", "node", "executed")


async def test_a_stateful_group_waits_for_all_work_upstream() -> None:
    ledger = NodeRoute("ledger", "L", stateful=True)
    engine = FakeEngine(NodeRoute("a", "A", sends_to=("b", "ledger")), NodeRoute("b", "B", sends_to=("ledger",)), ledger)
    call = call_of(engine, Input("own", "L", "ledger"), Input("far", "A", "a"))
    (await engine.commands(1))[0].answer((0, "near", "ledger"), (0, "far", "b"))
    (await engine.commands(2))[1].answer((0, "far", "ledger"))
    last = (await engine.commands(3))[2]
    assert (last.command.group, last.payloads) == ("L", ["own", "near", "far"])
    last.echo()
    assert shown(await call) == ["own", "near", "far"]


async def test_stateful_groups_in_a_circle_go_on_before_those_behind_the_circle() -> None:
    behind = NodeRoute("behind", "Z", stateful=True)
    one = NodeRoute("one", "X", sends_to=("two",), stateful=True)
    two = NodeRoute("two", "Y", sends_to=("one", "behind"), stateful=True)
    engine = FakeEngine(behind, one, two)
    call = call_of(engine, Input("z", "Z", "behind"), Input("x", "X", "one"), Input("y", "Y", "two"))
    for count, group in enumerate(("X", "Y", "Z"), 1):
        ticket = (await engine.commands(count))[-1]
        assert ticket.command.group == group
        ticket.echo()
    assert shown(await call) == ["z", "x", "y"]


# -- workers that are lost


def at(index: int) -> AtWork:
    return AtWork(index, "a")


async def retried(engine: FakeEngine, count: int) -> list[FakeTicket]:
    """The tickets so far, when there are `count`; a pause lies before each repetition."""
    async with asyncio.timeout(20):
        while len(engine.tickets) < count:
            await asyncio.sleep(0.001)
    return await engine.commands(count)


@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_without_retries_a_command_whose_worker_was_lost_is_not_run_again(on_error: Literal["raise", "collect"]) -> None:
    engine = FakeEngine(A)
    call = call_of(engine, Input(0, "A", "a"), Input(1, "A", "a"), Input(2, "A", "a"), on_error=on_error)
    (await engine.commands(1))[0].lose("transport", "maybe_executed", at_work=at(1))
    if on_error == "collect":
        assert shown(await call) == [("transport", "executed"), ("transport", "maybe_executed"), ("transport", "not_executed")]
    else:
        with pytest.raises(BoundaryTransportError) as failed:
            await call
        assert failed.value.delivery == "maybe_executed"
        assert (failed.value.report.input_index, failed.value.report.node) == (1, "a")
    await engine.commands(1)


async def test_an_input_that_was_lost_is_run_again_and_nobody_hears_of_it() -> None:
    engine = FakeEngine(A, retries={"A": 1})
    call = call_of(engine, Input("x", "A", "a"))
    (await engine.commands(1))[0].lose("transport", "maybe_executed", at_work=at(0))
    again = (await retried(engine, 2))[1]
    assert (again.payloads, again.command.correlation_id, again.command.is_admitted) == (["x"], "c2", False)
    again.echo()
    assert shown(await call) == ["x"]


@pytest.mark.fault("FAULT-33")
@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_poison_is_named_and_the_others_of_its_batch_succeed(on_error: Literal["raise", "collect"]) -> None:
    engine = FakeEngine(A, retries={"A": 5})
    call = call_of(engine, *(Input(payload, "A", "a") for payload in ("w", "poison", "y")), on_error=on_error)
    (await engine.commands(1))[0].lose("transport", "maybe_executed", at_work=at(1))
    others, alone = (await retried(engine, 3))[1:]
    assert (others.payloads, alone.payloads) == (["w", "y"], ["poison"])
    others.echo()
    alone.lose("transport", "maybe_executed", at_work=at(0))
    if on_error == "collect":
        settled = await call
        assert shown(settled) == ["w", ("transport", "maybe_executed"), "y"]
        poison = settled[1]
        assert isinstance(poison, Failure) and poison.report.is_poison
        assert (poison.report.reason, poison.report.input_index) == (POISON, 1)
    else:
        with pytest.raises(BoundaryTransportError) as failed:
            await call
        assert failed.value.report.is_poison and failed.value.report.input_index == 1
        assert [command.outcome for command in failed.value.report.commands] == ["transport", "answered", "transport"]
    await engine.commands(3)


async def test_who_goes_alone_after_a_death_is_on_trial_and_nobody_else() -> None:
    engine = FakeEngine(A, retries={"A": 5})
    call = call_of(engine, Input(0, "A", "a"), Input(1, "A", "a"))
    (await engine.commands(1))[0].lose("transport", "maybe_executed", at_work=at(1))
    other, suspect = (await retried(engine, 3))[1:]
    assert (other.payloads, suspect.payloads) == ([0], [1])
    assert [ticket.command.is_trial for ticket in engine.tickets] == [False, False, True]
    other.echo()
    suspect.echo()
    assert shown(await call) == [0, 1]


@pytest.mark.parametrize("category", ["timeout", "transport"])
async def test_why_its_worker_was_lost_is_told_though_it_fails_of_something_else_in_the_end(
    category: Literal["timeout", "transport"],
) -> None:
    engine = FakeEngine(A, retries={"A": 5})
    call = call_of(engine, Input("x", "A", "a"), Input("y", "A", "a"), on_error="collect")
    (await engine.commands(1))[0].lose("transport", "maybe_executed", at_work=at(1), ended=EXIT, reason="killed by SIGSEGV")
    others, alone = (await retried(engine, 3))[1:]
    others.echo()
    alone.lose(category, "not_executed", reason="no worker was free")
    settled = await call
    assert shown(settled) == ["x", (category, "maybe_executed")]
    failed = settled[1]
    assert isinstance(failed, Failure)
    assert failed.report.reason == "no worker was free; it was to be run again after its worker was lost: killed by SIGSEGV"
    assert (failed.report.exit, failed.report.node, failed.report.input_index, failed.node) == (EXIT, "a", 1, "a")
    assert [command.outcome for command in failed.report.commands] == ["transport", category]


async def test_only_the_item_that_was_at_work_is_said_to_have_been_at_the_node() -> None:
    engine = FakeEngine(A, B)
    call = call_of(engine, Input("x", "A", "a"), on_error="collect")
    (await engine.commands(1))[0].answer(*((0, number, "b") for number in range(3)))
    (await engine.commands(2))[1].lose("transport", "maybe_executed", at_work=AtWork(1, "b"))
    settled = await call
    assert [failed.node for failed in settled if isinstance(failed, Failure)] == [None, "b", None]


async def test_what_was_given_up_without_the_loss_of_a_worker_is_not_run_again() -> None:
    engine = FakeEngine(A, retries={"A": 5})
    call = call_of(engine, Input(0, "A", "a"), on_error="collect")
    (ticket,) = await engine.commands(1)
    ticket.future.set_result(Loss("transport", "the supervisor is being stopped", ticket.report("maybe_executed", "transport")))
    assert shown(await call) == [("transport", "maybe_executed")]
    await engine.commands(1)


async def test_what_is_taken_back_for_a_failure_is_not_raised_in_its_place() -> None:
    engine = FakeEngine(A, B)
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"))
    waiting, failing = await engine.commands(2)
    waiting.taken = False
    failing.answer(failures=[failure()])
    with pytest.raises(BoundaryExecutionError) as failed:
        await call
    assert (failed.value.group, failed.value.delivery) == ("B", "executed")
    assert [command.outcome for command in failed.value.report.commands] == ["withdrawn", "failed"]


async def test_who_is_out_of_retries_has_failed() -> None:
    engine = FakeEngine(A, retries={"A": 2})
    call = call_of(engine, Input(0, "A", "a"), on_error="collect")
    for count in (1, 2, 3):
        (await retried(engine, count))[-1].lose("transport", "maybe_executed")
    assert shown(await call) == [("transport", "maybe_executed")]
    await engine.commands(3)


async def test_an_input_that_may_have_run_before_is_not_said_to_have_run_nowhere() -> None:
    engine = FakeEngine(A, retries={"A": 5})
    call = call_of(engine, Input(0, "A", "a"), on_error="collect")
    (await engine.commands(1))[0].lose("transport", "maybe_executed")
    (await retried(engine, 2))[1].lose("timeout", "not_executed")
    assert shown(await call) == [("timeout", "maybe_executed")]


async def test_a_call_is_not_retried_past_its_deadline_and_hears_of_it_in_time() -> None:
    engine = FakeEngine(A, retries={"A": 5})
    loop = asyncio.get_running_loop()
    call = call_of(engine, Input(0, "A", "a"), deadline=loop.time() - 1)
    (await engine.commands(1))[0].lose("transport", "maybe_executed")
    with pytest.raises(BoundaryTransportError):
        await call
    await engine.commands(1)


@on_virtual_clock
async def test_a_pause_before_a_retry_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_kernel.engine.boundary.pause_before_retry", lambda attempt: 3600.0)
    engine = FakeEngine(A, retries={"A": 5})
    call = call_of(engine, Input(0, "A", "a"), deadline=asyncio.get_running_loop().time() + 0.02)
    (await engine.commands(1))[0].lose("transport", "maybe_executed")
    again = (await retried(engine, 2))[1]
    again.lose("timeout", "not_executed")
    with pytest.raises(TimeoutError):
        await call


@on_virtual_clock
async def test_under_raise_a_call_that_is_about_to_be_run_again_does_not_withdraw_its_other_commands() -> None:
    engine = FakeEngine(A, B, taken=lambda command: command.group == "A", retries={"A": 1})
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"))
    lost, waiting = await engine.commands(2)
    lost.lose("transport", "maybe_executed")
    await engine.commands(2)
    assert not waiting.future.done()
    waiting.echo()
    (await retried(engine, 3))[2].echo()
    assert shown(await call) == [0, 1]


async def test_under_raise_nothing_is_run_again_for_a_call_that_has_failed() -> None:
    engine = FakeEngine(A, B, retries={"A": 3})
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"))
    lost, failing = await engine.commands(2)
    lost.lose("transport", "maybe_executed")
    failing.answer(failures=[failure()])
    with pytest.raises(BoundaryError):
        await asyncio.wait_for(call, 2)
    await engine.commands(2)


async def test_under_raise_nothing_is_run_again_beside_poison() -> None:
    engine = FakeEngine(A, retries={"A": 3})
    call = call_of(engine, *(Input(payload, "A", "a") for payload in range(3)))
    (await engine.commands(1))[0].lose("transport", "maybe_executed", at_work=at(1))
    for ticket in (await retried(engine, 3))[1:]:
        ticket.lose("transport", "maybe_executed", at_work=at(0))
    with pytest.raises(BoundaryTransportError) as failed:
        await asyncio.wait_for(call, 2)
    assert failed.value.report.is_poison and failed.value.report.input_index == 1
    await engine.commands(3)


async def test_outputs_keep_their_order_when_some_of_a_batch_were_run_again() -> None:
    engine = FakeEngine(A, B, retries={"A": 1})
    call = call_of(engine, *(Input(payload, "A", "a") for payload in range(4)))
    (await engine.commands(1))[0].lose("transport", "maybe_executed", at_work=at(0))
    others, first = (await retried(engine, 3))[1:]
    others.answer(*((index, payload, "b") for index, payload in enumerate(others.payloads)))
    first.answer((0, 0, "b"))
    following = (await engine.commands(4))[3]
    assert following.payloads == [0, 1, 2, 3]
    following.echo()
    assert shown(await call) == [0, 1, 2, 3]


async def test_a_call_that_is_cancelled_in_a_pause_runs_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_kernel.engine.boundary.pause_before_retry", lambda attempt: 3600.0)
    engine = FakeEngine(A, retries={"A": 1})
    call = call_of(engine, Input(0, "A", "a"))
    (await engine.commands(1))[0].lose("transport", "maybe_executed")
    await engine.commands(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await engine.commands(1)


# -- what is logged


def records(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "stream_kernel.boundary"]


async def test_a_failure_is_logged_with_its_reason_and_the_traceback_only_for_who_debugs(caplog: pytest.LogCaptureFixture) -> None:
    quoting = ItemFailure(0, "execution", "node 'a' raised ValueError", "a", detail="Traceback: ValueError: hunter2")
    said = ("INFO", "remote handoff failed for group 'A': node 'a' raised ValueError")
    for level, expected in (
        (logging.INFO, [said]),
        (logging.DEBUG, [said, ("DEBUG", "traceback of node 'a':\nTraceback: ValueError: hunter2")]),
    ):
        caplog.clear()
        caplog.set_level(level, "stream_kernel.boundary")
        engine = FakeEngine(A)
        call = call_of(engine, Input(0, "A", "a"), on_error="collect")
        (await engine.commands(1))[0].answer(failures=[quoting])
        await call
        assert records(caplog) == expected


async def test_each_loss_is_logged_though_what_was_lost_is_run_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stream_kernel.boundary")
    engine = FakeEngine(A, retries={"A": 5})
    call = call_of(engine, Input(0, "A", "a"))
    (await engine.commands(1))[0].lose("transport", "maybe_executed", reason="killed by SIGSEGV")
    (await retried(engine, 2))[1].lose("timeout", "maybe_executed", reason="a command passed its deadline")
    with pytest.raises(TimeoutError):
        await call
    assert records(caplog) == [
        ("INFO", "remote handoff transport failed for group 'A': killed by SIGSEGV"),
        ("INFO", "remote handoff timed out for group 'A': a command passed its deadline"),
    ]


# -- room in the queues


@pytest.mark.fault("FAULT-31")
async def test_a_call_hands_nothing_over_before_all_of_its_first_commands_have_room() -> None:
    engine = FakeEngine(A, B, room={"B": 0})
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"))
    await engine.commands(0)
    engine.make_room("B", 1)
    tickets = await engine.commands(2)
    assert [ticket.command.is_admitted for ticket in tickets] == [True, True]
    assert all(ticket.command.size > 0 for ticket in tickets)
    for ticket in tickets:
        ticket.echo()
    assert shown(await call) == [0, 1]
    assert not any(engine.reserved.values())


@pytest.mark.fault("FAULT-31")
async def test_a_later_hop_asks_for_no_room() -> None:
    engine = FakeEngine(A, B, room={"B": 0})
    call = call_of(engine, Input(0, "A", "a"))
    (await engine.commands(1))[0].answer((0, 1, "b"))
    following = (await engine.commands(2))[1]
    assert not following.command.is_admitted
    following.echo()
    assert shown(await call) == [1]


@pytest.mark.fault("FAULT-31")
async def test_a_call_that_is_refused_is_overloaded_and_ran_nowhere() -> None:
    engine = FakeEngine(A, B, room={"B": 0}, refuses=["B"])
    with pytest.raises(BoundaryOverloadedError) as failed:
        await call_of(engine, Input(0, "A", "a", "t0"), Input(1, "B", "b", "t1"))
    assert (str(failed.value), failed.value.delivery) == ("remote handoff transport failed for group 'B'", "not_executed")
    assert (failed.value.report.reason, failed.value.trace_ids) == ("the queue of the group is full", ("t1",))
    await engine.commands(0)
    assert not any(engine.reserved.values()), "what was reserved elsewhere is given back"


@pytest.mark.fault("FAULT-31")
async def test_under_collect_the_groups_that_have_room_are_served() -> None:
    engine = FakeEngine(A, B, room={"B": 0}, refuses=["B"])
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"), on_error="collect")
    (await engine.commands(1))[0].echo()
    assert shown(await call) == [0, ("transport", "not_executed")]


@on_virtual_clock
async def test_a_call_that_finds_no_room_before_its_deadline_is_handed_over_to_hear_of_it() -> None:
    engine = FakeEngine(A, room={"A": 0})
    call = call_of(engine, Input(0, "A", "a"), deadline=asyncio.get_running_loop().time() + 0.02)
    late = (await retried(engine, 1))[0]
    assert not late.command.is_admitted
    assert late.command.deadline <= asyncio.get_running_loop().time()
    late.lose("timeout", "not_executed")
    with pytest.raises(TimeoutError):
        await call


async def test_a_call_that_is_cancelled_at_the_door_leaves_no_reservation() -> None:
    engine = FakeEngine(A, B, room={"B": 0})
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"))
    await engine.commands(0)
    assert engine.reserved["A"] == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not any(engine.reserved.values())
