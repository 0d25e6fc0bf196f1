"""What the exit codes of `stream-kernel` say."""

from __future__ import annotations

import signal
from enum import IntEnum

from stream_kernel.execution.orchestration.run_summary import RunSummary

__all__ = ["ExitCode", "exit_code_of", "interruption_code"]


class ExitCode(IntEnum):
    """Documented in docs/command-line.md."""

    COMPLETE = 0
    """All lines are through; or nobody reads the output any more."""
    NODE_FAILED = 1
    """A line was refused, or a node failed for it; or `check` found a problem."""
    UNUSABLE = 2
    """Arguments, configuration, boot, or a stream that cannot be read or written."""
    WORKER_LOST = 3
    """A worker was lost with work at hand."""
    TIMED_OUT = 4
    """A batch passed its deadline."""
    STATE_LOST = 5
    """A stateful group lost its worker, and its state with it."""
    SOME_FAILED = 6
    """The run went to the end; some lines failed and were collected."""
    INTERRUPTED = 130
    """By Ctrl-C."""
    TERMINATED = 143
    """By SIGTERM."""


_OF_CATEGORY = {
    "transport": ExitCode.WORKER_LOST,
    "timeout": ExitCode.TIMED_OUT,
    "execution": ExitCode.NODE_FAILED,
    "input": ExitCode.NODE_FAILED,
}


def interruption_code(number: int | None) -> ExitCode:
    """The exit code after that signal; a Ctrl-C that came outside of the run has left none."""
    return ExitCode.TERMINATED if number == signal.SIGTERM else ExitCode.INTERRUPTED


def exit_code_of(summary: RunSummary) -> ExitCode:
    """The exit code of a run that was not interrupted."""
    if summary.outcome == "state_lost":
        return ExitCode.STATE_LOST
    if summary.outcome == "stream_failed":
        return ExitCode.UNUSABLE
    if summary.stopped_by is not None:
        return _OF_CATEGORY[summary.stopped_by.category]
    return ExitCode.SOME_FAILED if summary.outcome == "complete" and summary.failures else ExitCode.COMPLETE
