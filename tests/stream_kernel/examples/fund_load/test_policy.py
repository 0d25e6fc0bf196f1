"""Limits: the order of the rules, their bounds, and settings that are no limits."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from stream_kernel import ConfigurationError
from stream_kernel.examples.fund_load.messages import CanonicalAttempt, Verdict
from stream_kernel.examples.fund_load.policy import Limits, amount_setting, count_setting
from stream_kernel.examples.fund_load.windows import Totals

SANCTIONS = Limits(3, Decimal("5000.00"), Decimal("20000.00"), Decimal("9999.00"), 1)
BASELINE = Limits(3, Decimal("5000.00"), Decimal("20000.00"), None, None)
BEYOND = Decimal("99999.99")


def attempt(amount: str = "1.00", *, is_prime: bool = True) -> CanonicalAttempt:
    money = Decimal(amount)
    return CanonicalAttempt("7", "1", money, datetime(2000, 1, 4, tzinfo=UTC), date(2000, 1, 4), date(2000, 1, 3), is_prime, money)


def test_the_first_rule_that_fails_declines() -> None:
    too_much = attempt("9999.01")
    assert SANCTIONS.verdict(too_much, Totals(4, BEYOND, BEYOND, 2)) is Verdict.DAILY_ATTEMPTS
    assert SANCTIONS.verdict(too_much, Totals(3, BEYOND, BEYOND, 2)) is Verdict.PRIME_AMOUNT
    assert SANCTIONS.verdict(attempt("9999.00"), Totals(3, BEYOND, BEYOND, 2)) is Verdict.PRIME_COUNT
    assert SANCTIONS.verdict(attempt("9999.00"), Totals(3, BEYOND, BEYOND, 1)) is Verdict.DAILY_AMOUNT
    assert SANCTIONS.verdict(attempt(), Totals(3, Decimal("5000.00"), BEYOND, 1)) is Verdict.WEEKLY_AMOUNT
    assert SANCTIONS.verdict(attempt(), Totals(3, Decimal("5000.00"), Decimal("20000.00"), 1)) is Verdict.ACCEPTED


def test_rules_for_primes_hold_for_primes_and_where_they_are_set() -> None:
    totals = Totals(1, Decimal("1.00"), Decimal("1.00"), 2)
    assert SANCTIONS.verdict(attempt("9999.01", is_prime=False), totals) is Verdict.ACCEPTED
    assert BASELINE.verdict(attempt("9999.01"), totals) is Verdict.ACCEPTED


def test_a_setting_is_an_amount_as_text() -> None:
    assert amount_setting("limit", "5000") == Decimal("5000.00")


@pytest.mark.parametrize("value", [5000, 5000.0, None, True, "", "-1", "5,000.00", "1.999", ["1"]])
def test_a_setting_that_is_no_amount_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r'^limit: must be an amount as text, such as "5000.00"$'):
        amount_setting("limit", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True])
def test_a_setting_that_is_no_count_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^limit: must be a whole number of at least 1$"):
        count_setting("limit", value)
    assert count_setting("limit", 3) == 3
