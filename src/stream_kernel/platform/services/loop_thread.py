"""The thread of a synchronous supervisor, with the event loop that all its work runs on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from stream_kernel.engine.base import Promise, Ticket
from stream_kernel.engine.settlement import PlainOutputs, Settled
from stream_kernel.errors import UsageError
from stream_kernel.platform.services.request import CallRequest

__all__ = ["CLOSED", "CallWork", "LoopThread", "Work"]

R = TypeVar("R")
CLOSED = "this supervisor is closed: make a new one"


class Work(Generic[R]):
    """What a coroutine function is to do on the loop, and the thread that waits for it. Who has made it can cancel it at any moment, handed
    over or not: a Ctrl-C comes when it likes.

    The thread waits for a lock: that, and one call into the loop, costs half of what `run_coroutine_threadsafe` and its future do.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, R]]) -> None:
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_cancelled = False
        self._over = threading.Lock()
        self._over.acquire()
        self._value: list[R] = []
        self._error: BaseException | None = None

    def hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have it begun on this loop."""
        self._loop = loop
        loop.call_soon_threadsafe(self._start)

    def result(self, timeout_seconds: float = -1) -> R:
        """Wait for its value and take it; raises its error, or `TimeoutError` when the time is over."""
        if not self._over.acquire(timeout=timeout_seconds):
            raise TimeoutError("it is not over yet")
        # An error has frames in its traceback that hold this, and is not held by it: a cycle otherwise.
        error, self._error = self._error, None
        if error is None:
            return self._value.pop()
        try:
            raise error
        finally:
            del error

    def cancel(self) -> None:
        """Without effect on what is over."""
        self._is_cancelled = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._cancel_begun)

    def _start(self) -> None:
        if self._is_cancelled:
            self._end(asyncio.CancelledError())
            return
        try:
            self._begin()
        except BaseException as error:  # noqa: BLE001  whatever it is, it belongs to the thread that waits
            self._end(error)

    def _begin(self) -> None:
        assert self._loop is not None
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        try:
            self._value.append(await self._work())
        except BaseException as error:  # noqa: BLE001
            self._end(error)
        else:
            self._end(None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step
            self._end(asyncio.CancelledError())

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        self._over.release()

    def _cancel_begun(self) -> None:
        if self._task is not None:
            self._task.cancel()


class CallWork(Work[Settled | PlainOutputs]):
    """A call. Most are one command, whose reply ends them where it is read; only what more there may be to do takes a task."""

    def __init__(self, request: CallRequest) -> None:
        super().__init__(request.run)
        self._request = request
        self._ticket: Ticket | None = None

    def _begin(self) -> None:
        self._ticket = self._request.begin()
        if self._ticket is None:
            super()._begin()
        else:
            self._ticket.future.add_done_callback(self._land)

    def _land(self, promise: Promise) -> None:
        self._ticket = None
        try:
            if promise.cancelled():
                self._request.abandon()
                raise asyncio.CancelledError
            if self._request.land(promise.result()):
                self._value.append(self._request.end())
            else:
                super()._begin()
                return
        except BaseException as error:  # noqa: BLE001
            self._end(error)
        else:
            self._end(None)

    def _cancel_begun(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()
        else:
            super()._cancel_begun()


class LoopThread:
    """An event loop in a daemon thread: a program that forgets to close its supervisor still ends, and its workers with it."""

    def __init__(self) -> None:
        opened: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]] = Future()

        async def hold_portal() -> None:
            async with BlockingPortal() as portal:
                opened.set_result((portal, asyncio.get_running_loop()))
                await portal.sleep_until_stopped()

        def run() -> None:
            try:
                anyio.run(hold_portal, backend="asyncio")
            except BaseException as error:
                if opened.done():
                    raise
                opened.set_exception(error)

        self._thread = threading.Thread(target=run, name="stream_kernel supervisor", daemon=True)
        self._thread.start()
        try:
            self._portal, self._loop = opened.result()
        except BaseException:
            opened.add_done_callback(_stop_unclaimed)  # a Ctrl-C just now: nobody will ever end this thread
            raise

        self._lock = threading.Lock()
        self._is_ending = False

    def submit(self, work: Work[R]) -> Work[R]:
        """Have it done on the loop; raises `UsageError` when the thread is ending."""
        with self._lock:
            if self._is_ending:
                raise UsageError(CLOSED)
            work.hand_over(self._loop)
        return work

    def run(self, function: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Call it on the loop and wait for what it gives; a Ctrl-C here cancels it."""
        work = Work(function)
        try:
            return self.submit(work).result()
        except BaseException:
            work.cancel()
            raise

    @property
    def is_current(self) -> bool:
        """Whether the caller is this very thread (an event sink, for instance)."""
        return threading.current_thread() is self._thread

    def end(self) -> None:
        """Stop the loop and wait for the thread; on the thread itself, only stop. Once more waits only."""
        with self._lock:
            is_ending, self._is_ending = self._is_ending, True
        if is_ending and not self.is_current:
            self._thread.join()
            return
        if self.is_current:
            self._loop.create_task(self._portal.stop())
            return
        # Calls that were submitted before get their refusal before the loop goes.
        asyncio.run_coroutine_threadsafe(_some_passes(), self._loop).result()
        self._portal.call(self._portal.stop)
        self._thread.join()


def _stop_unclaimed(opened: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]]) -> None:
    if opened.exception() is None:
        portal, loop = opened.result()
        loop.call_soon_threadsafe(lambda: loop.create_task(portal.stop()))


async def _some_passes() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
