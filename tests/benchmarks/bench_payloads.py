"""Payloads, each one new and unlike any other: an object that is sent twice is pickled faster than it would be in earnest."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
from bench_typed_work import Order, Position
from bench_work import Record

_numbers = itertools.count(1)
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 "
_START = datetime(2024, 1, 1, tzinfo=UTC)
FILLED = 0.97
"""How much of its nominal size a payload has as JSON: the rest is room for what goes around it, since 8 MiB is the kernel's own bound."""

_AROUND = 60
"""Bytes of a nested payload without its records."""


def records(count: int) -> list[Record]:
    """Small flat records."""
    return [{"n": n, "key": f"record-{n}"} for n in itertools.islice(_numbers, count)]


def attempts(count: int) -> list[Record]:
    """Flat records of eight fields, as a ledger would take them."""
    return [
        {
            "id": str(10_000_000 + n),
            "customer_id": f"customer-{n % 5000:06d}",
            "amount": f"{n % 9000}.{n % 100:02d}",
            "currency": "EUR",
            "time": (_START + timedelta(seconds=n)).isoformat(),
            "channel": "web" if n % 3 else "branch",
            "attempt": n % 4,
            "accepted": False,
        }
        for n in itertools.islice(_numbers, count)
    ]


def links(count: int, last: int) -> list[Record]:
    """Small records on their way through a chain that ends at the link `last`."""
    return [{"n": n, "key": f"record-{n}", "last": last} for n in itertools.islice(_numbers, count)]


def burners(count: int, turns: int) -> list[Record]:
    """Orders to hold a CPU."""
    return [{"n": n, "turns": turns} for n in itertools.islice(_numbers, count)]


def nested(size: int) -> Record:
    """Records in a list: integers, floats, texts, truths, lists; about `size` bytes as JSON."""
    number, wanted = next(_numbers), round(size * FILLED)
    count = max(0, wanted - _AROUND) // (len(msgspec.json.encode(_entry(number))) + 2)
    payload = {"n": number, "records": [_entry(n) for n in itertools.islice(_numbers, count)], "rest": ""}
    payload["rest"] = "x" * (wanted - len(msgspec.json.encode(payload)))
    return payload


def _entry(n: int) -> Record:
    return {
        "id": 10_000_000 + n,
        "customer": f"customer-{n:08d}",
        "amount": 1000 + n % 9000 + 0.25,
        "accepted": n % 2 == 0,
        "tags": [f"tag-{n % 7}", f"batch-{n:08d}"],
        "history": [n % 10, n % 100 + 0.5, [True, None, 100 + n % 900]],
    }


class LongStrings:
    """Records with one long text; no two texts are the same object or have the same characters."""

    def __init__(self, size: int) -> None:
        random = Random(size)
        # Drawn once and turned: drawing eight million letters for each call would take the whole time of a run.
        self._letters = "".join(random.choices(_LETTERS, k=round(size * FILLED)))

    def __call__(self) -> Record:
        number = next(_numbers)
        cut = number * 7919 % len(self._letters)
        return {"n": number, "text": self._letters[cut:] + self._letters[:cut]}


def orders(count: int) -> list[Order]:
    """Dataclasses with Decimal and datetime."""
    return [
        Order(
            number=n,
            customer=f"customer-{n}",
            at=_START + timedelta(seconds=n, microseconds=n % 1_000_000),
            positions=[Position(f"article-{n}-{line}", Decimal(n * 7 + line) / 100, line + 1) for line in range(3)],
        )
        for n in itertools.islice(_numbers, count)
    ]


def plain_orders(count: int) -> list[dict[str, Any]]:
    """The same as plain JSON, amounts and times as text."""
    given: list[dict[str, Any]] = msgspec.to_builtins(orders(count))
    return given
