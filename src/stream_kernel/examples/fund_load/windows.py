"""What customers have done in a day and in a week. Nothing is ever forgotten: an attempt may come with any time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from stream_kernel.examples.fund_load.amounts import EXACT
from stream_kernel.examples.fund_load.messages import CanonicalAttempt

__all__ = ["Totals", "Windows"]

_ZERO = Decimal("0.00")


@dataclass(frozen=True)
class Totals:
    """The windows of one attempt, this one included as if it were accepted."""

    day_attempts: int
    day_amount: Decimal
    week_amount: Decimal
    day_primes: int
    """Of all customers."""


class Windows:
    """The counters and sums of one run."""

    def __init__(self) -> None:
        self._attempts: Counter[tuple[str, date]] = Counter()
        self._day_amounts: dict[tuple[str, date], Decimal] = {}
        self._week_amounts: dict[tuple[str, date], Decimal] = {}
        self._primes: Counter[date] = Counter()

    def enter(self, attempt: CanonicalAttempt) -> Totals:
        """Count the attempt, and say what the windows come to with it."""
        in_day, in_week = (attempt.customer_id, attempt.day), (attempt.customer_id, attempt.week)
        self._attempts[in_day] += 1
        return Totals(
            day_attempts=self._attempts[in_day],
            day_amount=EXACT.add(self._day_amounts.get(in_day, _ZERO), attempt.effective_amount),
            week_amount=EXACT.add(self._week_amounts.get(in_week, _ZERO), attempt.effective_amount),
            day_primes=self._primes[attempt.day] + attempt.is_prime,
        )

    def accept(self, attempt: CanonicalAttempt, totals: Totals) -> None:
        """Keep the totals that `enter` gave for the attempt: it is accepted."""
        self._day_amounts[attempt.customer_id, attempt.day] = totals.day_amount
        self._week_amounts[attempt.customer_id, attempt.week] = totals.week_amount
        self._primes[attempt.day] = totals.day_primes
