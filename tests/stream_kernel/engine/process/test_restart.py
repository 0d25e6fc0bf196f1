"""How many deaths a group may have in a period."""

from __future__ import annotations

from stream_kernel.engine.process.restart import RestartWindow


def test_more_deaths_than_the_intensity_within_the_period_exceed_it() -> None:
    window = RestartWindow(intensity=3, period_seconds=10)
    assert [window.exceeded_by_death(now) for now in (0.0, 1.0, 2.0, 3.0)] == [False, False, False, True]


def test_deaths_older_than_the_period_do_not_count() -> None:
    window = RestartWindow(intensity=1, period_seconds=10)
    assert [window.exceeded_by_death(now) for now in (0.0, 10.0, 20.0, 29.9)] == [False, False, False, True]


def test_a_window_that_was_told_to_forget_starts_over() -> None:
    window = RestartWindow(intensity=1, period_seconds=10)
    window.exceeded_by_death(0.0)
    window.forget()
    assert not window.exceeded_by_death(1.0)


def test_five_deaths_in_thirty_seconds_are_borne_and_a_sixth_is_not() -> None:
    window = RestartWindow()
    assert [window.exceeded_by_death(float(now)) for now in range(6)] == [False] * 5 + [True]
