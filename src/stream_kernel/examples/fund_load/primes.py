"""Whether an id is a prime number: exact where that can be proved, bounded in time for ids of any length.

An id is judged by its value, so leading zeros do not count. Ids come from outside, and no prime may slip through a rule by being
long: **a prime is always called prime**. The other way round:

* below 3.3e24 the answer is proved: thirteen primes are enough for Miller-Rabin there (Sorenson and Webster, 2015);
* up to 1,000 digits a composite is called prime only if it was made for that or is of a rare form. The longer the number, the rarer such
  a composite is and the longer each base takes, so there are fewer bases: a hundred ids of any length take less than ten seconds;
* beyond, every number without a factor below 1,000 is called prime.
"""

from __future__ import annotations

from math import gcd, prod

__all__ = ["is_prime"]

_SMALL = [n for n in range(2, 1000) if all(n % divisor for divisor in range(2, int(n**0.5) + 1))]
_PRODUCT = prod(_SMALL)
_BASES_UP_TO = {200: _SMALL[:20], 400: _SMALL[:10], 600: _SMALL[:3], 1_000: _SMALL[:1]}
"""By the number of digits."""
_CHUNK = 500


def is_prime(digits: str) -> bool:
    """Whether the number that these ASCII digits write is prime; see the module for very long ones."""
    significant = digits.lstrip("0")
    bases = next((bases for most, bases in _BASES_UP_TO.items() if len(significant) <= most), None)
    if bases is None:
        return gcd(_remainder(significant, _PRODUCT), _PRODUCT) == 1
    number = int(significant or "0")
    if number <= _SMALL[-1]:
        return number in _SMALL
    return gcd(number, _PRODUCT) == 1 and all(_passes(number, base) for base in bases)


def _passes(number: int, base: int) -> bool:
    """Whether an odd `number` is a strong probable prime to `base`."""
    twos = ((number - 1) & (1 - number)).bit_length() - 1
    power = pow(base, (number - 1) >> twos, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False


def _remainder(digits: str, modulus: int) -> int:
    # Piece by piece in linear time: int() is quadratic, and refuses more than some thousand digits.
    remainder = 0
    for start in range(0, len(digits), _CHUNK):
        piece = digits[start : start + _CHUNK]
        remainder = (remainder * 10 ** len(piece) + int(piece)) % modulus
    return remainder
