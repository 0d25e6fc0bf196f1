"""Workers that are replaced while they still serve: the replacement is ready before the old one retires, so there is no gap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import msgspec

from stream_kernel.engine.process.slot import End, WorkerSlot
from stream_kernel.errors import WorkerBootstrapError
from stream_kernel.observability.quiet import QuietLogger

__all__ = ["Replacements"]

_logger = QuietLogger("stream_kernel.lifecycle")
_PAUSE_AFTER_FAILURE = 30.0
"""How long nothing is replaced for its age after a replacement did not come up, in seconds."""


class _Replacement(msgspec.Struct):
    old: WorkerSlot
    new: WorkerSlot
    outcome: asyncio.Future[None]
    resume: Callable[[], None] | None = None
    """What the loss of the old one calls for, should the new one not come up; None: it is there."""


class Replacements:
    """Of one group; `slots` is its list, in which places change hands. `make` builds the slot that follows another."""

    def __init__(self, slots: list[WorkerSlot], make: Callable[[WorkerSlot], WorkerSlot]) -> None:
        self._slots = slots
        self._make = make
        self._coming: list[_Replacement] = []
        self._retiring: list[WorkerSlot] = []
        self._pause_until = 0.0
        self.late_replies = 0
        """Of workers that have retired and are gone."""

    def begin(self, old: WorkerSlot, reason: str) -> asyncio.Future[None]:
        """Start a worker in the place of `old`. The future is done when it has taken over; it raises `WorkerBootstrapError` when it
        does not come up, and `old` stays.
        """
        for replacement in self._coming:
            if replacement.old is old:
                return replacement.outcome
        _logger.info("%s generation %d is being replaced: %s", old.worker_id, old.generation, reason)
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        replacement = _Replacement(old, self._make(old), outcome)
        self._coming.append(replacement)
        replacement.new.start()
        return outcome

    @property
    def is_under_way(self) -> bool:
        """Whether one is coming, the one before it is still to go, or the last one failed not long ago."""
        return bool(self._coming or self._retiring) or asyncio.get_running_loop().time() < self._pause_until

    def defer(self, old: WorkerSlot, resume: Callable[[], None]) -> bool:
        """`old` was lost: if somebody is about to take its place, do no more about it unless that fails. False: nobody is."""
        for replacement in self._coming:
            if replacement.old is old:
                replacement.resume = resume
                return True
        return False

    def others(self) -> Iterator[WorkerSlot]:
        """Those that are not in the list: replacements that are coming, and workers that retire."""
        yield from [replacement.new for replacement in self._coming]
        yield from list(self._retiring)

    def ready(self, new: WorkerSlot) -> None:
        """A worker is ready: if it is a replacement, it takes over, and the old one finishes what it has."""
        replacement = next((each for each in self._coming if each.new is new), None)
        if replacement is None:
            return
        self._coming.remove(replacement)
        old = replacement.old
        self._slots[old.index] = new
        if old.state == "ready":
            self._retiring.append(old)
            old.drain()
        else:  # it was lost meanwhile, or is about to be
            if old.has_process:
                self._retiring.append(old)
            old.stop()
        if not replacement.outcome.done():
            replacement.outcome.set_result(None)

    def ended(self, slot: WorkerSlot, end: End) -> Callable[[], None] | None:
        """A worker has ended. Gives what is to be done now for the one that it was to replace, if there is anything."""
        if slot in self._retiring:
            self._retiring.remove(slot)
            self.late_replies += slot.late_replies
            return None
        replacement = next((each for each in self._coming if each.new is slot), None)
        if replacement is None:
            return None
        self._coming.remove(replacement)
        self._pause_until = asyncio.get_running_loop().time() + _PAUSE_AFTER_FAILURE
        if end.kind == "stopped":
            error = WorkerBootstrapError(f"{slot.worker_id} was stopped while it was to be replaced")
        else:
            error = end.boot_error or WorkerBootstrapError(f"the replacement of {slot.worker_id} ended: {end.reason}")
            _logger.warning("%s stays: its replacement did not come up: %s", slot.worker_id, error)
        if not replacement.outcome.done():
            replacement.outcome.set_exception(error)
        return replacement.resume
