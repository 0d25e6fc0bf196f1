"""Inputs that go side by side, and the moment at which they become steps: what comes of them is the same either way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from fake_engine import FakeEngine, FakeTicket, boundary_call_of, call_of, shown
from fixture_types import MakeConfig
from message_nodes import Order, Quote
from stream_kernel import AsyncBoundarySupervisor, BoundaryDispatchInput, BoundaryInputError
from stream_kernel.engine.base import Answer
from stream_kernel.engine.bulk import Bulk, bulk_of
from stream_kernel.engine.preparation import prepare
from stream_kernel.engine.settlement import PlainOutputs, finish
from stream_kernel.protocol.columns import InputRows, OutputColumns, OutputRows
from stream_kernel.routing.items import ItemFailure
from stream_kernel.routing.router import NodeRoute

Input = BoundaryDispatchInput
ROUTES = (
    NodeRoute("a", "A", emits=("m:X",)),
    NodeRoute("x", "B", consumes=("m:X",)),
    NodeRoute("two", "A", consumes=("m:X", "m:Y")),
)


def engine() -> FakeEngine:
    return FakeEngine(*ROUTES)


def bulk(*inputs: Input, first: int = 0) -> Bulk | None:
    kernel = engine()
    return bulk_of(inputs, kernel.codec(), kernel.router, first)


def rows(*payloads: bytes, index: list[int] | None = None, terminal: bool = True, **more: Any) -> OutputRows:
    places = list(range(len(payloads))) if index is None else index
    return OutputRows(OutputColumns(index=places, payload=[Raw(one) for one in payloads], **{"node": "a", **more}), terminal=terminal)


async def test_inputs_of_one_kind_are_columns_and_say_the_same_one_by_one() -> None:
    inputs = [Input({"v": number}, "A", "a", f"t{number}", "r", "web", number) for number in range(3)]
    many = bulk(*inputs, first=5)
    assert many is not None
    kernel = engine()
    singles = [
        prepare([one], codec=kernel.codec(), router=kernel.router, groups=("A", "B"), first=5 + number).steps[0]
        for number, one in enumerate(inputs)
    ]
    assert many.steps() == singles
    assert many.weight >= sum(step.weight for step in singles)


@pytest.mark.parametrize(
    "odd",
    [
        Input(1, "A", "a", meta={"k": 1}),
        Input(1, "A", "two"),
        Input(1, "B", "x"),
        Input(1, "B", "a"),
        Input(1, None, "a"),
        Input(1, "A", None),
        Input((1,), "A", "a"),
        Input(float("nan"), "A", "a"),
        Input("x" * (2 << 20), "A", "a"),
        Input(1, "A", "a", "ä"),
        Input(1, "A", "a", "t" * 2000),
        Input(1, "A", "a", None, "\ud800"),
    ],
)
async def test_one_that_is_not_like_the_others_makes_steps_of_all(odd: Input) -> None:
    assert bulk(Input(1, "A", "a"), odd) is None
    assert bulk(odd, Input(1, "A", "a")) is None


@pytest.mark.parametrize(
    "more", [{"type": "m:X"}, {"target": "x"}, {"type": "m:X", "target": "x"}, {"type": "m:Y", "target": "x"}], ids=str
)
async def test_outputs_that_all_lead_to_one_node_of_another_group_are_the_next_hop(more: dict[str, Any]) -> None:
    many = bulk(Input(1, "A", "a", "t1"), Input(2, "A", "a", "t2"))
    assert many is not None
    following = many.following(rows(b"10", b"20", terminal=False, steps=1, **more), engine().router)
    assert following is not None
    assert [(step.group, step.item.target, bytes(step.item.packed.data), step.item.packed.tag) for step in following.steps()] == [
        ("B", "x", b"10", more.get("type")),
        ("B", "x", b"20", more.get("type")),
    ]
    assert [(step.item.trace_id, step.item.source_group, step.item.route_hop, step.item.steps) for step in following.steps()] == [
        ("t1", "A", 1, 1),
        ("t2", "A", 1, 1),
    ]
    assert [(step.place, step.root, step.emitter) for step in following.steps()] == [
        ((0, 0, 1, (0, 0)), 0, ("A", "a")),
        ((0, 1, 1, (0, 0)), 1, ("A", "a")),
    ]


@pytest.mark.parametrize(
    "emissions",
    [
        rows(b"10", b"20", terminal=True, type="m:X"),
        rows(b"10", terminal=False, index=[0], type="m:X"),
        rows(b"10", b"20", terminal=False, index=[1, 0], type="m:X"),
        rows(b"10", b"20", b"30", terminal=False, index=[0, 0, 1], type="m:X"),
        rows(b"10", b"20", terminal=False, type=["m:X", None]),
        rows(b"10", b"20", terminal=False, type="m:Z"),
        rows(b"10", b"20", terminal=False, type="m:X", node=["a", "b"]),
        rows(b"10", b"20", terminal=False, target=["x", "two"]),
        rows(b"10", b"20", terminal=False, target=["x", None], type="m:X"),
        rows(b"10", b"20", terminal=False, target="nobody"),
        [],
    ],
)
async def test_anything_else_goes_on_as_steps(emissions: Any) -> None:
    many = bulk(Input(1, "A", "a"), Input(2, "A", "a"))
    assert many is not None
    assert many.following(emissions, engine().router) is None


async def test_terminal_outputs_are_decoded_together_with_what_they_inherit() -> None:
    many = bulk(Input(1, "A", "a", "t1", "r1"), Input(2, "A", "a", "t2", "r2"), Input(3, "A", "a"), first=7)
    assert many is not None
    outputs = many.outputs(rows(b"[1]", b"[2]", b"[3]", index=[0, 0, 1]))
    assert outputs is not None
    finished = finish(outputs, engine().codec())
    assert [(one.root, one.envelope.payload, one.envelope.trace_id, one.envelope.reply_to) for one in finished] == [
        (7, [1], "t1", "r1"),
        (7, [2], "t1", "r1"),
        (8, [3], "t2", "r2"),
    ]
    assert {(one.group, one.node) for one in finished} == {("A", "a")}


async def test_one_that_cannot_be_decoded_fails_alone() -> None:
    outputs = PlainOutputs(0, [0, 1], [Raw(b"1"), Raw(b"\xff")], None, "A", "a", "t", None)
    first, second = finish(outputs, engine().codec())
    assert (first.envelope.payload, first.error) == (1, None)
    assert second.error is not None and second.error.category == "execution"
    assert (second.root, second.envelope.trace_id) == (1, "t")


async def test_terminal_outputs_that_name_a_target_go_one_by_one() -> None:
    many = bulk(Input(1, "A", "a"), Input(2, "A", "a"))
    assert many is not None
    assert many.outputs(rows(b"1", b"2", target="x")) is None


@pytest.mark.parametrize("index", [[1, 0], [0, 2, 1]])
async def test_outputs_out_of_order_are_put_in_order_as_steps(index: list[int]) -> None:
    many = bulk(*(Input(number, "A", "a") for number in range(3)))
    assert many is not None
    assert many.outputs(rows(*(b"1" for _ in index), index=index)) is None


@pytest.mark.parametrize("way", [{"type": "m:X"}, {"target": "x"}], ids=str)
async def test_a_call_of_a_bulk_is_one_command_in_each_group(way: dict[str, Any]) -> None:
    kernel = engine()
    call = boundary_call_of(kernel, Input(1, "A", "a"), Input(2, "A", "a"))
    ticket = call.begin()
    assert isinstance(ticket, FakeTicket)
    assert isinstance(ticket.command.items, InputRows) and ticket.payloads == [1, 2]
    call.land(Answer(rows(b"10", b"20", terminal=False, **way), [], lambda: ticket.report("executed", "answered")))
    assert not call.is_over
    following = call.begin()
    assert isinstance(following, FakeTicket) and (following.command.group, following.payloads) == ("B", [10, 20])
    assert isinstance(following.command.items, InputRows), "side by side"
    call.land(Answer(rows(b"11", b"21"), [], lambda: following.report("executed", "answered")))
    assert call.is_over
    assert [one.envelope.payload for one in finish(call.conclude(), kernel.codec())] == [11, 21]
    assert [report.group for report in call.reports] == ["A", "B"]


async def test_the_failure_of_one_is_its_own_and_the_others_are_as_they_would_be() -> None:
    kernel = engine()
    task = call_of(kernel, Input(1, "A", "a", "t1"), Input(2, "A", "a", "t2"), on_error="collect")
    (ticket,) = await kernel.commands(1)
    ticket.answer((0, 10, None), failures=[ItemFailure(1, "execution", "no", "a")])
    assert shown(await task) == [10, ("execution", "executed")]


async def test_a_bulk_that_finds_no_room_waits_as_steps() -> None:
    kernel = FakeEngine(*ROUTES, room={"A": 0})
    task = call_of(kernel, Input(1, "A", "a"), Input(2, "A", "a"))
    await kernel.commands(0)
    kernel.make_room("A", 1)
    (ticket,) = await kernel.commands(1)
    ticket.echo()
    assert shown(await task) == [1, 2]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(payloads=st.lists(JSON, min_size=2, max_size=5))
@settings(max_examples=60, deadline=None)
def test_what_is_encoded_together_is_what_would_be_encoded_alone(payloads: list[Any]) -> None:
    codec = engine().codec()
    together = codec.pack_all(payloads)
    assert together is not None
    assert [bytes(one) for one in together[0]] == [bytes(codec.pack(one).data) for one in payloads]
    assert codec.unpack_all(together[0], together[1]) == payloads


async def test_real_workers_give_the_same_side_by_side_and_one_by_one(make_config: MakeConfig) -> None:
    config = make_config({"g": ["price"]}, modules=["message_nodes"], message_modules=["message_nodes"])
    side_by_side = [Input(Order(number), "g", "price", f"t{number}", "r") for number in range(20)]
    one_by_one = [Input(Order(number), "g", "price", f"t{number}", "r", meta={"k": 1}) for number in range(20)]
    async with AsyncBoundarySupervisor(config) as supervisor:
        results = [
            (await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=inputs)).terminal_outputs
            for inputs in (side_by_side, one_by_one)
        ]
        told = [[(type(one.payload), one.payload, one.type, one.trace_id, one.reply_to) for one in result] for result in results]
        assert told[0] == told[1]
        assert {kind for kind, *_ in told[0]} == {Quote}
        with pytest.raises(BoundaryInputError, match="input 1 for node 'price'"):
            await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[side_by_side[0], Input(Order("x"), "g", "price")])  # type: ignore[arg-type]


async def test_a_chain_by_target_gives_the_same_side_by_side_and_one_by_one(make_config: MakeConfig) -> None:
    config = make_config({"a": ["relay_a"], "b": ["relay_b"]}, modules=["message_nodes"])
    async with AsyncBoundarySupervisor(config) as supervisor:
        for path in (["relay_b", "relay_a", "relay_b"], ["relay_a", "relay_b"]):
            inputs = [Input({"path": path}, "a", "relay_a", f"t{number}", f"r{number}") for number in range(20)]
            side_by_side = await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=inputs)
            one_by_one = [await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[one]) for one in inputs]
            assert side_by_side.terminal_outputs == [output for result in one_by_one for output in result.terminal_outputs]
            assert [one.payload["trace_id"] for one in side_by_side.terminal_outputs] == [one.trace_id for one in inputs]
            assert {tuple(one.payload["seen"]) for one in side_by_side.terminal_outputs} == {("relay_a", *path)}
