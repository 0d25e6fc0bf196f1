"""Keeps the forks of other threads out of the middle of a spawn.

A copy of this process that is forked there would hold what nobody knows to close: the lifeline of a worker, which would outlive its
parent with it, and the pipe on which `subprocess` waits for the exec, where the event loop would stand still for as long as the copy lives.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Coroutine, Generator, Iterator
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["ApartFromForks", "is_spawning"]

R = TypeVar("R")
_PATIENCE_SECONDS = 5.0
"""How long a fork waits at most: a spawn that takes longer is stuck, and must not take the program along."""


class ApartFromForks(Generator[Any, Any, R]):
    """Awaits a coroutine; while that takes its first step, up to where it first waits, other threads cannot fork."""

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        self._coroutine = coroutine
        self._is_begun = False

    def __await__(self) -> Generator[Any, Any, R]:
        return self

    def send(self, value: Any) -> Any:
        if self._is_begun:
            return self._coroutine.send(value)
        self._is_begun = True
        with _GATE.lock, _GATE.spawning():
            return self._coroutine.send(value)

    def throw(self, kind: Any, error: Any = None, trace: TracebackType | None = None) -> Any:
        return self._coroutine.throw(kind if error is None else error)


class _Gate:
    """What a fork and the first step of a spawn take turns by. A thread may fork in a first step of its own."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.spawner: int | None = None
        """The thread that is in such a first step."""

    @contextlib.contextmanager
    def spawning(self) -> Iterator[None]:
        self.spawner, before = threading.get_ident(), self.spawner
        try:
            yield
        finally:
            self.spawner = before

    def shut(self) -> None:
        self.lock.acquire(timeout=_PATIENCE_SECONDS)

    def open(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was not to be had
            self.lock.release()

    def renew(self) -> None:
        """In the copy, where the thread that holds it may not be."""
        self.lock = threading.RLock()


_GATE = _Gate()


def is_spawning() -> bool:
    """Whether this thread takes the first step of a spawn.

    A forked copy in which this holds is about to become a worker: uvloop runs the hooks of a fork in it. It does not outlive the exec.
    """
    return _GATE.spawner == threading.get_ident()


os.register_at_fork(before=_GATE.shut, after_in_parent=_GATE.open, after_in_child=_GATE.renew)
