"""Summaries of runs that never were."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_kernel.execution.orchestration.run_summary import GroupTotals, LineFailure, NodeTotals, RunSummary

__all__ = ["failure_with", "group_with", "summary_with"]

_FAILURE = LineFailure(
    line=8, category="execution", delivery="executed", group="policy", node="decide", message="remote handoff failed for group 'policy'"
)
_NODE = NodeTotals(name="decide", messages=3000, per_second=1500.0, node_seconds=1.25)
_GROUP = GroupTotals(
    name="policy", workers=2, messages=1500, per_second=750.0, node_seconds=1.25, wire_seconds=0.5, queued_seconds=12.0, nodes=(_NODE,)
)
_SUMMARY = RunSummary(
    run_id="r",
    scenario_id="s",
    mode="process_supervisor",
    outcome="complete",
    lines_read=9,
    lines_complete=7,
    outputs=5,
    failures=0,
    restarts=0,
    seconds=2.0,
    lines_per_second=3.5,
    groups=(_GROUP,),
)


def failure_with(**changes: Any) -> LineFailure:
    """The failure of line 8 in a node, with these fields changed."""
    return msgspec.structs.replace(_FAILURE, **changes)


def group_with(**changes: Any) -> GroupTotals:
    """The totals of a group, with these fields changed."""
    return msgspec.structs.replace(_GROUP, **changes)


def summary_with(**changes: Any) -> RunSummary:
    """A run of seven lines that is complete, with these fields changed."""
    return msgspec.structs.replace(_SUMMARY, **changes)
