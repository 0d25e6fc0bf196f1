"""When a worker has served long enough."""

from __future__ import annotations

from typing import Any

import pytest

from stream_kernel.config.model import ProcessGroupConfig
from stream_kernel.engine.process.wear import Wear

MIB = 1 << 20


class Scales:
    """A worker whose memory a test sets; it notes how often it is weighed."""

    def __init__(self) -> None:
        self.resident: int | None = 100 * MIB
        self.weighings = 0

    def weigh(self) -> int | None:
        self.weighings += 1
        return self.resident


@pytest.fixture
def scales() -> Scales:
    return Scales()


def wear(scales: Scales, *, jitter: float = 0.0, **keys: Any) -> Wear:
    """`jitter` is the share of the greatest possible one."""
    group = ProcessGroupConfig(name="g", nodes=("n",), **keys)
    return Wear(group, scales.weigh, lambda least, most: least + (most - least) * jitter)


def test_without_a_bound_a_worker_serves_for_ever_and_is_not_weighed(scales: Scales) -> None:
    one = wear(scales)
    assert one.after_answer(10**9, 10**9) is None
    assert scales.weighings == 0


def test_a_worker_has_served_long_enough_after_so_many_commands(scales: Scales) -> None:
    one = wear(scales, max_requests_per_worker=100)
    assert one.after_answer(99, 0.0) is None
    assert one.after_answer(100, 0.0) == "it has answered 100 commands (max_requests_per_worker)"


@pytest.mark.parametrize(("requests", "jitter", "first"), [(100, 1.0, 90), (100, 0.5, 95), (1, 1.0, 1), (3, 1.0, 3)])
def test_some_are_at_most_a_tenth_earlier(scales: Scales, requests: int, jitter: float, first: int) -> None:
    one = wear(scales, jitter=jitter, max_requests_per_worker=requests)
    assert [one.after_answer(count, 0.0) is not None for count in (first - 1, first)] == [False, True]


def test_a_worker_has_grown_too_much_when_it_is_so_far_above_what_it_was_at_its_first_answer(scales: Scales) -> None:
    one = wear(scales, max_rss_mb=50)
    assert one.after_answer(1, 0.0) is None
    scales.resident = 149 * MIB
    assert one.after_answer(2, 10.0) is None
    scales.resident = 151 * MIB
    assert one.after_answer(3, 20.0) == "it has grown by 51 MiB (max_rss_mb)"


def test_memory_has_its_jitter_too(scales: Scales) -> None:
    one = wear(scales, jitter=1.0, max_rss_mb=50)
    one.after_answer(1, 0.0)
    scales.resident = 145 * MIB
    assert one.after_answer(2, 10.0) is not None


def test_a_worker_is_weighed_once_a_second_at_most(scales: Scales) -> None:
    one = wear(scales, max_rss_mb=50)
    for now in (0.0, 0.5, 0.999):
        one.after_answer(1, now)
    assert scales.weighings == 1
    scales.resident = 500 * MIB
    assert one.after_answer(1, 0.999) is None
    assert one.after_answer(1, 1.0) is not None


def test_a_worker_whose_memory_cannot_be_seen_is_not_worn_by_it(scales: Scales) -> None:
    one = wear(scales, max_rss_mb=1, max_requests_per_worker=10)
    scales.resident = None
    assert one.after_answer(1, 0.0) is None
    scales.resident = 900 * MIB
    assert one.after_answer(2, 5.0) is None, "what is seen first is where it starts"
    assert one.after_answer(10, 6.0) is not None
