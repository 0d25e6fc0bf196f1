"""What a run came to: frozen values for people and programs, and the totals that they are made from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from stream_kernel.config.model import ProcessGroupConfig, RuntimeConfig
from stream_kernel.reports import Category, CommandReport, Delivery, FailureReport, WorkerExitReport

__all__ = ["GroupTotals", "LineFailure", "NodeTotals", "RunOutcome", "RunSummary", "Totals"]

RunOutcome = Literal["complete", "failed", "state_lost", "stream_failed", "interrupted", "output_closed"]
"""`complete`: all input was taken (lines may have failed, under `collect`). `failed`: the failure of a line stopped it. `state_lost`: a
stateful group lost its worker. `stream_failed`: the input cannot be read, or the output written, any more. `interrupted`: it was told to
stop, whether what was in flight could be finished or not. `output_closed`: nobody reads the output any more."""


class LineFailure(msgspec.Struct, frozen=True, kw_only=True):
    """One failure of one input line, as it is written to the errors file."""

    line: int
    category: Category
    delivery: Delivery
    group: str | None
    node: str | None
    message: str
    reason: str | None = None


class NodeTotals(msgspec.Struct, frozen=True, kw_only=True):
    """One node over a run. Seconds are added up over all workers."""

    name: str
    messages: int
    per_second: float
    node_seconds: float


class GroupTotals(msgspec.Struct, frozen=True, kw_only=True):
    """One group over a run. Seconds are added up over all workers and messages."""

    name: str
    workers: int
    messages: int
    """That came into the group; its nodes may hand each other more."""
    per_second: float
    node_seconds: float
    wire_seconds: float
    """At a worker, but in no node: encoding, pipes, decoding."""
    queued_seconds: float
    """Batches waiting for a free worker."""
    nodes: tuple[NodeTotals, ...]


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run. Lines are counted from 1; `lines_complete` is the last line up to which all output is written."""

    run_id: str
    scenario_id: str
    mode: str
    outcome: RunOutcome
    lines_read: int
    lines_complete: int
    outputs: int
    failures: int
    restarts: int
    seconds: float
    lines_per_second: float
    groups: tuple[GroupTotals, ...]
    stopped_by: LineFailure | None = None
    """The failure of `failed` and `state_lost`."""
    problem: str | None = None
    """Of `stream_failed`: which stream, and why. Of `failed`: which group has failed for good, where that stopped the run, and why."""
    report: FailureReport | None = None
    """Of `stopped_by`: where the time went, how the worker ended, and its stack; without the traceback of the node."""
    line_at_work: int | None = None
    """The line that the node of `report` was working on; `stopped_by` may be one before it, of the same command."""
    exits: tuple[WorkerExitReport, ...] = ()
    """Of the workers that failed, oldest first. The last lines of their stderr are among it: treat them as confidential."""


class _Sums(msgspec.Struct):
    messages: int = 0
    node: float = 0.0
    held: float = 0.0
    queued: float = 0.0


class Totals:
    """Adds up what became of commands."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._groups = {group.name: _Sums() for group in config.process_groups}
        self._nodes = {node: _Sums() for group in config.process_groups for node in group.nodes}

    def add(self, reports: Iterable[CommandReport]) -> None:
        """Take the reports of a call."""
        for report in reports:
            sums = self._groups[report.group]
            sums.messages += report.inputs
            sums.queued += report.queued_seconds
            sums.held += (report.executing_seconds or 0.0) + (report.wire_seconds or 0.0)
            for timing in report.nodes:
                sums.node += timing.milliseconds / 1000
                self._nodes[timing.node].messages += timing.runs
                self._nodes[timing.node].node += timing.milliseconds / 1000

    def groups(self, seconds: float) -> tuple[GroupTotals, ...]:
        """The totals of a run of so many seconds."""
        return tuple(self._group(group, seconds) for group in self._config.process_groups)

    def _group(self, group: ProcessGroupConfig, seconds: float) -> GroupTotals:
        sums = self._groups[group.name]
        return GroupTotals(
            name=group.name,
            workers=group.workers,
            messages=sums.messages,
            per_second=_rate(sums.messages, seconds),
            node_seconds=sums.node,
            wire_seconds=max(0.0, sums.held - sums.node),
            queued_seconds=sums.queued,
            nodes=tuple(self._node(name, seconds) for name in group.nodes),
        )

    def _node(self, name: str, seconds: float) -> NodeTotals:
        sums = self._nodes[name]
        return NodeTotals(name=name, messages=sums.messages, per_second=_rate(sums.messages, seconds), node_seconds=sums.node)


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
