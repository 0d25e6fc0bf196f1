"""The place of one worker in its group: its incarnations, one after the other.

One task lives an incarnation from spawn to burial; it is the only one that ends it. What happens meanwhile (messages, deadlines, stop,
kill) comes in as calls and changes the state.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal, Protocol

import msgspec

from stream_kernel.config.model import ProcessGroupConfig, RuntimeConfig
from stream_kernel.engine.base import WorkerSnapshot
from stream_kernel.engine.process.child import Child
from stream_kernel.engine.process.connection import Connection
from stream_kernel.engine.process.environment import bootstrap_message, worker_arguments, worker_environment
from stream_kernel.engine.process.ledger import Ledger
from stream_kernel.engine.process.lifecycle import WorkerEvent, WorkerState, advance
from stream_kernel.engine.process.stderr import StderrDrain
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.errors import PayloadError, WorkerBootstrapError
from stream_kernel.observability.events import EventKind, LifecycleEvent
from stream_kernel.observability.sinks import Sink
from stream_kernel.protocol.columns import inputs_to_columns
from stream_kernel.protocol.messages import (
    PROTOCOL_VERSION,
    BootstrapError,
    Cancel,
    ExecuteBoundary,
    ExecuteBoundaryError,
    ExecuteBoundaryResult,
    FromParent,
    FromWorker,
    Hello,
    Ready,
    StartWork,
    Stop,
)
from stream_kernel.reports import WorkerExitReport
from stream_kernel.routing.router import NodeRoute

__all__ = ["End", "SlotOwner", "WorkerSlot"]

_KILL_GRACE = 0.025
"""How long a caller whose deadline has passed waits to hear that its worker is dead."""


class End(msgspec.Struct, frozen=True):
    """How an incarnation ended: by itself, by our hand in the course of work, because it was asked to, or before it was ready."""

    kind: Literal["died", "inflicted", "stopped", "unbootable"]
    reason: str
    boot_error: WorkerBootstrapError | None = None


class SlotOwner(Protocol):
    """What a slot tells its group."""

    def refusal(self, slot: WorkerSlot, nodes: list[NodeRoute]) -> str | None:
        """Why a worker with these nodes cannot be used, or None."""

    def ready(self, slot: WorkerSlot) -> None: ...

    def idle(self) -> None: ...

    def ended(self, slot: WorkerSlot, end: End) -> None: ...


class WorkerSlot:
    """One worker of a group, over all its generations."""

    def __init__(self, owner: SlotOwner, config: RuntimeConfig, group: ProcessGroupConfig, index: int, sink: Sink) -> None:
        self._owner = owner
        self._config = config
        self._group = group
        self._index = index
        self._sink = sink
        self.worker_id = f"{group.name}#{index}"
        self.state: WorkerState = "stopped"
        self.generation = 0
        self._late_replies = 0
        self._ledger = Ledger()
        self._works = False
        self._final = False
        self._killed_for: str | None = None
        self._boot_error: WorkerBootstrapError | None = None
        self._child: Child | None = None
        self._connection: Connection | None = None
        self._life: asyncio.Task[None] | None = None
        self._launched = asyncio.Event()

    # -- what the group asks of it

    def start(self) -> None:
        """Begin a new incarnation."""
        self._advance("start")
        self.generation += 1
        self._late_replies = self.late_replies
        self._ledger = Ledger()
        self._works = self._final = False
        self._killed_for = self._boot_error = None
        self._launched.clear()
        self._life = asyncio.get_running_loop().create_task(self._live(), name=f"stream_kernel {self.worker_id}")

    def start_work(self, routes: tuple[NodeRoute, ...]) -> None:
        """Tell a ready worker the routes: from now on it takes commands."""
        if self.state == "ready" and not self._works:
            self._works = True
            self._send(StartWork(routes=list(routes)))

    @property
    def is_free(self) -> bool:
        """Ready, knows the routes, and has nothing to do."""
        return self._works and not self._ledger and self._connection is not None and self._connection.is_sound

    def take(self, ticket: Ticket) -> bool:
        """Hand a command to the worker; False when it has just died, and nothing of the command has reached it.

        Raises `PayloadError` when the command cannot be sent to any worker.
        """
        assert self._child is not None
        command = ticket.command
        remaining = min(command.deadline - asyncio.get_running_loop().time(), command.limit_seconds)
        is_sent = self._send(
            ExecuteBoundary(
                correlation_id=command.correlation_id,
                run_id=command.run_id,
                scenario_id=command.scenario_id,
                remaining_ms=max(0.0, remaining * 1000),
                on_error=command.on_error,
                inputs=inputs_to_columns(command.items),
            )
        )
        if is_sent:
            ticket.taken_by(self.worker_id, self._child.pid, self.generation)
            self._ledger.enter(ticket)
        return is_sent

    @property
    def late_replies(self) -> int:
        """How many replies of all generations came when nobody waited for them any more."""
        return self._late_replies + self._ledger.late_replies

    def owes(self, ticket: Ticket) -> bool:
        """Whether this worker has the command and has not answered it."""
        return self._ledger.owes(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """The caller has gone. The worker may stop between two items; until it answers, the deadline still bounds it."""
        if self._ledger.cancel(ticket) and self._works:
            self._send(Cancel(correlation_id=ticket.command.correlation_id))

    def expire(self, ticket: Ticket) -> None:
        """A command that this worker has passed its deadline: kill the worker, unless the reply has just come."""
        if self._connection is not None:
            self._connection.pump()
        if self._ledger.owes(ticket) and self.state != "killing":
            ticket.expired = True
            self.kill("a command passed its deadline", final=False)
            # The caller hears when the worker is dead, or soon after.
            asyncio.get_running_loop().call_later(_KILL_GRACE, self._ledger.expire, ticket)

    def stop(self) -> None:
        """Ask the worker to end after the command it has."""
        if self.state == "spawning":
            self.kill("stopped while it was starting", final=True)
        elif self.state in ("booting", "ready"):
            self._advance("stop")
            self._works = False
            self._final = True
            self._emit("worker_stopping")
            self._send(Stop())

    def kill(self, reason: str, *, final: bool) -> None:
        """End the worker and its process tree by force. `final`: because nobody wants it any more."""
        self._final = self._final or final
        if self.state in ("stopped", "killing"):
            return
        self._killed_for = reason
        self._works = False
        self._advance("kill")
        if self._child is not None:
            self._child.kill_tree()

    def abandon(self, reason: str) -> None:
        """Fail what it has, as transport; the worker itself goes on."""
        self._ledger.abandon(reason)

    async def launched(self) -> None:
        """Wait until there is a process, or until it is known that there will be none."""
        await self._launched.wait()

    async def gone(self) -> None:
        """Wait until there is no process. Being cancelled while waiting does not touch the worker."""
        if self._life is not None and not self._life.done():
            await asyncio.wait([self._life])

    def snapshot(self) -> WorkerSnapshot:
        return WorkerSnapshot(
            worker_id=self.worker_id,
            pid=None if self._child is None else self._child.pid,
            state=self.state,
            generation=self.generation,
            in_flight=len(self._ledger),
            requests=self._ledger.answered,
            restarts=max(0, self.generation - 1),
        )

    # -- one incarnation

    async def _live(self) -> None:
        limit = self._config.execution_ipc.max_frame_bytes
        try:
            child = await Child.spawn(
                lambda lifeline: worker_arguments(self._group, lifeline, limit), worker_environment(self._group, self._index)
            )
        except Exception as error:  # noqa: BLE001  whatever keeps a process from being spawned, those who wait for it must hear
            python = self._group.python or "the parent's interpreter"
            cause = error.strerror if isinstance(error, OSError) else type(error).__name__
            self._advance("spawn_failed")
            self._tell_end(f"could not be spawned with {python!r}: {cause}", was_ready=False, stderr_tail=())
            self._launched.set()
            return
        self._child = child
        self._connection = connection = Connection(child, limit, self._on_message)
        stderr = StderrDrain(child.stderr, group=self._group.name, worker_id=self.worker_id)
        self._advance("spawned")
        self._emit("worker_spawned")
        self._launched.set()
        connection.open()
        stderr.open()
        if self.state == "killing":  # asked for while it was spawning
            child.kill_tree()
        else:
            self._introduce()
        reason = await self._lasting(connection)
        connection.pump()
        child.kill_tree()
        try:
            status = await child.reap()
        finally:
            # Before the descriptors go: another thread may be given their numbers at once.
            connection.close()
            stderr.close()
            child.close()
        if reason == "it ended" or self._killed_for is not None:
            reason = self._killed_for or str(status)
        was_ready = self.state in ("ready", "stopping") or (self.state == "killing" and self._boot_error is None)
        report = WorkerExitReport(
            worker_id=self.worker_id,
            group=self._group.name,
            generation=self.generation,
            pid=child.pid,
            reason=reason,
            exit_code=status.exit_code,
            signal=status.signal,
            stderr_tail=stderr.tail(),
        )
        self._ledger.close(report)
        self._advance("exited")
        if self._final:
            graceful = self._killed_for is None and status.exit_code == 0
            self._emit("worker_stopped", mode="graceful" if graceful else "forced")
        else:
            self._emit("worker_failed", reason=reason)
        self._child = self._connection = None
        self._tell_end(reason, was_ready=was_ready, stderr_tail=stderr.tail())

    def _introduce(self) -> None:
        try:
            self._send(bootstrap_message(self._config, self._group, self._index, self.worker_id, self.generation))
        except PayloadError as error:
            self._refuse(f"{self.worker_id} cannot be told its settings and its import path: the message {error.reason}")

    async def _lasting(self, connection: Connection) -> str:
        timer = asyncio.get_running_loop().call_later(self._group.start_timeout_seconds, self._start_timed_out)
        try:
            return await connection.over
        except asyncio.CancelledError:
            # Nobody cancels this task but an event loop that is being torn down. It waits for us: time to end the worker properly.
            self.kill("the event loop was closed", final=True)
            return "the event loop was closed"
        finally:
            timer.cancel()

    def _tell_end(self, reason: str, *, was_ready: bool, stderr_tail: tuple[str, ...]) -> None:
        self._works = False
        if self._final:
            end = End("stopped", reason)
        elif not was_ready:
            text = f"group '{self._group.name}': {self.worker_id} was not ready: {reason} (its stderr is in the log and in `detail`)"
            error = self._boot_error or WorkerBootstrapError(text, group=self._group.name, detail="\n".join(stderr_tail))
            end = End("unbootable", reason, error)
        else:
            end = End("inflicted" if self._killed_for is not None else "died", reason)
        self._owner.ended(self, end)

    # -- what comes in

    def _on_message(self, message: FromWorker | FromParent) -> None:
        if isinstance(message, (ExecuteBoundaryResult, ExecuteBoundaryError)):
            if self._ledger.receive(message):
                self._owner.idle()
        elif isinstance(message, Hello):
            if PROTOCOL_VERSION not in message.protocols:
                self._refuse(f"the worker speaks protocol versions {message.protocols}, this is version {PROTOCOL_VERSION}")
        elif isinstance(message, BootstrapError):
            self._refuse(message.message, message.detail)
        elif isinstance(message, Ready) and self.state == "booting":
            problem = self._owner.refusal(self, message.nodes)
            if problem is not None:
                self._refuse(problem)
                return
            self._advance("became_ready")
            self._emit("worker_ready")
            if self.generation > 1:
                self._emit("worker_restarted")
            self._owner.ready(self)

    def _refuse(self, problem: str, detail: str = "") -> None:
        """The worker cannot be used: end it."""
        if self.state == "booting":
            group = self._group.name
            text = problem if problem.startswith(f"group '{group}'") else f"group '{group}': {problem}"
            self._boot_error = WorkerBootstrapError(text, group=group, detail=detail or None)
            self.kill(text, final=False)

    def _start_timed_out(self) -> None:
        self._refuse(
            f"{self.worker_id} was not ready within {self._group.start_timeout_seconds:g} s; if its nodes need longer to load, raise "
            "process_groups.start_timeout_seconds"
        )

    def _send(self, message: FromParent) -> bool:
        assert self._connection is not None
        return self._connection.send(message)

    def _advance(self, event: WorkerEvent) -> None:
        self.state = advance(self.state, event)

    def _emit(self, kind: EventKind, *, mode: Literal["graceful", "forced"] | None = None, reason: str | None = None) -> None:
        self._sink.emit(
            LifecycleEvent(
                kind=kind,
                group=self._group.name,
                worker_id=self.worker_id,
                generation=self.generation,
                pid=None if self._child is None else self._child.pid,
                mode=mode,
                reason=reason,
                time=time.time(),
                monotonic=time.monotonic(),
            )
        )
