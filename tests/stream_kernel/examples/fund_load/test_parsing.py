"""A line becomes an attempt only when it has the four fields in their forms; otherwise it is declined, whatever is in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from stream_kernel.examples.fund_load.messages import Decision, LoadAttempt, Verdict
from stream_kernel.examples.fund_load.parsing import parse_line, parse_time

GOOD = {"id": "15887", "customer_id": "528", "load_amount": "$3318.47", "time": "2000-01-01T00:00:00Z"}
ATTEMPT = LoadAttempt("15887", "528", Decimal("3318.47"), datetime(2000, 1, 1, tzinfo=UTC))
TEXT = json.dumps(GOOD)


def malformed(identifier: str = "", customer: str = "") -> Decision:
    return Decision(identifier, customer, Verdict.MALFORMED)


def with_fields(**fields: Any) -> str:
    return json.dumps({**GOOD, **fields})


# -- lines


@pytest.mark.parametrize(
    "line",
    [TEXT, f" {TEXT}\r\n", json.dumps(dict(reversed(GOOD.items())), indent=1), TEXT.replace("15887", "\\u0031588\\u0037")],
)
def test_a_line_may_be_written_in_any_way_that_json_allows(line: str) -> None:
    assert parse_line(line) == ATTEMPT


@pytest.mark.parametrize(
    "value", ["1", '{"id": "2"}', "[[]]", "null", "1e999", "1" * 10_000, '{"a": 1, "a": 2}'], ids=lambda text: text[:20]
)
def test_other_fields_are_not_looked_at(value: str) -> None:
    assert parse_line(f'{TEXT[:-1]}, "note": {value}}}') == ATTEMPT


@pytest.mark.parametrize(
    "line",
    ["", " ", "\0", "null", "true", "17", "NaN", '"15887"', "[]", f"[{TEXT}]", "{}", "{", TEXT[:-1], TEXT[1:], f"{TEXT},", f"{TEXT}{TEXT}"]
    + [f"\ufeff{TEXT}", TEXT.replace('"', "'"), TEXT.replace("15887", "15\t887"), '[["id", "1"], ["customer_id", "2"]]', "\ud800"]
    + [f'{TEXT[:-1]}, "note": {value}}}' for value in ("NaN", "-Infinity", "01", "1.", '"\\x"', "'a'")],
)
def test_what_is_no_json_object_has_nothing_to_echo(line: str) -> None:
    assert parse_line(line) == malformed()


@pytest.mark.parametrize("line", ["[" * 100_000, '{"id":' * 100_000, f'{TEXT[:-1]}, "note": {"[" * 100_000}{"]" * 100_000}}}'], ids=len)
def test_nesting_beyond_what_can_be_read_is_malformed(line: str) -> None:
    assert parse_line(line) == malformed()


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [None, True, 15887, 1.5, [], {}, ["15887"], {"id": "15887"}, "", " ", "x", "\ud800", "１２"], ids=ascii)
def test_a_field_in_another_form_is_malformed_and_the_strings_are_echoed(name: str, value: Any) -> None:
    echoed = {**GOOD, name: value if isinstance(value, str) and value != "\ud800" else ""}
    assert parse_line(with_fields(**{name: value})) == malformed(echoed["id"], echoed["customer_id"])


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_field_is_malformed(name: str) -> None:
    fields = {**GOOD, name: None}
    del fields[name]
    assert parse_line(json.dumps(fields)) == malformed(fields.get("id") or "", fields.get("customer_id") or "")


@pytest.mark.parametrize("name", GOOD)
def test_a_field_that_is_given_twice_has_no_value(name: str) -> None:
    echoed = {**GOOD, name: ""}
    assert parse_line(f'{TEXT[:-1]}, "{name}": "{GOOD[name]}"}}') == malformed(echoed["id"], echoed["customer_id"])


@pytest.mark.parametrize("text", ["-5", "+5", " 5", "5 ", "5.0", "1e3", "0x10", "٥", "²", "1_000"])
def test_ids_are_ascii_digits_and_nothing_else(text: str) -> None:
    assert parse_line(with_fields(id=text)) == malformed(text, "528")
    assert parse_line(with_fields(customer_id=text)) == malformed("15887", text)


def test_ids_stay_the_text_that_they_are() -> None:
    attempt = parse_line(with_fields(id="007", customer_id="1" * 10_000))
    assert isinstance(attempt, LoadAttempt)
    assert (attempt.id, attempt.customer_id) == ("007", "1" * 10_000)


def test_an_object_with_a_name_a_hundred_thousand_times_is_read_in_no_time() -> None:
    assert parse_line("{" + ",".join(f'"{n // 2}":1' for n in range(200_000)) + "}") == malformed()


# -- times


@pytest.mark.parametrize(
    "text",
    [
        "2000-01-03T22:30:00Z",
        "2000-01-03T22:30Z",
        "2000-01-03T22:30:00.000Z",
        "2000-01-03T22:30:00,0Z",
        "20000103T223000Z",
        "20000103T2230+00",
        "2000-01-04T00:30:00+02:00",
        "2000-01-04T00:30:00+0200",
        "2000-01-04T00:30:00+02",
        "2000-01-03T17:00:00-05:30",
        "2000-01-03T22:30-00:00",
    ],
)
def test_a_time_is_read_into_utc(text: str) -> None:
    moment = parse_time(text)
    assert moment == datetime(2000, 1, 3, 22, 30, tzinfo=UTC)
    assert moment.tzinfo is UTC


def test_parts_of_a_microsecond_are_dropped() -> None:
    assert parse_time("2000-01-03T22:30:00.1234569Z") == datetime(2000, 1, 3, 22, 30, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2000-01-03",
        "2000-01-03Z",
        "T22:30:00Z",
        "946938600",
        "2000-01-03T22:30:00",
        "2000-01-03T22Z",
        "2000-01-03T22:30:00Z ",
        "2000-1-3T22:30Z",
        "2000-01-03 22:30:00Z",
        "2000-01-03t22:30:00Z",
        "2000-01-03T22:30:00z",
        "2000-01-03T22:30:00 Z",
        "2000-01-03T22:30:00UTC",
        "2000-W01-1T22:30Z",
        "2000-003T22:30Z",
        "2000-0103T22:30Z",
        "2000-01-03T2230:00Z",
        "2000-01-03T22:30:00.Z",
        "2000-02-30T22:30Z",
        "1999-02-29T22:30Z",
        "2000-13-01T22:30Z",
        "2000-01-03T24:00Z",
        "2000-01-03T22:60Z",
        "2000-01-03T22:30:60Z",
        "2000-01-03T22:30:00+24:00",
        "2000-01-03T22:30:00+01:60",
        "0000-01-01T00:00Z",
        "2000-01-03T22:30:00+01:00:30",
        "２０００-01-03T22:30:00Z",
        "12000-01-03T22:30:00Z",
        "2000-01-03T22:30:00+",
        "2000-01-03T22:30:00−01:00",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    assert parse_time(text) is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"])
def test_a_time_outside_of_the_calendar_in_utc_is_no_time(text: str) -> None:
    assert parse_time(text) is None


def test_the_ends_of_the_calendar_are_times() -> None:
    assert parse_time("0001-01-01T00:00:00Z") == datetime(1, 1, 1, tzinfo=UTC)
    assert parse_time("9999-12-31T23:59:59.999999Z") == datetime.max.replace(tzinfo=UTC)
