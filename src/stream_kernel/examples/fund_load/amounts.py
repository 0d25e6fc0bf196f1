"""Money: text to `Decimal` with two places, and arithmetic that never rounds."""

from __future__ import annotations

import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

__all__ = ["EXACT", "parse_amount"]

EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
"""For sums and products. The default context rounds to 28 digits in silence, and an amount may have any number of them."""

_AMOUNT = re.compile(r"\s*(?:USD\s*)?(?:\$\s*)?([0-9]+)(?:\.([0-9]{1,2}))?\s*")


def parse_amount(text: str) -> Decimal | None:
    """The amount, or None for what is not one.

    ASCII digits, then at most two decimals after a point that has digits on both sides. `USD`, `$` or `USD$` may come before; white
    space may stand around each of these parts, not within one. No sign, no separators, no exponent.
    """
    found = _AMOUNT.fullmatch(text)
    if found is None:
        return None
    return Decimal(f"{found[1]}.{found[2] or '':0<2}")
