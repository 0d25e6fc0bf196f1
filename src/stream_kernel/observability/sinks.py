"""Where events go. A sink that raises is logged once and breaks nothing."""

from __future__ import annotations

import logging
from collections import deque
from typing import Protocol

import msgspec

from stream_kernel.observability.events import LifecycleEvent
from stream_kernel.observability.quiet import QuietLogger
from stream_kernel.printable import printable

__all__ = ["EventHub", "LoggingSink", "Sink"]

_LEVELS = {"worker_failed": logging.WARNING}
_ENDS_WITH_WORDS = 64


class Sink(Protocol):
    """Anything that takes events. `emit` is called on the supervisor's loop and must not block."""

    def emit(self, event: LifecycleEvent) -> None: ...


class LoggingSink:
    """Writes events to the logger `stream_kernel.lifecycle`; a worker that was lost with its report, over several lines."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("stream_kernel.lifecycle")

    def emit(self, event: LifecycleEvent) -> None:
        level = _LEVELS.get(event.kind, logging.INFO)
        self._logger.log(
            level,
            "%s %s generation %d pid %s%s%s%s",
            event.kind,
            event.worker_id,
            event.generation,
            event.pid,
            f" {event.mode}" if event.mode else "",
            f": {printable(event.reason)}" if event.reason else "",
            f"\n{event.exit}" if event.kind == "worker_failed" and event.exit is not None else "",
            extra={"event": event},
        )


class EventHub:
    """Hands each event to all sinks and keeps the last ones.

    What a worker has written can be 450 KB to an event. So of those that are kept, only the latest ends of workers have it.
    """

    def __init__(self, *sinks: Sink, keep: int = 4096) -> None:
        self._sinks = sinks
        self._broken: set[int] = set()
        self._kept: deque[LifecycleEvent] = deque(maxlen=keep)
        self._emitted = 0
        self._with_words: deque[int] = deque()
        """Which of the events emitted, counted from 1, are kept with what their worker has written."""

    def emit(self, event: LifecycleEvent) -> None:
        self._keep(event)
        for sink in self._sinks:
            try:
                sink.emit(event)
            except Exception:  # noqa: BLE001  the sink is the user's
                if id(sink) not in self._broken:
                    self._broken.add(id(sink))
                    QuietLogger("stream_kernel").error("event sink %s failed; further failures of it stay silent", sink, exc_info=True)

    def _keep(self, event: LifecycleEvent) -> None:
        self._kept.append(event)
        self._emitted += 1
        if event.exit is not None and (event.exit.stderr_tail or event.exit.stack):
            self._with_words.append(self._emitted)
        if len(self._with_words) > _ENDS_WITH_WORDS:
            place = len(self._kept) - 1 - (self._emitted - self._with_words.popleft())
            if place >= 0:
                self._kept[place] = _without_words(self._kept[place])

    def events(self) -> list[LifecycleEvent]:
        """The last events, oldest first."""
        return list(self._kept)


def _without_words(event: LifecycleEvent) -> LifecycleEvent:
    assert event.exit is not None
    return msgspec.structs.replace(event, exit=msgspec.structs.replace(event.exit, stderr_tail=(), stack=None))
