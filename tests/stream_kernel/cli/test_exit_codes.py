"""What the exit code says of a run."""

from __future__ import annotations

import signal

import pytest

from run_summaries import failure_with, summary_with
from stream_kernel.cli.exit_codes import ExitCode, exit_code_of, interruption_code
from stream_kernel.execution.orchestration.run_summary import RunOutcome
from stream_kernel.reports import Category


def test_the_numbers_are_those_that_scripts_rely_on() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "COMPLETE": 0,
        "NODE_FAILED": 1,
        "UNUSABLE": 2,
        "WORKER_LOST": 3,
        "TIMED_OUT": 4,
        "STATE_LOST": 5,
        "SOME_FAILED": 6,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


@pytest.mark.parametrize(
    ("outcome", "failures", "code"),
    [
        ("complete", 0, ExitCode.COMPLETE),
        ("complete", 1, ExitCode.SOME_FAILED),
        ("output_closed", 0, ExitCode.COMPLETE),
        ("output_closed", 1, ExitCode.COMPLETE),
        ("stream_failed", 0, ExitCode.UNUSABLE),
        ("stream_failed", 1, ExitCode.UNUSABLE),
    ],
)
def test_a_run_that_no_failure_stopped(outcome: RunOutcome, failures: int, code: ExitCode) -> None:
    assert exit_code_of(summary_with(outcome=outcome, failures=failures)) is code


@pytest.mark.parametrize(
    ("category", "code"),
    [
        ("execution", ExitCode.NODE_FAILED),
        ("input", ExitCode.NODE_FAILED),
        ("transport", ExitCode.WORKER_LOST),
        ("timeout", ExitCode.TIMED_OUT),
    ],
)
def test_a_run_that_a_failure_stopped_tells_its_kind(category: Category, code: ExitCode) -> None:
    assert exit_code_of(summary_with(outcome="failed", failures=1, stopped_by=failure_with(category=category))) is code


@pytest.mark.parametrize("category", ["transport", "timeout"])
def test_state_that_is_lost_tells_more_than_how(category: Category) -> None:
    assert exit_code_of(summary_with(outcome="state_lost", failures=1, stopped_by=failure_with(category=category))) is ExitCode.STATE_LOST


def test_an_interrupted_run_ends_as_if_the_signal_had_ended_it() -> None:
    assert interruption_code(signal.SIGINT) == interruption_code(None) == 130
    assert interruption_code(signal.SIGTERM) == 143
