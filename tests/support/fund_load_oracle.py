"""The rules of the fund-load example a second time, straight from their text, to compare the pipeline with.

It shares nothing with the example: money is whole cents, time is worked out by hand, an id is prime when trial division finds no divisor.
For tests only: it takes as long as it takes.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

FIELDS = ("id", "customer_id", "load_amount", "time")
DIGITS = re.compile(r"[0-9]+")
MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)

Attempt = tuple[str, str, int, datetime]


class Oracle:
    """One run. `verdicts` counts what became of the attempts, in words of the rules."""

    def __init__(self, *, sanctions: bool) -> None:
        self.sanctions = sanctions
        self.verdicts: Counter[str] = Counter()
        self._canonical: dict[str, Attempt] = {}
        self._attempts: defaultdict[tuple[str, date], int] = defaultdict(int)
        self._day_cents: defaultdict[tuple[str, date], int] = defaultdict(int)
        self._week_cents: defaultdict[tuple[str, tuple[int, int]], int] = defaultdict(int)
        self._primes: defaultdict[date, int] = defaultdict(int)

    def decide_all(self, lines: Iterable[str]) -> list[dict[str, Any]]:
        """What the pipeline must give for these lines."""
        return [self.decide(line) for line in lines]

    def decide(self, line: str) -> dict[str, Any]:
        """The output for the next line."""
        fields = read(line)
        verdict = self._verdict(attempt_of(fields))
        self.verdicts[verdict] += 1
        return {"id": fields["id"], "customer_id": fields["customer_id"], "accepted": verdict == "accepted"}

    def _verdict(self, attempt: Attempt | None) -> str:
        if attempt is None:
            return "malformed"
        identifier, customer, cents, time = attempt
        if identifier in self._canonical:
            return "replay" if self._canonical[identifier] == attempt else "conflict"
        self._canonical[identifier] = attempt
        day, year_and_week = time.date(), time.isocalendar()[:2]
        if self.sanctions and time.isoweekday() == 1:
            cents *= 2
        is_prime = self.sanctions and has_no_divisor(int(identifier))
        self._attempts[customer, day] += 1
        if self._attempts[customer, day] > 3:
            return "daily_attempts"
        if is_prime and cents > 999_900:
            return "prime_amount"
        if is_prime and self._primes[day] == 1:
            return "prime_count"
        if self._day_cents[customer, day] + cents > 500_000:
            return "daily_amount"
        if self._week_cents[customer, year_and_week] + cents > 2_000_000:
            return "weekly_amount"
        self._day_cents[customer, day] += cents
        self._week_cents[customer, year_and_week] += cents
        self._primes[day] += is_prime
        return "accepted"


def read(line: str) -> dict[str, str]:
    """The four fields, empty where a line does not have them as text."""
    try:
        pairs = json.loads(line, object_pairs_hook=tuple, parse_constant=lambda name: 1 / 0)
    except (ValueError, RecursionError, ZeroDivisionError):
        pairs = ()
    given: defaultdict[str, list[object]] = defaultdict(list)
    for name, value in pairs if isinstance(pairs, tuple) else ():
        given[name].append(value)
    return {name: only_text(given[name]) for name in FIELDS}


def only_text(values: list[object]) -> str:
    """The one value, where it is one and can be written as UTF-8."""
    if len(values) == 1 and isinstance(values[0], str):
        return values[0] if values[0].encode(errors="ignore").decode() == values[0] else ""
    return ""


def attempt_of(fields: dict[str, str]) -> Attempt | None:
    """The attempt, where all four fields have their forms."""
    identifier, customer, cents, time = fields["id"], fields["customer_id"], cents_of(fields["load_amount"]), utc(fields["time"])
    if DIGITS.fullmatch(identifier) and DIGITS.fullmatch(customer) and cents is not None and time is not None:
        return identifier, customer, cents, time
    return None


def cents_of(text: str) -> int | None:
    """The amount in cents."""
    bare = text.strip().removeprefix("USD").lstrip().removeprefix("$").lstrip()
    whole, point, decimals = bare.partition(".")
    if not DIGITS.fullmatch(whole) or (point and not DIGITS.fullmatch(decimals)) or len(decimals) > 2:
        return None
    return int(whole + decimals.ljust(2, "0"))


def utc(text: str) -> datetime | None:
    """The moment in UTC, as a plain datetime; knows the extended format only, which is all that is generated."""
    found = MOMENT.fullmatch(text)
    if found is None:
        return None
    try:
        moment = datetime(*map(int, found.groups()[:6]))  # type: ignore[arg-type]  # six numbers
        offset = timedelta(hours=int(found[8] or 0), minutes=int(found[9] or 0))
        return moment + offset if found[7] == "-" else moment - offset
    except (ValueError, OverflowError):
        return None


@cache
def has_no_divisor(number: int) -> bool:
    """Whether a number is prime."""
    if number < 2:
        return False
    divisor = 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        divisor += 1
    return True
