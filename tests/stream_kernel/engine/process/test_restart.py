"""Whether a lost worker is replaced, after which pause, and when its group is given up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_kernel.config.model import RestartConfig
from stream_kernel.engine.process.restart import Abandon, Replace, RestartPolicy, Verdict
from stream_kernel.reports import WorkerExitReport


def policy(**keys: Any) -> RestartPolicy:
    """A policy whose pauses are as long as they can be."""
    return RestartPolicy(RestartConfig(**keys), jitter=lambda _, most: most)


def ended(*, exit_code: int | None = None, signal: str | None = None, uptime_seconds: float = 1.0) -> WorkerExitReport:
    return WorkerExitReport(
        worker_id="g#0", group="g", generation=1, reason="it ended", exit_code=exit_code, signal=signal, uptime_seconds=uptime_seconds
    )


KILLED = ended(signal="SIGKILL")


def delays(verdicts: list[Verdict]) -> list[float | None]:
    """The pauses; None where the worker is not replaced."""
    return [verdict.delay_seconds if isinstance(verdict, Replace) else None for verdict in verdicts]


# -- how many


def test_more_deaths_than_the_intensity_within_the_period_fail_the_group() -> None:
    one = policy(intensity=3, period_seconds=10)
    verdicts = [one.after_death(0, now, KILLED) for now in (0.0, 1.0, 2.0, 3.0)]
    assert [isinstance(verdict, Replace) for verdict in verdicts] == [True, True, True, False]
    assert verdicts[-1] == Abandon("its workers died too often (process_groups.restart: more than 3 in 10 s)", fails_group=True)


def test_deaths_older_than_the_period_do_not_count() -> None:
    one = policy(intensity=1, period_seconds=10)
    verdicts = [one.after_death(0, now, KILLED) for now in (0.0, 10.0, 20.0, 29.9)]
    assert [isinstance(verdict, Replace) for verdict in verdicts] == [True, True, True, False]


def test_five_deaths_in_thirty_seconds_are_borne_and_a_sixth_is_not() -> None:
    one = policy()
    assert [isinstance(one.after_death(0, float(now), KILLED), Replace) for now in range(6)] == [True] * 5 + [False]


def test_an_intensity_of_nought_bears_no_death() -> None:
    assert isinstance(policy(intensity=0).after_death(0, 0.0, KILLED), Abandon)


def test_the_workers_of_a_group_share_its_intensity() -> None:
    one = policy(intensity=2)
    verdicts = [one.after_death(worker, 0.0, KILLED) for worker in range(3)]
    assert [isinstance(verdict, Replace) for verdict in verdicts] == [True, True, False]


def test_what_was_told_to_forget_starts_over() -> None:
    one = policy(intensity=1)
    one.after_death(0, 0.0, KILLED)
    one.after_failed_boot(0, 0.0, was_ever_ready=True)
    one.forget()
    assert one.after_death(0, 1.0, KILLED) == Replace(0.0)


def test_what_was_told_to_forget_has_seen_no_boot_fail() -> None:
    one = policy(intensity=5)
    for _ in range(3):
        assert one.after_failed_boot(0, 0.0, was_ever_ready=False) == Replace(0.0)
        one.forget()


def test_deaths_that_we_inflict_never_count() -> None:
    one = policy(intensity=1)
    assert [one.after_inflicted(KILLED) for _ in range(100)] == [Replace(0.0)] * 100
    assert one.after_death(0, 0.0, KILLED) == Replace(0.0)


def test_a_worker_that_we_have_killed_is_replaced_when_those_that_were_killed_with_it_are_gone() -> None:
    assert policy().after_inflicted(msgspec.structs.replace(KILLED, by_supervisor=True)) == Replace(0.03)


@given(st.integers(0, 20), st.floats(0.5, 100.0), st.lists(st.floats(0.0, 50.0), max_size=60))
def test_a_group_is_given_up_exactly_when_a_period_holds_more_deaths_than_the_intensity(
    intensity: int, period: float, gaps: list[float]
) -> None:
    one, now, deaths = policy(intensity=intensity, period_seconds=period), 0.0, []
    for gap in gaps:
        now += gap
        deaths.append(now)
        in_period = sum(death > now - period for death in deaths)
        assert isinstance(one.after_death(0, now, KILLED), Abandon) == (in_period > intensity)


# -- after which pause


def test_the_first_replacement_comes_at_once_and_each_further_one_waits_twice_as_long_up_to_a_bound() -> None:
    one = policy(intensity=1000, backoff_seconds=(0.5, 3.0))
    assert delays([one.after_death(0, float(now), KILLED) for now in range(6)]) == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_pause_of_a_worker_is_its_own() -> None:
    one = policy()
    one.after_death(0, 0.0, KILLED)
    one.after_death(0, 0.0, KILLED)
    assert one.after_death(1, 0.0, KILLED) == Replace(0.0)


def test_a_worker_that_has_lived_long_starts_over_with_its_pause() -> None:
    one = policy()
    verdicts = [one.after_death(0, now, ended(signal="SIGKILL", uptime_seconds=up)) for now, up in ((0, 1), (60, 59.9), (200, 60))]
    assert delays(verdicts) == [0.0, 0.1, 0.0]


def test_the_pause_is_at_random_between_nothing_and_its_bound() -> None:
    asked: list[tuple[float, float]] = []

    def jitter(least: float, most: float) -> float:
        asked.append((least, most))
        return most / 4

    one = RestartPolicy(RestartConfig(backoff_seconds=(0.4, 30.0)), jitter)
    assert delays([one.after_death(0, 0.0, KILLED) for _ in range(3)]) == [0.0, 0.1, 0.2]
    assert asked == [(0.0, 0.4), (0.0, 0.8)]


def test_a_thousand_deaths_in_a_row_are_still_a_number() -> None:
    one = policy(intensity=1000, period_seconds=0.5, backoff_seconds=(0.1, 30.0))
    assert delays([one.after_death(0, float(now), KILLED) for now in range(2000)])[-1] == 30.0


# -- the strategies


@pytest.mark.parametrize(
    ("strategy", "end", "is_replaced"),
    [
        ("permanent", ended(exit_code=0), True),
        ("permanent", KILLED, True),
        ("transient", ended(exit_code=0), False),
        ("transient", ended(exit_code=1), True),
        ("transient", KILLED, True),
        ("transient", None, True),
        ("temporary", ended(exit_code=0), False),
        ("temporary", KILLED, False),
    ],
)
def test_what_becomes_of_a_worker_is_for_the_strategy_to_say(strategy: str, end: WorkerExitReport | None, is_replaced: bool) -> None:
    verdict = policy(strategy=strategy).after_death(0, 0.0, end)
    assert isinstance(verdict, Replace) == is_replaced
    assert is_replaced or (isinstance(verdict, Abandon) and not verdict.fails_group)


@pytest.mark.parametrize(("strategy", "is_replaced"), [("permanent", True), ("transient", True), ("temporary", False)])
def test_a_worker_that_we_have_ended_is_replaced_unless_none_is(strategy: str, is_replaced: bool) -> None:
    assert isinstance(policy(strategy=strategy).after_inflicted(KILLED), Replace) == is_replaced


def test_a_worker_that_is_not_replaced_fails_nobody() -> None:
    one = policy(strategy="temporary", intensity=0)
    assert not any(
        verdict.fails_group for verdict in (one.after_death(0, 0.0, KILLED), one.after_inflicted(KILLED)) if isinstance(verdict, Abandon)
    )


# -- workers that cannot boot


def test_two_boots_in_a_row_that_fail_before_a_worker_was_ever_ready_fail_the_group() -> None:
    one = policy()
    assert one.after_failed_boot(0, 0.0, was_ever_ready=False) == Replace(0.0)
    assert one.after_failed_boot(0, 0.0, was_ever_ready=False) == Abandon("it could not be started", fails_group=True)


def test_each_worker_may_fail_once() -> None:
    one = policy()
    assert [one.after_failed_boot(worker, 0.0, was_ever_ready=False) for worker in range(3)] == [Replace(0.0)] * 3


def test_a_worker_that_has_come_up_in_between_may_fail_again() -> None:
    one = policy()
    one.after_failed_boot(0, 0.0, was_ever_ready=False)
    one.became_ready(0)
    assert isinstance(one.after_failed_boot(0, 100.0, was_ever_ready=False), Replace)


def test_replacements_that_do_not_boot_are_tried_again_after_pauses_and_counted_however_far_apart() -> None:
    one = policy(intensity=3, period_seconds=1.0)
    verdicts = [one.after_failed_boot(0, now, was_ever_ready=True) for now in (0.0, 100.0, 200.0, 300.0)]
    assert delays(verdicts) == [0.0, 0.1, 0.2, None]
    assert verdicts[-1] == Abandon("4 replacements in a row could not be started", fails_group=True)


def test_deaths_and_failed_boots_fill_the_same_period() -> None:
    one = policy(intensity=2)
    one.after_death(0, 0.0, KILLED)
    one.after_failed_boot(0, 0.1, was_ever_ready=True)
    verdict = one.after_death(0, 0.2, KILLED)
    assert isinstance(verdict, Abandon) and verdict.fails_group
