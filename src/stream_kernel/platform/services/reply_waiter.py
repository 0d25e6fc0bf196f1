"""Reply correlation: whoever sent a message under a `trace_id` waits here for the event that ends it.

A web layer registers the trace of a request, hands the message to a run, and waits; the run completes the trace from its terminal
outputs. Thread-safe; bounded: beyond `capacity` traces, completed ones that nobody fetched go first, and then a registration is refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

import msgspec

from stream_kernel.errors import StreamKernelError
from stream_kernel.routing.envelope import Envelope, TerminalEvent

__all__ = ["ReplyWaiter", "ReplyWaiterError", "ReplyWaiterStatistics", "TerminalEvent"]


class ReplyWaiterError(StreamKernelError, RuntimeError):
    """A trace that cannot be registered (it is waiting already, or there is no room) or waited for (it is not registered)."""


class ReplyWaiterStatistics(msgspec.Struct, frozen=True):
    """How many traces wait or were completed without being fetched yet, and what came that nobody expected."""

    waiting: int
    completed: int
    duplicates: int
    """Completions of a trace that had been completed."""
    late: int
    """Completions of a trace that was not registered (any more)."""


class ReplyWaiter:
    """Traces that wait for their terminal event."""

    def __init__(self, *, capacity: int = 10_000) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self._capacity = capacity
        self._lock = threading.Lock()
        self._traces: OrderedDict[str, Future[TerminalEvent]] = OrderedDict()
        self._duplicates = 0
        self._late = 0

    def register(self, trace_id: str) -> None:
        """Begin to wait for `trace_id`. Raises `ReplyWaiterError` when it is waiting already, or when there is no room."""
        with self._lock:
            present = self._traces.get(trace_id)
            if present is not None and not present.done():
                raise ReplyWaiterError(f"trace '{trace_id}' is waiting already: a trace_id must be unique while it waits")
            if present is None and len(self._traces) >= self._capacity:
                self._make_room()
            self._traces[trace_id] = Future()
            self._traces.move_to_end(trace_id)

    def complete(self, trace_id: str, event: TerminalEvent) -> bool:
        """End the wait for `trace_id` with `event`; False when it came late or twice (then it is counted and dropped)."""
        with self._lock:
            future = self._traces.get(trace_id)
            if future is None:
                self._late += 1
                return False
            if future.done():
                self._duplicates += 1
                return False
            future.set_result(event)
            return True

    def complete_output(self, output: Envelope) -> bool:
        """`complete` from a terminal output of a call; an output without a trace is nobody's."""
        if output.trace_id is None:
            return False
        event = output.payload if isinstance(output.payload, TerminalEvent) else TerminalEvent("success", output.payload)
        return self.complete(output.trace_id, event)

    def cancel(self, trace_id: str) -> bool:
        """End the wait with a `cancelled` event; False when it was not waiting."""
        return self._end(trace_id, TerminalEvent("cancelled", error="the wait was cancelled"))

    def expire(self, trace_id: str) -> bool:
        """End the wait with a `timeout` event; False when it was not waiting."""
        return self._end(trace_id, TerminalEvent("timeout", error="no terminal event came in time"))

    def wait(self, trace_id: str, timeout_seconds: float | None = None) -> TerminalEvent:
        """Block until the trace ends, and forget it. When the time is over it ends with a `timeout` event."""
        future = self._waiting(trace_id)
        try:
            return future.result(timeout_seconds)
        except FutureTimeoutError:
            self.expire(trace_id)
        finally:
            self._forget(trace_id, future)
        return future.result(0)

    async def wait_async(self, trace_id: str, timeout_seconds: float | None = None) -> TerminalEvent:
        """The same for an event loop. A cancelled wait forgets the trace: its event counts as late."""
        future = self._waiting(trace_id)
        try:
            async with asyncio.timeout(timeout_seconds):
                # Shielded: wrap_future would cancel the future that other threads complete.
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            self.expire(trace_id)
        finally:
            self._forget(trace_id, future)
        return future.result(0)

    def statistics(self) -> ReplyWaiterStatistics:
        """The counts as they are now."""
        with self._lock:
            completed = sum(future.done() for future in self._traces.values())
            return ReplyWaiterStatistics(len(self._traces) - completed, completed, self._duplicates, self._late)

    def _end(self, trace_id: str, event: TerminalEvent) -> bool:
        with self._lock:
            future = self._traces.get(trace_id)
            if future is None or future.done():
                return False
            future.set_result(event)
            return True

    def _waiting(self, trace_id: str) -> Future[TerminalEvent]:
        with self._lock:
            future = self._traces.get(trace_id)
        if future is None:
            raise ReplyWaiterError(f"trace '{trace_id}' is not registered: register it before the message is sent")
        return future

    def _forget(self, trace_id: str, future: Future[TerminalEvent]) -> None:
        with self._lock:
            if self._traces.get(trace_id) is future:
                del self._traces[trace_id]

    def _make_room(self) -> None:
        oldest = next((trace_id for trace_id, future in self._traces.items() if future.done()), None)
        if oldest is None:
            raise ReplyWaiterError(f"{self._capacity} traces are waiting, which is the capacity: raise it, or wait with a timeout")
        del self._traces[oldest]
