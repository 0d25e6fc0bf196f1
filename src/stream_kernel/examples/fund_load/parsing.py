"""From a line of text to an attempt, or to the decision that declines it. A line never raises, whatever is in it.

The line comes from outside, so nothing is guessed: what JSON readers settle in silence (a name that is given twice, `NaN`) is
malformed. Fields beyond the four are not looked at.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from stream_kernel.examples.fund_load.amounts import parse_amount
from stream_kernel.examples.fund_load.messages import Decision, LoadAttempt, Verdict
from stream_kernel.routing.text import is_utf8

__all__ = ["parse_line", "parse_time"]

_TIME = re.compile(
    r"""
    [0-9]{4} -?[0-9]{2} -?[0-9]{2}
    T [0-9]{2} :?[0-9]{2} (?: :?[0-9]{2} (?: [.,][0-9]+ )? )?
    (?: Z | [+-](?:[01][0-9]|2[0-3]) (?: :?[0-5][0-9] )? )
    """,
    re.VERBOSE,
)


def parse_line(line: str) -> LoadAttempt | Decision:
    """The attempt that a line is; a malformed line is declined, and echoes `id` and `customer_id` where they are strings."""
    fields = _parse_object(line)
    identifier, customer_id, amount_text, time_text = (_text(fields.get(name)) for name in ("id", "customer_id", "load_amount", "time"))
    amount, time = parse_amount(amount_text), parse_time(time_text)
    if amount is None or time is None or not _is_number(identifier) or not _is_number(customer_id):
        return Decision(identifier, customer_id, Verdict.MALFORMED)
    return LoadAttempt(identifier, customer_id, amount, time)


def parse_time(text: str) -> datetime | None:
    """The moment in UTC, or None for what is not one.

    ISO 8601: a calendar date, `T`, a time of day to the minute or finer, and `Z` or an offset, in the extended format or the basic one
    (without separators). Parts of a microsecond are dropped. Week and ordinal dates are not taken, and neither is what
    `datetime.fromisoformat` takes beyond the standard.
    """
    if _TIME.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):  # no such day or time of day; outside of the years 1 to 9999 in UTC
        return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _text(value: object) -> str:
    # JSON can escape half a surrogate pair, which no UTF-8 output can echo.
    return value if isinstance(value, str) and is_utf8(value) else ""


def _parse_object(line: str) -> dict[str, Any]:
    try:
        parsed = _DECODER.decode(line)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which a name that is given twice has no value."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        given = Counter(name for name, _ in pairs)
        fields.update((name, None) for name, times in given.items() if times > 1)
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# No number is ever used; as floats they are read in bounded time, where int() refuses thousands of digits.
_DECODER = json.JSONDecoder(object_pairs_hook=_unambiguous, parse_int=float, parse_constant=_refuse_constant)
