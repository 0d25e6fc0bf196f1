"""A sink that keeps what it is given, for tests that wait for an event or look at all of them."""

from __future__ import annotations

from stream_kernel.observability.events import EventKind, LifecycleEvent
from stream_kernel.testing.waiting import WAIT_SECONDS, Bell

__all__ = ["RecordingSink"]


class RecordingSink:
    """Keeps every lifecycle event. Hand it to a supervisor as `sink`; wait on any event loop.

    ::

        sink = RecordingSink()
        async with AsyncBoundarySupervisor(config, sink=sink) as supervisor:
            ...
            event = await sink.wait_for("worker_failed", group="score")
            assert event.exit.signal == "SIGKILL"
    """

    def __init__(self) -> None:
        self.events: list[LifecycleEvent] = []
        """All of them, oldest first."""
        self._bell = Bell()

    def emit(self, event: LifecycleEvent) -> None:
        self.events.append(event)
        self._bell.ring()

    def find(
        self, kind: EventKind, *, group: str | None = None, worker_id: str | None = None, generation: int | None = None
    ) -> list[LifecycleEvent]:
        """The events of this kind, oldest first; of this group, worker and incarnation, where they are named."""
        return [
            event
            for event in self.events
            if event.kind == kind
            and group in (None, event.group)
            and worker_id in (None, event.worker_id)
            and generation in (None, event.generation)
        ]

    async def wait_for(
        self,
        kind: EventKind,
        *,
        group: str | None = None,
        worker_id: str | None = None,
        generation: int | None = None,
        count: int = 1,
        timeout_seconds: float = WAIT_SECONDS,
    ) -> LifecycleEvent:
        """The `count`-th event of that kind, as soon as it is there, those from before the call included. Raises `TimeoutError`."""

        def look() -> LifecycleEvent | None:
            found = self.find(kind, group=group, worker_id=worker_id, generation=generation)
            return found[count - 1] if len(found) >= count else None

        return await self._bell.until(look, f"event {count} of kind '{kind}'", timeout_seconds)
