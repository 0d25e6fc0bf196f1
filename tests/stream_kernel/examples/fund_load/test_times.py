"""A time is ISO 8601 with an offset, read into UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stream_kernel.examples.fund_load.times import parse_time


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
        "2000-01-03 22:30:00Z",
        "2000-01-03t22:30:00Z",
        "20000103 2230Z",
        "2000-01-03T2230Z",
        "20000103T22:30:00Z",
        "2000-W01-1T22:30Z",
        "2000W011T223000Z",
        "2000-W01-2 00:30+02",
        "2000-01-03T22:30-00:00",
    ],
)
def test_a_time_is_read_into_utc(text: str) -> None:
    moment = parse_time(text)
    assert moment == datetime(2000, 1, 3, 22, 30, tzinfo=UTC)
    assert moment.tzinfo is UTC


def test_a_week_belongs_to_the_year_of_its_thursday() -> None:
    assert parse_time("1998-W53-5T00Z") == datetime(1999, 1, 1, tzinfo=UTC)
    assert parse_time("2009-W01-1T00Z") == datetime(2008, 12, 29, tzinfo=UTC)


def test_parts_of_a_microsecond_are_dropped() -> None:
    assert parse_time("2000-01-03T22:30:00.1234569Z") == datetime(2000, 1, 3, 22, 30, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2000-01-04T00Z", "20000104t00Z", "2000-W01-2T00Z", "2000W012 00Z", "2000-01-04T02+02", "2000-01-03T18:30-0530"]
)
def test_a_time_of_day_may_be_as_coarse_as_an_hour(text: str) -> None:
    assert parse_time(text) == datetime(2000, 1, 4, tzinfo=UTC)


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
        "2000-01-03T22:30:00Z ",
        "2000-1-3T22:30Z",
        "2000-01-03  22:30:00Z",
        "2000-01-03\t22:30:00Z",
        "2000-01-03_22:30:00Z",
        "2000-01-03\u00a022:30:00Z",
        "2000-01-03T22:30:00z",
        "2000-01-03T22:30:00 Z",
        "2000-01-03T22:30:00UTC",
        "2000-01-03TZ",
        "2000-01-03T2Z",
        "2000-01-03T22,5Z",
        "2000-01-03T22:30,5Z",
        "2000-W01-1",
        "2000-W01T22:30Z",
        "2000-W01-0T22:30Z",
        "2000-W01-8T22:30Z",
        "2000-W00-1T22:30Z",
        "2001-W53-1T22:30Z",
        "2000-W011T22:30Z",
        "2000W01-1T22:30Z",
        "2000-w01-1T22:30Z",
        "2000-003T22:30Z",
        "2000003T2230Z",
        "2000-0103T22:30Z",
        "2000-01-03T2230:00Z",
        "2000-01-03T22:30:00.Z",
        "2000-02-30T22:30Z",
        "1999-02-29T22:30Z",
        "2000-13-01T22:30Z",
        "2000-01-03T24Z",
        "2000-01-03T24:00Z",
        "2000-01-03T24:00:00Z",
        "2000-01-03T25:00Z",
        "2000-01-03T22:60Z",
        "2000-01-03T22:30:60Z",
        "2000-01-03T22:30:00+24:00",
        "2000-01-03T22:30:00+01:60",
        "0000-01-01T00:00Z",
        "0000-W01-1T00:00Z",
        "9999-W52-6T00:00Z",
        "2000-01-03T22:30:00+01:00:30",
        "２０００-01-03T22:30:00Z",
        "12000-01-03T22:30:00Z",
        "2000-01-03T22:30:00+",
        "2000-01-03T22:30:00−01:00",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    assert parse_time(text) is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+00:01", "0001-W01-1T00+01", "9999-12-31T23:59:59-00:01", "9999-W52-5 23-01"])
def test_a_time_outside_of_the_calendar_in_utc_is_no_time(text: str) -> None:
    assert parse_time(text) is None


def test_the_ends_of_the_calendar_are_times() -> None:
    assert parse_time("0001-01-01T00:00:00Z") == datetime(1, 1, 1, tzinfo=UTC)
    assert parse_time("9999-12-31T23:59:59.999999Z") == datetime.max.replace(tzinfo=UTC)
