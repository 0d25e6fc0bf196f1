"""Asks a worker for a sign of life while it has nothing to do. A busy one is bounded by the deadline of its command, and is never asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["IdleWatch"]

_LATE_SECONDS = 0.5
"""A timer that comes so late says that this process did not run, not that the worker does not."""


class IdleWatch:
    """One timer for the life of a worker; it costs nothing per command."""

    def __init__(
        self,
        *,
        interval_seconds: float,
        timeout_seconds: float,
        is_idle: Callable[[], bool],
        ping: Callable[[int], None],
        on_silence: Callable[[], None],
    ) -> None:
        """`is_idle` may take what has arrived before it answers. `on_silence` is called at most once."""
        self._loop = asyncio.get_running_loop()
        self._interval = interval_seconds
        self._timeout = timeout_seconds
        self._is_idle = is_idle
        self._ping = ping
        self._on_silence = on_silence
        self._token = 0
        self._heard = 0
        self._timer = self._loop.call_later(interval_seconds, self._ask)

    def pong(self, token: int) -> None:
        """The worker has answered."""
        self._heard = max(self._heard, token)

    def close(self) -> None:
        """No more questions."""
        self._timer.cancel()

    def _ask(self) -> None:
        if not self._is_idle():
            self._timer = self._loop.call_later(self._interval, self._ask)
            return
        self._token += 1
        self._ping(self._token)
        self._await_answer()

    def _await_answer(self) -> None:
        self._timer = self._loop.call_later(self._timeout, self._judge, self._loop.time() + self._timeout)

    def _judge(self, due: float) -> None:
        is_idle = self._is_idle()
        if self._heard == self._token or not is_idle:
            self._timer = self._loop.call_later(max(0.0, self._interval - self._timeout), self._ask)
        elif self._loop.time() - due > _LATE_SECONDS:
            self._await_answer()
        else:
            self._on_silence()
