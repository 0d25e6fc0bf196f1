"""The rules, one by one, through the pipeline."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from fund_load_runs import line, profile, run, verdicts
from stream_kernel import ConfigurationError, NodeContext, WorkerBootstrapError
from stream_kernel.examples.fund_load.messages import CanonicalAttempt, ClassifiedAttempt, LoadAttempt, Verdict, WeightedAttempt
from stream_kernel.examples.fund_load.nodes import ApplyMondayFactor, CheckIdempotency, EvaluatePolicies, compute_time_keys

ACCEPTED, MALFORMED, REPLAY, CONFLICT = Verdict.ACCEPTED, Verdict.MALFORMED, Verdict.REPLAY, Verdict.CONFLICT
DAILY_ATTEMPTS, DAILY_AMOUNT, WEEKLY_AMOUNT = Verdict.DAILY_ATTEMPTS, Verdict.DAILY_AMOUNT, Verdict.WEEKLY_AMOUNT
PRIME_AMOUNT, PRIME_COUNT = Verdict.PRIME_AMOUNT, Verdict.PRIME_COUNT

SUNDAY, MONDAY, TUESDAY, WEDNESDAY = (f"2000-01-0{day}T12:00:00Z" for day in (2, 3, 4, 5))

both = pytest.mark.parametrize("name", ["baseline", "sanctions"])


# -- idempotency


@both
def test_an_id_that_comes_again_with_the_same_content_is_a_replay(name: str) -> None:
    assert verdicts(name, line("4"), line("4"), line("4")) == [ACCEPTED, REPLAY, REPLAY]


@both
@pytest.mark.parametrize("other", [{"customer": "8"}, {"amount": "$100.01"}, {"time": "2000-01-04T12:00:01Z"}], ids=str)
def test_an_id_that_comes_again_with_other_content_is_a_conflict_and_the_first_stays(name: str, other: dict[str, str]) -> None:
    assert verdicts(name, line("4"), line("4", **other), line("4"), line("4", **other)) == [ACCEPTED, CONFLICT, REPLAY, CONFLICT]


def test_content_is_compared_by_what_it_means() -> None:
    again = line("4", amount="USD $ 100", time="2000-01-04T14:00:00+02:00")
    assert verdicts("baseline", line("4"), again) == [ACCEPTED, REPLAY]


def test_ids_are_compared_as_text() -> None:
    assert verdicts("baseline", line("4"), line("04"), line("04")) == [ACCEPTED, ACCEPTED, REPLAY]


def test_what_is_kept_of_an_attempt_does_not_grow_with_its_fields() -> None:
    check, day, money = CheckIdempotency(), date(2000, 1, 4), Decimal("1.00")
    tracemalloc.start()
    try:
        for number in range(100):
            customer = f"{number}" + "7" * 100_000
            attempt = WeightedAttempt(str(number), customer, money, datetime(2000, 1, 4, tzinfo=UTC), day, day, False, money)
            assert isinstance(check(attempt, NodeContext()), CanonicalAttempt)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_an_attempt_that_was_declined_is_known_too() -> None:
    assert verdicts("baseline", line("4", amount="$5000.01"), line("4", amount="$5000.01"), line("4")) == [DAILY_AMOUNT, REPLAY, CONFLICT]


@both
def test_replays_and_conflicts_change_no_counter_and_no_sum(name: str) -> None:
    again = [line("4", amount="$1000.00")] * 3 + [line("4", amount="$4000.00")] * 3
    given = [line("4", amount="$1000.00"), *again, line("6", amount="$3000.00"), line("8", amount="$1000.00"), line("9", amount="$0")]
    assert verdicts(name, *given) == [ACCEPTED, *[REPLAY] * 3, *[CONFLICT] * 3, ACCEPTED, ACCEPTED, DAILY_ATTEMPTS]


@both
def test_the_id_of_a_malformed_line_is_not_remembered_and_the_line_counts_nowhere(name: str) -> None:
    given = [line("4", amount="-$100.00")] * 4 + [line("4"), line("4", time="then"), line("4")]
    assert verdicts(name, *given) == [*[MALFORMED] * 4, ACCEPTED, MALFORMED, REPLAY]


# -- attempts of a day


@both
def test_the_fourth_attempt_of_a_day_is_declined_even_if_the_others_were(name: str) -> None:
    given = [line(identifier, amount="$5000.01") for identifier in ("4", "6", "8")]
    assert verdicts(name, *given, line("9", amount="$0.01")) == [DAILY_AMOUNT] * 3 + [DAILY_ATTEMPTS]


def test_attempts_are_counted_for_each_customer_and_day() -> None:
    given = [line(str(n)) for n in range(3)] + [line("10", customer="8"), line("11", time=WEDNESDAY), line("12")]
    assert verdicts("baseline", *given) == [ACCEPTED] * 5 + [DAILY_ATTEMPTS]


def test_a_late_attempt_counts_on_its_own_day() -> None:
    given = [line("1", amount="$5000"), line("2", amount="$5000", time=WEDNESDAY), line("3", amount="$0.01")]
    assert verdicts("baseline", *given) == [ACCEPTED, ACCEPTED, DAILY_AMOUNT]


# -- amounts of a day


def test_a_day_may_come_to_its_limit_exactly() -> None:
    given = [line("1", amount="$4999.99"), line("2", amount="$0.01"), line("3", amount="$0.01"), line("4", amount="$0.01", time=WEDNESDAY)]
    assert verdicts("baseline", *given) == [ACCEPTED, ACCEPTED, DAILY_AMOUNT, ACCEPTED]


def test_what_was_declined_is_in_no_sum() -> None:
    given = [line("1", amount="$4000"), line("2", amount="$1000.01"), line("3", amount="$1000")]
    assert verdicts("baseline", *given) == [ACCEPTED, DAILY_AMOUNT, ACCEPTED]


def test_the_day_is_that_of_utc() -> None:
    spent = line("1", amount="$5000", time="2000-01-04T00:00:00Z")
    same_day = line("2", amount="$1", time="2000-01-05T01:59:59+02:00")
    day_before = line("3", amount="$1", time="2000-01-04T01:59:59+02:00")
    day_after = line("4", amount="$1", time="2000-01-04T22:00:00-02:00")
    assert verdicts("baseline", spent, same_day, day_before, day_after) == [ACCEPTED, DAILY_AMOUNT, ACCEPTED, ACCEPTED]


@pytest.fixture
def _nine_hours_ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_nine_hours_ahead")
def test_day_and_week_are_those_of_utc_whatever_the_zone_of_the_machine() -> None:
    assert datetime(2000, 1, 2, 23, tzinfo=UTC).astimezone().date() == date(2000, 1, 3)
    dated = compute_time_keys(LoadAttempt("4", "7", Decimal("1.00"), datetime(2000, 1, 2, 23, tzinfo=UTC)), NodeContext())
    assert (dated.day, dated.week) == (date(2000, 1, 2), date(1999, 12, 27))


@both
def test_an_amount_of_any_size_is_declined_like_any_other(name: str) -> None:
    given = [line("4", amount="$" + "9" * 5000, time=MONDAY), line("6", amount="$1", time=MONDAY)]
    assert verdicts(name, *given) == [DAILY_AMOUNT, ACCEPTED]


# -- amounts of a week


def week_of_full_days() -> list[str]:
    return [line(str(day), amount="$5000", time=f"2000-01-0{day}T12:00:00Z") for day in (4, 5, 6, 7)]


def test_a_week_may_come_to_its_limit_exactly() -> None:
    given = [*week_of_full_days(), line("8", amount="$0.01", time="2000-01-08T12:00:00Z")]
    assert verdicts("baseline", *given) == [ACCEPTED] * 4 + [WEEKLY_AMOUNT]


def test_a_week_goes_from_monday_to_sunday_in_utc() -> None:
    last, next_week = line("10", time="2000-01-09T23:59:59Z"), line("11", time="2000-01-10T00:00:00Z")
    first, week_before = line("12", time="2000-01-03T00:00:00Z"), line("13", time="2000-01-02T23:59:59Z")
    still_last = line("14", time="2000-01-10T00:59:59+01:00")
    given = [*week_of_full_days(), last, next_week, first, week_before, still_last]
    assert verdicts("baseline", *given)[4:] == [WEEKLY_AMOUNT, ACCEPTED, WEEKLY_AMOUNT, ACCEPTED, WEEKLY_AMOUNT]


def test_a_week_goes_on_over_the_end_of_a_year() -> None:
    given = [line(str(day), amount="$5000", time=f"2001-12-{day}T12:00:00Z") for day in (24, 25, 26, 27, 31)]
    given += [line(str(day), amount="$5000", time=f"2002-01-0{day}T12:00:00Z") for day in (1, 2, 3, 4)]
    assert verdicts("baseline", *given) == [ACCEPTED] * 8 + [WEEKLY_AMOUNT]


# -- sanctions: Mondays


def test_under_sanctions_an_amount_counts_twice_on_a_monday() -> None:
    given = [line("4", amount="$2500.00", time=MONDAY), line("6", amount="$0.01", time=MONDAY)]
    assert verdicts("sanctions", *given) == [ACCEPTED, DAILY_AMOUNT]
    assert verdicts("baseline", *given) == [ACCEPTED, ACCEPTED]


def test_the_doubled_amount_is_in_the_sum_of_the_week() -> None:
    monday, friday = line("10", amount="$2499.99", time=MONDAY), "2000-01-07T12:00:00Z"
    full_days = [line(f"{day}0", amount="$5000", time=f"2000-01-0{day}T12:00:00Z") for day in (4, 5, 6)]
    given = [monday, *full_days, line("20", amount="$0.03", time=friday), line("30", amount="$0.02", time=friday)]
    assert verdicts("sanctions", *given) == [ACCEPTED] * 4 + [WEEKLY_AMOUNT, ACCEPTED]
    assert verdicts("baseline", *given) == [ACCEPTED] * 6


def test_the_monday_is_that_of_utc() -> None:
    early, late = "2000-01-02T23:00:00-01:00", "2000-01-04T00:59:59+01:00"
    before, after = "2000-01-03T00:59:59+01:00", "2000-01-03T23:00:00-01:00"
    given = [line(str(4 + 2 * n), customer=str(n), amount="$2500.01", time=time) for n, time in enumerate((early, late, before, after))]
    assert verdicts("sanctions", *given) == [DAILY_AMOUNT, DAILY_AMOUNT, ACCEPTED, ACCEPTED]


def test_the_doubled_amount_is_not_rounded() -> None:
    monday = date(2000, 1, 3)
    attempt = ClassifiedAttempt("4", "7", Decimal("3" * 40 + ".33"), datetime(2000, 1, 3, tzinfo=UTC), monday, monday, is_prime=False)
    assert ApplyMondayFactor(factor=2)(attempt, NodeContext()).effective_amount == Decimal("6" * 40 + ".66")


# -- sanctions: primes


def test_under_sanctions_a_prime_id_has_a_limit_of_its_own() -> None:
    given = [line("7", amount="$9999.00"), line("11", amount="$9999.01"), line("12", amount="$9999.01")]
    assert verdicts("sanctions", *given) == [DAILY_AMOUNT, PRIME_AMOUNT, DAILY_AMOUNT]
    assert verdicts("baseline", *given) == [DAILY_AMOUNT] * 3


def test_that_limit_is_for_the_effective_amount() -> None:
    given = [line("7", amount="$4999.50", time=MONDAY), line("11", amount="$4999.51", time=MONDAY)]
    assert verdicts("sanctions", *given) == [DAILY_AMOUNT, PRIME_AMOUNT]


def test_under_sanctions_one_prime_a_day_is_accepted_over_all_customers() -> None:
    given = [line("7", customer="1"), line("11", customer="2"), line("12", customer="2"), line("13", customer="2", time=WEDNESDAY)]
    assert verdicts("sanctions", *given) == [ACCEPTED, PRIME_COUNT, ACCEPTED, ACCEPTED]
    assert verdicts("baseline", *given) == [ACCEPTED] * 4


def test_a_prime_that_is_declined_does_not_use_up_the_day() -> None:
    given = [line("7", amount="$5000.01"), line("7"), line("11", amount="$100"), line("13", amount="$5000.01")]
    assert verdicts("sanctions", *given) == [DAILY_AMOUNT, CONFLICT, ACCEPTED, PRIME_COUNT]


def test_the_limit_of_attempts_comes_before_the_rules_for_primes() -> None:
    given = [line(identifier, amount="$1") for identifier in ("4", "6", "8")]
    assert verdicts("sanctions", *given, line("7", amount="$9999.01"))[3] is DAILY_ATTEMPTS


def test_a_prime_with_leading_zeros_is_a_prime() -> None:
    assert verdicts("sanctions", line("7"), line("007")) == [ACCEPTED, PRIME_COUNT]


# -- settings


@pytest.mark.parametrize(
    ("key", "value"),
    [("daily_attempts", "3"), ("daily_amount", 5000), ("weekly_amount", "20,000"), ("prime_amount", 9999.0), ("prime_accepted_per_day", 0)],
)
def test_a_limit_that_is_none_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^nodes\.evaluate_policies\.{key}: must be "):
        EvaluatePolicies(**{key: value})


def test_a_factor_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^nodes\.apply_monday_factor\.factor: must be "):
        ApplyMondayFactor(factor=0)


def test_such_a_setting_stops_the_start_and_is_named() -> None:
    config = profile("baseline", nodes={"evaluate_policies": {"daily_amount": "lots"}})
    with pytest.raises(WorkerBootstrapError, match=r"nodes\.evaluate_policies\.daily_amount: must be an amount as text"):
        run(config, [line("4")])


def test_limits_are_settings() -> None:
    config = profile("baseline", nodes={"evaluate_policies": {"daily_attempts": 1, "daily_amount": "10"}})
    outputs = run(config, [line("4", amount="$10.00"), line("6", amount="$0"), line("8", amount="$10.01", customer="8")])
    assert [output["accepted"] for output in outputs] == [True, False, False]
