"""What is run again after a worker was lost, and what is not."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_engine import packed
from stream_kernel.engine.base import AtWork, Loss
from stream_kernel.engine.retrying import after_loss, delivery_of, is_poison, pause_before_retry
from stream_kernel.engine.settlement import Step
from stream_kernel.reports import CommandReport, Delivery
from stream_kernel.routing.items import InputItem


def steps(count: int) -> list[Step]:
    return [Step((0, index, 0, ()), index, "g", InputItem(packed(index), "n")) for index in range(count)]


def lost(
    at: int | None = None,
    *,
    category: Literal["transport", "timeout"] = "transport",
    delivery: Delivery = "maybe_executed",
    is_inflicted: bool = False,
) -> Loss:
    report = CommandReport(correlation_id="c1", group="g", inputs=1, delivery=delivery, outcome=category)
    return Loss(category, "it died", report, at_work=None if at is None else AtWork(at, "n"), is_inflicted=is_inflicted)


def roots(parts: list[list[Step]]) -> list[list[int]]:
    return [[step.root for step in part] for part in parts]


def test_without_retries_all_is_lost() -> None:
    part = steps(3)
    aftermath = after_loss(part, lost(1), retries=0)
    assert (aftermath.again, aftermath.failed) == ([], part)


@pytest.mark.fault("FAULT-33")
def test_the_one_at_work_goes_alone_and_the_others_of_its_command_together() -> None:
    aftermath = after_loss(steps(5), lost(2), retries=1)
    assert (roots(aftermath.again), aftermath.failed) == ([[0, 1, 3, 4], [2]], [])


def test_where_nothing_is_known_each_goes_alone() -> None:
    aftermath = after_loss(steps(3), lost(None), retries=1)
    assert (roots(aftermath.again), aftermath.failed) == ([[0], [1], [2]], [])


@pytest.mark.parametrize(
    "loss", [lost(0, category="timeout"), lost(None, delivery="not_executed"), lost(None, category="timeout", delivery="not_executed")]
)
def test_what_has_passed_its_deadline_or_never_reached_a_worker_is_not_run_again(loss: Loss) -> None:
    part = steps(2)
    aftermath = after_loss(part, loss, retries=5)
    assert (aftermath.again, aftermath.failed) == ([], part)


@pytest.mark.fault("FAULT-33")
def test_an_input_at_work_in_two_deaths_is_poison_however_many_retries_there_are() -> None:
    (step,) = part = steps(1)
    assert after_loss(part, lost(0), retries=100).again == [part]
    assert not is_poison(step)
    aftermath = after_loss(part, lost(0), retries=100)
    assert (aftermath.again, aftermath.failed, is_poison(step)) == ([], part, True)


@pytest.mark.fault("FAULT-33")
def test_a_worker_that_was_ended_by_force_is_no_reproach_to_what_it_was_at() -> None:
    (step,) = part = steps(1)
    after_loss(part, lost(0), retries=100)
    assert after_loss(part, lost(0, is_inflicted=True), retries=100).again == [part]
    assert (step.deaths, step.attempts, is_poison(step)) == (1, 2, False)


def test_deaths_that_nobody_saw_the_cause_of_use_up_the_retries_and_make_no_poison() -> None:
    (step,) = part = steps(1)
    for _ in range(3):
        assert after_loss(part, lost(None), retries=3).again == [part]
    aftermath = after_loss(part, lost(None), retries=3)
    assert (aftermath.failed, is_poison(step)) == (part, False)


def test_a_timeout_is_no_death() -> None:
    (step,) = part = steps(1)
    after_loss(part, lost(0), retries=5)
    after_loss(part, lost(0, category="timeout"), retries=5)
    assert not is_poison(step)


@pytest.mark.fault("FAULT-33")
def test_those_that_are_lost_together_once_more_go_alone_and_have_used_up_no_attempt() -> None:
    part = after_loss(steps(5), lost(0), retries=1).again[0]
    assert [(step.root, step.attempts, step.deaths) for step in part] == [(root, 0, 0) for root in (1, 2, 3, 4)]
    aftermath = after_loss(part, lost(1), retries=1)
    assert (roots(aftermath.again), aftermath.failed) == ([[1], [3], [4], [2]], [])
    assert [step.attempts for step in part] == [0, 1, 0, 0]


def test_those_that_are_lost_for_the_first_time_stay_together() -> None:
    before, part = steps(1), steps(5)[1:]
    after_loss([*before, *steps(7)[6:]], lost(1), retries=1)
    aftermath = after_loss([*before, *part], lost(4), retries=1)
    assert roots(aftermath.again) == [[1, 2, 3], [0], [4]]


def test_what_may_have_run_is_remembered() -> None:
    part = steps(3)
    after_loss(part, lost(1), retries=1)
    assert [step.may_have_run for step in part] == [True, True, False]
    after_loss(part, lost(None, delivery="not_executed"), retries=1)
    assert [step.may_have_run for step in part] == [True, True, False]


@pytest.mark.parametrize(
    ("loss", "deliveries"),
    [
        (lost(1), ["executed", "maybe_executed", "not_executed"]),
        (lost(None), ["maybe_executed"] * 3),
        (lost(1, category="timeout"), ["executed", "maybe_executed", "not_executed"]),
        (lost(None, delivery="not_executed"), ["not_executed"] * 3),
    ],
)
def test_the_place_of_the_one_at_work_tells_what_ran(loss: Loss, deliveries: list[Delivery]) -> None:
    assert [delivery_of(index, loss) for index in range(3)] == deliveries


@given(st.integers(1, 12), st.integers(1, 4), st.lists(st.none() | st.integers(0, 11), max_size=200))
def test_whatever_dies_no_input_is_lost_from_view_and_it_comes_to_an_end(count: int, retries: int, deaths: list[int | None]) -> None:
    waiting, failed, rounds = [steps(count)], [], 0
    while waiting:
        part = waiting.pop(0)
        at = deaths[rounds] if rounds < len(deaths) else 0
        aftermath = after_loss(part, lost(None if at is None else at % len(part)), retries=retries)
        assert sorted(step.root for part in [*aftermath.again, aftermath.failed] for step in part) == sorted(step.root for step in part)
        assert all(part for part in aftermath.again)
        waiting += aftermath.again
        failed += aftermath.failed
        rounds += 1
        assert rounds <= count * (retries + 1) + 1
    assert sorted(step.root for step in failed) == list(range(count))
    assert all(step.deaths <= 2 and step.attempts <= retries + 1 for step in failed)


def test_the_pause_doubles_up_to_a_second_and_is_at_random_below() -> None:
    asked: list[tuple[float, float]] = []

    def jitter(least: float, most: float) -> float:
        asked.append((least, most))
        return most / 2

    pauses = [pause_before_retry(attempt, jitter) for attempt in (1, 2, 3, 50)]
    assert pauses == [0.01, 0.02, 0.04, 0.5]
    assert asked == [(0.0, 0.02), (0.0, 0.04), (0.0, 0.08), (0.0, 1.0)]
