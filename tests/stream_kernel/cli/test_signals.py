"""Who hears Ctrl-C and SIGTERM outside of a run, and in its last moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from stream_kernel.cli.interruption import Interruption
from stream_kernel.cli.signals import Interrupter, deafen, end_at_once, hear_with

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Ended(BaseException):
    """The process would have ended here."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of the tests are back afterwards."""
    before = [signal.getsignal(number) for number in NUMBERS]
    yield
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """With which codes the process would have ended at once."""
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr("os._exit", end)
    return codes


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_interrupts_whichever_it_is_and_the_second_ends(ends: list[int], number: signal.Signals) -> None:
    interrupter = Interrupter()
    hear_with(interrupter)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert (interrupter.number, ends) == (number, [])
    with pytest.raises(Ended):
        os.kill(os.getpid(), number)
    assert ends == [128 + number]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hear_with(end_at_once)
    assert [signal.getsignal(number) for number in NUMBERS] == [signal.SIG_IGN, end_at_once]


def test_at_the_end_of_the_interpreter_nothing_is_heard() -> None:
    deafen()
    for number in NUMBERS:
        os.kill(os.getpid(), number)
    assert [signal.getsignal(number) for number in NUMBERS] == [signal.SIG_IGN] * 2


async def test_a_signal_after_the_run_leaves_time_for_what_is_said_at_the_end(monkeypatch: pytest.MonkeyPatch, ends: list[int]) -> None:
    now = time.monotonic()
    monkeypatch.setattr("stream_kernel.cli.interruption.time.monotonic", lambda: now)
    monkeypatch.setattr("os.isatty", lambda _: False)
    refuse: Callable[[], object] = lambda: pytest.fail("nothing is left to end")  # noqa: E731
    with Interruption(refuse, refuse, is_inline=False) as left:
        pass
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
    assert (left.number, ends) == (None, [])
    now += 1.1
    with pytest.raises(Ended):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ends == [143]
