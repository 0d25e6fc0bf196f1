"""The rules of the fund-load example a second time, to compare the pipeline with.

It shares no code with the example: money is whole cents, windows are dictionaries of its own, an id is prime when trial division finds no
divisor. It does share the interpretation: which forms of a field are well-formed is what the example's document says, read here by other
means (`Decimal` and `fromisoformat` behind a few checks). A wrong reading of the rules would be wrong in both; only the known answer of
the real input is independent of that. For tests only: it takes as long as it takes.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from typing import Any

FIELDS = ("id", "customer_id", "load_amount", "time")
DIGITS = re.compile(r"[0-9]+")
MAX_DEPTH = 100

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
        given = json.loads(line, parse_constant=lambda name: 1 / 0)
        is_object = isinstance(given, dict) and depth(given) <= MAX_DEPTH
    except (ValueError, RecursionError, ZeroDivisionError):
        is_object = False
    return {name: only_text(given.get(name)) if is_object else "" for name in FIELDS}


def depth(value: object) -> int:
    """How many objects and arrays lie in each other."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def only_text(value: object) -> str:
    """A text that can be written as UTF-8."""
    return value if isinstance(value, str) and value.encode(errors="ignore").decode() == value else ""


def attempt_of(fields: dict[str, str]) -> Attempt | None:
    """The attempt, where all four fields have their forms."""
    identifier, customer, cents, time = fields["id"], fields["customer_id"], cents_of(fields["load_amount"]), utc(fields["time"])
    if DIGITS.fullmatch(identifier) and DIGITS.fullmatch(customer) and cents is not None and time is not None:
        return identifier, customer, cents, time
    return None


def cents_of(text: str) -> int | None:
    """The amount in cents."""
    bare = "".join(character for character in text if not character.isspace())
    prefix = next((prefix for prefix in ("USD$", "USD", "$") if bare.startswith(prefix)), "")
    bare = bare.removeprefix(prefix)
    whole, point, decimals = bare.partition(".")
    if set(bare) - set("0123456789.") or whole == "" or len(decimals) not in ((1, 2) if point else (0,)):
        return None
    try:
        return int(Fraction(Decimal(bare)) * 100)
    except InvalidOperation:
        return None


def utc(text: str) -> datetime | None:
    """The moment in UTC."""
    separators = [character for character in text if character not in "0123456789W-:.,+Z"]
    if separators not in (["T"], ["t"], [" "]) or text.partition(separators[0])[2].startswith("24"):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else None
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
