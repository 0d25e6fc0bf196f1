"""What travels between the nodes: an attempt that knows a little more after each step, and the decision on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum

__all__ = ["CanonicalAttempt", "ClassifiedAttempt", "DatedAttempt", "Decision", "LoadAttempt", "Verdict", "WeightedAttempt"]


@dataclass(frozen=True)
class LoadAttempt:
    """A well-formed line. `id` and `customer_id` are ASCII digits, `amount` has two places, `time` is in UTC."""

    id: str
    customer_id: str
    amount: Decimal
    time: datetime


@dataclass(frozen=True)
class DatedAttempt(LoadAttempt):
    """With the windows that it belongs to: its UTC day, and its week by the Monday that begins it."""

    day: date
    week: date


@dataclass(frozen=True)
class ClassifiedAttempt(DatedAttempt):
    """With what its id is."""

    is_prime: bool


@dataclass(frozen=True)
class WeightedAttempt(ClassifiedAttempt):
    """With the amount that counts against limits and in sums."""

    effective_amount: Decimal


@dataclass(frozen=True)
class CanonicalAttempt(WeightedAttempt):
    """The first attempt with its id: the policies hold for it."""


class Verdict(Enum):
    """Why an attempt is accepted or declined; the output says only whether."""

    ACCEPTED = "accepted"
    MALFORMED = "malformed"
    REPLAY = "replay"
    CONFLICT = "conflict"
    DAILY_ATTEMPTS = "daily_attempts"
    PRIME_AMOUNT = "prime_amount"
    PRIME_COUNT = "prime_count"
    DAILY_AMOUNT = "daily_amount"
    WEEKLY_AMOUNT = "weekly_amount"


@dataclass(frozen=True)
class Decision:
    """The end of an attempt. `id` and `customer_id` are what the line had there, empty where that was no text."""

    id: str
    customer_id: str
    verdict: Verdict
