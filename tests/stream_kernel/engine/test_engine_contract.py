"""What every engine promises: one suite over inline, inline_wire and process_supervisor."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from fixture_types import MakeConfig
from message_nodes import Order, Quote, Stray
from stream_kernel import (
    AsyncBoundarySupervisor,
    BoundaryDispatchInput,
    BoundaryError,
    BoundaryExecutionError,
    BoundaryInputError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    Envelope,
    RoutingResult,
    TerminalEvent,
    WorkerBootstrapError,
)
from stream_kernel.engine.base import Capabilities

MODES = ("inline", "inline_wire", "process_supervisor")
Open = Callable[..., AsyncBoundarySupervisor]
Input = BoundaryDispatchInput


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_groups(make_config: MakeConfig, mode: str) -> Open:
    def make(groups: dict[str, Any], **top: Any) -> AsyncBoundarySupervisor:
        return AsyncBoundarySupervisor(make_config(groups, modules=["message_nodes", "kernel_nodes"], mode=mode, **top))

    return make


async def run(
    supervisor: AsyncBoundarySupervisor, *inputs: Input, on_error: Literal["raise", "collect"] = "raise", timeout: float = 30
) -> RoutingResult:
    return await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=inputs, on_error=on_error, timeout_seconds=timeout)


def payloads(result: RoutingResult) -> list[Any]:
    return [output.payload for output in result.terminal_outputs]


def relay(*path: str, **more: Any) -> dict[str, Any]:
    return {"path": list(path), **more}


# -- capabilities


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("inline", Capabilities(kills=False, survives_crash=False, checks_payloads=False, runs_parallel=False)),
        ("inline_wire", Capabilities(kills=False, survives_crash=False, checks_payloads=True, runs_parallel=False)),
        ("process_supervisor", Capabilities(kills=True, survives_crash=True, checks_payloads=True, runs_parallel=True)),
    ],
)
def test_each_engine_declares_what_it_can_do(make_config: MakeConfig, mode: str, expected: Capabilities) -> None:
    assert AsyncBoundarySupervisor(make_config({"g": ["echo"]}, mode=mode)).capabilities == expected


async def test_only_an_engine_that_checks_payloads_refuses_what_json_cannot_carry(open_groups: Open) -> None:
    async with open_groups({"g": ["echo", "bad_output"]}) as supervisor:
        for unfit in ({1, 2}, (1,), math.nan):
            given = Input({"deep": unfit}, "g", "echo")
            if supervisor.capabilities.checks_payloads:
                with pytest.raises(BoundaryInputError, match=r"input 0 for node 'echo' at \$\.deep") as refused:
                    await run(supervisor, given)
                assert refused.value.delivery == "not_executed"
            else:
                assert len(payloads(await run(supervisor, given))) == 1
        if supervisor.capabilities.checks_payloads:
            with pytest.raises(BoundaryExecutionError) as failed:
                await run(supervisor, Input("nan", "g", "bad_output"))
            assert failed.value.report.node == "bad_output"
        else:
            assert math.isnan(await supervisor.call("bad_output", "nan"))


# -- routes


async def test_a_message_goes_to_the_target_it_names_within_and_across_groups(open_groups: Open) -> None:
    async with open_groups({"a": ["relay_a", "relay_b"], "b": ["relay_c"]}) as supervisor:
        result = await run(supervisor, Input(relay("relay_b", "relay_c", "relay_a"), "a", "relay_a", "t1", "http:1"))
    assert payloads(result) == [{"seen": ["relay_a", "relay_b", "relay_c", "relay_a"], "trace_id": "t1", "reply_to": "http:1", "meta": {}}]
    assert (result.terminal_outputs[0].trace_id, result.terminal_outputs[0].reply_to) == ("t1", "http:1")
    assert result.local_deliveries == result.boundary_deliveries == []


async def test_an_output_without_target_goes_to_all_consumers_of_its_type_in_every_group(open_groups: Open) -> None:
    async with open_groups({"a": ["parse", "audit"], "b": ["price", "bill"], "c": ["both"]}) as supervisor:
        result = await run(supervisor, Input({"n": 1}, "a", "parse"))
    exact = ["Decimal", "Side", "datetime", "UUID", "bytes"]
    # audit in the group itself; then, as one hop, the consumers in other groups in configuration order; what price gave is next.
    assert payloads(result) == [{"audited": 1, "types": exact}, {"billed": 1, "amount": "3.00"}, "Order", "Quote"]


async def test_a_chain_inside_a_group_runs_depth_first(open_groups: Open, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with open_groups({"a": ["split", "price", "bill"]}) as supervisor:
        result = await run(supervisor, Input({"count": 2, "journal": str(journal)}, "a", "split"))
    assert journal.read_text().split("\n")[:-1] == ["split 0", "price 0", "bill 0", "split 1", "price 1", "bill 1"]
    assert [payload["billed"] for payload in payloads(result)] == [0, 1]


async def test_outputs_are_ordered_by_group_then_input_then_hop_then_emission(open_groups: Open) -> None:
    async with open_groups({"a": ["fan", "relay_a"], "b": ["relay_b"]}) as supervisor:
        result = await run(
            supervisor,
            Input(relay(tag=1), "b", "relay_b", "b0"),
            Input([["x1", None], [relay(), "relay_b"], ["x2", None], [relay(), "relay_a"]], "a", "fan", "a1"),
            Input(relay(), "b", "relay_b", "b2"),
            Input([["y", None]], "a", "fan", "a3"),
        )
    assert [output.trace_id for output in result.terminal_outputs] == ["b0", "b2", "a1", "a1", "a1", "a1", "a3"]
    assert [one if isinstance(one, str) else one["seen"] for one in payloads(result)][2:] == ["x1", "x2", ["relay_a"], ["relay_b"], "y"]


async def test_what_a_message_does_not_set_is_inherited_over_every_hop(open_groups: Open) -> None:
    fields = {"relay_b": {"trace_id": "own", "meta": {"own": True}}}
    async with open_groups({"a": ["relay_a", "relay_b"], "b": ["relay_c"]}) as supervisor:
        result = await run(
            supervisor,
            Input(relay("relay_c"), "a", "relay_a", "t1", "r1", meta={"k": [1]}),
            Input(relay("relay_b", "relay_a", "relay_c", fields=fields), "a", "relay_a", "t2", "r2", meta={"k": 2}),
        )
    inherited, own = result.terminal_outputs
    assert (inherited.trace_id, inherited.reply_to, inherited.meta) == ("t1", "r1", {"k": [1]})
    assert (own.trace_id, own.reply_to, own.meta) == ("own", "r2", {"own": True})
    assert own.payload["trace_id"] == "own" and own.payload["meta"] == {"own": True}


async def test_what_a_node_gave_or_got_cannot_be_changed_behind_anybodys_back(open_groups: Open) -> None:
    given = {"n": 1}
    async with open_groups({"a": ["mutator", "changer", "generate"]}) as supervisor:
        result = await run(supervisor, Input(given, "a", "mutator", meta={"k": 1}), Input(3, "a", "generate"))
    assert payloads(result) == [{"n": 1, "changed": True}, {"n": 1}, {"n": 0}, {"n": 1}, {"n": 2}]
    assert all("changed" not in output.meta for output in result.terminal_outputs)
    assert given == {"n": 1}


@pytest.mark.parametrize(("hops", "fits"), [(5, True), (4, False)])
async def test_a_chain_longer_than_max_hops_fails_with_its_last_node_and_the_count(open_groups: Open, hops: int, fits: bool) -> None:
    # Five runs: a, b in one group, c in another, then a and b again.
    message = relay("relay_b", "relay_c", "relay_a", "relay_b")
    async with open_groups({"a": ["relay_a", "relay_b"], "b": ["relay_c"]}, execution_ipc={"max_hops": hops}) as supervisor:
        if fits:
            assert len(payloads(await run(supervisor, Input(message, "a", "relay_a")))) == 1
        else:
            with pytest.raises(BoundaryExecutionError) as failed:
                await run(supervisor, Input(message, "a", "relay_a"))
            assert failed.value.report.node == "relay_a"
            assert failed.value.report.reason == "the chain exceeds max_hops = 4 steps at node 'relay_a'"


async def test_a_stateful_group_is_held_until_upstream_groups_have_no_work_left(open_groups: Open) -> None:
    # t1 reaches the ledger after one hop, t2 after two: the ledger sees both in one go, in the order of the inputs.
    async with open_groups({"a": ["relay_a"], "b": ["relay_b"], "c": ["ledger"]}) as supervisor:
        result = await run(
            supervisor,
            Input({}, "c", "ledger", "own"),
            Input(relay("relay_b", "ledger"), "a", "relay_a", "far"),
            Input(relay("ledger"), "a", "relay_a", "near"),
        )
        assert payloads(result) == ["own", "own far", "own far near"]
        assert sum(worker.requests for worker in supervisor.snapshot().groups[2].workers) == 1


async def test_a_stateful_group_takes_its_call_as_one_ordered_batch(open_groups: Open) -> None:
    async with open_groups({"g": ["counter"]}, nodes={"counter": {"start": 10}}) as supervisor:
        result = await run(supervisor, *(Input({}, "g", "counter") for _ in range(20)))
    assert payloads(result) == list(range(11, 31))


# -- what a node may give


async def test_only_an_exact_list_tuple_or_generator_is_many_outputs(open_groups: Open) -> None:
    async with open_groups({"g": ["many", "async_generate", "async_echo", "echo", "keeper"]}) as supervisor:
        result = await run(
            supervisor,
            Input(3, "g", "many"),
            Input(0, "g", "many"),
            Input(2, "g", "async_generate"),
            Input("x", "g", "async_echo"),
            Input([1, 2], "g", "echo"),
            Input({"n": 1}, "g", "keeper"),
        )
    assert payloads(result) == [0, 1, 2, 0, 1, {"value": "x"}, {"value": [1, 2]}, {"first": 1}, {"second": 1}]


async def test_a_terminal_event_of_a_node_ends_the_chain_and_arrives_whole(open_groups: Open) -> None:
    async with open_groups({"g": ["verdict", "origin", "both"]}, message_modules=["message_nodes"]) as supervisor:
        result = await run(supervisor, Input({}, "g", "verdict", "t"), Input(Order(3), "g", "origin"))
    ended, typed = payloads(result)
    assert (ended.status, ended.payload, ended.error) == ("error", {"code": 7}, "no funds")
    assert (ended.failure.category, ended.failure.group, ended.failure.message) == ("execution", "elsewhere", "why")
    assert typed == TerminalEvent("success", Order(3))
    assert result.terminal_outputs[1].type == "message_nodes:Order"


@pytest.mark.parametrize(
    ("target", "message", "reason"),
    [
        ("stray", "declared elsewhere", "node 'stray' gave a message_nodes:Order, which is not in its emits"),
        ("stray", "nowhere", "output of node 'stray' at $: is of type message_nodes.Stray, which plain JSON cannot carry"),
        ("fan", [[1, "nobody"]], "node 'fan' names the target 'nobody', which no group has"),
        ("fan", [[{"wrong": 1}, "audit"]], "output of node 'fan' does not fit node 'audit'"),
        ("fan", [[{"wrong": 1}, "price"]], "output of node 'fan' does not fit: "),
        ("fan", [[{"n": 1}, "both"]], "output of node 'fan' does not fit: node 'both' consumes several types"),
        ("relay_c", {"path": ["ledger"]}, "node 'relay_c' names 'ledger' of the stateful group 'c', which its sends_to does not list"),
    ],
)
async def test_an_output_that_cannot_go_on_is_an_execution_error_of_the_node_that_gave_it(
    open_groups: Open, target: str, message: Any, reason: str
) -> None:
    groups = {"a": ["stray", "fan", "relay_c", "audit"], "b": ["price", "both"], "c": ["ledger"]}
    async with open_groups(groups) as supervisor:
        with pytest.raises(BoundaryExecutionError) as failed:
            await run(supervisor, Input(message, "a", target, "t1"))
    error = failed.value
    assert str(error) == "remote handoff failed for group 'a'"
    assert (error.report.reason or "").startswith(reason)
    assert (error.group, error.report.node, error.delivery, error.trace_ids) == ("a", target, "executed", ("t1",))


# -- typed payloads


async def test_typed_payloads_arrive_as_what_they_were_in_nodes_and_at_the_caller(open_groups: Open) -> None:
    groups = {"a": ["mirror"], "b": ["origin", "audit"], "c": ["price"]}
    async with open_groups(groups, message_modules=["message_nodes"]) as supervisor:
        result = await run(supervisor, Input(Order(1, Decimal("0.10")), "a", "mirror"), Input(Order(5), "c", "price"))
    event, quote = payloads(result)
    assert event.payload == Order(2, Decimal("0.10")) and type(event.payload) is Order
    assert quote == Quote(n=5, amount=Decimal("3.00")) and type(quote) is Quote
    assert [output.type for output in result.terminal_outputs] == ["message_nodes:Order", "message_nodes:Quote"]


async def test_a_typed_output_stays_plain_where_the_parent_does_not_know_its_class(open_groups: Open) -> None:
    async with open_groups({"g": ["price"]}) as supervisor:
        (output,) = (await run(supervisor, Input(Order(5), "g", "price"))).terminal_outputs
    assert output.payload == {"n": 5, "amount": "3.00", "day": "2020-02-29", "journal": ""}
    assert output.type == "message_nodes:Quote"


async def test_an_untagged_payload_is_adopted_by_the_one_class_that_its_node_consumes(open_groups: Open) -> None:
    async with open_groups({"g": ["audit", "bill"]}) as supervisor:
        result = await run(supervisor, Input({"n": 1, "price": "2.50"}, "g", "audit"), Input({"n": 2, "amount": "1"}, "g", "bill"))
    assert payloads(result) == [
        {"audited": 1, "types": ["Decimal", "Side", "datetime", "UUID", "bytes"]},
        {"billed": 2, "amount": "1"},
    ]


@pytest.mark.parametrize(
    ("payload", "target"),
    [
        ({"n": "not a number"}, "audit"),
        ({}, "audit"),
        ({"n": 1, "unknown": 2}, "audit"),
        ({"n": 1}, "both"),
        (Quote(n=1, amount=Decimal(1)), "audit"),
        (Stray(1), "audit"),
        (Order(1), "echo"),
    ],
)
async def test_an_input_that_is_not_what_its_node_consumes_is_refused_before_any_node_runs(
    open_groups: Open, payload: Any, target: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    async with open_groups({"g": ["audit", "both", "echo", "relay_a"]}) as supervisor:
        good = Input(relay(journal=str(journal)), "g", "relay_a", "good")
        with pytest.raises(BoundaryInputError) as refused:
            await run(supervisor, good, Input(payload, "g", target, "bad"))
        error = refused.value
        assert "input 1" in str(error) and target in str(error)
        assert (error.category, error.delivery, error.group, error.trace_ids) == ("input", "not_executed", "g", ("bad",))
        assert not journal.exists()
        kept, event = payloads(await run(supervisor, good, Input(payload, "g", target, "bad"), on_error="collect"))
        assert kept["seen"] == ["relay_a"]
        assert (event.status, event.failure.category, event.failure.delivery) == ("error", "input", "not_executed")


# -- failures


async def test_the_first_failure_in_the_order_of_outputs_is_raised(open_groups: Open) -> None:
    async with open_groups({"a": ["fail_if_asked"], "b": ["keeper"]}) as supervisor:
        with pytest.raises(BoundaryExecutionError) as failed:
            await run(
                supervisor,
                Input({"n": 0, "fail": True}, "b", "keeper", "b0"),
                Input({"n": 1, "fail": True}, "a", "fail_if_asked", "a1"),
                Input({"n": 2, "fail": True}, "b", "keeper", "b2"),
            )
    error = failed.value
    assert str(error) == "remote handoff failed for group 'b'"
    assert (error.category, error.group, error.report.node, error.report.input_index) == ("execution", "b", "keeper", 0)
    assert error.report.exception_type == "ValueError" and "asked to" in (error.report.detail or "")
    assert "asked to" not in str(error) and error.__cause__ is None and error.__context__ is None
    assert error.correlation_id in {command.correlation_id for command in error.report.commands}
    assert {(command.group, command.outcome, command.delivery) for command in error.report.commands} == {
        ("a", "failed", "executed"),
        ("b", "failed", "executed"),
    }
    # Each worker stops at its first failing item.
    assert error.trace_ids == ("b0", "a1")


async def test_under_raise_no_further_hop_starts_after_a_failure(open_groups: Open, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with open_groups({"a": ["relay_a"], "b": ["relay_b"], "c": ["fail_if_asked"]}) as supervisor:
        inputs = [Input(relay("relay_b", journal=str(journal)), "a", "relay_a"), Input({"fail": True}, "c", "fail_if_asked")]
        with pytest.raises(BoundaryExecutionError):
            await run(supervisor, *inputs)
        assert journal.read_text() == "relay_a\n"
        assert len((await run(supervisor, *inputs, on_error="collect")).terminal_outputs) == 2
        assert journal.read_text() == "relay_a\nrelay_a\nrelay_b\n"


async def test_under_collect_each_failing_item_becomes_an_event_in_its_place(open_groups: Open) -> None:
    async with open_groups({"g": ["keeper", "fail_if_asked"]}) as supervisor:
        result = await run(
            supervisor,
            Input({"n": 0, "fail": True}, "g", "keeper", "t0", "r0"),
            Input({"n": 1}, "g", "keeper", "t1"),
            Input({"n": 2, "fail": True}, "g", "fail_if_asked", "t2"),
            Input(1, "nowhere", "keeper", "t3", "r3"),
            Input(1, None, None, "t4"),
            on_error="collect",
        )
    # The first output of a failing item is dropped with it.
    assert [output.trace_id for output in result.terminal_outputs] == ["t0", "t1", "t1", "t2", "t3", "t4"]
    first, _, _, third, unknown, missing = payloads(result)
    for event, category, delivery, group in (
        (first, "execution", "executed", "g"),
        (third, "execution", "executed", "g"),
        (unknown, "transport", "not_executed", "nowhere"),
        (missing, "transport", "not_executed", None),
    ):
        assert event.status == "error"
        assert (event.failure.category, event.failure.delivery, event.failure.group) == (category, delivery, group)
        assert event.error == event.failure.message
    assert first.error == "remote handoff failed for group 'g'" and unknown.error == "remote handoff transport failed for group 'nowhere'"
    assert [result.terminal_outputs[at].reply_to for at in (0, 4)] == ["r0", "r3"]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("TimeoutError", "TimeoutError"), ("ConnectionResetError", "ConnectionResetError"), ("KeyError", "KeyError")],
)
async def test_whatever_a_node_raises_is_execution(open_groups: Open, kind: str, shown: str) -> None:
    async with open_groups({"g": ["raiser", "echo"]}) as supervisor:
        with pytest.raises(BoundaryExecutionError) as failed:
            await run(supervisor, Input(kind, "g", "raiser"))
        assert (failed.value.report.exception_type, failed.value.delivery) == (shown, "executed")
        assert payloads(await run(supervisor, Input(1, "g", "echo"))) == [{"value": 1}]


@pytest.mark.parametrize(("group", "target"), [(None, "echo"), ("nowhere", "echo"), ("g", "nobody"), ("g", None), ("g", "relay_a")])
async def test_what_has_no_place_to_run_is_a_transport_failure(open_groups: Open, group: str | None, target: str | None) -> None:
    async with open_groups({"g": ["echo"], "h": ["relay_a"]}) as supervisor:
        with pytest.raises(BoundaryTransportError) as failed:
            await run(supervisor, Input(1, group, target, "t1"), Input(2, "g", "echo"))
        assert str(failed.value) == f"remote handoff transport failed for group '{group}'"
        assert (failed.value.delivery, failed.value.group, failed.value.report.commands) == ("not_executed", group, ())
        assert all(worker.requests == 0 for worker in supervisor.snapshot().groups[0].workers)


async def test_a_deadline_of_now_runs_nothing(open_groups: Open, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with open_groups({"g": ["relay_a"]}) as supervisor:
        with pytest.raises(BoundaryTimeoutError) as failed:
            await run(supervisor, Input(relay(journal=str(journal)), "g", "relay_a"), timeout=0)
        assert str(failed.value) == "remote handoff timed out for group 'g'"
        assert (failed.value.category, failed.value.delivery) == ("timeout", "not_executed")
    assert not journal.exists()


async def test_a_node_past_its_deadline_is_a_timeout(open_groups: Open) -> None:
    async with open_groups({"g": ["slow", "echo", "hang"]}) as supervisor:
        target = "hang" if supervisor.capabilities.kills else "slow"
        with pytest.raises(BoundaryTimeoutError) as failed:
            await run(supervisor, Input({}, "g", target, "t1"), timeout=0.3)
        assert failed.value.delivery == ("maybe_executed" if supervisor.capabilities.kills else "executed")
        assert failed.value.trace_ids == ("t1",)
        (event,) = payloads(await run(supervisor, Input({}, "g", target), on_error="collect", timeout=0.3))
        assert (event.status, event.failure.category) == ("timeout", "timeout")
        assert payloads(await run(supervisor, Input(1, "g", "echo"))) == [{"value": 1}]


async def test_an_async_node_that_answers_its_cancellation_with_an_error_still_times_out(open_groups: Open) -> None:
    async with open_groups({"g": ["stubborn", "echo"]}) as supervisor:
        with pytest.raises(BoundaryTimeoutError):
            await asyncio.wait_for(run(supervisor, Input({}, "g", "stubborn"), timeout=0.3), 20)
        assert payloads(await run(supervisor, Input(1, "g", "echo"))) == [{"value": 1}]


@pytest.mark.asyncio_loop(reason="the clock of uvloop stands still within a pass, and shows whole milliseconds")
async def test_one_deadline_holds_for_all_hops(open_groups: Open) -> None:
    async with open_groups({"a": ["fan"], "b": ["remaining"]}) as supervisor:
        result = await run(supervisor, Input([[1, "remaining"]], "a", "fan"), Input(1, "b", "remaining"), timeout=50)
    later, first = payloads(result)
    assert 0 < later < first <= 50


async def test_a_cancelled_call_leaves_the_engine_usable(open_groups: Open) -> None:
    async with open_groups({"g": ["stubborn", "echo"]}) as supervisor:
        call = asyncio.get_running_loop().create_task(run(supervisor, Input({}, "g", "stubborn"), timeout=1))
        while not any(worker.in_flight for worker in supervisor.snapshot().groups[0].workers):
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert supervisor.snapshot().active_calls == 0
        assert payloads(await run(supervisor, Input(1, "g", "echo"))) == [{"value": 1}]


# -- life


async def test_groups_can_be_started_one_by_one_and_a_call_waits_for_all_of_them(open_groups: Open) -> None:
    supervisor = open_groups({"a": ["echo"], "b": ["many"]})
    try:
        with pytest.raises(BoundaryTransportError):
            await supervisor.call("echo", 1)
        await supervisor.start_groups(["a"])
        assert not await supervisor.wait_ready(0.05)
        call = asyncio.get_running_loop().create_task(supervisor.call("echo", 1))
        await asyncio.sleep(0)
        await supervisor.start_groups(["b"])
        assert await call == {"value": 1}
    finally:
        await supervisor.close()


async def test_the_group_that_was_started_last_is_stopped_first(open_groups: Open) -> None:
    supervisor = open_groups({"a": ["echo"], "b": ["many"]})
    try:
        await supervisor.start_groups(["b"])
        await supervisor.start_groups(["a"])
        assert await supervisor.wait_ready(30)
    finally:
        await supervisor.close()
    assert [event.group for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"] == ["a", "b"]


async def test_a_call_that_waits_at_the_gate_is_refused_when_the_supervisor_is_stopped(open_groups: Open) -> None:
    supervisor = open_groups({"a": ["echo"], "b": ["many"]})
    try:
        await supervisor.start_groups(["a"])
        call = asyncio.get_running_loop().create_task(supervisor.call("echo", 1))
        ready = asyncio.get_running_loop().create_task(supervisor.wait_ready(20))
        await asyncio.sleep(0)
        await supervisor.stop_groups()
        with pytest.raises(BoundaryTransportError) as failed:
            await asyncio.wait_for(call, 5)
        assert failed.value.delivery == "not_executed"
        assert await asyncio.wait_for(ready, 5) is False
    finally:
        await supervisor.close()


async def test_stopped_groups_start_again_with_fresh_nodes(open_groups: Open) -> None:
    async with open_groups({"g": ["counter"]}) as supervisor:
        assert [await supervisor.call("counter", {}) for _ in range(2)] == [1, 2]
        await supervisor.stop_groups()
        assert [group.state for group in supervisor.snapshot().groups] == ["stopped"]
        with pytest.raises(BoundaryTransportError):
            await supervisor.call("counter", {})
        await supervisor.start_groups()
        assert await supervisor.wait_ready(30)
        assert await supervisor.call("counter", {}) == 1
        await supervisor.restart_group("g")
        assert await supervisor.call("counter", {}) == 1
        assert supervisor.snapshot().groups[0].workers[0].generation == 3


@pytest.mark.parametrize(
    ("groups", "top", "words"),
    [
        ({"g": ["nobody"]}, {}, "node 'nobody' is defined in none of its modules"),
        ({"g": ["echo"]}, {"discovery_modules": ["no_such_module"]}, "module 'no_such_module' cannot be imported"),
        ({"g": ["counter"]}, {"nodes": {"counter": {"wrong": 1}}}, "[nodes.counter]: TypeError"),
        ({"g": {"nodes": ["counter"], "workers": 2}}, {}, "node 'counter' is stateful, so its group must have one worker, not 2"),
        ({"g": {"nodes": ["counter"], "fan_out": "split"}}, {}, "fan_out = 'split' cannot be had with node 'counter': it is stateful"),
    ],
)
async def test_a_group_that_cannot_start_says_why(open_groups: Open, groups: dict[str, Any], top: dict[str, Any], words: str) -> None:
    supervisor = open_groups(groups, **top)
    with pytest.raises(WorkerBootstrapError, match="group 'g'") as failed:
        async with supervisor:
            pass
    assert words in str(failed.value) and failed.value.group == "g"
    assert supervisor.snapshot().state == "closed"


async def test_class_nodes_are_entered_before_ready_and_left_on_stop(open_groups: Open, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with open_groups({"g": ["resource"]}, nodes={"resource": {"journal": str(journal)}}) as supervisor:
        assert journal.read_text() == "entered\n"
        assert await supervisor.call("resource", {}) == "used"
    assert journal.read_text() == "entered\nused\nleft\n"


async def test_the_life_of_the_workers_is_told_in_events(open_groups: Open) -> None:
    async with open_groups({"a": ["echo"], "b": ["many"]}) as supervisor:
        pass
    for group in ("a", "b"):
        events = [event for event in supervisor.lifecycle_events() if event.group == group]
        assert [event.kind for event in events] == ["worker_spawned", "worker_ready", "worker_stopping", "worker_stopped"]
        assert [event.mode for event in events] == [None, None, None, "graceful"]
        assert {event.worker_id for event in events} == {f"{group}#0"} and len({event.pid for event in events}) == 1
        assert all(earlier.monotonic <= later.monotonic for earlier, later in itertools.pairwise(events))


async def test_nodes_know_their_call(open_groups: Open) -> None:
    async with open_groups({"g": ["whoami"]}) as supervisor:
        (output,) = (await run(supervisor, Input(1, "g", "whoami", "t", "r", meta={"m": [1]}))).terminal_outputs
    assert output == Envelope(output.payload, "t", None, "r", {"m": [1]})
    assert {**output.payload, "pid": 0} == {
        "pid": 0,
        "trace_id": "t",
        "reply_to": "r",
        "run_id": "r",
        "scenario_id": "s",
        "group": "g",
        "worker_index": 0,
        "node": "whoami",
        "meta": {"m": [1]},
    }


async def test_calls_at_once_each_get_their_own_outputs(open_groups: Open) -> None:
    async with open_groups({"g": ["echo"]}) as supervisor:
        results = await asyncio.gather(*(supervisor.call("echo", n) for n in range(50)))
    assert results == [{"value": n} for n in range(50)]


async def test_every_failure_is_a_boundary_error_with_its_particulars(open_groups: Open) -> None:
    async with open_groups({"g": ["fail_if_asked"]}) as supervisor:
        with pytest.raises(BoundaryError) as failed:
            await supervisor.call("fail_if_asked", {"fail": True}, trace_id="t")
    assert isinstance(failed.value, RuntimeError)
    (command,) = failed.value.report.commands
    assert (command.inputs, command.outcome, command.correlation_id) == (1, "failed", failed.value.correlation_id)
    assert command.worker_id == "g#0" and command.executing_seconds is not None and command.queued_seconds >= 0


async def test_a_node_sees_the_limit_of_its_command_as_its_remaining_time(open_groups: Open) -> None:
    async with open_groups({"g": ["remaining"]}) as supervisor:
        given = [Input({}, "g", "remaining")]
        limited = supervisor.request(given, timeout_seconds=3600, limit_seconds=50)
        unlimited = supervisor.request(given, timeout_seconds=40, limit_seconds=50)
        seen = [(await supervisor.settle(request))[0].envelope.payload for request in (limited, unlimited)]
    assert 45 < seen[0] <= 50 and 35 < seen[1] <= 40


async def test_a_limit_ends_a_command_at_work_and_does_not_count_for_one_that_waits(open_groups: Open) -> None:
    async with open_groups({"g": ["waiter"]}) as supervisor:
        requests = [
            supervisor.request([Input({}, "g", "waiter")], timeout_seconds=3600, on_error="collect", limit_seconds=0.1) for _ in range(3)
        ]
        outcomes = await asyncio.gather(*map(supervisor.settle, requests))
    errors = [finished[0].error for finished in outcomes]
    assert [(type(error), error.delivery) for error in errors if error is not None] == [(BoundaryTimeoutError, "maybe_executed")] * 3
