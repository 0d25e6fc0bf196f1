"""From a line of text to an attempt, or to the decision that declines it. A line never raises, whatever is in it.

JSON is what RFC 8259 says, so `NaN` is malformed; of a name that is given twice the last counts, as in `json`. Fields beyond the four are
not looked at.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any

from stream_kernel.examples.fund_load.amounts import parse_amount
from stream_kernel.examples.fund_load.messages import Decision, LoadAttempt, Verdict
from stream_kernel.examples.fund_load.times import parse_time

__all__ = ["parse_line"]

_MAX_DEPTH = 100
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_BRACKET = re.compile(r"[][{}]")


def parse_line(line: str) -> LoadAttempt | Decision:
    """The attempt that a line is; a malformed line is declined, and echoes `id` and `customer_id` where they are strings."""
    fields = _parse_object(line)
    identifier, customer_id, amount_text, time_text = (_text(fields.get(name)) for name in ("id", "customer_id", "load_amount", "time"))
    amount, time = parse_amount(amount_text), parse_time(time_text)
    if amount is None or time is None or not _is_number(identifier) or not _is_number(customer_id):
        return Decision(identifier, customer_id, Verdict.MALFORMED)
    return LoadAttempt(identifier, customer_id, amount, time)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _text(value: object) -> str:
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can escape half a surrogate pair; a payload between groups must be UTF-8 text
        return ""
    return value


def _parse_object(line: str) -> dict[str, Any]:
    if _is_too_deep(line):
        return {}
    try:
        parsed = _DECODER.decode(line)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _is_too_deep(line: str) -> bool:
    # A bound of our own: how deep the decoder can go depends on the stack of whoever calls, and on the Python version.
    if line.count("[") + line.count("{") <= _MAX_DEPTH:
        return False
    outside_of_strings = "".join(_ESCAPE.sub("", line).split('"')[::2])
    steps = (1 if bracket in "[{" else -1 for bracket in _BRACKET.findall(outside_of_strings))
    return max(accumulate(steps, initial=0)) > _MAX_DEPTH


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# No number is ever used; as floats they are read in bounded time, where int() refuses thousands of digits.
_DECODER = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant)
