"""The inline engines: the groups in this process, on the caller's event loop, for tests and for debugging.

They run the same nodes through the same runner by the same routes. `inline` copies payloads where the process engine would encode them,
so that nothing is shared; `inline_wire` encodes and decodes for real, and so finds what JSON cannot carry. What they cannot do is in
their capabilities: a node that hangs hangs the loop, a node that crashes takes this process with it.

Ticket, group and engine stay in one module of some 400 lines: they are one mechanism around a group's turn, and nobody else uses a part.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal

from msgspec import Raw

from stream_kernel.config.model import ProcessGroupConfig, RuntimeConfig
from stream_kernel.engine.base import (
    Answer,
    Capabilities,
    Command,
    Engine,
    GroupSnapshot,
    Loss,
    Outcome,
    PayloadCodec,
    Promise,
    WorkerSnapshot,
    cardinality_refusal,
    fan_out_refusal,
)
from stream_kernel.errors import PayloadError, WorkerBootstrapError
from stream_kernel.nodes.registry import BuiltNode, build_nodes, enter_contexts
from stream_kernel.nodes.runner import CallScope, GroupRunner
from stream_kernel.observability.events import EventKind, LifecycleEvent
from stream_kernel.observability.sinks import Sink
from stream_kernel.protocol.codec import Codec
from stream_kernel.reports import CommandReport, Delivery, NodeTiming
from stream_kernel.routing.items import Emission, ItemFailure
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute, Router
from stream_kernel.routing.tags import type_tag

__all__ = ["CopyCodec", "ExceptionHook", "InlineEngine"]

ExceptionHook = Callable[[BaseException], None]
"""Called with what a node raised, before it becomes the failure of its item: where a debugger looks in."""

_logger = logging.getLogger("stream_kernel.worker")
_CLOCK = 0.001
"""Timers of a loop may fire this much before their time."""


class CopyCodec:
    """Packs by copying: the payload is nobody else's any more, but need not be JSON."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def pack(self, payload: Any) -> Packed:
        return Packed(_copy(payload), self._codec.tag_of(payload))

    def pack_all(self, payloads: list[Any]) -> None:
        """Copies are made one by one."""

    def unpack_all(self, encoded: list[Raw], tag: str | None) -> None:
        """The same."""

    def unpack(self, packed: Packed, wanted: str | None = None) -> Any:
        if packed.tag is None and wanted is not None:
            return self._codec.unpack(self._codec.pack(packed.data), wanted)
        return _copy(packed.data)

    def plain(self, packed: Packed) -> Any:
        return _copy(packed.data) if packed.tag is None else self._codec.plain(self._codec.pack(packed.data))

    def knows(self, tag: str | None) -> bool:
        return self._codec.knows(tag)


def _copy(payload: Any) -> Any:
    try:
        return copy.deepcopy(payload)
    except Exception as error:  # noqa: BLE001  user classes decide what copying does
        problem = PayloadError(f"cannot be copied ({type(error).__name__})")
    raise problem


async def _pass_of_the_loop() -> None:
    await asyncio.sleep(0)


class InlineTicket:
    """A command on its way through an inline group."""

    def __init__(self, command: Command, loop: asyncio.AbstractEventLoop) -> None:
        self.command = command
        self.future = Promise()
        self.task: asyncio.Task[None] | None = None
        self.entered = loop.time()
        self.started: float | None = None
        self._has_outcome = False
        self._loop = loop

    @property
    def settled(self) -> bool:
        """Whether the caller has its outcome, or will have it very soon, or has gone."""
        return self._has_outcome or self.future.done()

    def withdraw(self, reason: str) -> None:
        if self.started is None:
            self.lose("transport", reason, "not_executed")

    def cancel(self) -> bool:
        is_news = self.future.cancel()
        if is_news and self.task is not None:
            self.task.cancel()
        return is_news

    def settle(self, outcome: Outcome) -> None:
        if not self.settled:
            self._has_outcome = True
            # In the next pass: in this one the commands of other groups begin, as they would beside it.
            self._loop.call_soon(self.future.set_result, outcome)

    def lose(self, category: Literal["transport", "timeout"], reason: str, delivery: Delivery) -> None:
        self.settle(Loss(category, reason, self.report(delivery, category)))

    def report(
        self, delivery: Delivery, outcome: Literal["answered", "failed", "transport", "timeout"], nodes: tuple[NodeTiming, ...] = ()
    ) -> CommandReport:
        now = asyncio.get_running_loop().time()
        return CommandReport(
            correlation_id=self.command.correlation_id,
            group=self.command.group,
            inputs=len(self.command.items),
            delivery=delivery,
            outcome=outcome,
            worker_id=None if self.started is None else f"{self.command.group}#0",
            pid=None if self.started is None else os.getpid(),
            queued_seconds=(now if self.started is None else self.started) - self.entered,
            executing_seconds=None if self.started is None else now - self.started,
            nodes=nodes,
        )


class _InlineGroup:
    """The one worker of a group, in this process: one command at a time."""

    def __init__(
        self, config: RuntimeConfig, group: ProcessGroupConfig, sink: Sink, *, wire: bool, on_exception: ExceptionHook | None
    ) -> None:
        self.name = group.name
        self.state = "stopped"
        self.boot_error: WorkerBootstrapError | None = None
        self.routes: list[NodeRoute] = []
        self.generation = 0
        self.answered = 0
        self.waiting: dict[InlineTicket, asyncio.Task[None]] = {}
        self.busy: InlineTicket | None = None
        self._config = config
        self._group = group
        self._sink = sink
        self._wire = wire
        self._on_exception = on_exception
        self._nodes: list[BuiltNode] = []
        self._codec: Codec | None = None
        self._runner: GroupRunner | None = None
        self._turn = asyncio.Lock()
        self._contexts = AsyncExitStack()

    async def start(self) -> None:
        if self.state in ("starting", "ready"):
            return
        self.state, self.boot_error = "starting", None
        self.generation += 1
        self._emit("worker_spawned")
        config, group = self._config, self._group
        try:
            self._nodes = build_nodes(group=group.name, modules=config.modules_of(group), names=group.nodes, settings=config.nodes)
            self.routes = [node.route for node in self._nodes]
            refusal = cardinality_refusal(self.routes, group.workers) or fan_out_refusal(self.routes, group.fan_out)
            if refusal is not None:
                raise WorkerBootstrapError(f"group '{group.name}': {refusal}", group=group.name)
            declared = {node.spec.name: (*node.spec.consumes, *node.spec.emits) for node in self._nodes}
            self._codec = Codec.of_nodes(group.name, declared, max_bytes=config.execution_ipc.max_frame_bytes)
            self._contexts = AsyncExitStack()
            await enter_contexts(group.name, self._nodes, self._contexts)
        except WorkerBootstrapError as error:
            await self._contexts.aclose()
            self.state, self.boot_error = "failed", error
            self._emit("worker_failed", reason=str(error))
            return
        self.state = "ready"
        self._emit("worker_ready")
        if self.generation > 1:
            self._emit("worker_restarted")

    def route(self, router: Router) -> None:
        """All groups are ready: the routes are known."""
        assert self._codec is not None
        self._runner = GroupRunner(
            group=self.name,
            worker_index=0,
            nodes=self._nodes,
            router=router,
            carrier=self._codec if self._wire else CopyCodec(self._codec),
            max_hops=self._config.execution_ipc.max_hops,
        )
        self._runner.watch_cancel(self._is_own_cancel)
        self._runner.pause_between_items(_pass_of_the_loop)
        if self._on_exception is not None:
            self._runner.watch_exceptions(self._on_exception)

    def submit(self, command: Command) -> InlineTicket:
        loop = asyncio.get_running_loop()
        ticket = InlineTicket(command, loop)
        if self.state != "ready":
            ticket.lose("transport", f"the group is {self.state}", "not_executed")
            return ticket
        ticket.task = self.waiting[ticket] = loop.create_task(self._execute(ticket))
        ticket.task.add_done_callback(lambda _: self.waiting.pop(ticket, None))
        return ticket

    async def close(self) -> None:
        """Leave the nodes' contexts."""
        if self.state in ("stopped", "failed"):
            self.state = "stopped"
            return
        self._emit("worker_stopping")
        self.state = "stopped"
        try:
            await self._contexts.aclose()
        except Exception:
            _logger.exception("group '%s': a node could not be left in order", self.name)
        self._emit("worker_stopped", mode="graceful")

    def snapshot(self) -> GroupSnapshot:
        worker = WorkerSnapshot(
            worker_id=f"{self.name}#0",
            pid=os.getpid() if self.state == "ready" else None,
            state=self.state,
            generation=self.generation,
            in_flight=0 if self.busy is None else 1,
            requests=self.answered,
            restarts=max(0, self.generation - 1),
        )
        queued = len(self.waiting) - worker.in_flight
        failure = str(self.boot_error) if self.state == "failed" else None
        return GroupSnapshot(name=self.name, state=self.state, queued=queued, workers=(worker,), failure=failure)

    async def _execute(self, ticket: InlineTicket) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(ticket.command.deadline):
                # A deadline of now gives no turn, even where nobody waits.
                await asyncio.sleep(0) if ticket.command.deadline > loop.time() else await loop.create_future()
                await self._turn.acquire()
        except TimeoutError:
            ticket.lose("timeout", "the deadline passed before the group was free", "not_executed")
            return
        try:
            if not ticket.settled:
                await self._run(ticket, loop)
        finally:
            # Only after something unforeseen: whoever waits for this command must hear of its end in any case.
            ticket.lose("transport", "the command ended without an answer", "maybe_executed")
            self.busy = None
            self._turn.release()

    async def _run(self, ticket: InlineTicket, loop: asyncio.AbstractEventLoop) -> None:
        assert self._runner is not None
        command = ticket.command
        self.busy = ticket
        ticket.started = loop.time()
        command.taken_at(ticket.started)
        outcomes: list[Emission | ItemFailure] = []

        def take(outcome: list[Emission] | ItemFailure) -> None:
            outcomes.extend(outcome if isinstance(outcome, list) else [outcome])

        try:
            async with asyncio.timeout_at(command.deadline):
                failure = await self._runner.run_batch(
                    command.items,
                    CallScope(command.run_id, command.scenario_id, time.monotonic() + command.deadline - loop.time()),
                    stop_at_failure=command.on_error == "raise",
                    take=take,
                    is_cancelled=lambda: loop.time() > command.deadline,
                )
        except TimeoutError:
            ticket.lose("timeout", "an async node was cancelled at the deadline", "maybe_executed")
            return
        self.answered += 1
        if loop.time() > command.deadline:
            ticket.lose("timeout", "the nodes finished past the deadline; inline they cannot be stopped", "executed")
        elif failure is not None:
            report = ticket.report("executed" if failure.executed else "not_executed", "failed")
            ticket.settle(Answer([], [failure], lambda: report))
        else:
            report = ticket.report("executed", "answered", self._runner.timing)
            ticket.settle(
                Answer(
                    [outcome for outcome in outcomes if isinstance(outcome, Emission)],
                    [outcome for outcome in outcomes if isinstance(outcome, ItemFailure)],
                    lambda: report,
                )
            )

    def _is_own_cancel(self, error: BaseException) -> bool:
        """Whether the engine cancelled the command: for its deadline, or because nobody waits for it. A node may cancel itself, too."""
        task = asyncio.current_task()
        if not isinstance(error, asyncio.CancelledError) or task is None or not task.cancelling():
            return False
        if self.busy is None or self.busy.settled or asyncio.get_running_loop().time() >= self.busy.command.deadline - _CLOCK:
            return True
        while task.cancelling():
            task.uncancel()
        return False

    def _emit(self, kind: EventKind, *, mode: Literal["graceful"] | None = None, reason: str | None = None) -> None:
        self._sink.emit(
            LifecycleEvent(
                kind=kind,
                group=self.name,
                worker_id=f"{self.name}#0",
                generation=self.generation,
                pid=os.getpid(),
                mode=mode,
                reason=reason,
                time=time.time(),
                monotonic=time.monotonic(),
            )
        )


class InlineEngine(Engine):
    """Runs every group on the caller's event loop."""

    def __init__(self, config: RuntimeConfig, sink: Sink, on_exception: ExceptionHook | None = None) -> None:
        super().__init__()
        self._wire = config.bootstrap.mode == "inline_wire"
        self.capabilities = Capabilities(kills=False, survives_crash=False, checks_payloads=self._wire, runs_parallel=False)
        self._config = config
        self._groups = {
            group.name: _InlineGroup(config, group, sink, wire=self._wire, on_exception=on_exception) for group in config.process_groups
        }
        self._change = asyncio.Event()

    async def start(self, groups: Sequence[str]) -> None:
        for name in groups:
            if self._groups[name].state not in ("starting", "ready"):
                self._note_start(name)
        await self._start(groups)

    async def _start(self, groups: Sequence[str]) -> None:
        for name in groups:
            await self._groups[name].start()
        self._open_if_ready()
        self._change.set()
        self._change = asyncio.Event()

    async def wait_ready(self) -> None:
        for group in self._groups.values():
            if group.boot_error is not None:
                raise group.boot_error
        while not self.is_open:
            await self._change.wait()
            for group in self._groups.values():
                if group.boot_error is not None:
                    raise group.boot_error

    def codec(self, classes: Sequence[type]) -> PayloadCodec:
        known = [cls for cls in classes if type_tag(cls) in self.router.tags]
        codec = Codec(known, tags=self.router.tags, max_bytes=self._config.execution_ipc.max_frame_bytes)
        return codec if self._wire else CopyCodec(codec)

    def submit(self, command: Command) -> InlineTicket:
        return self._groups[command.group].submit(command)

    def abandon(self, reason: str) -> None:
        for group in self._groups.values():
            for ticket, task in list(group.waiting.items()):
                ticket.lose("transport", reason, "not_executed" if ticket.started is None else "maybe_executed")
                task.cancel()

    async def stop(self, groups: Sequence[str], deadline: float) -> None:
        chosen = [self._groups[name] for name in self._in_start_order(groups)]
        tasks = [task for group in chosen for task in group.waiting.values()]
        if tasks:
            timeout = max(0.0, deadline - asyncio.get_running_loop().time())
            _, running = await asyncio.wait(tasks, timeout=timeout)
            if running:
                names = ", ".join(group.name for group in chosen if group.waiting)
                raise TimeoutError(f"groups did not end within the grace: {names}")
        for group in reversed(chosen):
            await group.close()
        self._close_if_stopped()

    async def end(self, groups: Sequence[str]) -> None:
        try:
            await self.stop(groups, asyncio.get_running_loop().time() + max(self._stop_timeout(group) for group in groups))
        except TimeoutError:
            await self.kill(groups)

    async def kill(self, groups: Sequence[str]) -> None:
        chosen = [self._groups[name] for name in groups]
        for group in chosen:
            for ticket, task in list(group.waiting.items()):
                ticket.lose("transport", "the group was terminated", "not_executed" if ticket.started is None else "maybe_executed")
                task.cancel()
        await self.stop(groups, asyncio.get_running_loop().time() + 1.0)

    def kill_now(self) -> None:
        self.abandon("the supervisor was closed by force")

    async def restart(self, group: str) -> None:
        chosen = self._groups[group]
        await self.stop([group], asyncio.get_running_loop().time() + self._stop_timeout(group))
        await self._start([group])
        if chosen.boot_error is not None:
            raise chosen.boot_error
        if self.is_open:
            chosen.route(self.router)

    def snapshot(self) -> tuple[GroupSnapshot, ...]:
        return tuple(group.snapshot() for group in self._groups.values())

    def _stop_timeout(self, name: str) -> float:
        group = self._config.group(name)
        assert group is not None
        return group.stop_timeout_seconds

    def _open_if_ready(self) -> None:
        if not self.is_open and all(group.state == "ready" for group in self._groups.values()):
            self.router = Router(route for group in self._groups.values() for route in group.routes)
            self.is_open = True
        if self.is_open:
            for group in self._groups.values():
                if group.state == "ready":
                    group.route(self.router)

    def _close_if_stopped(self) -> None:
        if all(group.state == "stopped" for group in self._groups.values()):
            self.is_open = False
