"""The hops of a call over an engine that the test answers by hand: nothing here depends on timing."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from fake_engine import FakeEngine, call_of, shown
from stream_kernel import BoundaryDispatchInput, BoundaryError, BoundaryExecutionError, BoundaryInputError, BoundaryTransportError
from stream_kernel.reports import Delivery
from stream_kernel.routing.items import ItemFailure
from stream_kernel.routing.router import NodeRoute

Input = BoundaryDispatchInput
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
