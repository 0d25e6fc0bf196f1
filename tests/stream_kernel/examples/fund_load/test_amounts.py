"""Amounts are read strictly and never rounded."""

from __future__ import annotations

from decimal import Decimal

import pytest

from stream_kernel.examples.fund_load.amounts import EXACT, parse_amount


@pytest.mark.parametrize(
    "text",
    [
        "$123.40",
        "USD123.40",
        "USD$123.40",
        "123.40",
        "$123.4",
        "$0123.40",
        " $ 123.40 ",
        "USD 123.40",
        "USD $123.40",
        "\tUSD\u00a0$\n123.4\r\n",
        "$1 23.40",
        "123 .40",
        "123. 4",
        "US D $\u2003 1\u30002\x853 . 4 0",
    ],
)
def test_prefixes_and_white_space_do_not_count(text: str) -> None:
    assert parse_amount(text) == Decimal("123.40")


@pytest.mark.parametrize(("text", "kept"), [("$5", "5.00"), ("$5.1", "5.10"), ("$0", "0.00"), ("$000.07", "0.07")])
def test_an_amount_has_two_places(text: str, kept: str) -> None:
    assert str(parse_amount(text)) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "$",
        "USD",
        "$12.",
        "$.5",
        "$.",
        "$12.345",
        "$1,000.00",
        "$1 000.005",
        "12. ",
        ". 5",
        "$1\u200b000",
        "-$5",
        "$-5",
        "+5",
        "$1e3",
        "0x10",
        "1_000",
        "NaN",
        "Infinity",
        "$$5",
        "$USD5",
        "USDUSD5",
        "$$ 1",
        "$ USD1",
        "usd5",
        "€5",
        "5$",
        "5USD",
        "$５.00",
        "$5.٥",
        "$5.00\x00",
    ],
)
def test_anything_else_is_no_amount(text: str) -> None:
    assert parse_amount(text) is None


def test_no_digit_of_a_long_amount_is_lost() -> None:
    digits = "123456789" * 12
    amount = parse_amount(f"${digits}.99")
    assert amount is not None
    assert str(amount) == f"{digits}.99"
    assert str(EXACT.add(amount, Decimal("0.01"))) == f"{int(digits) + 1}.00"
    assert str(EXACT.multiply(amount, 2)) == f"{int(digits) * 2 + 1}.98"


def test_an_amount_of_a_million_digits_is_read_in_no_time() -> None:
    amount = parse_amount("$" + " 9" * 1_000_000)
    assert amount is not None
    assert EXACT.add(amount, amount) > amount
