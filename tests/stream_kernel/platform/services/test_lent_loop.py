"""A loop that sleeps works for the thread that borrows it; one that is awake does not; nothing that was scheduled is forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any, TypeVarTuple

import pytest

from stream_kernel.platform.services.lent_loop import LentLoop
from waiting import until

Ts = TypeVarTuple("Ts")


class Watched(LentLoop):
    """Counts how often it was woken."""

    wakes = 0

    def call_soon_threadsafe(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.Handle:
        self.wakes += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


@pytest.fixture
def loop() -> Iterator[Watched]:
    loop = Watched()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def borrowed(loop: LentLoop, work: Callable[[], Any]) -> None:
    """Borrow it as soon as it sleeps."""
    until(lambda: loop.borrow(work))


def test_what_is_done_with_it_is_done_at_once_and_in_the_thread_that_asks(loop: Watched) -> None:
    seen: list[object] = []
    borrowed(loop, lambda: seen.extend([threading.get_ident(), asyncio.get_running_loop()]))
    assert seen == [threading.get_ident(), loop]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_loop_that_is_awake_is_not_to_be_had(loop: Watched) -> None:
    is_awake, may_sleep = threading.Event(), threading.Event()

    def stay_awake() -> None:
        is_awake.set()
        may_sleep.wait()

    loop.call_soon_threadsafe(stay_awake)
    is_awake.wait()
    taken = loop.borrow(lambda: None)
    may_sleep.set()
    assert not taken


def test_a_loop_that_has_been_borrowed_is_not_to_be_had_and_does_not_go_on(loop: Watched) -> None:
    has_it, may_return, ran = threading.Event(), threading.Event(), threading.Event()

    def keep() -> None:
        has_it.set()
        may_return.wait()

    borrower = threading.Thread(target=borrowed, args=(loop, keep))
    borrower.start()
    has_it.wait()
    taken = loop.borrow(lambda: None)
    loop.call_soon_threadsafe(ran.set)
    ran_meanwhile = ran.wait(0.05)
    may_return.set()
    borrower.join()
    assert (taken, ran_meanwhile, ran.wait(20)) == (False, False, True)


def test_it_wakes_for_a_callback_that_a_borrower_left(loop: Watched) -> None:
    came = threading.Event()
    borrowed(loop, lambda: loop.call_soon(came.set))
    assert came.wait(20)


def test_it_wakes_in_time_for_a_timer_that_a_borrower_left(loop: Watched) -> None:
    came = threading.Event()
    borrowed(loop, lambda: loop.call_later(0.001, came.set))
    assert came.wait(20)


def test_a_timer_for_later_than_when_it_wakes_by_itself_does_not_wake_it(loop: Watched) -> None:
    set_up = threading.Event()
    loop.call_soon_threadsafe(loop.call_later, 300, len, ())
    loop.call_soon_threadsafe(set_up.set)
    set_up.wait()
    wakes = loop.wakes
    borrowed(loop, lambda: loop.call_later(600, len, ()))
    assert loop.wakes == wakes


def test_an_error_comes_to_the_thread_that_asked_and_the_loop_goes_on(loop: Watched) -> None:
    def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        borrowed(loop, fail)
    came = threading.Event()
    loop.call_soon_threadsafe(came.set)
    assert came.wait(20)


def test_in_debug_mode_which_refuses_other_threads_it_is_not_to_be_had(loop: Watched) -> None:
    asleep = threading.Event()
    borrowed(loop, asleep.set)
    loop.set_debug(True)
    taken = loop.borrow(lambda: None)
    loop.set_debug(False)
    assert not taken
