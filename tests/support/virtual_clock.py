"""An event loop whose time is virtual: when nothing is ready it jumps to the next timer instead of waiting.

For code without real I/O and threads: what only they could wake counts as a deadlock. `time.monotonic()` shows the same time, so that
nothing depends on how long the machine takes.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from math import inf
from types import TracebackType
from typing import Any, ParamSpec, TypeVar
from unittest import mock

__all__ = ["START", "Deadlock", "Livelock", "VirtualClock", "VirtualClockLoop", "on_virtual_clock"]

P = ParamSpec("P")
R = TypeVar("R")
START = 1000.0
"""What the clock shows first, in seconds."""
_PASSES_AT_ONE_TIME = 200_000


class Deadlock(AssertionError):
    """Nothing is ready, no timer is set, and somebody waits. The text names the tasks."""


class Livelock(AssertionError):
    """Something is always ready, and no time passes."""


class _Selector(selectors.DefaultSelector):
    """Asks the descriptors, and lets time jump where another would wait."""

    def __init__(self, jump: Callable[[float | None], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready:
            self._jump(timeout)
        return ready


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """`time()` begins at `START`; it stands still while anything is ready, and never goes beyond `horizon`: there the loop stops."""

    def __init__(self) -> None:
        self._now = START
        self._passes = 0
        self.horizon = inf
        super().__init__(_Selector(self._jump))

    def time(self) -> float:
        return self._now

    def _jump(self, timeout: float | None) -> None:
        if timeout == 0:
            self._passes += 1
            if self._passes > _PASSES_AT_ONE_TIME:
                self._passes = 0  # the loop has to run once more, to be closed
                raise Livelock(f"no end of work at {self._now}: {_names(self)}")
            return
        self._passes = 0
        following = inf if timeout is None else self._now + timeout
        if following > self.horizon:
            self._now = self.horizon
            self.stop()
        elif timeout is None:
            raise Deadlock(f"nothing can happen any more; these wait: {_names(self)}")
        else:
            self._now = following


def _names(loop: asyncio.AbstractEventLoop) -> str:
    return ", ".join(sorted(f"{task.get_name()} ({_code_of(task)})" for task in asyncio.all_tasks(loop))) or "no task"


def _code_of(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", "?"))


class VirtualClock:
    """A loop with virtual time that a synchronous test drives step by step. An error that only the loop hears of fails the test."""

    def __init__(self) -> None:
        self.loop = VirtualClockLoop()
        self.loop.set_exception_handler(self._note_error)
        self._runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self._other_clock = mock.patch("time.monotonic", self.loop.time)
        self._errors: list[dict[str, Any]] = []

    def __enter__(self) -> VirtualClock:
        self._other_clock.start()
        self._runner.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._runner.__exit__(kind, error, trace)
        finally:
            self._other_clock.stop()
        if error is None:
            self.check()

    def check(self) -> None:
        """Raise what a callback raised, or a task that nobody awaited."""
        if self._errors:
            context = self._errors.pop(0)
            raise AssertionError(context["message"]) from context.get("exception")

    def _note_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._errors.append(context)

    @property
    def now(self) -> float:
        return self.loop.time()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine to its end, however much virtual time that takes."""
        return self._runner.run(work)

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What a plain function gives that needs a running loop; no time passes."""

        async def step() -> R:
            return function(*args, **kwargs)

        return self.run(step())

    def settle(self) -> None:
        """Let everything happen that can happen now; no time passes."""
        self.advance(0)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, and everything happen that happens in it."""
        self.loop.horizon = self.loop.time() + seconds
        try:
            self.loop.run_forever()
        finally:
            self.loop.horizon = inf
        self.check()


def on_virtual_clock(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a loop with virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with VirtualClock() as clock:
            clock.run(test(*args, **kwargs))

    return run
