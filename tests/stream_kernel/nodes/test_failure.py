"""A node's exception becomes text that can be sent, whatever its class does."""

from __future__ import annotations

from typing import Any

from stream_kernel.nodes.failure import NodeFailure


class Hostile(Exception):
    """Raises when it is formatted."""

    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        raise SystemExit("not even this")


def test_an_exception_that_cannot_be_formatted_is_said_to_be_one() -> None:
    failure = NodeFailure("n", "node 'n' raised Hostile", Hostile())
    assert failure.exception_type == "Hostile"
    assert failure.detail == "the exception could not be formatted (SystemExit)"


def test_text_that_utf_8_cannot_carry_is_escaped() -> None:
    failure = NodeFailure("n", "node 'n' raised ValueError", ValueError("bad \udcff name"))
    assert failure.detail is not None
    assert "bad \\udcff name" in failure.detail


def test_a_long_traceback_keeps_its_end() -> None:
    failure = NodeFailure("n", "node 'n' raised ValueError", ValueError("x" * 50_000 + " the end"))
    assert failure.detail is not None
    assert len(failure.detail) < 20_000 and failure.detail.rstrip().endswith("the end")


def test_the_frames_of_the_kernel_are_left_out() -> None:
    def user_code() -> None:
        raise ValueError

    try:
        user_code()
    except ValueError as error:
        whole, own = NodeFailure("n", "r", error), NodeFailure("n", "r", error, __file__)
    assert whole.detail is not None and "in user_code" in whole.detail
    assert own.detail is not None and "in user_code" not in own.detail
