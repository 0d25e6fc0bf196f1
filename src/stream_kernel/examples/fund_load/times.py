"""Time: text to a moment in UTC, the same on every Python version."""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = ["parse_time"]

# Closer than `datetime.fromisoformat`, which takes more than the standard has, and not the same in every version.
_TIME = re.compile(
    r"""
    [0-9]{4} (?: (-?)[0-9]{2}\1[0-9]{2} | (-?)W[0-9]{2}\2[1-7] )
    [Tt\ ]
    (?:[01][0-9]|2[0-3]) (?: (:?)[0-5][0-9] (?: \3[0-5][0-9] (?: [.,][0-9]+ )? )? )?
    (?: Z | [+-](?:[01][0-9]|2[0-3]) (?: :?[0-5][0-9] )? )
    """,
    re.VERBOSE,
)


def parse_time(text: str) -> datetime | None:
    """The moment in UTC, or None for what is not one.

    ISO 8601: a calendar or a week date, `T`, `t` or one space, a time of day to the hour or finer, and `Z` or an offset, in the extended
    format or the basic one (without separators). Parts of a microsecond are dropped. Ordinal dates, `24:00` and leap seconds are not taken.
    """
    if _TIME.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):  # no such day; outside of the years 1 to 9999 in UTC
        return None
