"""A prime is always called prime; a composite never, where that can be told in bounded time."""

from __future__ import annotations

import pytest

from stream_kernel.examples.fund_load.primes import is_prime


def test_it_agrees_with_a_sieve() -> None:
    end = 200_000
    sieve = bytearray([1]) * end
    sieve[:2] = b"\0\0"
    for n in range(2, int(end**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, end, n)))
    assert [n for n in range(end) if is_prime(str(n))] == [n for n in range(end) if sieve[n]]


@pytest.mark.parametrize("exponent", [31, 61, 89, 107, 127, 521, 607, 1279, 2203, 3217, 9689])
def test_mersenne_primes_are_prime(exponent: int) -> None:
    assert is_prime(decimal(2**exponent - 1))


@pytest.mark.parametrize(
    "number",
    [
        25326001,  # strong pseudoprimes to the first three, nine, twelve and thirteen primes
        3825123056546413051,
        318665857834031151167461,
        3317044064679887385961981,
        561,
        999983 * 1000003,
        (2**31 - 1) * (2**61 - 1),
        (2**127 - 1) * (2**107 - 1),
        (2**61 - 1) ** 2,
        (2**521 - 1) * (2**607 - 1),  # 340 digits
        (2**607 - 1) * (2**1279 - 1),
        (2**607 - 1) * (2**2203 - 1),  # 847 digits
        2**1901 - 1,  # 573 digits, a strong pseudoprime to base 2
    ],
)
def test_composites_that_pass_for_primes_elsewhere_do_not(number: int) -> None:
    assert not is_prime(str(number))


@pytest.mark.parametrize(
    ("digits", "prime"),
    [("0", False), ("1", False), ("2", True), ("000", False), ("0007", True), ("0" * 300 + "8", False)]
    + [("0" * zeros + "7", True) for zeros in (300, 999, 5_000)]
    + [("0" * zeros + "3825123056546413051", False) for zeros in (300, 500, 900, 5_000)],
    ids=lambda value: str(value).lstrip("0") or "0",
)
def test_it_is_the_value_that_counts_not_the_leading_zeros(digits: str, prime: bool) -> None:
    assert is_prime(digits) is prime


@pytest.mark.parametrize("length", [101, 5_000, 1_000_000])
def test_a_number_of_any_length_with_a_small_factor_is_composite(length: int) -> None:
    assert not is_prime("1" + "0" * (length - 2) + "5")
    assert not is_prime("3" * length)


def test_a_number_that_is_too_long_to_be_tested_counts_as_prime_rather_than_slip_through() -> None:
    assert is_prime(decimal((2**1279 - 1) * (2**2203 - 1)))


def decimal(number: int) -> str:
    """The digits of a number that `str` may refuse."""
    digits = ""
    while number:
        number, rest = divmod(number, 10**1000)
        digits = f"{rest:01000}{digits}"
    return digits.lstrip("0")
