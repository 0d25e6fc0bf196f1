"""What the reports of commands add up to."""

from __future__ import annotations

from typing import Any

import pytest

from fixture_types import MakeConfig
from stream_kernel.execution.orchestration.run_summary import GroupTotals, NodeTotals, Totals
from stream_kernel.reports import CommandReport, NodeTiming


def report(group: str, inputs: int, *nodes: tuple[str, int, float], **times: Any) -> CommandReport:
    timing = tuple(NodeTiming(*node) for node in nodes)
    return CommandReport(correlation_id="c", group=group, inputs=inputs, delivery="executed", outcome="answered", nodes=timing, **times)


@pytest.fixture
def totals(make_config: MakeConfig) -> Totals:
    return Totals(make_config({"entry": {"nodes": ["echo", "many"], "workers": 3}, "policy": ["counter"]}))


def test_commands_are_added_up_by_group_and_node(totals: Totals) -> None:
    totals.add(
        [
            report("entry", 10, ("many", 4, 250.0), ("echo", 10, 500.0), queued_seconds=0.5, executing_seconds=1.0, wire_seconds=0.25),
            report("policy", 2, ("counter", 2, 125.0), executing_seconds=0.25, wire_seconds=0.125),
        ]
    )
    totals.add([report("entry", 5, ("echo", 5, 250.0), queued_seconds=0.25, executing_seconds=0.5, wire_seconds=0.25)])
    entry, policy = totals.groups(2.0)
    assert entry == GroupTotals(
        name="entry",
        workers=3,
        messages=15,
        per_second=7.5,
        node_seconds=1.0,
        wire_seconds=1.0,
        queued_seconds=0.75,
        nodes=(
            NodeTotals(name="echo", messages=15, per_second=7.5, node_seconds=0.75),
            NodeTotals(name="many", messages=4, per_second=2.0, node_seconds=0.25),
        ),
    )
    assert (policy.workers, policy.messages, policy.node_seconds, policy.wire_seconds, policy.queued_seconds) == (1, 2, 0.125, 0.25, 0.0)


def test_a_command_that_was_not_answered_counts_with_what_is_known_of_it(totals: Totals) -> None:
    totals.add([report("entry", 4, queued_seconds=0.5)])
    entry, _ = totals.groups(1.0)
    assert (entry.messages, entry.queued_seconds, entry.node_seconds, entry.wire_seconds) == (4, 0.5, 0.0, 0.0)


def test_clocks_that_disagree_never_make_time_on_the_wire_negative(totals: Totals) -> None:
    totals.add([report("entry", 1, ("echo", 1, 2.0), executing_seconds=0.001)])
    assert totals.groups(1.0)[0].wire_seconds == 0.0


def test_groups_and_nodes_that_had_nothing_to_do_are_there_in_the_order_of_the_configuration(totals: Totals) -> None:
    groups = totals.groups(0.0)
    assert [(group.name, [node.name for node in group.nodes]) for group in groups] == [("entry", ["echo", "many"]), ("policy", ["counter"])]
    assert {(group.messages, group.per_second, group.queued_seconds) for group in groups} == {(0, 0.0, 0.0)}


def test_a_run_of_no_time_has_no_rate(totals: Totals) -> None:
    totals.add([report("policy", 3, ("counter", 3, 1.0))])
    _, policy = totals.groups(0.0)
    assert (policy.per_second, policy.nodes[0].per_second, policy.nodes[0].messages) == (0.0, 0.0, 3)
