"""An event loop that another thread may work with while it sleeps.

To wake a thread takes 15 to 20 µs, and a loop that sleeps does nothing meanwhile: a thread with something small to do can do it at once, in
the loop's place. Whatever must not wait until the loop wakes by itself wakes it.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from asyncio.events import _set_running_loop  # documented for event loops, which is what this is
from collections.abc import Callable
from contextvars import Context
from math import inf
from time import monotonic
from typing import TypeVarTuple

__all__ = ["LentLoop"]

Ts = TypeVarTuple("Ts")


class LentLoop(asyncio.SelectorEventLoop):
    """One thread at a time works with it: its own, or one that has borrowed it."""

    def __init__(self) -> None:
        self._bed = _Bed()
        self._has_more = False
        """Something was scheduled by a borrower that does not wait until the loop wakes by itself."""
        super().__init__(self._bed)

    def borrow(self, work: Callable[[], None]) -> bool:
        """Do this in the thread that asks, as if it were done on the loop; False when the loop is awake, or lent to another thread.

        Only for what is short and waits for nothing, in threads that no signal handler interrupts. Those who borrow one after the other
        keep the loop waiting: in between they should wait for something that it does.
        """
        bed = self._bed
        # In debug mode asyncio refuses whoever is another thread.
        if self.get_debug() or not bed.free.acquire(blocking=False):
            return False
        self._has_more = False
        _set_running_loop(self)
        try:
            work()
        finally:
            _set_running_loop(None)
            has_more = self._has_more
            bed.free.release()
            if has_more:
                self.call_soon_threadsafe(_nothing)
        return True

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.Handle:
        self._has_more = True
        return super().call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.TimerHandle:
        if when < self._bed.until:
            self._has_more = True
        return super().call_at(when, callback, *args, context=context)


class _Bed(selectors.DefaultSelector):
    """Where the loop sleeps: the system's own selector, and a lock that is free as long as it does."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Lock()
        self.free.acquire()
        self.until = inf
        """When it will wake by itself, on its clock."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        self.until = inf if timeout is None else monotonic() + timeout
        self.free.release()
        try:
            return super().select(timeout)
        finally:
            self.free.acquire()


def _nothing() -> None:
    """For the sake of the waking."""
