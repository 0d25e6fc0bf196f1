"""Batches that are split over the workers of a group: over an engine that the test answers by hand, and over real workers."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any, Literal

import pytest

from fake_engine import FakeEngine, call_of, shown
from fixture_types import MakeConfig
from stream_kernel import (
    BoundaryDispatchInput,
    BoundaryExecutionError,
    BoundaryTransportError,
    MultiprocessBootstrapSupervisor,
    TerminalEvent,
    create_supervisor,
)
from stream_kernel.engine.base import AtWork
from stream_kernel.errors import BoundaryOverloadedError
from stream_kernel.routing.items import ItemFailure
from stream_kernel.routing.router import NodeRoute

Input = BoundaryDispatchInput
A, B = NodeRoute("a", "A"), NodeRoute("b", "B")
FAILURE = ItemFailure(0, "execution", "why", "a", True)


def inputs(count: int) -> list[Input]:
    return [Input(n, "A", "a") for n in range(count)]


# -- one call


async def test_a_batch_is_one_command_unless_its_group_splits() -> None:
    engine = FakeEngine(A)
    call = call_of(engine, *inputs(100))
    (only,) = await engine.commands(1)
    only.echo()
    assert shown(await call) == list(range(100))


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("seed", range(5))
async def test_outputs_have_the_order_of_the_batch_in_whatever_order_its_pieces_are_answered(workers: int, seed: int) -> None:
    engine = FakeEngine(A, B, pieces={"A": workers, "B": workers})
    call = call_of(engine, *inputs(10))
    order = random.Random(seed)
    first = list(await engine.commands(workers))
    assert list(itertools.chain(*(ticket.payloads for ticket in first))) == list(range(10))
    for ticket in order.sample(first, workers):
        ticket.answer(*((index, [payload, part], "b") for index, payload in enumerate(ticket.payloads) for part in "xy"))
        await asyncio.sleep(0)
    following = (await engine.commands(2 * workers))[workers:]  # a later hop is split too
    for ticket in order.sample(following, workers):
        ticket.echo()
        await asyncio.sleep(0)
    assert shown(await call) == [[n, part] for n in range(10) for part in "xy"]


async def test_only_the_batches_of_groups_that_split_are_split() -> None:
    engine = FakeEngine(A, B, pieces={"A": 2})
    call = call_of(engine, Input(0, "A", "a"), Input(1, "B", "b"), Input(2, "A", "a"), Input(3, "B", "b"))
    tickets = await engine.commands(3)
    assert [(ticket.command.group, ticket.payloads) for ticket in tickets] == [("A", [0]), ("A", [2]), ("B", [1, 3])]
    for ticket in tickets:
        ticket.echo()
    assert shown(await call) == [0, 2, 1, 3]


async def test_under_raise_a_failing_piece_takes_back_the_queued_ones_and_lets_the_others_finish() -> None:
    engine = FakeEngine(A, pieces={"A": 3}, taken=lambda command: command.correlation_id != "c3")
    call = call_of(engine, *inputs(6))
    failing, running, queued = await engine.commands(3)
    failing.answer(failures=[FAILURE])
    await asyncio.sleep(0)
    assert (running.future.done(), queued.future.done(), call.done()) == (False, True, False)
    running.echo()
    with pytest.raises(BoundaryExecutionError) as failed:
        await call
    reports = failed.value.report.commands
    assert [(report.outcome, report.delivery, report.inputs) for report in reports] == [
        ("failed", "executed", 2),
        ("answered", "executed", 2),
        ("withdrawn", "not_executed", 2),
    ]
    assert (failed.value.delivery, failed.value.report.input_index) == ("executed", 0)


async def test_the_failure_that_is_raised_names_the_input_by_its_place_in_the_call() -> None:
    engine = FakeEngine(A, pieces={"A": 2})
    call = call_of(engine, *inputs(6))
    first, second = await engine.commands(2)
    second.answer(failures=[ItemFailure(1, "execution", "why", "a", True)])
    first.echo()
    with pytest.raises(BoundaryExecutionError) as failed:
        await call
    assert failed.value.report.input_index == 4


async def test_under_collect_a_failing_input_costs_its_piece_nothing_else() -> None:
    engine = FakeEngine(A, pieces={"A": 2})
    call = call_of(engine, *inputs(4), on_error="collect")
    first, second = await engine.commands(2)
    second.answer((1, 3, None), failures=[FAILURE])
    first.echo()
    assert shown(await call) == [0, 1, ("execution", "executed"), 3]


async def test_under_collect_a_worker_that_is_lost_fails_its_piece_only() -> None:
    engine = FakeEngine(A, pieces={"A": 2})
    call = call_of(engine, *inputs(6), on_error="collect")
    first, second = await engine.commands(2)
    first.lose("transport", "maybe_executed", at_work=AtWork(1, "a"))
    second.echo()
    lost = [("transport", "executed"), ("transport", "maybe_executed"), ("transport", "not_executed")]
    assert shown(await call) == [*lost, 3, 4, 5]


async def test_a_piece_that_was_lost_is_run_again_and_not_split_again() -> None:
    engine = FakeEngine(A, pieces={"A": 2}, retries={"A": 1})
    call = call_of(engine, *inputs(8))
    first, second = await engine.commands(2)
    second.echo()
    first.lose("transport", "maybe_executed", at_work=AtWork(3, "a"))
    async with asyncio.timeout(20):
        while len(engine.tickets) < 4:
            await asyncio.sleep(0.001)
    others, alone = engine.tickets[2:]
    assert (others.payloads, alone.payloads) == ([0, 1, 2], [3])
    alone.echo()
    others.echo()
    assert shown(await call) == list(range(8))


# -- room in the queues


@pytest.mark.fault("FAULT-31")
async def test_a_split_batch_enters_with_all_of_its_pieces_or_not_at_all() -> None:
    engine = FakeEngine(A, pieces={"A": 3}, room={"A": 2})
    call = call_of(engine, *inputs(3))
    await engine.commands(0)
    engine.make_room("A", 1)
    tickets = await engine.commands(3)
    assert all(ticket.command.is_admitted for ticket in tickets)
    for ticket in tickets:
        ticket.echo()
    assert shown(await call) == [0, 1, 2]


@pytest.mark.fault("FAULT-31")
async def test_a_split_batch_that_is_refused_leaves_no_piece_behind() -> None:
    engine = FakeEngine(A, pieces={"A": 3}, room={"A": 2}, refuses=["A"])
    with pytest.raises(BoundaryOverloadedError) as failed:
        await call_of(engine, *inputs(3))
    assert failed.value.delivery == "not_executed"
    await engine.commands(0)
    assert not any(engine.reserved.values())


# -- over workers


def execute(supervisor: Any, payloads: list[Any], node: str, on_error: Literal["raise", "collect"] = "raise") -> list[Any]:
    given = [Input(payload, "g", node) for payload in payloads]
    result = supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=given, on_error=on_error, timeout_seconds=30)
    return [output.payload for output in result.terminal_outputs]


@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_both_workers_of_a_group_work_on_one_call(make_config: MakeConfig, on_error: Literal["raise", "collect"]) -> None:
    config = make_config({"g": {"nodes": ["whoami"], "workers": 2, "fan_out": "split"}})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        workers = [worker.pid for worker in supervisor.snapshot().groups[0].workers]
        told = [output["pid"] for output in execute(supervisor, list(range(7)), "whoami", on_error)]
    assert sorted(dict.fromkeys(told)) == sorted(pid for pid in workers if pid is not None) and len(set(workers)) == 2
    assert [len(list(piece)) for _, piece in itertools.groupby(told)] == [3, 4]


def test_a_batch_of_a_group_that_does_not_split_has_one_worker(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": {"nodes": ["whoami"], "workers": 2}})) as supervisor:
        assert len({output["pid"] for output in execute(supervisor, list(range(100)), "whoami")}) == 1


def test_a_queue_with_room_for_one_command_lets_a_split_batch_in(make_config: MakeConfig) -> None:
    config = make_config({"g": {"nodes": ["echo"], "workers": 2, "fan_out": "split", "max_queued": 1}})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        assert execute(supervisor, [1, 2, 3], "echo") == [{"value": n} for n in (1, 2, 3)]


def test_map_gives_the_same_over_a_group_that_splits(make_config: MakeConfig) -> None:
    config = make_config({"g": {"nodes": ["echo"], "workers": 2, "fan_out": "split"}})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        assert list(supervisor.map("echo", range(100), batch_size=7)) == [{"value": n} for n in range(100)]


@pytest.mark.fault("FAULT-02")
def test_a_worker_that_dies_fails_its_piece_and_the_other_piece_succeeds(make_config: MakeConfig) -> None:
    keys = {"nodes": ["fragile"], "workers": 2, "fan_out": "split"}
    config = make_config({"g": keys}, modules=["fragile_nodes"])
    messages: list[Any] = [{"n": 0}, {"n": 1, "how": "die"}, {"n": 2}, {"n": 3}, {"n": 4}, {"n": 5}]
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        outputs = execute(supervisor, messages, "fragile", "collect")
        lost = [output for output in outputs[:3] if isinstance(output, TerminalEvent)]
        assert [output.failure and output.failure.delivery for output in lost] == ["executed", "maybe_executed", "not_executed"]
        assert [output["n"] for output in outputs[3:]] == [3, 4, 5]


def test_under_raise_the_call_of_a_worker_that_dies_tells_of_both_pieces(make_config: MakeConfig) -> None:
    keys = {"nodes": ["fragile"], "workers": 2, "fan_out": "split"}
    config = make_config({"g": keys}, modules=["fragile_nodes"])
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        with pytest.raises(BoundaryTransportError) as failed:
            execute(supervisor, [{"n": 0}, {"n": 1, "how": "die"}], "fragile")
        assert [report.outcome for report in failed.value.report.commands] == ["answered", "transport"]
        assert (failed.value.report.input_index, failed.value.delivery) == (1, "maybe_executed")


@pytest.mark.parametrize("mode", ["inline", "inline_wire"])
def test_inline_a_batch_stays_whole(make_config: MakeConfig, mode: str) -> None:
    config = make_config({"g": {"nodes": ["fail_if_asked"], "workers": 2, "fan_out": "split"}}, mode=mode)
    with create_supervisor(config) as supervisor:
        assert execute(supervisor, [{"n": 0}, {"n": 1}], "fail_if_asked") == [{"n": 0}, {"n": 1}]
        with pytest.raises(BoundaryExecutionError) as failed:
            execute(supervisor, [{"n": 0}, {"fail": True}], "fail_if_asked")
        assert [report.inputs for report in failed.value.report.commands] == [2]
