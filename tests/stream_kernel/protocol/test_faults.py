"""Which fault can be ordered at which point, and what its order carries."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from stream_kernel.protocol.faults import ACTIONS, POINTS, Actions, Point, argument_parts, count_refusal, misfit


def test_every_action_is_named_with_a_point() -> None:
    assert set(get_type_hints(Actions).values()) == {Point}
    assert tuple(get_type_hints(Actions)) == ACTIONS


@pytest.mark.parametrize("point", POINTS)
def test_what_fits_a_point(point: str) -> None:
    fitting = {action for action in ACTIONS if misfit(point, action) is None}
    if point == "mid_write":
        assert fitting == {"kill", "stop", "exit", "hold"}
    else:
        assert {*ACTIONS} - fitting == (set() if point in ("before_write", "after_write") else {"duplicate"})


@pytest.mark.parametrize(
    ("point", "action", "says"),
    [
        ("nowhere", "kill", "there is no such point (there are: boot, "),
        ("read", "explode", "there is no such action (there are: kill, "),
        ("mid_write", "segv", "in the middle of a frame there can only be kill, stop, exit, hold"),
        ("read", "duplicate", "there is a frame to write twice only at before_write and after_write"),
    ],
)
def test_what_does_not_fit_is_said(point: str, action: str, says: str) -> None:
    assert (misfit(point, action) or "").startswith(says)


def test_a_count_below_its_least_is_refused() -> None:
    assert count_refusal("nth", 0, 1) == "nth counts from 1; it is 0"
    assert count_refusal("nth", 1, 1) is None


@pytest.mark.parametrize(
    ("point", "action", "parts"),
    [
        ("read", "kill", ()),
        ("read", "exit", ("code",)),
        ("read", "hold", ("fifo",)),
        ("mid_write", "kill", ("after_bytes",)),
        ("mid_write", "exit", ("after_bytes", "code")),
        ("mid_write", "hold", ("after_bytes", "fifo")),
    ],
)
def test_the_argument_of_an_order_has_these_parts(point: str, action: str, parts: tuple[str, ...]) -> None:
    assert argument_parts(point, action) == parts
