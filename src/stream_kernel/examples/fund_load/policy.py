"""The limits of a profile, and the verdict on an attempt by them. Pure: what the windows come to is given."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from stream_kernel import ConfigurationError
from stream_kernel.examples.fund_load.amounts import parse_amount
from stream_kernel.examples.fund_load.messages import CanonicalAttempt, Verdict
from stream_kernel.examples.fund_load.windows import Totals

__all__ = ["Limits", "amount_setting", "count_setting"]


@dataclass(frozen=True)
class Limits:
    """What is allowed, bounds included; None: there is no such limit."""

    daily_attempts: int
    daily_amount: Decimal
    weekly_amount: Decimal
    prime_amount: Decimal | None
    prime_accepted_per_day: int | None

    def verdict(self, attempt: CanonicalAttempt, totals: Totals) -> Verdict:
        """By the first rule that fails."""
        if totals.day_attempts > self.daily_attempts:
            return Verdict.DAILY_ATTEMPTS
        if attempt.is_prime:
            if self.prime_amount is not None and attempt.effective_amount > self.prime_amount:
                return Verdict.PRIME_AMOUNT
            if self.prime_accepted_per_day is not None and totals.day_primes > self.prime_accepted_per_day:
                return Verdict.PRIME_COUNT
        if totals.day_amount > self.daily_amount:
            return Verdict.DAILY_AMOUNT
        if totals.week_amount > self.weekly_amount:
            return Verdict.WEEKLY_AMOUNT
        return Verdict.ACCEPTED


def amount_setting(path: str, value: object) -> Decimal:
    """The amount that is set at `path`; raises `ConfigurationError`. Text, because a TOML number would be a float."""
    amount = parse_amount(value) if isinstance(value, str) else None
    if amount is None:
        raise ConfigurationError(f'{path}: must be an amount as text, such as "5000.00"')
    return amount


def count_setting(path: str, value: object) -> int:
    """The count that is set at `path`; raises `ConfigurationError`."""
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{path}: must be a whole number of at least 1")
    return value
