"""What a run shows of itself on stderr: a bar where there is a terminal, a line now and then where there is none, a table at the end."""

from __future__ import annotations

import os
import time
from typing import Protocol

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from stream_kernel.execution.orchestration.run_summary import GroupTotals, NodeTotals, RunSummary
from stream_kernel.execution.orchestration.stream_run import Progress

__all__ = ["BarReporter", "PlainReporter", "Reporter", "counted", "discard", "make_console", "reporter_for", "show_closing", "show_totals"]

_PLAIN_SECONDS = 10.0
_PLAIN_WIDTH = 160


class Reporter(Protocol):
    """Shows a run while it goes on. Used as a context manager around it."""

    def __enter__(self) -> Reporter: ...

    def __exit__(self, *_: object) -> None: ...

    def begin(self, title: str) -> None:
        """The workers are ready, the run begins."""

    def show(self, progress: Progress) -> None:
        """The run is here now. Called many times a second."""


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
            self._console.print(Text(_state(progress, self._rate)), soft_wrap=True)


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
        console.print(Text(line), soft_wrap=True)


def _closing(summary: RunSummary, output: str) -> list[str]:
    failure = summary.stopped_by
    if summary.outcome in ("complete", "output_closed"):
        return []
    complete = f"  complete: {_complete(summary)} ({summary.outputs} {'output' if summary.outputs == 1 else 'outputs'} in {output})"
    if failure is None:
        return [f"stream-kernel: {summary.problem or 'interrupted'}", complete]
    what = f"line {failure.line}: {failure.message}"
    if summary.outcome == "state_lost":
        what = f"line {failure.line}: the stateful group '{failure.group}' lost its worker, and its state with it: run again from line 1"
    elif failure.category == "input":  # its message begins with the line
        what = failure.message
    lines = [f"stream-kernel: stopped at {what}"]
    if failure.reason is not None:
        lines.append(f"  why: {failure.reason}")
    if failure.category != "input":
        lines.append(f"  did it run: {failure.delivery}")
    return [*lines, complete]


def _complete(summary: RunSummary) -> str:
    if not summary.lines_complete:
        return "no line"
    return "line 1" if summary.lines_complete == 1 else f"lines 1 to {summary.lines_complete}"
