"""Names of test cases that are the same in every process: without the address that the default `repr` of an object holds."""

from __future__ import annotations

import re

__all__ = ["named"]


def named(value: object) -> str:
    """The `repr` of a case, its addresses left out."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
