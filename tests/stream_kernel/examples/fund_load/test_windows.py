"""Windows count every attempt, and add up what is accepted."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from stream_kernel.examples.fund_load.messages import CanonicalAttempt
from stream_kernel.examples.fund_load.windows import Totals, Windows

MONDAY, TUESDAY = date(2000, 1, 3), date(2000, 1, 4)


def attempt(amount: str, *, customer: str = "1", day: date = TUESDAY, is_prime: bool = False) -> CanonicalAttempt:
    money = Decimal(amount)
    return CanonicalAttempt("4", customer, money, datetime(2000, 1, 4, tzinfo=UTC), day, MONDAY, is_prime, money)


def totals(attempts: int, day: str, week: str, primes: int = 0) -> Totals:
    return Totals(attempts, Decimal(day), Decimal(week), primes)


def test_an_attempt_that_is_not_accepted_is_counted_and_adds_nothing() -> None:
    windows = Windows()
    assert windows.enter(attempt("10.00", is_prime=True)) == totals(1, "10.00", "10.00", 1)
    assert windows.enter(attempt("5.00")) == totals(2, "5.00", "5.00")


def test_an_attempt_that_is_accepted_is_in_the_sums_of_its_day_and_its_week() -> None:
    windows = Windows()
    first = attempt("10.00", day=MONDAY)
    windows.accept(first, windows.enter(first))
    assert windows.enter(attempt("0.01", day=MONDAY)) == totals(2, "10.01", "10.01")
    assert windows.enter(attempt("0.01")) == totals(1, "0.01", "10.01")
    assert windows.enter(attempt("0.01", customer="2", day=MONDAY)) == totals(1, "0.01", "0.01")


def test_accepted_primes_of_a_day_are_counted_over_all_customers() -> None:
    windows = Windows()
    first = attempt("1.00", is_prime=True)
    windows.accept(first, windows.enter(first))
    assert windows.enter(attempt("1.00", customer="2", is_prime=True)).day_primes == 2
    assert windows.enter(attempt("1.00", customer="2")).day_primes == 1
    assert windows.enter(attempt("1.00", day=MONDAY, is_prime=True)).day_primes == 1


def test_sums_are_not_rounded() -> None:
    windows = Windows()
    first = attempt("9" * 40 + ".01")
    windows.accept(first, windows.enter(first))
    assert windows.enter(attempt("0.01")).day_amount == Decimal("9" * 40 + ".02")
