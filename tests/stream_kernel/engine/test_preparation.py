"""Inputs are checked and packed before anything is dispatched; each refusal says whose input it is and why."""

from __future__ import annotations

from typing import Any

import pytest

from fake_engine import FakeEngine
from stream_kernel import BoundaryDispatchInput
from stream_kernel.engine.preparation import Prepared, prepare, refuse_all
from stream_kernel.routing.router import NodeRoute

Input = BoundaryDispatchInput
ROUTES = (NodeRoute("a", "A"), NodeRoute("b", "B"), NodeRoute("two", "B", consumes=("m:X", "m:Y")))


def prepared(*inputs: Input) -> Prepared:
    engine = FakeEngine(*ROUTES)
    return prepare(inputs, codec=engine.codec(), router=engine.router, groups=("A", "B"))


def test_steps_are_in_the_order_of_groups_by_first_appearance_then_of_inputs() -> None:
    steps = prepared(Input(0, "B", "b"), Input(1, "A", "a"), Input(2, "B", "b")).steps
    assert [(step.group, step.root, step.place) for step in steps] == [
        ("B", 0, (0, 0, 0, ())),
        ("B", 2, (0, 2, 0, ())),
        ("A", 1, (1, 1, 0, ())),
    ]


def test_a_step_carries_everything_of_its_input() -> None:
    (step,) = prepared(Input({"v": 1}, "A", "a", "t", "r", "web", 3, {"k": 1})).steps
    item = step.item
    assert (bytes(item.packed.data), item.packed.tag, item.target) == (b'{"v":1}', None, "a")
    assert (item.trace_id, item.reply_to, item.source_group, item.route_hop, item.steps) == ("t", "r", "web", 3, 0)
    assert item.meta is not None and bytes(item.meta.data) == b'{"k":1}'


@pytest.mark.parametrize(
    ("group", "target", "reason"),
    [
        (None, "a", "the input names no dispatch group"),
        ("Z", "a", "there is no such group"),
        ("A", "zzz", "the group has no node 'zzz'"),
        ("A", "b", "the group has no node 'b'"),
        ("A", None, "the group has no node 'None'"),
    ],
)
def test_what_has_no_place_to_run_is_refused_as_transport(group: str | None, target: str | None, reason: str) -> None:
    both = prepared(Input(0, "A", "a"), Input(1, group, target, "t", "r"))
    assert [step.root for step in both.steps] == [0]
    (failure,) = both.refused
    assert (failure.category, failure.delivery, failure.group, failure.root) == ("transport", "not_executed", group, 1)
    assert (failure.trace_id, failure.reply_to, failure.report.reason) == ("t", "r", reason)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Input({"k": [1, {2}]}, "A", "a"), "input 0 for node 'a' at $.k[1]: "),
        (Input(1, "A", "a", meta={"k": {2}}), "input 0 for node 'a' at $.k: "),
        (Input("x" * (2 << 20), "A", "a"), "input 0 for node 'a' at $: is 2097154 bytes encoded"),
        (Input({"v": 1}, "B", "two"), "input 0 for node 'two': node 'two' consumes several types (m:X, m:Y)"),
        (Input(1, "A", "a", "t" * 70_000), "input 0 for node 'a': its trace_id, reply_to and meta exceed"),
    ],
)
def test_what_cannot_be_handed_over_is_refused_as_input_and_names_node_and_path(given: Input, words: str) -> None:
    both = prepared(given)
    (failure,) = both.refused
    assert both.steps == []
    assert (failure.category, failure.delivery, failure.node) == ("input", "not_executed", given.target)
    assert (failure.message or "").startswith(words) and failure.report.reason == failure.message


def test_changing_a_payload_after_it_was_packed_changes_nothing() -> None:
    payload: dict[str, Any] = {"v": [1]}
    (step,) = prepared(Input(payload, "A", "a")).steps
    payload["v"].append(2)
    assert bytes(step.item.packed.data) == b'{"v":[1]}'


def test_the_inputs_of_a_call_that_cannot_begin_are_refused_in_the_order_of_outputs() -> None:
    refused = refuse_all([Input(0, "B", "b", "t0"), Input(1, "A", "a"), Input(2, "B", "b")], "timeout", "why").refused
    assert [failure.root for failure in sorted(refused, key=lambda failure: failure.place)] == [0, 2, 1]
    assert {(failure.category, failure.delivery, failure.report.reason) for failure in refused} == {("timeout", "not_executed", "why")}
    assert (refused[0].group, refused[0].node, refused[0].trace_id) == ("B", "b", "t0")
