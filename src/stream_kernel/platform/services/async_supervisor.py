"""The supervisor for code that has an event loop: starts, watches and stops the groups, and takes calls.

It stays in one module of some 400 lines: a third of it is what users read of each method, and the rest all asks after the same state.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
import weakref
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from math import inf
from types import TracebackType
from typing import Any

from stream_kernel.config.model import RuntimeConfig
from stream_kernel.engine.base import Capabilities, Engine, PayloadCodec
from stream_kernel.engine.inline import ExceptionHook
from stream_kernel.engine.process.fault_plan import PlannedFault
from stream_kernel.engine.process.worker_process import Launch
from stream_kernel.engine.settlement import Finished
from stream_kernel.engine.turns import RunOrder
from stream_kernel.errors import UsageError
from stream_kernel.nodes.guard import refuse_while_importing
from stream_kernel.observability.events import LifecycleEvent
from stream_kernel.observability.sinks import EventHub, LoggingSink, Sink
from stream_kernel.platform.services.active_calls import ActiveCalls
from stream_kernel.platform.services.engine_life import abandon_engine, chosen_groups, end_without_loop, make_engine
from stream_kernel.platform.services.message_classes import message_classes
from stream_kernel.platform.services.request import MAX_TIMEOUT_SECONDS, CallRequest, OnError, check_seconds
from stream_kernel.platform.services.single import Batch, batched, in_order, one_payload
from stream_kernel.platform.services.snapshot import SupervisorSnapshot
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.envelope import RoutingResult
from stream_kernel.routing.router import Router

__all__ = ["AsyncBoundarySupervisor", "SupervisorSnapshot"]


class AsyncBoundarySupervisor:
    """Runs the groups of a configuration in the caller's event loop, in any mode.

    ::

        async with AsyncBoundarySupervisor(config) as supervisor:
            result = await supervisor.execute_boundary(run_id="r1", scenario_id="s", inputs=[...])

    Entering starts all groups and waits until they are ready; leaving drains, stops and, past the grace, kills.
    """

    def __init__(
        self,
        config: RuntimeConfig,
        *,
        sink: Sink | None = None,
        on_node_exception: ExceptionHook | None = None,
        chaos: Sequence[PlannedFault] = (),
        launch: Launch | None = None,
    ) -> None:
        """`sink` gets every lifecycle event, besides the log. In the inline modes `on_node_exception` is called with what a node raised,
        its frames still there, before it becomes a failure. For tests: `chaos` has faults that workers are to bring about, `launch` starts
        something in the place of worker processes; see `stream_kernel.testing`. Raises `ConfigurationError`.
        """
        refuse_while_importing()
        self.config = config
        self.group_names = frozenset(group.name for group in config.process_groups)
        self._homes = {node: group.name for group in config.process_groups for node in group.nodes}
        self._events = EventHub(LoggingSink(), *([] if sink is None else [sink]))
        self._make_engine = partial(make_engine, config, self._events, on_node_exception, chaos, launch)
        self.engine: Engine = self._make_engine()
        self._state = "new"
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._message_classes: list[type] = []
        self._codec: tuple[Router, PayloadCodec] | None = None
        self._calls = ActiveCalls()
        self._leaving = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._abandoned: weakref.finalize[..., Any] | None = None
        self._id_prefix = uuid.uuid4().hex[:12]
        self._ids = itertools.count(1)

    # -- life

    async def __aenter__(self) -> AsyncBoundarySupervisor:
        try:
            await self.start_groups()
            await self.wait_ready()
        except UsageError:  # it is at work for somebody else, or cannot be started: nothing was begun here
            raise
        except BaseException:
            self.engine.kill_now()
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def start_groups(self, group_names: Sequence[str] | None = None) -> None:
        """Start these groups (all by default); returns when their workers are spawned. Raises `WorkerBootstrapError`."""
        refuse_while_importing()
        self._check_process()
        if self._state == "closed" or self._closing is not None:
            raise UsageError("this supervisor is closed: make a new one")
        if self._state == "draining":
            raise UsageError("this supervisor is still stopping: force_terminate_groups() ends what outlives the grace")
        names = chosen_groups(self.config, group_names)
        self._adopt_loop()
        self._message_classes = message_classes(self.config)
        self._state = "running"
        if self._leaving.is_set():  # otherwise there may be some who wait for it
            self._leaving = asyncio.Event()
        await self.engine.start(names)

    async def wait_ready(self, timeout_seconds: float | None = None) -> bool:
        """Wait until all configured groups are ready; False when the time is over, or when nothing was started.

        Raises `WorkerBootstrapError` when a worker said that it cannot boot.
        """
        check_seconds("timeout_seconds", timeout_seconds)
        if self._state != "running":
            return False
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.pass_gate()
        except TimeoutError:
            return False
        return self._state == "running"

    async def stop_groups(self, *, graceful_timeout_seconds: float | None = None, drain_inflight: bool = True) -> None:
        """Refuse new calls, let admitted ones finish (or fail them, without `drain_inflight`), and ask all workers to end.

        Raises `TimeoutError` when something outlives the grace (default: the longest `drain_timeout_seconds` for the work, then the longest
        `stop_timeout_seconds` for the workers); nothing has been killed then, see `force_terminate_groups`.
        """
        check_seconds("graceful_timeout_seconds", graceful_timeout_seconds)
        if self._state not in ("running", "draining"):
            return
        self._check_loop()
        loop, groups = asyncio.get_running_loop(), self.config.process_groups
        drain = stop = graceful_timeout_seconds
        if drain is None or stop is None:
            drain, stop = max(group.drain_seconds for group in groups), max(group.stop_timeout_seconds for group in groups)
        self._leave("draining")
        leaving = self._leaving
        deadline = loop.time() + stop
        if drain_inflight:
            await self._calls.until_idle(loop.time() + drain)
            if self._leaving is not leaving:  # it was ended by force meanwhile, and has been started again
                return
            if graceful_timeout_seconds is None:  # each step has a bound of its own
                deadline = loop.time() + stop
            await self.engine.stop(chosen_groups(self.config, None), deadline)
        else:
            self.engine.abandon("the supervisor is being stopped")
            # The groups are stopped first: the further hops of calls that are at work must not begin.
            await self.engine.stop(chosen_groups(self.config, None), deadline)
            await self._calls.until_idle(deadline)
        if self._leaving is leaving and self._state == "draining":
            self._leave("stopped")

    async def force_terminate_groups(self, group_names: Sequence[str] | None = None) -> None:
        """Kill the workers of these groups (all by default) with their process trees; their calls fail as transport."""
        if self._state == "new":
            return
        self._check_loop()
        names = chosen_groups(self.config, group_names)
        if len(names) < len(self.config.process_groups) or self._state == "closed":
            await self.engine.kill(names)
            return
        self._leave("draining")  # it cannot be started before all have gone
        await self.engine.kill(names)
        if self._state == "draining":
            self._leave("stopped")

    async def restart_group(self, name: str) -> None:
        """Replace the workers of a group, a failed one included; returns when it is ready. Raises `WorkerBootstrapError`."""
        self._check_process()
        if self._state != "running":
            raise UsageError(f"restart_group needs a running supervisor, this one is {self._state}")
        self._check_loop()
        await self.engine.restart(chosen_groups(self.config, [name])[0])

    async def close(self) -> None:
        """Drain, stop and, past the grace, kill. Idempotent. Being cancelled meanwhile kills at once.

        When the event loop that it was started in is closed, the workers are killed at once, from whichever loop runs now.
        """
        if self._state == "closed":
            return
        if self._state in ("running", "draining"):
            if self._loop is not None and self._loop.is_closed():
                await self._close_without_loop()
                return
            self._check_loop()
        if self._closing is None or self._closing.done():  # it was cancelled with all that its loop had, and is still to be done
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="stream_kernel close")
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            self.engine.kill_now()
            raise

    async def _close(self) -> None:
        if self._state in ("running", "draining"):
            self._leave("draining")
            drain = max(group.drain_seconds for group in self.config.process_groups)
            with suppress(TimeoutError):
                await self._calls.until_idle(asyncio.get_running_loop().time() + drain)
            await self.engine.end(chosen_groups(self.config, None))
        self._leave("closed")
        self._disarm()

    async def _close_without_loop(self) -> None:
        # What waits in the closed loop can be told nothing. The engine is given up as it is; its descriptors go when it is collected.
        engine, self.engine = self.engine, self._make_engine()
        self._state = "closed"
        self._disarm()
        await end_without_loop(engine, chosen_groups(self.config, None))

    # -- calls

    async def execute_boundary(
        self,
        *,
        run_id: str,
        scenario_id: str,
        inputs: Sequence[BoundaryDispatchInput],
        timeout_seconds: float | None = None,
        on_error: OnError = "raise",
    ) -> RoutingResult:
        """Run inputs in their groups, further hops included, within `timeout_seconds` (default: the configuration's).

        Outputs come in the order of their inputs' groups (first appearance), inputs, hops and emission. Under `raise` the first failure in
        that order is raised: `BoundaryTransportError`, `BoundaryTimeoutError`, `BoundaryExecutionError`, or `BoundaryInputError` before any
        dispatch. Under `collect` each failed input becomes an envelope with a `TerminalEvent`, and its siblings go on.
        """
        request = self.request(inputs, run_id=run_id, scenario_id=scenario_id, timeout_seconds=timeout_seconds, on_error=on_error)
        return RoutingResult([], [], [one.envelope for one in await self.settle(request)])

    async def call(
        self,
        target: str,
        payload: Any,
        *,
        timeout_seconds: float | None = None,
        trace_id: str | None = None,
        reply_to: str | None = None,
    ) -> Any:
        """One payload in, the one output's payload out. A terminal event is unwrapped, its error raised."""
        given = self.input_for(target, payload, trace_id, reply_to)
        finished = await self.settle(self.request([given], timeout_seconds=timeout_seconds))
        return one_payload(finished, given)

    async def map(
        self, target: str, payloads: Iterable[Any], *, batch_size: int = 256, timeout_seconds: float | None = None
    ) -> AsyncIterator[Any]:
        """The output of each payload, in order, streaming: a few batches are at work at once.

        The timeout is how long a worker may have a batch; what a batch waits for those before it does not count.
        A stateful group takes the messages in the order of `payloads`, whatever overtakes what before it. A failure
        is raised at its place; what has been taken from `payloads` beyond it may have run.
        """
        order, width = RunOrder(), self.map_width(target)

        def submit(batch: Batch) -> asyncio.Task[list[Finished]]:
            request = self.batch_request(batch.inputs, order=order, width=width, timeout_seconds=timeout_seconds, first=batch.first)
            return asyncio.get_running_loop().create_task(self.settle(request))

        inputs = (self.input_for(target, payload) for payload in payloads)
        with closing(in_order(batched(inputs, batch_size), submit, width)) as handles:
            for batch, task in handles:
                for payload in batch.payloads(await task):
                    yield payload

    async def settle(self, request: CallRequest) -> list[Finished]:
        """Take all steps of a call."""
        if request.waits:
            await request.pass_gate()
        request.pack()
        return request.finish(request.conclude() if request.is_settled else await request.run())

    # -- what both faces need of a call

    def request(
        self,
        inputs: Sequence[BoundaryDispatchInput],
        *,
        run_id: str = "",
        scenario_id: str | None = None,
        timeout_seconds: float | None = None,
        on_error: OnError = "raise",
        order: RunOrder | None = None,
        limit_seconds: float = inf,
        first: int = 0,
    ) -> CallRequest:
        """A call that has not begun; `order` is that of the run it belongs to, `first` the position of its first input, `limit_seconds` how
        long a worker may have a command of it. Raises `ValueError` or `TypeError` for arguments that make no call.
        """
        self._check_process()
        scenario = self.config.scenario_id if scenario_id is None else scenario_id
        return CallRequest(
            self,
            inputs,
            run_id=run_id,
            scenario_id=scenario,
            timeout_seconds=timeout_seconds,
            on_error=on_error,
            order=order,
            limit_seconds=limit_seconds,
            first=first,
        )

    def batch_request(
        self,
        inputs: Sequence[BoundaryDispatchInput],
        *,
        order: RunOrder,
        width: int,
        timeout_seconds: float | None,
        run_id: str = "",
        first: int = 0,
    ) -> CallRequest:
        """A batch of a stream that keeps `width` of them at work. A worker may have a command of it for `timeout_seconds`; the whole is
        given up when each of those may have had its time before it at each hop.
        """
        ipc = self.config.execution_ipc
        limit = ipc.boundary_timeout_seconds if timeout_seconds is None else timeout_seconds
        check_seconds("timeout_seconds", limit, MAX_TIMEOUT_SECONDS)
        longest = min(limit * width * ipc.max_hops, MAX_TIMEOUT_SECONDS)
        return self.request(
            inputs, run_id=run_id, timeout_seconds=longest, on_error="collect", order=order, limit_seconds=limit, first=first
        )

    def input_for(self, target: str, payload: Any, trace_id: str | None = None, reply_to: str | None = None) -> BoundaryDispatchInput:
        """The input that leads to `target`, wherever it is placed."""
        return BoundaryDispatchInput(payload, self._homes.get(target), target, trace_id, reply_to)

    def map_width(self, target: str) -> int:
        """How many batches `map` keeps at work: all workers busy that declared routes, once known, lead to; one more on its way."""
        home, upstream = self._homes.get(target), self.engine.router.upstream
        return sum(group.workers for group in self.config.process_groups if home == group.name or home in upstream(group.name)) + 1

    @property
    def codec(self) -> PayloadCodec:
        router = self.engine.router
        if self._codec is None or self._codec[0] is not router:
            self._codec = (router, self.engine.codec(self._message_classes))
        return self._codec[1]

    def refusal(self) -> str | None:
        """Why no call is admitted now, or None."""
        return None if self._state == "running" else f"the supervisor is {self._state}"

    async def pass_gate(self) -> None:
        """Wait until all groups are ready, or until no call is admitted any more. Raises `WorkerBootstrapError`."""
        self._check_loop()
        loop = asyncio.get_running_loop()
        opening = loop.create_task(self.engine.wait_ready())
        leaving = loop.create_task(self._leaving.wait())
        try:
            await asyncio.wait((opening, leaving), return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
        finally:
            opening.cancel()
            leaving.cancel()

    def call_entered(self) -> None:
        self._check_loop()
        self._calls.enter()

    def call_left(self) -> None:
        self._calls.leave()

    def next_id(self) -> str:
        return f"{self._id_prefix}-{next(self._ids)}"

    # -- what can be seen

    def snapshot(self) -> SupervisorSnapshot:
        """The groups and their workers as they are now."""
        return SupervisorSnapshot(state=self._state, active_calls=self._calls.count, groups=self.engine.snapshot())

    def lifecycle_events(self) -> list[LifecycleEvent]:
        """What happened to the workers, oldest first (the last 4,096)."""
        return self._events.events()

    @property
    def capabilities(self) -> Capabilities:
        """What the engine of this mode can do."""
        return self.engine.capabilities

    # -- small things

    def _leave(self, state: str) -> None:
        """Admit no call any more, and turn those away that wait at the gate."""
        self._state = state
        self._leaving.set()

    def _adopt_loop(self) -> None:
        if self._loop is not None and self._state == "running":
            self._check_loop()
        self._loop = asyncio.get_running_loop()
        self._disarm()
        # At the end of the interpreter the workers end by themselves.
        self._abandoned = weakref.finalize(self, abandon_engine, self._pid, weakref.ref(self.engine), weakref.ref(self._loop))
        self._abandoned.atexit = False

    def _disarm(self) -> None:
        """Nothing is left that would have to be ended should this be dropped, or something else will end it."""
        if self._abandoned is not None:
            self._abandoned.detach()

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError("this supervisor runs in another event loop: make one per loop")

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise UsageError(f"this supervisor belongs to process {self._pid}: after a fork, make a new one")
