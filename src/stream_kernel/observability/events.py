"""Lifecycle events: frozen records, the same for every sink."""

from __future__ import annotations

from typing import Literal

import msgspec

from stream_kernel.reports import WorkerExitReport

__all__ = ["EventKind", "LifecycleEvent"]

EventKind = Literal["worker_spawned", "worker_ready", "worker_stopping", "worker_stopped", "worker_failed", "worker_restarted"]


class LifecycleEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to one worker."""

    kind: EventKind
    group: str
    worker_id: str
    generation: int
    """Which incarnation of the worker, from 1."""
    pid: int | None = None
    mode: Literal["graceful", "forced"] | None = None
    """Of `worker_stopped`: whether it ended by itself or was killed."""
    reason: str | None = None
    """Of `worker_failed`: exit code, signal or what else was wrong, free of payloads."""
    exit: WorkerExitReport | None = None
    """Of `worker_failed` and `worker_stopped`: how the process ended; None when there was none."""
    time: float
    """Seconds since the epoch (`time.time`)."""
    monotonic: float
    """Seconds on the monotonic clock, for differences."""
