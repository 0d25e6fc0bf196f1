"""What declared routes give away before the first message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fixture_types import MakeConfig
from stream_kernel.execution.orchestration.findings import Finding
from stream_kernel.execution.orchestration.preflight import examine

MODULES = ["kernel_nodes", "message_nodes", "preflight_nodes"]
Look = Callable[..., list[Finding]]


@pytest.fixture
def look(make_config: MakeConfig) -> Look:
    """The findings in a configuration that has these groups, without the one that there is no source."""

    def found(groups: dict[str, Any], **top: Any) -> list[Finding]:
        findings = examine(make_config(groups, modules=MODULES, **top)).findings
        return [finding for finding in findings if finding.place != "configuration"]

    return found


def only(findings: list[Finding], severity: str, kind: str, place: str) -> str:
    """The sentence of the only finding."""
    assert [(finding.severity, finding.kind, finding.place) for finding in findings] == [(severity, kind, place)]
    return findings[0].message


# -- circles


def test_a_stateful_group_in_a_circle_of_groups_is_a_problem_though_no_message_comes_back(look: Look) -> None:
    message = only(look({"keep": ["receive", "book"], "work": ["price"]}), "problem", "circle", "keep")
    assert message.startswith("is stateful and in a circle with 'work': ")
    assert "the order in which it sees messages would depend on the batches" in message


def test_a_circle_with_two_stateful_groups_is_one_problem(look: Look) -> None:
    groups = {"work": ["price"], "keep": ["receive", "book"], "settling": ["settle"]}
    message = only(look(groups), "problem", "circle", "keep")
    assert "in a circle with 'settling', 'work': " in message


def test_stateless_groups_that_feed_each_other_are_sound_where_no_message_comes_back(look: Look) -> None:
    assert look({"a": ["receive", "bill"], "work": ["price"]}) == []


@pytest.mark.parametrize(
    ("groups", "place"),
    [
        ({"a": ["price"], "b": ["reprice"]}, "a/price"),
        ({"a": ["price", "reprice"]}, "a/price"),
        ({"keep": ["settle", "price"]}, "keep/settle"),
    ],
    ids=["of stateless groups", "within a stateless group", "within a stateful group"],
)
def test_a_circle_of_nodes_is_a_warning(look: Look, groups: dict[str, list[str]], place: str) -> None:
    message = only(look(groups), "warning", "circle", place)
    assert message.startswith("what it sends out may come back to it by way of '")
    assert "fails at execution_ipc.max_hops = 64 steps" in message


def test_a_node_that_emits_what_it_consumes_is_a_circle_of_its_own(look: Look) -> None:
    message = only(look({"a": ["mirror"]}, execution_ipc={"max_hops": 8}), "warning", "circle", "a/mirror")
    assert message.startswith("what it sends out may come back to it: ") and "max_hops = 8" in message


def test_a_circle_within_a_group_is_told_beside_the_one_that_the_group_is_in(look: Look) -> None:
    findings = look({"keep": ["receive", "mirror", "book"], "work": ["price"]})
    assert [(finding.severity, finding.kind, finding.place) for finding in findings] == [
        ("problem", "circle", "keep"),
        ("warning", "circle", "keep/mirror"),
    ]


# -- targets


def test_a_target_in_no_group_is_a_problem(look: Look) -> None:
    message = only(look({"a": ["into_the_void"]}), "problem", "sends-to", "a/into_the_void")
    assert message == "sends_to names 'nowhere', which is in no group: correct the name, or add the node to a group"


def test_a_target_that_can_take_nothing_of_its_sender_is_a_problem(look: Look) -> None:
    message = only(look({"a": ["to_both", "both"]}), "problem", "sends-to", "a/to_both")
    assert message.startswith("sends_to names 'both', which consumes message_nodes:Order, message_nodes:Quote, and this node emits none")


def test_a_target_of_another_class_can_take_plain_json_only_which_is_a_warning(look: Look) -> None:
    findings = look({"a": ["order_to_bill", "bill"], "keep": ["book", "counter"]})
    assert [(finding.severity, finding.kind, finding.place) for finding in findings] == [
        ("warning", "sends-to", "a/order_to_bill"),
        ("warning", "sends-to", "a/order_to_bill"),
    ]
    assert "'bill'" in findings[0].message and "'book'" in findings[1].message


def test_a_sender_of_plain_json_may_name_a_node_that_consumes_one_class(look: Look) -> None:
    assert look({"a": ["to_price", "price"]}) == []


def test_a_target_that_is_configured_but_was_not_found_is_left_alone(look: Look) -> None:
    only(look({"a": ["into_the_void", "nowhere"]}), "problem", "missing-node", "a/nowhere")


# -- reach


def test_a_node_to_which_no_route_leads_from_the_source_is_a_problem(look: Look) -> None:
    groups = {"a": ["receive"], "b": ["price", "echo"], "c": ["bill"]}
    message = only(look(groups, source={"target": "receive"}), "problem", "unreachable", "b/echo")
    assert message.startswith("no declared route leads to it from source.target = 'receive': ")


def test_routes_by_name_reach_as_well_as_those_by_type(look: Look) -> None:
    assert look({"a": ["to_price"], "b": ["price"], "c": ["bill"]}, source={"target": "to_price"}) == []


def test_while_a_node_is_unknown_nothing_is_called_unreachable(look: Look) -> None:
    groups = {"a": ["receive", "echo"], "b": {"nodes": ["lost"], "discovery_modules": ["nowhere"]}}
    only(look(groups, source={"target": "receive"}), "problem", "import", "b")
