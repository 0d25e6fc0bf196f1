"""When a worker has served long enough: after so many commands, or grown by so much memory since it was warm."""

from __future__ import annotations

import random
from collections.abc import Callable

from stream_kernel.config.model import ProcessGroupConfig

__all__ = ["Wear"]

_WEIGH_EVERY_SECONDS = 1.0
_JITTER = 0.1
"""At most this share earlier, so that workers that started together are not replaced together."""
_MIB = 1 << 20


class Wear:
    """Of one incarnation. `resident_bytes` may give None: then it is not weighed. `jitter(a, b)` gives a number between both."""

    def __init__(
        self, group: ProcessGroupConfig, resident_bytes: Callable[[], int | None], jitter: Callable[[float, float], float] = random.uniform
    ) -> None:
        share = 1.0 - jitter(0.0, _JITTER)
        requests, growth = group.max_requests_per_worker, group.max_rss_mb
        self._most_requests = None if requests is None else max(1, round(requests * share))
        self._most_growth = None if growth is None else growth * share * _MIB
        self._resident_bytes = resident_bytes
        self._baseline: int | None = None
        self._next_weighing = 0.0

    def after_answer(self, answered: int, now: float) -> str | None:
        """Why the worker should be replaced, or None."""
        if self._most_requests is not None and answered >= self._most_requests:
            return f"it has answered {answered} commands (max_requests_per_worker)"
        if self._most_growth is None or (self._baseline is not None and now < self._next_weighing):
            return None
        self._next_weighing = now + _WEIGH_EVERY_SECONDS
        resident = self._resident_bytes()
        if resident is None:
            return None
        if self._baseline is None:
            self._baseline = resident
        grown = resident - self._baseline
        return f"it has grown by {grown / _MIB:.0f} MiB (max_rss_mb)" if grown >= self._most_growth else None
