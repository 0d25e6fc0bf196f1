"""Whether a lost worker is replaced, and when; a group whose workers are lost too often is given up. No clock: `now` is an argument."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import msgspec

from stream_kernel.config.model import RestartConfig
from stream_kernel.reports import WorkerExitReport

__all__ = ["Abandon", "Replace", "RestartPolicy", "Verdict"]

_HEALTHY_SECONDS = 60.0
"""A worker that has lived as long starts over with its backoff."""
_MAX_DOUBLINGS = 64
_AFTER_KILL_SECONDS = 0.03
"""Workers that hang together are killed together: all of their callers are to hear before the forks of replacements hold up the loop."""
_BOOTS_BEFORE_FIRST_READY = 2


class Replace(msgspec.Struct, frozen=True):
    """Start it again after so many seconds."""

    delay_seconds: float


class Abandon(msgspec.Struct, frozen=True):
    """Do not. `fails_group` says whether the group has to be given up with it."""

    reason: str
    fails_group: bool


Verdict = Replace | Abandon


class RestartPolicy:
    """Of one group, for all its workers. `jitter(a, b)` gives a number between both."""

    def __init__(self, config: RestartConfig, jitter: Callable[[float, float], float] = random.uniform) -> None:
        self._config = config
        self._jitter = jitter
        self._deaths: deque[float] = deque()
        self._in_row: dict[int, int] = {}
        self._failed_boots: dict[int, int] = {}

    def forget(self) -> None:
        """Start over, after an explicit start."""
        self._deaths.clear()
        self._in_row.clear()
        self._failed_boots.clear()

    def became_ready(self, worker_index: int) -> None:
        """That worker has come up: its failed boots are forgotten."""
        self._failed_boots.pop(worker_index, None)

    def after_death(self, worker_index: int, now: float, end: WorkerExitReport | None) -> Verdict:
        """A worker that was ready has ended, and nobody asked it to."""
        if end is not None and self._config.strategy == "transient" and end.exit_code == 0:
            return Abandon("it ended by itself with exit code 0", fails_group=False)
        if self._config.strategy == "temporary":
            return Abandon("lost workers of this group are not replaced", fails_group=False)
        if end is not None and end.uptime_seconds >= _HEALTHY_SECONDS:
            self._in_row.pop(worker_index, None)
        return self._count(worker_index, now)

    def after_inflicted(self, end: WorkerExitReport | None) -> Verdict:
        """Its end says nothing about its health: we have ended it in the course of work, or it was at what had killed one before."""
        if self._config.strategy == "temporary":
            return Abandon("lost workers of this group are not replaced", fails_group=False)
        return Replace(_AFTER_KILL_SECONDS if end is not None and end.by_supervisor else 0.0)

    def after_failed_boot(self, worker_index: int, now: float, *, was_ever_ready: bool) -> Verdict:
        """A worker could not be spawned or did not become ready. `was_ever_ready` says whether one in its place ever was."""
        boots = self._failed_boots[worker_index] = self._failed_boots.get(worker_index, 0) + 1
        if not was_ever_ready and boots >= _BOOTS_BEFORE_FIRST_READY:
            return Abandon("it could not be started", fails_group=True)
        if boots > max(self._config.intensity, 1):  # boots that hang are far apart: no window ever holds enough of them
            return Abandon(f"{boots} replacements in a row could not be started", fails_group=True)
        return self._count(worker_index, now)

    def _count(self, worker_index: int, now: float) -> Verdict:
        self._deaths.append(now)
        while self._deaths[0] <= now - self._config.period_seconds:
            self._deaths.popleft()
        if len(self._deaths) > self._config.intensity:
            allowed = f"more than {self._config.intensity} in {self._config.period_seconds:g} s"
            return Abandon(f"its workers died too often (process_groups.restart: {allowed})", fails_group=True)
        in_row = self._in_row[worker_index] = self._in_row.get(worker_index, 0) + 1
        first, most = self._config.backoff_seconds
        bound = min(most, first * 2.0 ** min(in_row - 2, _MAX_DOUBLINGS))
        return Replace(0.0 if in_row == 1 else self._jitter(0.0, bound))
