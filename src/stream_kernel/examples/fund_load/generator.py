"""Input of any size: the same lines for the same seed, on every Python version, in constant memory.

It looks like what comes in: time moves on, some attempts are late, customers differ in how much they do, amounts and times are written
in all the ways that are allowed, lines are sent again or sent again changed, and some are broken. Every rule of both profiles has
something to decline within the first thousands of lines.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from math import isqrt
from random import Random
from typing import Any, TypeVar

__all__ = ["generate_attempts"]

T = TypeVar("T")

_START = datetime(2000, 1, 1, tzinfo=UTC)
_MAX_STEP_SECONDS = 400
_MAX_LATE_SECONDS = 40_000
_CUSTOMERS = 250
_USUAL_CENTS = 350_000
_LARGE_CENTS = 1_500_000
_REMEMBERED = 500

_REPLAYED = 0.015
_CHANGED = 0.015
_LATE = 0.03
_LARGE = 0.04
_UNUSUAL = 0.2
_MALFORMED = 0.03

_ZONES = [timezone(timedelta(minutes=minutes)) for minutes in (0, 120, -300, 330, 840, -720)]
_PREFIXES = ("", "$", "USD", "USD$")
_SPACES = ("", "", " ", "  ", "\t", "\u00a0")

_NO_TEXT: tuple[Any, ...] = (None, True, 17, 1.5, [], {}, ["17"])
_WRONG: dict[str, tuple[Any, ...]] = {
    "id": (*_NO_TEXT, "", "12a", "-5", "1.0", " 17", "１７", "\ud800"),
    "customer_id": (*_NO_TEXT, "", "x", "+5", "5 ", "٥", "5\udfff"),
    "load_amount": (
        *_NO_TEXT,
        "",
        "$",
        "-$5.00",
        "$-5.00",
        "$1,000.00",
        "$12.345",
        "$12.",
        "$.50",
        "$1e3",
        "€5.00",
        "$５.00",
        "$$5",
        "$USD5",
        "usd5",
        "5.00USD",
    ),
    "time": (
        *_NO_TEXT,
        "",
        "yesterday",
        "2000-01-01",
        "2000-01-01T00:00:00",
        "2000-01-01_00:00:00Z",
        "2000-01-01T00:00:00z",
        "2000-02-30T00:00:00Z",
        "2000-01-01T24:00:00Z",
        "2000-01-01T00:00:60Z",
        "2000-01-01T00:00:00+24:00",
        "2000-001T00:00:00Z",
        "2001-W53-1T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:00:00-14:00",
    ),
}
_WRONG_LINES = (
    "",
    "   ",
    "null",
    "17",
    '"text"',
    "[]",
    "{}",
    "{",
    "id,customer_id",
    "{'id': '17'}",
    "\ufeff{}",
    "[" * 5000,
    '{"id":' * 5000,
)
_WRONG_STARTS = ("[", "{", "data: ", "\ufeff")
_DEEP, _TOO_DEEP = (f"{'[' * depth}{']' * depth}" for depth in (99, 100))
_WRONG_ENDS = ("", ",}", "}}", ', "note": NaN}', ', "note": "\\x"}', f', "note": {_TOO_DEEP}}}')


@dataclass(frozen=True)
class _Attempt:
    id: str
    customer_id: str
    cents: int
    time: datetime


class _Dice:
    # `random()` is what `random.Random` promises to keep for a seed; `choice`, `randrange` and others have changed before.
    def __init__(self, seed: int) -> None:
        self._random = Random(seed).random  # noqa: S311  nothing here is secret

    def below(self, end: int) -> int:
        return int(self._random() * end)

    def rarely(self, share: float) -> bool:
        return self._random() < share

    def pick(self, values: Sequence[T]) -> T:
        return values[self.below(len(values))]


def generate_attempts(count: int, seed: int = 1) -> Iterator[str]:
    """`count` lines of input, without line ends."""
    dice = _Dice(seed)
    new = _new_attempts(dice)
    recent: deque[_Attempt] = deque(maxlen=_REMEMBERED)
    for _ in range(count):
        if recent and dice.rarely(_REPLAYED):
            attempt = dice.pick(recent)
        elif recent and dice.rarely(_CHANGED):
            attempt = _changed(dice, dice.pick(recent))
        else:
            attempt = next(new)
            recent.append(attempt)
        fields = _fields(dice, attempt)
        yield _malformed(dice, fields) if dice.rarely(_MALFORMED) else _written(dice, fields)


def _new_attempts(dice: _Dice) -> Iterator[_Attempt]:
    number, now = 10_000, _START
    while True:
        number += 1 + dice.below(9)
        now += timedelta(seconds=dice.below(_MAX_STEP_SECONDS))
        late = timedelta(seconds=dice.below(_MAX_LATE_SECONDS) if dice.rarely(_LATE) else 0)
        # The root makes customers with a high number the busy ones.
        customer = 1 + isqrt(dice.below(_CUSTOMERS**2))
        yield _Attempt(_id(dice, number), str(customer), _cents(dice), now - late)


def _id(dice: _Dice, number: int) -> str:
    if not dice.rarely(0.02):
        return str(number)
    return dice.pick((f"00{number}", f"{number}{0:030}", f"{number}{0:0300}", f"{'0' * 300}{number}"))


def _cents(dice: _Dice) -> int:
    return dice.below(_LARGE_CENTS if dice.rarely(_LARGE) else _USUAL_CENTS)


def _changed(dice: _Dice, attempt: _Attempt) -> _Attempt:
    return dice.pick(
        (
            replace(attempt, customer_id=f"{attempt.customer_id}0"),
            replace(attempt, cents=attempt.cents + 1),
            replace(attempt, time=attempt.time + timedelta(seconds=1)),
        )
    )


def _fields(dice: _Dice, attempt: _Attempt) -> dict[str, Any]:
    amount = f"{attempt.cents // 100}.{attempt.cents % 100:02}"
    unusual = dice.rarely(_UNUSUAL)
    return {
        "id": attempt.id,
        "customer_id": attempt.customer_id,
        "load_amount": _unusual_amount(dice, amount) if unusual else f"${amount}",
        "time": _unusual_time(dice, attempt.time) if unusual else f"{attempt.time:%Y-%m-%dT%H:%M:%SZ}",
    }


def _unusual_amount(dice: _Dice, amount: str) -> str:
    text = dice.pick(_PREFIXES) + amount.removesuffix("0").removesuffix(".0")
    at = dice.below(len(text) + 1)
    return text[:at] + dice.pick(_SPACES) + text[at:]


def _unusual_time(dice: _Dice, moment: datetime) -> str:
    time = moment.astimezone(dice.pick(_ZONES))
    extended = time.isoformat(dice.pick(("T", "T", "t", " "))).replace("+00:00", "Z")
    year, week, day = time.isocalendar()
    return dice.pick(
        (extended, extended, f"{time:%Y%m%dT%H%M%S%z}", f"{year}-W{week:02}-{day}{extended[10:]}", f"{year}W{week:02}{day}{time:T%H%M%S%z}")
    )


def _written(dice: _Dice, fields: dict[str, Any]) -> str:
    if not dice.rarely(_UNUSUAL):
        return json.dumps(fields, separators=(",", ":"))
    if dice.rarely(_UNUSUAL):
        fields["note"] = dice.pick(({"id": "17"}, [1, 2.5, None], "\u00fc \ud83d\ude00", json.loads(_DEEP)))
    given_twice = dice.pick(("", "", "", '"id": null, '))
    return dice.pick(("", "\t", " ")) + "{" + given_twice + json.dumps(dict(reversed(fields.items()))).removeprefix("{")


def _malformed(dice: _Dice, fields: dict[str, Any]) -> str:
    name = dice.pick(tuple(fields))
    if dice.rarely(0.2):
        del fields[name]
    elif dice.rarely(0.6):
        fields[name] = dice.pick(_WRONG[name])
    elif dice.rarely(0.4):
        return dice.pick(_WRONG_STARTS) + _written(dice, fields)
    elif dice.rarely(0.5):
        return json.dumps(fields)[:-1] + dice.pick(_WRONG_ENDS)
    else:
        return dice.pick(_WRONG_LINES)
    return _written(dice, fields)
