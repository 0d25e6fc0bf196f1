"""Generated input is the same for a seed, has no end that must be waited for, and gives every rule something to do."""

from __future__ import annotations

import hashlib
from itertools import islice

import pytest

from fund_load_oracle import Oracle
from stream_kernel.examples.fund_load.generator import generate_attempts


def test_a_seed_gives_the_same_lines_on_every_python() -> None:
    text = "\n".join(generate_attempts(5_000, seed=7))
    assert hashlib.sha256(text.encode()).hexdigest() == "55b95071be78a447cd9272b30dbdbf8910cf647c33c3b33b1b63b5a9527bdc78"


def test_another_seed_gives_other_lines() -> None:
    assert list(generate_attempts(10, seed=1)) == list(generate_attempts(10, 1)) != list(generate_attempts(10, seed=2))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_it_gives_as_many_lines_as_are_asked_for(count: int) -> None:
    assert len(list(generate_attempts(count))) == count


def test_the_first_lines_of_any_number_come_at_once() -> None:
    assert list(islice(generate_attempts(10**12), 100)) == list(generate_attempts(100))


def test_a_line_is_one_line_and_can_be_written() -> None:
    for line in generate_attempts(5_000):
        assert not set(line) & {"\n", "\r"}
        assert line.encode().decode() == line


def test_every_rule_declines_some_lines_and_most_are_accepted() -> None:
    for sanctions in (False, True):
        oracle = Oracle(sanctions=sanctions)
        oracle.decide_all(generate_attempts(20_000))
        expected = {"accepted", "malformed", "replay", "conflict", "daily_attempts", "daily_amount", "weekly_amount"}
        assert oracle.verdicts.keys() == expected | ({"prime_amount", "prime_count"} if sanctions else set())
        assert min(oracle.verdicts.values()) > 10
        assert oracle.verdicts["accepted"] > 10_000
