"""What a run shows of itself on stderr: a bar where there is a terminal, a line now and then where there is none, a table at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from stream_kernel.execution.orchestration.run_summary import GroupTotals, LineFailure, NodeTotals, RunSummary
from stream_kernel.execution.orchestration.stream_run import Progress
from stream_kernel.printable import printable
from stream_kernel.reports import FailureReport, WorkerExitReport

__all__ = ["BarReporter", "PlainReporter", "Reporter", "counted", "discard", "make_console", "reporter_for", "show_closing", "show_totals"]

_PLAIN_SECONDS = 10.0
_PLAIN_WIDTH = 160
_SHOWN_EXITS = 5
_SHOWN_STDERR_LINES = 10
_SHOWN_STACK_LINES = 20


class Reporter(Protocol):
    """Shows a run while it goes on. Used as a context manager around it."""

    def __enter__(self) -> Reporter: ...

    def __exit__(self, *_: object) -> None: ...

    def begin(self, title: str) -> None:
        """The workers are ready, the run begins."""

    def show(self, progress: Progress) -> None:
        """The run is here now. Called many times a second."""

    def say(self, line: str) -> None:
        """Something that the user should know at once."""


def make_console(*, stderr: bool) -> Console:
    """A console on stderr or stdout. It honours `NO_COLOR`; without a terminal it gives plain text."""
    console = _Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else _Console(stderr=stderr, highlight=False, width=_PLAIN_WIDTH)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Who has stopped reading does not change what a command came to, and its exit code."""
        self.quiet = True
        discard(self.file.fileno())


def discard(descriptor: int) -> None:
    """From now on what is written there goes nowhere: the interpreter would try once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def reporter_for(console: Console, *, is_quiet: bool) -> Reporter:
    """The bar for a terminal that can show one, unless something else speaks there; lines otherwise."""
    is_bar = console.file.isatty() and not console.is_dumb_terminal and not is_quiet  # FORCE_COLOR makes no terminal
    return BarReporter(console) if is_bar else PlainReporter(console)


class _Rate:
    """Lines a second since the beginning."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def of(self, lines: int) -> float:
        seconds = time.monotonic() - self._begun
        return lines / seconds if seconds > 0 else 0.0


class BarReporter:
    """A progress bar."""

    def __init__(self, console: Console) -> None:
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=None, state="")
        self._rate = _Rate()

    def __enter__(self) -> BarReporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, title: str) -> None:
        self._rate = _Rate()
        self._bar.update(self._task, description=title)

    def show(self, progress: Progress) -> None:
        self._bar.update(self._task, completed=progress.bytes_complete, total=progress.bytes_total, state=_state(progress, self._rate))

    def say(self, line: str) -> None:
        self._bar.console.print(Text(line), soft_wrap=True)


class PlainReporter:
    """A line every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rate = _Rate()
        self._next = 0.0

    def __enter__(self) -> PlainReporter:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def begin(self, title: str) -> None:
        self._rate = _Rate()
        self._next = time.monotonic() + _PLAIN_SECONDS

    def show(self, progress: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next += _PLAIN_SECONDS
            self.say(_state(progress, self._rate))

    def say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


def _state(progress: Progress, rate: _Rate) -> str:
    done = progress.lines_complete
    parts = [
        counted(done, "line"),
        f"{rate.of(done):,.0f}/s",
        f"{progress.lines_in_flight:,} in flight",
        counted(progress.restarts, "restart"),
    ]
    return ", ".join([*parts, *([counted(progress.failures, "failure")] if progress.failures else [])])


def counted(number: int, noun: str) -> str:
    """`1 line`, `2,000 lines`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def show_totals(summary: RunSummary, console: Console) -> None:
    """The closing table: one row a group, and below it one a node."""
    table = Table(box=None, pad_edge=False)
    table.add_column("group / node", no_wrap=True)
    for heading in ("workers", "messages", "per s", "node s", "wire s", "queued s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in summary.groups:
        table.add_row(*map(Text, _group_row(group)), style="bold")
        for node in group.nodes:
            table.add_row(*map(Text, _node_row(node)))
    # A row that is cut says nothing: on a narrow terminal it is wrapped as any other line.
    table.width = Measurement.get(console, console.options.update(max_width=_PLAIN_WIDTH), table).maximum
    console.print(table, crop=False)
    console.print(
        Text(
            f"{counted(summary.lines_complete, 'line')} in {summary.seconds:.2f} s, {summary.lines_per_second:,.0f} a second: "
            f"{counted(summary.outputs, 'output')}, {counted(summary.failures, 'failure')}, {counted(summary.restarts, 'restart')}"
        ),
        soft_wrap=True,
    )
    told_below = None if summary.report is None else summary.report.exit
    _show_exits([each for each in summary.exits if each != told_below], console)


def _show_exits(exits: Sequence[WorkerExitReport], console: Console) -> None:
    """How workers failed, the last ones of many."""
    if exits:
        console.print(Text("workers that failed", "bold"))
    for each in exits[-_SHOWN_EXITS:]:
        console.print(Text(str(_shortened(each))), soft_wrap=True)
    if len(exits) > _SHOWN_EXITS:
        console.print(Text(f"  and {len(exits) - _SHOWN_EXITS:,} more, earlier"))


def _shortened(report: WorkerExitReport) -> WorkerExitReport:
    stack = None if report.stack is None else "\n".join(report.stack.splitlines()[:_SHOWN_STACK_LINES])
    return msgspec.structs.replace(report, stderr_tail=report.stderr_tail[-_SHOWN_STDERR_LINES:], stack=stack)


def _group_row(group: GroupTotals) -> tuple[str, ...]:
    times = (_seconds(group.node_seconds), _seconds(group.wire_seconds), _seconds(group.queued_seconds))
    return (group.name, str(group.workers), f"{group.messages:,}", f"{group.per_second:,.0f}", *times)


def _node_row(node: NodeTotals) -> tuple[str, ...]:
    return (f"  {node.name}", "", f"{node.messages:,}", f"{node.per_second:,.0f}", _seconds(node.node_seconds), "", "")


def _seconds(value: float) -> str:
    return f"{value:,.2f}"


def show_closing(summary: RunSummary, output: str, console: Console) -> None:
    """Why the run did not take all of its input, and what is complete; nothing when it did."""
    for line in _closing(summary, output):
        console.print(Text(printable(line)), soft_wrap=True)


def _closing(summary: RunSummary, output: str) -> Iterator[str]:
    if summary.outcome in ("complete", "output_closed"):
        return
    if summary.stopped_by is None:
        yield f"stream-kernel: {summary.problem or 'interrupted'}"
    else:
        yield from _stop(summary, summary.stopped_by)
    yield f"  complete: {_lines(1, summary.lines_complete)} ({counted(summary.outputs, 'output')} in {output})"
    if summary.outcome == "interrupted" and summary.lines_read > summary.lines_complete:
        yield f"  not complete: {_lines(summary.lines_complete + 1, summary.lines_read)}, which may have run"


def _stop(summary: RunSummary, failure: LineFailure) -> Iterator[str]:
    """The line that stopped a run, and why."""
    if summary.outcome == "state_lost":
        lost = f"the stateful group '{failure.group}' lost its worker, and its state with it: run again from line 1"
        yield f"stream-kernel: stopped at line {failure.line}: {lost}"
    elif failure.category == "input":  # its message begins with the line
        yield f"stream-kernel: stopped at {failure.message}"
    else:
        yield f"stream-kernel: stopped at line {failure.line}: {failure.message}"
    if failure.reason is not None:
        yield f"  why: {failure.reason}"
    if summary.problem is not None:
        yield f"  {summary.problem}"
    if failure.category != "input":
        yield f"  did it run: {failure.delivery}"
    if summary.report is not None and failure.category in ("transport", "timeout"):
        has_run = failure.delivery != "not_executed" or summary.report.exit is not None
        yield from _details(summary.report, summary.line_at_work, "at work" if has_run else "for")


def _details(report: FailureReport, line_at_work: int | None, label: str) -> Iterator[str]:
    """What a report knows beyond its reason: what it is about, where the time went, how the worker ended, its stack."""
    at_work = [] if line_at_work is None else [f"line {line_at_work}"]
    at_work += [] if report.node is None else [f"node '{report.node}'"]
    if at_work:
        yield f"  {label}: {' in '.join(at_work)}"
    # The rest in its own words; where it counts inputs of a call, a run counts lines.
    ended = None if report.exit is None else _shortened(report.exit)
    yield from str(msgspec.structs.replace(report, node=None, input_index=None, exit=ended)).splitlines()[1:]


def _lines(first: int, last: int) -> str:
    if last < first:
        return "no line"
    return f"line {first}" if last == first else f"lines {first} to {last}"
