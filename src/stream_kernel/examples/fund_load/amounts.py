"""Money: text to `Decimal` with two places, and arithmetic that never rounds."""

from __future__ import annotations

import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

__all__ = ["EXACT", "parse_amount"]

EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
"""For sums and products. The default context rounds to 28 digits in silence, and an amount may have any number of them."""

_AMOUNT = re.compile(r"(?:USD)?\$?([0-9]+)(?:\.([0-9]{1,2}))?")


def parse_amount(text: str) -> Decimal | None:
    """The amount, or None for what is not one.

    White space does not count, wherever it stands and whichever of Unicode's it is. What is left is ASCII digits, then at most two
    decimals after a point that has digits on both sides, with `$`, `USD` or `USD$` before or not. No sign, no separators, no exponent.
    """
    found = _AMOUNT.fullmatch("".join(text.split()))
    if found is None:
        return None
    return Decimal(f"{found[1]}.{found[2] or '':0<2}")
