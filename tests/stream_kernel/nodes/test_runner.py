"""One input through a group: depth first, everything packed before anybody else runs, failures named."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from naming import named
from stream_kernel import BoundaryFailure, Envelope, NodeContext, TerminalEvent, node
from stream_kernel.nodes.decorator import spec_of
from stream_kernel.nodes.registry import BuiltNode
from stream_kernel.nodes.runner import CallScope, GroupRunner
from stream_kernel.protocol.codec import Codec
from stream_kernel.routing.items import Emission, InputItem, ItemFailure, Way
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute, Router
from stream_kernel.routing.tags import type_tag


@dataclasses.dataclass
class Order:
    n: int


@dataclasses.dataclass
class Fill:
    n: int


@dataclasses.dataclass
class Stray:
    n: int = 0


REMOTE = [NodeRoute("remote", "other", consumes=(type_tag(Fill),)), NodeRoute("keeper", "state", stateful=True)]
Outcome = list[Emission] | ItemFailure


class Bench:
    """A runner for one group of functions, with the real codec as its carrier."""

    def __init__(self, *functions: Callable[..., Any], max_hops: int = 64, remote: list[NodeRoute] = REMOTE) -> None:
        import inspect

        nodes = []
        for function in functions:
            spec = spec_of(function)
            assert spec is not None
            is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
            nodes.append(BuiltNode(spec, spec.route("g"), function, is_async))
        self.codec = Codec([Order, Fill, Stray], max_bytes=1 << 16)
        router = Router([*(one.route for one in nodes), *remote])
        self.runner = GroupRunner(group="g", worker_index=3, nodes=nodes, router=router, carrier=self.codec, max_hops=max_hops)

    def item(self, target: str, payload: Any, **fields: Any) -> InputItem:
        return InputItem(self.codec.pack(payload), target, **fields)

    async def batch(
        self, *items: InputItem, stop_at_failure: bool = False, cancelled: bool = False
    ) -> tuple[list[Outcome], ItemFailure | None]:
        outcomes: list[Outcome] = []
        ending = await self.runner.run_batch(
            items, CallScope("run", "scenario", None), stop_at_failure=stop_at_failure, take=outcomes.append, is_cancelled=lambda: cancelled
        )
        return outcomes, ending

    async def taken_alone(self, *items: InputItem) -> tuple[list[tuple[int, Any, Way, int]], list[Outcome]]:
        """What items give, apart from each other: single outputs that inherit everything, and the rest."""
        alone: list[tuple[int, Any, Way, int]] = []
        others: list[Outcome] = []

        def take_one(index: int, packed: Packed, way: Way, steps: int) -> None:
            alone.append((index, self.codec.plain(packed), way, steps))

        scope = CallScope("run", "scenario", None)
        await self.runner.run_batch(items, scope, stop_at_failure=False, take=others.append, is_cancelled=lambda: False, take_one=take_one)
        return alone, others

    async def one(self, target: str, payload: Any, **fields: Any) -> list[Emission]:
        ((outcome,), ending) = await self.batch(self.item(target, payload, **fields))
        assert ending is None
        assert isinstance(outcome, list), outcome
        return outcome

    async def failure(self, target: str, payload: Any) -> ItemFailure:
        ((outcome,), _) = await self.batch(self.item(target, payload))
        assert isinstance(outcome, ItemFailure), outcome
        return outcome

    def values(self, emissions: list[Emission]) -> list[Any]:
        return [self.codec.plain(emission.packed) for emission in emissions]


def giving(make: Callable[[], Any], **declared: Any) -> Callable[..., Any]:
    @node(name="give", **declared)
    def give(message: Any, ctx: NodeContext) -> Any:
        return make()

    return give


def raise_(error: BaseException) -> Any:
    raise error


def generated() -> Iterator[Any]:
    yield 1
    yield None
    yield [2, 3]


async def async_generated() -> AsyncIterator[Any]:
    yield 1
    yield [2]


@pytest.mark.parametrize(
    ("output", "values"),
    [
        (None, []),
        (0, [0]),
        ({"a": [1]}, [{"a": [1]}]),
        ("text", ["text"]),
        ([1, None, 2], [1, 2]),
        ((1, [2]), [1, [2]]),
        ([], []),
        (Order(1), [{"n": 1}]),
        (Envelope({"a": 1}), [{"a": 1}]),
        ([Envelope(None), None], [None]),
        (TerminalEvent("success", payload=[1]), [[1]]),
    ],
    ids=named,
)
async def test_exactly_lists_tuples_and_generators_are_many_outputs(output: Any, values: list[Any]) -> None:
    bench = Bench(giving(lambda: output, emits=[Order]))
    emissions = await bench.one("give", 1)
    assert bench.values(emissions) == values
    assert all(emission.terminal and emission.node == "give" and emission.steps == 1 for emission in emissions)


async def test_generators_give_their_outputs_one_by_one() -> None:
    bench = Bench(giving(generated))
    assert bench.values(await bench.one("give", 1)) == [1, [2, 3]]
    streaming = Bench(giving(async_generated))
    assert streaming.values(await streaming.one("give", 1)) == [1, [2]]


async def test_async_nodes_and_their_generators_are_awaited() -> None:
    @node(name="wait")
    async def wait(message: Any, ctx: NodeContext) -> Any:
        return [message, message]

    @node(name="stream")
    async def stream(message: Any, ctx: NodeContext) -> AsyncIterator[Any]:
        for n in range(message):
            yield n

    bench = Bench(wait, stream)
    assert bench.values(await bench.one("wait", 5)) == [5, 5]
    assert bench.values(await bench.one("stream", 3)) == [0, 1, 2]


async def test_a_coroutine_from_a_node_that_is_not_async_is_an_output_that_cannot_be_encoded() -> None:
    async def nothing() -> None: ...

    made = nothing()
    failure = await Bench(giving(lambda: made)).failure("give", 1)
    made.close()
    assert "is of type coroutine" in failure.reason


async def test_consumers_run_depth_first_in_configuration_order() -> None:
    journal: list[str] = []

    @node(name="source", emits=[Order])
    def source(message: int, ctx: NodeContext) -> list[Order]:
        return [Order(1), Order(2)]

    @node(name="second", consumes=[Order], emits=[Fill])
    def second(message: Order, ctx: NodeContext) -> Fill:
        journal.append(f"second {message.n}")
        return Fill(message.n)

    @node(name="leaf", consumes=[Fill])
    def leaf(message: Fill, ctx: NodeContext) -> str:
        journal.append(f"leaf {message.n}")
        return f"leaf {message.n}"

    @node(name="third", consumes=[Order])
    def third(message: Order, ctx: NodeContext) -> str:
        journal.append(f"third {message.n}")
        return f"third {message.n}"

    bench = Bench(source, second, leaf, third, remote=[])
    emissions = await bench.one("source", 0)
    assert journal == ["second 1", "leaf 1", "third 1", "second 2", "leaf 2", "third 2"]
    assert bench.values(emissions) == ["leaf 1", "third 1", "leaf 2", "third 2"]
    assert [emission.steps for emission in emissions] == [3, 2, 3, 2]


async def test_a_single_output_that_says_nothing_of_its_own_is_taken_without_an_emission() -> None:
    given: list[Any] = [{"a": 1}, "text", 5, 1.5, True, Order(7), Order(8)]

    @node(name="pick", emits=[Order])
    def pick(message: int, ctx: NodeContext) -> Any:
        return given[message]

    bench = Bench(pick, remote=[])
    alone, others = await bench.taken_alone(*(bench.item("pick", n, trace_id="t", steps=3) for n in range(len(given))))
    # That nobody consumes an Order is known once one has been sent.
    assert [(index, value, way.node, way.terminal, steps) for index, value, way, steps in alone] == [
        (index, bench.codec.plain(bench.codec.pack(given[index])), "pick", True, 4) for index in (0, 1, 2, 3, 4, 6)
    ]
    (first,) = others
    assert isinstance(first, list)
    (order,) = first
    assert (order.index, order.steps, bench.codec.plain(order.packed)) == (5, 4, {"n": 7})


@pytest.mark.parametrize(
    "output",
    [
        None,
        [1],
        (1,),
        [[1], [2]],
        Envelope(1, trace_id="own"),
        Envelope(1, reply_to="own"),
        Envelope(1, meta={"own": 1}),
        [Envelope(1)],
        Envelope(1, target="remote", trace_id="own"),
        Envelope(TerminalEvent("success")),
        TerminalEvent("success"),
        TerminalEvent("success", Order(1)),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_any_other_output_is_taken_as_what_it_is_whatever_came_before(output: Any) -> None:
    bench = Bench(giving(lambda: output, emits=[Order, Fill]))
    alone, others = await bench.taken_alone(*(bench.item("give", n) for n in range(3)))
    assert alone == [] and len(others) == 3
    assert [[emission.terminal for emission in one] for one in others if isinstance(one, list)] == [
        [emission.terminal for emission in await bench.one("give", 0)]
    ] * 3


@pytest.mark.parametrize(
    "output", [Fill(1), Envelope(Fill(1)), Envelope(Fill(1), target="remote"), Envelope({"a": 1}, target="plain")], ids=repr
)
async def test_what_goes_on_to_other_groups_alone_is_taken_without_an_emission_once_its_way_is_known(output: Any) -> None:
    remote = [NodeRoute("remote", "other", consumes=(type_tag(Fill),)), NodeRoute("second", "more", consumes=(type_tag(Fill),))]
    bench = Bench(giving(lambda: output, emits=[Fill]), remote=[*remote, NodeRoute("plain", "other")])
    alone, others = await bench.taken_alone(*(bench.item("give", n, trace_id="t", steps=3) for n in range(3)))
    ((long,),) = [one for one in others if isinstance(one, list)]
    assert long.index == 0 and not long.terminal
    told = [(index, value, way.node, way.tag, way.terminal, way.target, steps) for index, value, way, steps in alone]
    value = bench.codec.plain(long.packed)
    assert told == [(index, value, "give", long.packed.tag, False, long.target, 4) for index in (1, 2)]


@pytest.mark.parametrize("output", [Envelope({"a": 1}), Envelope([1]), Envelope(None), Envelope(Order(1))], ids=repr)
async def test_an_envelope_that_says_nothing_is_taken_like_its_payload_once_its_way_is_known(output: Envelope) -> None:
    bench = Bench(giving(lambda: output, emits=[Order]))
    alone, others = await bench.taken_alone(*(bench.item("give", n) for n in range(2)))
    assert len(others) == 1
    assert [(value, way.terminal) for _, value, way, _ in alone] == [(bench.codec.plain(bench.codec.pack(output.payload)), True)]


async def test_ways_that_differ_in_node_target_or_class_are_not_taken_for_each_other() -> None:
    given = [Envelope(1, target="plain"), Envelope("x", target="plain"), Envelope(1), Envelope(1, target="here"), 1, Envelope(Fill(1))]

    @node(name="pick", emits=[Fill])
    def pick(message: int, ctx: NodeContext) -> Any:
        return given[message]

    @node(name="here")
    def here(message: Any, ctx: NodeContext) -> Any:
        return Envelope(2, target="plain")

    bench = Bench(pick, here, remote=[*REMOTE, NodeRoute("plain", "other")])
    items = [bench.item("pick", n) for n in range(len(given))]
    first = [await bench.one("pick", n) for n in range(len(given))]
    alone, others = await bench.taken_alone(*items, *items)
    taken = {index: (value, way.node, way.terminal, way.target) for index, value, way, _ in alone}
    shown = [[(bench.codec.plain(each.packed), each.node, each.terminal, each.target) for each in one] for one in first]
    for index in (*range(3), *range(4, 9), 10, 11):
        assert [taken[index]] == shown[index % 6]
    local = [(each.node, each.target, each.steps) for one in others if isinstance(one, list) for each in one if each.node == "here"]
    assert local == [("here", "plain", 2)] * 2


async def test_a_list_among_outputs_leaves_a_list_that_a_node_gives_several_outputs() -> None:
    bench = Bench(giving(lambda: [[1], [2]]))
    alone, others = await bench.taken_alone(*(bench.item("give", n) for n in range(2)))
    assert alone == []
    assert [bench.values(one) for one in others if isinstance(one, list)] == [[[1], [2]]] * 2


async def test_a_chain_that_is_too_long_fails_on_a_known_way_too() -> None:
    bench = Bench(giving(lambda: Fill(1), emits=[Fill]), max_hops=5)
    alone, others = await bench.taken_alone(bench.item("give", 0), bench.item("give", 1, steps=3), bench.item("give", 2, steps=4))
    assert [index for index, *_ in alone] == [1]
    assert isinstance(others[-1], ItemFailure) and "max_hops = 5" in others[-1].reason


async def test_a_type_that_a_known_way_does_not_carry_is_refused() -> None:
    bench = Bench(giving(lambda: given.pop(0), emits=[Fill]))
    given: list[Any] = [Envelope(Fill(1)), Envelope(Fill(1), type="other:Type")]
    _, others = await bench.taken_alone(bench.item("give", 0), bench.item("give", 1))
    assert isinstance(others[-1], ItemFailure) and "set an Envelope.type" in others[-1].reason


async def test_what_goes_on_here_and_elsewhere_goes_to_both_every_time() -> None:
    @node(name="local", consumes=[Fill])
    def local(message: Fill, ctx: NodeContext) -> str:
        return "local"

    bench = Bench(giving(lambda: Fill(1), emits=[Fill]), local)
    alone, others = await bench.taken_alone(*(bench.item("give", n) for n in range(2)))
    assert alone == []
    assert [[emission.node for emission in one] for one in others if isinstance(one, list)] == [["give", "local"]] * 2


async def test_what_one_node_may_give_is_no_news_of_another() -> None:
    @node(name="honest", emits=[Fill])
    def honest(message: Any, ctx: NodeContext) -> Fill:
        return Fill(1)

    bench = Bench(honest, giving(lambda: Fill(1)))
    _, others = await bench.taken_alone(bench.item("honest", 0), bench.item("give", 1))
    assert isinstance(others[-1], ItemFailure) and "not in its emits" in others[-1].reason


async def test_an_output_that_cannot_be_packed_is_a_failure_however_it_is_taken() -> None:
    bench = Bench(giving(lambda: {"a": (1,)}))
    alone, (failure,) = await bench.taken_alone(bench.item("give", 0))
    assert alone == [] and isinstance(failure, ItemFailure) and failure == await bench.failure("give", 0)


async def test_a_type_goes_to_local_and_remote_consumers_alike() -> None:
    @node(name="local", consumes=[Fill])
    def local(message: Fill, ctx: NodeContext) -> str:
        return "local"

    bench = Bench(giving(lambda: Fill(1), emits=[Fill]), local)
    crossing, ended = await bench.one("give", 0)
    assert (crossing.terminal, crossing.packed.tag, crossing.target, crossing.steps) == (False, type_tag(Fill), None, 1)
    assert (ended.terminal, bench.values([ended]), ended.steps) == (True, ["local"], 2)


async def test_a_target_is_one_node_here_or_elsewhere() -> None:
    @node(name="local")
    def local(message: Any, ctx: NodeContext) -> Any:
        return {"got": message}

    here = Bench(giving(lambda: Envelope({"a": 1}, target="local")), local)
    assert here.values(await here.one("give", 0)) == [{"got": {"a": 1}}]
    there = Bench(giving(lambda: Envelope({"n": 1}, target="remote")))
    (emission,) = await there.one("give", 0)
    assert (emission.terminal, emission.target) == (False, "remote")
    listed = Bench(giving(lambda: Envelope(1, target="keeper"), sends_to=["keeper"]))
    (emission,) = await listed.one("give", 0)
    assert emission.target == "keeper"


async def test_plain_json_becomes_an_instance_for_a_node_that_consumes_one_class() -> None:
    @node(name="typed", consumes=[Order])
    def typed(message: Order, ctx: NodeContext) -> str:
        return type(message).__name__

    bench = Bench(giving(lambda: Envelope({"n": 1}, target="typed")), typed)
    assert bench.values(await bench.one("give", 0)) == ["Order"]
    assert bench.values(await bench.one("typed", {"n": 2})) == ["Order"]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ({"a": (1,)}, "output of node 'give' at $.a: is a tuple"),
        (Envelope(1, meta={"a": {1}}), "output of node 'give' at $.a: is of type set"),
        (Stray(), f"node 'give' gave a {type_tag(Stray)}, which is not in its emits"),
        (Envelope(1, target="nobody"), "node 'give' names the target 'nobody', which no group has"),
        (Envelope(1, target="keeper"), "node 'give' names 'keeper' of the stateful group 'state', which its sends_to does not list"),
        (Envelope(Order(1), target="remote"), "output of node 'give' does not fit: node 'remote' does not consume"),
        (Envelope({"m": 1}, target="typed"), "output of node 'give' does not fit node 'typed' at $"),
        (Envelope(TerminalEvent("success"), target="typed"), "node 'give' gave a TerminalEvent a target: it ends the chain"),
        ("x" * (1 << 17), "output of node 'give' at $: is 131074 bytes encoded, over execution_ipc.max_frame_bytes"),
    ],
    ids=lambda value: repr(value)[:50],
)
@pytest.mark.fault("FAULT-20")
async def test_an_output_that_cannot_go_on_is_a_failure_of_the_node_that_gave_it(output: Any, reason: str) -> None:
    @node(name="typed", consumes=[Fill])
    def typed(message: Fill, ctx: NodeContext) -> None: ...

    failure = await Bench(giving(lambda: output, emits=[Order]), typed).failure("give", 0)
    assert (failure.category, failure.node, failure.executed) == ("execution", "give", True)
    assert reason in failure.reason


async def test_outputs_are_packed_before_any_consumer_runs() -> None:
    shared = Order(1)
    record = {"n": 1}

    @node(name="change", consumes=[Order])
    def change(message: Order, ctx: NodeContext) -> None:
        message.n = 98
        shared.n = 99
        record["n"] = 99

    bench = Bench(giving(lambda: [shared, record, Envelope(shared.n)], emits=[Order]), change)
    assert bench.values(await bench.one("give", 0)) == [{"n": 1}, 1]


async def test_a_generator_that_changes_what_it_has_yielded_changes_nothing() -> None:
    def changing() -> Iterator[dict[str, int]]:
        record = {"n": 0}
        for record["n"] in range(3):
            yield record

    bench = Bench(giving(changing))
    assert bench.values(await bench.one("give", 0)) == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_each_consumer_gets_a_message_and_a_meta_of_its_own() -> None:
    seen: list[tuple[int, dict[str, Any]]] = []

    def take(message: Order, ctx: NodeContext) -> None:
        seen.append((message.n, dict(ctx.meta)))
        message.n = 99
        ctx.meta["changed"] = True

    @node(name="first", consumes=[Order])
    def first(message: Order, ctx: NodeContext) -> None:
        take(message, ctx)

    @node(name="second", consumes=[Order])
    def second(message: Order, ctx: NodeContext) -> None:
        take(message, ctx)

    await Bench(giving(lambda: Envelope(Order(1), meta={"k": 1}), emits=[Order]), first, second).one("give", 0)
    assert seen == [(1, {"k": 1}), (1, {"k": 1})]


async def test_correlation_and_meta_are_inherited_unless_an_output_sets_them() -> None:
    seen: list[tuple[str | None, str | None, dict[str, Any], str, int, str, str]] = []

    @node(name="middle", consumes=[Order])
    def middle(message: Order, ctx: NodeContext) -> int:
        seen.append((ctx.trace_id, ctx.reply_to, ctx.meta, ctx.node, ctx.worker_index, ctx.run_id, ctx.scenario_id))
        return 1

    inherited = Bench(giving(lambda: Order(1), emits=[Order]), middle)
    meta = inherited.codec.pack({"k": 1})
    (emission,) = await inherited.one("give", 0, trace_id="t", reply_to="r", meta=meta)
    assert (emission.trace_id, emission.reply_to, emission.meta) == (None, None, None)
    own = Bench(giving(lambda: Envelope(Order(1), "t2", None, "r2", {"k": 2}), emits=[Order]), middle)
    (emission,) = await own.one("give", 0, trace_id="t", reply_to="r", meta=meta)
    assert (emission.trace_id, emission.reply_to) == ("t2", "r2")
    assert emission.meta is not None and own.codec.plain(emission.meta) == {"k": 2}
    assert seen == [("t", "r", {"k": 1}, "middle", 3, "run", "scenario"), ("t2", "r2", {"k": 2}, "middle", 3, "run", "scenario")]


async def test_an_event_carries_its_state_and_ends_the_chain() -> None:
    reason = BoundaryFailure("execution", "executed", "g", "n", "m")
    bench = Bench(giving(lambda: TerminalEvent("error", payload=Order(1), error="no", failure=reason), emits=[Order]))
    (emission,) = await bench.one("give", 0)
    assert (emission.status, emission.error, emission.terminal, emission.packed.tag) == ("error", "no", True, type_tag(Order))
    assert emission.failure == reason


async def test_a_chain_that_is_too_long_names_its_last_node_and_the_count() -> None:
    @node(name="loop", sends_to=["loop"])
    def loop(message: int, ctx: NodeContext) -> Envelope | int:
        return Envelope(message - 1, target="loop") if message else 0

    bench = Bench(loop, max_hops=5)
    assert bench.values(await bench.one("loop", 4)) == [0]
    failure = await bench.failure("loop", 5)
    assert (failure.reason, failure.node) == ("the chain exceeds max_hops = 5 steps at node 'loop'", "loop")
    outcomes, _ = await bench.batch(bench.item("loop", 2, steps=3))
    assert isinstance(outcomes[0], ItemFailure)


@pytest.mark.fault("FAULT-05")
@pytest.mark.parametrize(
    "error",
    [
        ValueError("hunter2"),
        SystemExit("hunter2"),
        KeyboardInterrupt(),
        StopIteration(),
        TimeoutError(),
        ConnectionError(),
        GeneratorExit(),
    ],
    ids=named,
)
async def test_whatever_a_node_raises_is_its_failure(error: BaseException) -> None:
    failure = await Bench(giving(lambda: raise_(error))).failure("give", 0)
    assert (failure.category, failure.node, failure.executed) == ("execution", "give", True)
    assert failure.reason == f"node 'give' raised {type(error).__name__}" and failure.exception_type == type(error).__name__
    assert (
        failure.detail is not None and "raise error" in failure.detail and "runner.py" not in failure.detail.replace("test_runner.py", "")
    )

    @node(name="awaiting")
    async def awaiting(message: Any, ctx: NodeContext) -> None:
        raise error

    if not isinstance(error, StopIteration):  # a coroutine turns it into a RuntimeError
        assert (await Bench(awaiting).failure("awaiting", 0)).exception_type == type(error).__name__


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), KeyboardInterrupt()], ids=named)
async def test_a_generator_that_raises_drops_what_it_has_yielded(error: BaseException) -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise error

    async def async_failing() -> AsyncIterator[int]:
        yield 1
        raise error

    for make in (failing, async_failing):
        failure = await Bench(giving(make)).failure("give", 0)
        assert failure.exception_type == type(error).__name__


async def test_a_generator_that_raises_what_ends_async_ones_has_not_ended() -> None:
    def confusing() -> Iterator[int]:
        yield 1
        raise StopAsyncIteration

    failure = await Bench(giving(confusing)).failure("give", 0)
    assert failure.exception_type == "StopAsyncIteration"


async def test_a_generator_is_closed_when_its_output_cannot_go_on_and_may_fail_in_that() -> None:
    journal: list[str] = []

    def leaving() -> Iterator[Any]:
        try:
            yield {1}
        finally:
            journal.append("left")

    failure = await Bench(giving(leaving)).failure("give", 0)
    assert "is of type set" in failure.reason and journal == ["left"]

    async def failing() -> AsyncIterator[Any]:
        try:
            yield {1}
        finally:
            raise KeyError

    failure = await Bench(giving(failing)).failure("give", 0)
    assert failure.node == "give" and failure.exception_type == "KeyError"


async def test_a_failing_item_loses_its_outputs_and_its_siblings_keep_theirs() -> None:
    @node(name="maybe", consumes=[Order])
    def maybe(message: Order, ctx: NodeContext) -> int:
        return raise_(ValueError()) if message.n == 2 else message.n

    @node(name="fan", emits=[Order])
    def fan(message: list[int], ctx: NodeContext) -> list[Order]:
        return [Order(n) for n in message]

    bench = Bench(fan, maybe)
    outcomes, ending = await bench.batch(bench.item("fan", [1, 1]), bench.item("fan", [1, 2, 3]), bench.item("fan", [3]))
    assert ending is None
    first, second, third = outcomes
    assert isinstance(first, list) and bench.values(first) == [1, 1] and [emission.index for emission in first] == [0, 0]
    assert isinstance(second, ItemFailure) and (second.index, second.node) == (1, "maybe")
    assert isinstance(third, list) and bench.values(third) == [3] and third[0].index == 2


async def test_a_batch_may_stop_at_its_first_failure() -> None:
    ran: list[int] = []

    @node(name="work")
    def work(message: int, ctx: NodeContext) -> int:
        ran.append(message)
        return raise_(ValueError()) if message == 2 else message

    bench = Bench(work)
    outcomes, ending = await bench.batch(*(bench.item("work", n) for n in (1, 2, 3)), stop_at_failure=True)
    assert ran == [1, 2] and len(outcomes) == 1
    assert ending is not None and (ending.index, ending.category) == (1, "execution")


async def test_inputs_are_all_read_before_the_first_node_runs() -> None:
    ran: list[int] = []

    @node(name="typed", consumes=[Order])
    def typed(message: Order, ctx: NodeContext) -> int:
        ran.append(message.n)
        return message.n

    bench = Bench(typed)
    items = [bench.item("typed", Order(1)), bench.item("typed", {"n": "x"})]
    outcomes, ending = await bench.batch(*items, stop_at_failure=True)
    assert outcomes == [] and ran == []
    assert ending is not None and (ending.index, ending.category, ending.executed, ending.node) == (1, "input", False, "typed")
    assert ending.reason == "input for node 'typed' at $.n: Expected `int`, got `str`"
    outcomes, ending = await bench.batch(*items)
    assert ran == [1] and isinstance(outcomes[1], ItemFailure) and outcomes[1].category == "input" and ending is None


@pytest.mark.parametrize(
    ("target", "payload", "reason"),
    [
        ("nobody", 1, "node 'nobody' is not in group 'g'"),
        ("typed", Fill(1), "node 'typed' does not consume"),
        ("several", {"n": 1}, "node 'several' consumes several types"),
    ],
)
async def test_an_input_that_is_nothing_for_its_node_is_refused(target: str, payload: Any, reason: str) -> None:
    @node(name="typed", consumes=[Order])
    def typed(message: Order, ctx: NodeContext) -> None: ...

    @node(name="several", consumes=[Order, Fill])
    def several(message: Any, ctx: NodeContext) -> None: ...

    failure = await Bench(typed, several).failure(target, payload)
    assert failure.reason.startswith(reason) and (failure.category, failure.executed) == ("input", False)


@pytest.mark.fault("FAULT-35")
async def test_an_input_with_a_tag_outside_the_registry_is_refused() -> None:
    bench = Bench(giving(lambda: 1))
    outcomes, _ = await bench.batch(InputItem(Packed(b"{}", "antigravity:Fly", 2), "give"))
    assert isinstance(outcomes[0], ItemFailure) and outcomes[0].category == "input"
    assert "does not consume antigravity:Fly" in outcomes[0].reason


async def test_a_cancelled_batch_stops_between_two_items() -> None:
    bench = Bench(giving(lambda: 1))
    outcomes, ending = await bench.batch(bench.item("give", 1), cancelled=True)
    assert outcomes == [] and ending is not None
    assert (ending.category, ending.reason, ending.executed) == ("transport", "cancelled by the caller", False)


async def test_a_cancel_is_looked_for_before_the_first_item_and_then_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    looks: list[float] = []

    @node(name="work")
    def work(message: float, ctx: NodeContext) -> None:
        clock.spend(message)

    bench = Bench(work)
    bench.runner.look_for_cancels_every(1.0)

    def is_cancelled() -> bool:
        looks.append(clock.seconds)
        return len(looks) == 4

    items = [bench.item("work", seconds) for seconds in (0.5, 0.25, 0.25, 3.0, 0.5, 0.5, 9.0)]
    scope = CallScope("", "", None)
    ending = await bench.runner.run_batch(items, scope, stop_at_failure=True, take=lambda _: None, is_cancelled=is_cancelled)
    assert looks == [0.0, 1.0, 4.0, 5.0]
    assert ending is not None and (ending.index, ending.category) == (6, "transport")


async def test_a_cancel_from_outside_passes_through_an_async_node() -> None:
    import asyncio

    @node(name="awaiting")
    async def awaiting(message: Any, ctx: NodeContext) -> None:
        raise asyncio.CancelledError

    bench = Bench(awaiting)
    assert (await bench.failure("awaiting", 0)).exception_type == "CancelledError"
    bench.runner.watch_cancel(lambda error: isinstance(error, asyncio.CancelledError))
    with pytest.raises(asyncio.CancelledError):
        await bench.batch(bench.item("awaiting", 0))


async def test_a_node_knows_how_much_time_is_left() -> None:
    bench = Bench(node(name="left")(lambda message, ctx: ctx.remaining_seconds()))
    taken: list[Outcome] = []
    scope = CallScope("", "", time.monotonic() + 60)
    await bench.runner.run_batch([bench.item("left", 0)], scope, stop_at_failure=True, take=taken.append, is_cancelled=lambda: False)
    assert isinstance(taken[0], list) and 0 < bench.values(taken[0])[0] <= 60


# -- what nodes raise, and how long they run


class Clock:
    """Time that passes in nodes only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr("stream_kernel.nodes.runner.perf_counter", lambda: self.seconds)

    def spend(self, seconds: float) -> None:
        self.seconds += seconds


def timings(bench: Bench) -> list[tuple[str, int, float]]:
    return [(one.node, one.runs, one.milliseconds) for one in bench.runner.timing]


async def test_time_counts_for_the_node_that_spends_it_and_not_for_those_it_leads_to(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    @node(name="maybe", consumes=[Order])
    async def maybe(message: Order, ctx: NodeContext) -> None:
        clock.spend(0.25)

    @node(name="fan", emits=[Order])
    def fan(message: int, ctx: NodeContext) -> list[Order]:
        clock.spend(1)
        return [Order(n) for n in range(message)]

    bench = Bench(maybe, fan)
    assert timings(bench) == []
    await bench.batch(bench.item("fan", 2), bench.item("fan", 3))
    assert timings(bench) == [("fan", 2, 2000.0), ("maybe", 5, 1250.0)]
    await bench.batch(bench.item("maybe", {"n": 1}))
    assert timings(bench) == [("maybe", 1, 250.0)]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_generator_runs_once_and_its_time_between_outputs_is_its_own(monkeypatch: pytest.MonkeyPatch, is_async: bool) -> None:
    clock = Clock(monkeypatch)

    @node(name="after", consumes=[Order])
    def after(message: Order, ctx: NodeContext) -> None:
        clock.spend(10)

    @node(name="plain", emits=[Order])
    def plain(message: int, ctx: NodeContext) -> Iterator[Order]:
        for n in range(message):
            clock.spend(0.5)
            yield Order(n)
        clock.spend(0.25)

    @node(name="awaited", emits=[Order])
    async def awaited(message: int, ctx: NodeContext) -> AsyncIterator[Order]:
        for order in plain(message, ctx):
            yield order

    name = "awaited" if is_async else "plain"
    bench = Bench(after, plain, awaited)
    await bench.batch(bench.item(name, 2))
    assert timings(bench) == [(name, 1, 1250.0), ("after", 2, 20_000.0)]


async def test_a_run_that_ends_in_an_exception_counts_and_a_message_that_is_refused_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    @node(name="raising", consumes=[Order])
    def raising(message: Order, ctx: NodeContext) -> None:
        clock.spend(0.125)
        raise ValueError

    bench = Bench(raising)
    await bench.batch(bench.item("raising", {"n": 1}), bench.item("raising", "no order"))
    assert timings(bench) == [("raising", 1, 125.0)]


def spoiled() -> Iterator[int]:
    yield 1
    raise KeyError("of the generator")


def unfinished() -> Iterator[Any]:
    try:
        yield {1}
    finally:
        raise KeyError("of its end")


@pytest.mark.parametrize(
    ("make", "where"),
    [(lambda: raise_(KeyError("of the node")), "raise_"), (spoiled, "spoiled"), (unfinished, "unfinished")],
)
async def test_what_a_node_raises_is_shown_once_with_its_frames(make: Callable[[], Any], where: str) -> None:
    shown: list[BaseException] = []
    bench = Bench(giving(make))
    bench.runner.watch_exceptions(shown.append)
    failure = await bench.failure("give", 0)
    (error,) = shown
    assert type(error) is KeyError and failure.exception_type == "KeyError"
    assert traceback.extract_tb(error.__traceback__)[-1].name == where


async def test_what_no_node_raised_is_not_shown() -> None:
    shown: list[BaseException] = []
    for bench in (Bench(giving(lambda: {1})), Bench(giving(lambda: Envelope(1, target="nobody")))):
        bench.runner.watch_exceptions(shown.append)
        assert (await bench.failure("give", 0)).exception_type is None
    assert shown == []


class Watch:
    """What a runner tells about its progress, in order."""

    def __init__(self, bench: Bench) -> None:
        self.told: list[Any] = []
        bench.runner.watch_progress(lambda index, name: self.told.append((index, name)))
        bench.runner.watch_returns(lambda: self.told.append("back"))


async def test_progress_names_the_input_and_the_node_before_its_code_runs() -> None:
    @node(name="first", sends_to=["second"])
    def first(message: Any, ctx: NodeContext) -> Envelope:
        watch.told.append("first runs")
        return Envelope(message, target="second")

    @node(name="second")
    def second(message: Any, ctx: NodeContext) -> None:
        watch.told.append("second runs")
        if message:
            raise ValueError

    bench = Bench(first, second)
    watch = Watch(bench)
    await bench.batch(bench.item("first", 0), bench.item("second", 1))
    assert watch.told == [(0, "first"), "first runs", "back", (0, "second"), "second runs", "back", (1, "second"), "second runs", "back"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_generator_is_at_work_again_after_those_behind_it(is_async: bool) -> None:
    @node(name="unfold", sends_to=["take"])
    def unfold(message: Any, ctx: NodeContext) -> Iterator[Envelope]:
        yield Envelope(1, target="take")
        watch.told.append("between")
        yield Envelope(2, target="take")
        watch.told.append("behind")

    @node(name="unfold", sends_to=["take"])
    async def unfold_async(message: Any, ctx: NodeContext) -> AsyncIterator[Envelope]:
        for each in unfold(message, ctx):
            yield each

    @node(name="take")
    def take(message: Any, ctx: NodeContext) -> None:
        watch.told.append(message)

    bench = Bench(unfold_async if is_async else unfold, take)
    watch = Watch(bench)
    await bench.one("unfold", None)
    call = [(0, "unfold"), "back"]
    steps = [[(0, "unfold"), "back", (0, "take"), 1, "back"], [(0, "unfold"), "between", "back", (0, "take"), 2, "back"]]
    assert watch.told == [*call, *steps[0], *steps[1], (0, "unfold"), "behind", "back"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_generator_that_is_left_early_is_at_work_for_what_follows_its_yield(is_async: bool) -> None:
    @node(name="unfold", sends_to=["fail"])
    def unfold(message: Any, ctx: NodeContext) -> Iterator[Envelope]:
        try:
            yield Envelope(message, target="fail")
        finally:
            watch.told.append("behind")

    @node(name="unfold", sends_to=["fail"])
    async def unfold_async(message: Any, ctx: NodeContext) -> AsyncIterator[Envelope]:
        try:
            yield Envelope(message, target="fail")
        finally:
            watch.told.append("behind")

    @node(name="fail")
    def fail(message: Any, ctx: NodeContext) -> None:
        raise ValueError

    bench = Bench(unfold_async if is_async else unfold, fail)
    watch = Watch(bench)
    assert (await bench.failure("unfold", None)).node == "fail"
    assert watch.told[-6:] == ["back", (0, "fail"), "back", (0, "unfold"), "behind", "back"]


async def test_a_generator_that_ends_or_raises_is_not_left_a_second_time() -> None:
    def failing() -> Iterator[Any]:
        yield 1
        raise ValueError

    for make, steps in ((generated, 4), (failing, 2)):
        bench = Bench(giving(make))
        watch = Watch(bench)
        await bench.batch(bench.item("give", None))
        assert watch.told == [(0, "give"), "back"] * (1 + steps)
