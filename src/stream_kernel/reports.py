"""What is reported of a failed call, of its commands and of a worker that ended: frozen values, and their text for people.

That text shows what callers, configurations and workers have said: whatever it is, it is escaped, and a line of it stays one line.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from stream_kernel.printable import printable

__all__ = ["Category", "CommandReport", "Delivery", "FailureReport", "NodeTiming", "OutOfMemory", "WorkerExitReport"]

Category = Literal["transport", "timeout", "execution", "input"]
Delivery = Literal["not_executed", "executed", "maybe_executed"]
OutOfMemory = Literal["yes", "likely", "no"]


class NodeTiming(msgspec.Struct, frozen=True, array_like=True):
    """What one node did in one command: its runs, and the time in its own code, the nodes that follow it not counted."""

    node: str
    runs: int
    milliseconds: float


class CommandReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one command (one frame to one worker) of a call. Times are seconds."""

    correlation_id: str
    group: str
    inputs: int
    """How many inputs the command carried."""
    delivery: Delivery
    outcome: Literal["answered", "failed", "transport", "timeout", "withdrawn"]
    worker_id: str | None = None
    pid: int | None = None
    generation: int | None = None
    queued_seconds: float = 0.0
    """From hand-over to the group until a worker took the command (or until the end, when none did)."""
    executing_seconds: float | None = None
    """From the worker's begin of the command to its end, as the worker noted it; None when it never began."""
    wire_seconds: float | None = None
    """The rest of the time at the worker: encoding, pipes, decoding. None when it is not known."""
    nodes: tuple[NodeTiming, ...] = ()
    """The nodes that ran, in the order in which they first did; empty when the worker did not answer, or for a command that failed."""


class WorkerExitReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker ended, and what it was doing. On its event, in the log, on the errors of its calls. `str()` of it is for people."""

    worker_id: str
    group: str
    generation: int
    """Which incarnation of the worker, from 1."""
    pid: int | None = None
    reason: str
    """One clean sentence: by itself, by whose hand, or why it could not be used."""
    exit_code: int | None = None
    signal: str | None = None
    """By name, for example `SIGKILL`."""
    by_supervisor: bool = False
    """Whether its supervisor has sent that signal. At a deadline that is `SIGRTMIN+10`, which has it write its stacks before."""
    out_of_memory: OutOfMemory = "no"
    """`yes`: killed for the memory of its cgroup, as far as counters can tell. `likely`: a SIGKILL that we did not send, and nothing
    rules it out.
    """
    peak_rss_bytes: int | None = None
    """The most memory that it was seen to hold: it may have held more between the last look and its end, unless `is_peak_exact`."""
    is_peak_exact: bool = False
    """It never held more than `peak_rss_bytes`: the system told so after its end."""
    node: str | None = None
    """The node that was running."""
    input_index: int | None = None
    """Which input of its command that node was working for."""
    trace_ids: tuple[str, ...] = ()
    """Of the commands that it had and had not answered."""
    uptime_seconds: float = 0.0
    requests: int = 0
    """Commands that it had answered."""
    stderr_tail: tuple[str, ...] = ()
    """The last 50 lines that it wrote to stderr, control characters escaped. They may quote anything: treat them as confidential."""
    stack: str | None = None
    """Its Python stacks at a crash or at a deadline, as faulthandler writes them, the thread that was at work first: files, lines and
    functions, no values."""

    def __str__(self) -> str:
        return "\n".join(map(printable, _exit_lines(self)))


class FailureReport(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call failed: the details that the error's text leaves out. A field is None when it is not known. `str()` is for people."""

    reason: str | None = None
    """One clean sentence or word, free of payloads and of texts from node code."""
    node: str | None = None
    input_index: int | None = None
    """Position in the `inputs` of the call; of `map`, in its `payloads`."""
    exception_type: str | None = None
    detail: str | None = None
    """Traceback of the node as text. It may quote what the node's exception quotes: treat it as confidential."""
    is_poison: bool = False
    """Two workers died with this input at work: it was not tried a third time."""
    exit: WorkerExitReport | None = None
    """How the worker ended that had the command."""
    commands: tuple[CommandReport, ...] = ()
    """Every command of the call, in order of hand-over."""

    @property
    def exit_code(self) -> int | None:
        """The worker's, when it ended by itself."""
        return None if self.exit is None else self.exit.exit_code

    @property
    def signal(self) -> str | None:
        """The signal that ended the worker, by name."""
        return None if self.exit is None else self.exit.signal

    @property
    def stack(self) -> str | None:
        """The Python stacks of the worker at its crash, or at the deadline."""
        return None if self.exit is None else self.exit.stack

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines that the worker wrote to stderr."""
        return () if self.exit is None else self.exit.stderr_tail

    def __str__(self) -> str:
        return "\n".join(map(printable, _failure_lines(self)))


def _failure_lines(report: FailureReport) -> list[str]:
    lines = [report.reason or "the call failed"]
    at = [] if report.input_index is None else [f"input {report.input_index}"]
    at += [] if report.node is None else [f"node '{report.node}'"]
    if at:
        has_run = any(command.delivery == "maybe_executed" for command in report.commands)
        lines.append(f"  {'at work' if has_run else 'for':<15}{' in '.join(at)}")
    if report.exception_type is not None:
        lines.append(f"  raised         {report.exception_type}")
    for command in report.commands:
        lines += _command_lines(command)
    if report.exit is not None:
        lines += _exit_lines(report.exit)
    return lines


def _command_lines(command: CommandReport) -> list[str]:
    where = command.group if command.worker_id is None else f"{command.worker_id} generation {command.generation} pid {command.pid}"
    times = [("queued", command.queued_seconds), ("on the wire", command.wire_seconds), ("executing", command.executing_seconds)]
    spent = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in times if seconds is not None)
    count = f"{command.inputs} input" if command.inputs == 1 else f"{command.inputs} inputs"
    return [
        f"  command        {command.correlation_id}: {count} to {where}",
        f"    did it run   {command.delivery}",
        f"    time         {spent}",
    ]


def _exit_lines(report: WorkerExitReport) -> list[str]:
    lines = [f"  worker         {report.worker_id} generation {report.generation} pid {report.pid}: {report.reason}"]
    if report.signal is not None or report.exit_code is not None:
        hand = ", from its supervisor" if report.by_supervisor else ""
        lines.append(f"    ended by     {report.signal or f'exit code {report.exit_code}'}{hand}")
    lines.append(f"    memory       out of memory: {report.out_of_memory}{_peak(report)}")
    if report.node is not None:
        at = "" if report.input_index is None else f", input {report.input_index} of its command"
        lines.append(f"    was running  node '{report.node}'{at}")
    if report.trace_ids:
        shown = ", ".join(map(_cut, report.trace_ids[:_SHOWN_TRACES]))
        rest = len(report.trace_ids) - _SHOWN_TRACES
        lines.append(f"    in flight    {shown}{f' and {rest} more' if rest > 0 else ''}")
    served = f"{report.requests} command" if report.requests == 1 else f"{report.requests} commands"
    lines.append(f"    served       {served} in {report.uptime_seconds:.1f} s")
    if report.stderr_tail:
        lines += ["    last lines of its stderr", *(f"      {line}" for line in report.stderr_tail)]
    if report.stack is not None:
        stack = _telling(report.stack.splitlines())
        rest = len(stack) - _SHOWN_FRAMES
        lines += [
            "    its stack",
            *(f"      {line}" for line in stack[:_SHOWN_FRAMES]),
            *([f"      and {rest} lines more"] if rest > 0 else []),
        ]
    return lines


def _telling(stack: list[str]) -> list[str]:
    """What is not the same in every stack; all of it, where there is no more than that."""
    lines = [line for line in stack if line and not any(place in line for place in _OWN_PLACES)]
    return lines if any("File " in line for line in lines) else stack


_OWN_PLACES = ("/stream_kernel/worker/", "/stream_kernel/nodes/runner.py", "<frozen runpy>", "Extension modules: ")


def _cut(trace_id: str) -> str:
    return trace_id if len(trace_id) <= _TRACE_LIMIT else f"{trace_id[:_TRACE_LIMIT]}…"


def _peak(report: WorkerExitReport) -> str:
    if report.peak_rss_bytes is None:
        return ""
    return f", peak {'' if report.is_peak_exact else 'at least '}{report.peak_rss_bytes / (1 << 20):.0f} MiB"


_SHOWN_TRACES, _TRACE_LIMIT = 5, 80
_SHOWN_FRAMES = 40
