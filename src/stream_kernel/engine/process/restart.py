"""How often a group may lose workers before it is given up: more than `intensity` deaths within `period_seconds`."""

from __future__ import annotations

from collections import deque

__all__ = ["RestartWindow"]


class RestartWindow:
    """Counts unprovoked deaths over a sliding window; time is an argument."""

    def __init__(self, intensity: int = 5, period_seconds: float = 30.0) -> None:
        self._intensity = intensity
        self._period = period_seconds
        self._deaths: deque[float] = deque()

    def exceeded_by_death(self, now: float) -> bool:
        """Record a death; True when the group must be given up."""
        self._deaths.append(now)
        while self._deaths[0] <= now - self._period:
            self._deaths.popleft()
        return len(self._deaths) > self._intensity

    def forget(self) -> None:
        """Start over, after an explicit restart."""
        self._deaths.clear()
