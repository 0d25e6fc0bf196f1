"""The numbers that a worker leaves for its parent."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st

from stream_kernel.protocol.breadcrumb import BLACK_BOX_SIZE, STACKS_OFFSET, STACKS_SIGNAL, Progress, pack_progress, unpack_progress

COMMANDS, INDEXES, NODES = st.integers(1, 2**28 - 1), st.integers(0, 2**24 - 1), st.integers(0, 2**12 - 1)


@given(COMMANDS, INDEXES, NODES)
def test_what_is_noted_is_what_is_read(command: int, index: int, node: int) -> None:
    number = pack_progress(command, index, node)
    assert 0 < number < 2**64
    assert unpack_progress(number) == Progress(command, index, node)


@given(st.tuples(COMMANDS, INDEXES, NODES), st.tuples(COMMANDS, INDEXES, NODES))
def test_no_two_notes_look_the_same(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    assert (pack_progress(*one) == pack_progress(*other)) == (one == other)


@given(st.integers(1, 2**40), st.integers(0, 2**28 - 2))
def test_the_number_of_a_command_may_wrap_around(command: int, distance: int) -> None:
    progress = unpack_progress(pack_progress(command, 1, 1))
    assert progress is not None
    assert progress.is_of(command)
    assert not progress.is_of(command + 1 + distance)


@given(COMMANDS, st.integers(2**24, 2**64), st.integers(2**12, 2**64))
def test_what_has_no_place_in_it_is_not_noted_at_all(command: int, index: int, node: int) -> None:
    assert pack_progress(command, index, 0) == pack_progress(command, 0, node) == 0


def test_zero_says_nothing() -> None:
    assert unpack_progress(0) is None


def test_the_stacks_come_behind_the_page_and_by_a_signal_that_programs_leave_alone() -> None:
    assert STACKS_OFFSET >= BLACK_BOX_SIZE >= 16
    assert signal.SIGRTMIN < STACKS_SIGNAL < signal.SIGRTMAX
