"""A line becomes an attempt only when it has the four fields in their forms; otherwise it is declined, whatever is in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from stream_kernel.examples.fund_load.messages import Decision, LoadAttempt, Verdict
from stream_kernel.examples.fund_load.parsing import parse_line

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


DEEPEST = 100
IN_AN_ARRAY = "[" * (DEEPEST - 1), "]" * (DEEPEST - 1)
IN_AN_OBJECT = '{"a":' * (DEEPEST - 1), "}" * (DEEPEST - 1)


@pytest.mark.parametrize(("opened", "closed"), [IN_AN_ARRAY, IN_AN_OBJECT], ids=["arrays", "objects"])
def test_nesting_has_a_bound(opened: str, closed: str) -> None:
    assert parse_line(f'{TEXT[:-1]}, "note": {opened}1{closed}}}') == ATTEMPT
    assert parse_line(f'{TEXT[:-1]}, "note": {opened}[]{closed}}}') == malformed()


def test_the_bound_is_the_same_wherever_it_is_asked_for() -> None:
    def from_below(frames: int, line: str) -> LoadAttempt | Decision:
        return from_below(frames - 1, line) if frames else parse_line(line)

    opened, closed = IN_AN_ARRAY
    assert from_below(500, f'{TEXT[:-1]}, "note": {opened}{closed}}}') == ATTEMPT
    assert from_below(500, f'{TEXT[:-1]}, "note": {opened}[]{closed}}}') == malformed()


@pytest.mark.parametrize("line", ["[" * 100_000, '{"id":' * 100_000, f'{TEXT[:-1]}, "note": {"[" * 100_000}{"]" * 100_000}}}'], ids=len)
def test_nesting_of_any_depth_is_malformed(line: str) -> None:
    assert parse_line(line) == malformed()


@pytest.mark.parametrize(
    "note",
    [
        ",".join(["[]", "{}"] * 1_000),
        f'"{"[" * 1_000}"',
        f'"{"{" * 1_000}"',
        '"' + '\\"[' * 1_000 + '\\\\"',
        f'"\\\\", {"[" * 98 + "]" * 98}',
        f'{"[" * 98}"{"]" * 98}"{"]" * 98}',
    ],
    ids=["side by side", "array in a string", "object in a string", "string with quotes", "after a string", "around a string"],
)
def test_brackets_that_do_not_nest_do_not_count(note: str) -> None:
    assert parse_line(f'{TEXT[:-1]}, "note": [{note}]}}') == ATTEMPT


@pytest.mark.parametrize("before", ['"\\\\"', '"]"', '"\\"]"'])
def test_brackets_behind_a_string_count(before: str) -> None:
    assert parse_line(f'{TEXT[:-1]}, "note": [{before}, {"[" * 99}{"]" * 99}]}}') == malformed()


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
def test_the_last_of_a_name_that_is_given_twice_counts(name: str) -> None:
    assert parse_line(f'{{"{name}": "x", {TEXT[1:]}') == ATTEMPT
    assert parse_line(f'{TEXT[:-1]}, "{name}": null}}') == parse_line(with_fields(**{name: None}))


@pytest.mark.parametrize("text", ["-5", "+5", " 5", "5 ", "5.0", "1e3", "0x10", "٥", "²", "1_000"])
def test_ids_are_ascii_digits_and_nothing_else(text: str) -> None:
    assert parse_line(with_fields(id=text)) == malformed(text, "528")
    assert parse_line(with_fields(customer_id=text)) == malformed("15887", text)


def test_ids_stay_the_text_that_they_are() -> None:
    attempt = parse_line(with_fields(id="007", customer_id="1" * 10_000))
    assert isinstance(attempt, LoadAttempt)
    assert (attempt.id, attempt.customer_id) == ("007", "1" * 10_000)
