"""The supervisors for synchronous code: a thin skin over the asynchronous one, whose event loop runs in a thread of its own.

Every method is one call; nothing is decided here. Inputs are encoded and outputs decoded in the caller's thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from stream_kernel.config.model import Mode, RuntimeConfig
from stream_kernel.engine.base import Capabilities
from stream_kernel.engine.process.fault_plan import PlannedFault
from stream_kernel.engine.settlement import Finished
from stream_kernel.engine.turns import RunOrder
from stream_kernel.errors import ConfigurationError, UsageError
from stream_kernel.observability.events import LifecycleEvent
from stream_kernel.observability.sinks import Sink
from stream_kernel.platform.services.async_supervisor import AsyncBoundarySupervisor, SupervisorSnapshot
from stream_kernel.platform.services.loop_thread import CLOSED, CallWork, LoopThread, Work
from stream_kernel.platform.services.request import CallRequest, OnError, check_seconds
from stream_kernel.platform.services.single import Batch, batched, in_order, one_payload
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.envelope import RoutingResult

__all__ = ["LocalBootstrapSupervisor", "MultiprocessBootstrapSupervisor", "create_supervisor"]

R = TypeVar("R")
S = TypeVar("S", bound="_SyncSupervisor")
_ABANDON_SECONDS = 5.0


def _abandon(owner: int, supervisor: AsyncBoundarySupervisor, thread: LoopThread) -> None:
    """The facade was dropped, or the interpreter ends, without `close`: kill the workers and end the thread."""
    if os.getpid() != owner:  # a forked copy has neither the thread nor the workers
        return
    try:
        if thread.is_current:
            supervisor.engine.kill_now()
        else:
            with suppress(TimeoutError, UsageError):  # a worker that does not die of it, or a thread that is ending already
                thread.submit(Work(supervisor.force_terminate_groups)).result(_ABANDON_SECONDS)
    finally:
        thread.end()


class _Pending:
    """A call of the caller's thread, or a batch of `map`: handed over by `begin`, and decoded by whoever takes its result."""

    def __init__(self, request: CallRequest) -> None:
        self.request = request
        self._work: CallWork | None = None

    def begin(self, thread: Callable[[], LoopThread]) -> None:
        """Hand over what was packed, unless nothing of it needs a worker."""
        if self.request.is_settled:
            return
        try:
            loop_thread = thread()
            self._work = CallWork(self.request)
            loop_thread.submit(self._work)
        except UsageError:  # closed while the inputs were encoded
            self._work = None
            self.request.refuse("the supervisor is closed")

    def cancel(self) -> bool:
        if self._work is not None:
            self._work.cancel()
        return self._work is not None

    def result(self) -> list[Finished]:
        return self.request.finish(self.request.conclude() if self._work is None else self._work.result())


class _SyncSupervisor:
    """What both synchronous supervisors share; which modes each takes is all that differs."""

    _modes: ClassVar[tuple[Mode, ...]]

    def __init__(self, config: RuntimeConfig, *, sink: Sink | None = None, chaos: Sequence[PlannedFault] = ()) -> None:
        """`sink` gets every lifecycle event, on the supervisor's thread. `chaos` is for tests: faults that workers are to bring about, see
        `stream_kernel.testing.chaos`. Raises `ConfigurationError`.
        """
        if config.bootstrap.mode not in self._modes:
            raise ConfigurationError(
                f"{type(self).__name__} runs bootstrap.mode {' or '.join(map(repr, self._modes))}, not '{config.bootstrap.mode}': "
                "create_supervisor(config) picks the right class"
            )
        self._supervisor = AsyncBoundarySupervisor(config, sink=sink, chaos=chaos)
        self._thread: LoopThread | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        self._abandoned: weakref.finalize[..., Any] | None = None

    def __enter__(self: S) -> S:
        try:
            self._run(self._supervisor.__aenter__)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if os.getpid() == self._pid:  # a forked copy that leaves the block has nothing to close
            self.close()

    def start_groups(self, group_names: Sequence[str] | None = None) -> None:
        """Start these groups (all by default); returns when their workers are spawned. Raises `WorkerBootstrapError`."""
        self._run(partial(self._supervisor.start_groups, group_names))

    def wait_ready(self, timeout_seconds: float | None = None) -> bool:
        """Wait until all configured groups are ready; False when the time is over. Raises `WorkerBootstrapError`."""
        check_seconds("timeout_seconds", timeout_seconds)
        return self._thread is not None and self._run(partial(self._supervisor.wait_ready, timeout_seconds))

    def execute_boundary(
        self,
        *,
        run_id: str,
        scenario_id: str,
        inputs: Sequence[BoundaryDispatchInput],
        timeout_seconds: float | None = None,
        on_error: OnError = "raise",
    ) -> RoutingResult:
        """See `AsyncBoundarySupervisor.execute_boundary`."""
        request = self._request(inputs, run_id=run_id, scenario_id=scenario_id, timeout_seconds=timeout_seconds, on_error=on_error)
        return RoutingResult([], [], [one.envelope for one in self._settle(request)])

    def call(
        self,
        target: str,
        payload: Any,
        *,
        timeout_seconds: float | None = None,
        trace_id: str | None = None,
        reply_to: str | None = None,
    ) -> Any:
        """One payload in, the one output's payload out. A terminal event is unwrapped, its error raised."""
        given = self._supervisor.input_for(target, payload, trace_id, reply_to)
        return one_payload(self._settle(self._request([given], timeout_seconds=timeout_seconds)), given)

    def map(self, target: str, payloads: Iterable[Any], *, batch_size: int = 256, timeout_seconds: float | None = None) -> Iterator[Any]:
        """See `AsyncBoundarySupervisor.map`."""
        order = RunOrder()
        width = self._supervisor.map_width(target)
        under_way: deque[_Pending] = deque(maxlen=width + 1)

        def submit(batch: Batch) -> _Pending:
            self._refuse_misuse("async for output in supervisor.map(...): await ...")
            pending = _Pending(
                self._supervisor.batch_request(batch.inputs, order=order, width=width, timeout_seconds=timeout_seconds, first=batch.first)
            )
            under_way.append(pending)
            self._begin(pending)
            return pending

        inputs = (self._supervisor.input_for(target, payload) for payload in payloads)
        try:
            with closing(in_order(batched(inputs, batch_size), submit, width)) as handles:
                for batch, pending in handles:
                    yield from batch.payloads(pending.result())
        finally:
            for pending in under_way:  # also those that a Ctrl-C has kept from being noted anywhere else
                pending.cancel()

    def stop_groups(self, *, graceful_timeout_seconds: float | None = None, drain_inflight: bool = True) -> None:
        """See `AsyncBoundarySupervisor.stop_groups`; raises `TimeoutError` when something outlives the grace."""
        check_seconds("graceful_timeout_seconds", graceful_timeout_seconds)
        if self._thread is not None:
            stop = self._supervisor.stop_groups
            self._run(partial(stop, graceful_timeout_seconds=graceful_timeout_seconds, drain_inflight=drain_inflight))

    def force_terminate_groups(self, group_names: Sequence[str] | None = None) -> None:
        """Kill the workers of these groups (all by default) with their process trees; their calls fail as transport."""
        if self._thread is not None:
            self._run(partial(self._supervisor.force_terminate_groups, group_names))

    def restart_group(self, name: str) -> None:
        """Replace the workers of a group, a failed one included; returns when it is ready. Raises `WorkerBootstrapError`."""
        self._run(partial(self._supervisor.restart_group, name))

    def close(self) -> None:
        """Drain, stop and, past the grace, kill. Idempotent."""
        self._refuse_misuse("await supervisor.close()")
        with self._lock:
            thread = self._thread
            self._is_closed = True
        if thread is None:
            return
        try:
            with suppress(UsageError):  # another thread has closed it meanwhile
                thread.run(self._supervisor.close)
        except BaseException:
            # Interrupted: the workers are killed, and those who wait for them must hear of it before the loop goes.
            _abandon(self._pid, self._supervisor, thread)
            raise
        thread.end()
        # Only now: who was interrupted before can ask again.
        self._thread = None
        if self._abandoned is not None:
            self._abandoned.detach()

    def snapshot(self) -> SupervisorSnapshot:
        """The groups and their workers as they are now."""
        return self._ask(self._supervisor.snapshot)

    def lifecycle_events(self) -> list[LifecycleEvent]:
        """What happened to the workers, oldest first (the last 4,096)."""
        return self._ask(self._supervisor.lifecycle_events)

    @property
    def capabilities(self) -> Capabilities:
        """What the engine of this mode can do."""
        return self._supervisor.capabilities

    # -- how a call gets to the other thread

    def _request(
        self,
        inputs: Sequence[BoundaryDispatchInput],
        *,
        run_id: str = "",
        scenario_id: str | None = None,
        timeout_seconds: float | None = None,
        on_error: OnError = "raise",
    ) -> CallRequest:
        self._refuse_misuse("await supervisor.execute_boundary(...)")
        return self._supervisor.request(
            inputs,
            run_id=run_id,
            scenario_id=scenario_id,
            timeout_seconds=timeout_seconds,
            on_error=on_error,
        )

    def _settle(self, request: CallRequest) -> list[Finished]:
        """Take all steps of a call; a Ctrl-C here cancels it."""
        pending = _Pending(request)
        try:
            self._begin(pending)
            return pending.result()
        except BaseException:
            pending.cancel()
            raise

    def _begin(self, pending: _Pending) -> None:
        request = pending.request
        if request.waits:
            self._run(request.pass_gate)
        request.pack()
        pending.begin(self._open_thread)

    def _run(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run a coroutine function on the supervisor's loop and wait for it."""
        self._refuse_misuse("async with AsyncBoundarySupervisor(config) as supervisor: await supervisor.call(...)")
        return self._open_thread().run(work)

    def _ask(self, question: Callable[[], R]) -> R:
        """Ask on the supervisor's loop, where nothing changes meanwhile."""
        thread = self._thread
        if thread is None or thread.is_current:
            return question()
        if os.getpid() != self._pid:
            raise _after_fork(self._pid)

        async def ask() -> R:
            return question()

        return thread.run(ask)

    def _open_thread(self) -> LoopThread:
        with self._lock:
            if self._is_closed:
                raise UsageError(CLOSED)
            if self._thread is None:
                self._thread = LoopThread()
                self._abandoned = weakref.finalize(self, _abandon, self._pid, self._supervisor, self._thread)
            return self._thread

    def _refuse_misuse(self, instead: str) -> None:
        if os.getpid() != self._pid:
            raise _after_fork(self._pid)
        if _in_event_loop():
            raise UsageError(
                f"{type(self).__name__} would block the running event loop. Use the asynchronous supervisor there:\n\n    {instead}"
            )


def _after_fork(owner: int) -> UsageError:
    return UsageError(f"this supervisor belongs to process {owner}: after a fork, make a new one")


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class MultiprocessBootstrapSupervisor(_SyncSupervisor):
    """Runs the groups in worker processes (`bootstrap.mode = "process_supervisor"`); callable from any thread.

    ::

        with MultiprocessBootstrapSupervisor(config) as supervisor:
            decision = supervisor.call("score", {"v": 1}, timeout_seconds=2)
    """

    _modes = ("process_supervisor",)


class LocalBootstrapSupervisor(_SyncSupervisor):
    """The same service in this process (`bootstrap.mode = "inline"` or `"inline_wire"`), for tests and debugging."""

    _modes = ("inline", "inline_wire")


def create_supervisor(config: RuntimeConfig, *, sink: Sink | None = None) -> MultiprocessBootstrapSupervisor | LocalBootstrapSupervisor:
    """The synchronous supervisor for the configuration's `bootstrap.mode`."""
    if config.bootstrap.mode in MultiprocessBootstrapSupervisor._modes:
        return MultiprocessBootstrapSupervisor(config, sink=sink)
    return LocalBootstrapSupervisor(config, sink=sink)
