"""Foreign text as a line that a terminal or a log shows and does not obey."""

from __future__ import annotations

import functools

__all__ = ["printable"]


def printable(text: str) -> str:
    """The same with what is not printable escaped: control characters, line breaks, lone surrogates."""
    return text if text.isprintable() else "".join(map(_escaped, text))


@functools.lru_cache(1 << 10)
def _escaped(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
