"""The place of one worker in its group: its incarnations, one after the other.

`WorkerLife` decides what state it is in, and this obeys. One task lives an incarnation from spawn to burial; it is the only one that ends
it. What happens meanwhile (handshake, stop, kill) comes in as calls.

The deeds and the life stay in one module of some 400 lines: both are about the one incarnation of now, and nobody else uses a part.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import msgspec

from stream_kernel.engine.base import Command, WorkerSnapshot
from stream_kernel.engine.process.environment import bootstrap_message, worker_arguments, worker_environment
from stream_kernel.engine.process.fault_plan import orders_for
from stream_kernel.engine.process.incarnation import Burial, Identity, Incarnation, Workplace
from stream_kernel.engine.process.lifecycle import Instruction, WorkerEvent, WorkerLife, WorkerState
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.engine.process.worker_process import WorkerProcess
from stream_kernel.errors import PayloadError, WorkerBootstrapError
from stream_kernel.observability.events import EventKind, LifecycleEvent
from stream_kernel.protocol.messages import PROTOCOL_VERSION, BootstrapError, Hello, Ready
from stream_kernel.reports import WorkerExitReport
from stream_kernel.routing.router import NodeRoute

__all__ = ["End", "SlotOwner", "WorkerSlot"]


_CANCELLED = "what watches it was cancelled, as by an event loop that is torn down"
_DEAF = "it was being stopped, and did not end when it was asked to"


class End(msgspec.Struct, frozen=True):
    """How an incarnation ended: by itself, by our hand in the course of work, as asked, watched no more, or before it was ready."""

    kind: Literal["died", "inflicted", "stopped", "cancelled", "unbootable"]
    reason: str
    boot_error: WorkerBootstrapError | None = None
    exit: WorkerExitReport | None = None
    """None: there was no process."""
    unbegun: tuple[Ticket, ...] = ()
    """Commands that it had and provably did not begin."""


class SlotOwner(Protocol):
    """What a slot tells its group."""

    def refusal(self, slot: WorkerSlot, nodes: list[NodeRoute]) -> str | None:
        """Why a worker with these nodes cannot be used, or None."""

    def ready(self, slot: WorkerSlot) -> None: ...

    def idle(self, slot: WorkerSlot) -> None:
        """It could take a command."""

    def ended(self, slot: WorkerSlot, end: End) -> None: ...


class WorkerSlot:
    """One worker of a group, over all its generations."""

    def __init__(self, owner: SlotOwner, place: Workplace, index: int, generations: Iterator[int] | None = None) -> None:
        """`generations` are those of the worker which this one is to follow."""
        self._owner = owner
        self._place = place
        self._group = place.group
        self.index = index
        self.worker_id = f"{place.group.name}#{index}"
        self.generation = 0
        self.generations = itertools.count(1) if generations is None else generations
        """Those that are still to come in this place. Its replacements have the same ones, so that no two processes share a number."""
        self.was_ever_ready = False
        self._late_replies = 0
        self._final = False
        self._killed_for: str | None = None
        self._boot_error: WorkerBootstrapError | None = None
        self._now: Incarnation | None = None
        self._task: asyncio.Task[None] | None = None
        self._launched = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._machine = WorkerLife(
            {
                "spawning": self._group.start_timeout_seconds,
                "booting": self._group.start_timeout_seconds,
                "stopping": self._group.stop_timeout_seconds,
                "closing": self._group.eof_timeout_seconds,
                "terminating": self._group.terminate_timeout_seconds,
                "killing": self._group.reap_timeout_seconds,
            }
        )
        self._deeds: dict[Instruction, Callable[[], None]] = {
            "spawn": self._spawn,
            "introduce": self._introduce,
            "refuse_late_start": self._refuse_late_start,
            "say_stop": lambda: self._with_incarnation(self._say_stop),
            "close_stdin": lambda: self._with_incarnation(Incarnation.close_stdin),
            "terminate": lambda: self._with_incarnation(self._terminate),
            "kill": lambda: self._with_incarnation(self._kill),
            "leave_behind": self._leave_behind,
        }

    # -- what the group asks of it

    @property
    def state(self) -> WorkerState:
        return self._machine.state

    @property
    def has_process(self) -> bool:
        """Whether there is a process, or may be."""
        return self.state not in ("stopped", "backoff", "failed")

    def start(self) -> None:
        """Begin a new incarnation, as if it were the first."""
        self.was_ever_ready = False
        self._take("start")

    def start_later(self, seconds: float) -> None:
        """Begin a new incarnation after a pause."""
        self._take("back_off", wait=seconds)

    def give_up(self) -> None:
        """It is not started again by itself."""
        self._take("give_up")

    def start_work(self, routes: tuple[NodeRoute, ...]) -> None:
        """Tell a ready worker the routes: from now on it takes commands."""
        if self.state == "ready" and self._now is not None:
            self._now.start_work(routes)

    @property
    def outstanding(self) -> int:
        """How many commands it has."""
        return 0 if self._now is None else len(self._now.ledger)

    @property
    def is_free(self) -> bool:
        """Ready, knows the routes, and may have one command more."""
        return self._now is not None and self._now.is_free  # only one that is ready has been told the routes, and has not retired

    def has_of_call(self, command: Command) -> bool:
        """It has another command of the same call."""
        return self._now is not None and self._now.has_of_call(command)

    @property
    def worn(self) -> str | None:
        """Why it should be replaced by now, or None. To be asked after each answer."""
        return None if self._now is None or self.state != "ready" else self._now.worn

    def take(self, ticket: Ticket, now: float) -> bool:
        """Hand a command to the worker, which is free; see `Incarnation.take`."""
        assert self._now is not None
        return self._now.take(ticket, now)

    @property
    def late_replies(self) -> int:
        """How many replies of all generations came when nobody waited for them any more."""
        return self._late_replies + (0 if self._now is None else self._now.ledger.late_replies)

    def drain(self) -> None:
        """Give it nothing more, and stop it when it has answered what it has; its deadlines bound that."""
        self._take("drain")
        self._with_incarnation(Incarnation.retire)
        self._stop_if_drained()

    def stop(self, *, patience: float | None = None) -> None:
        """Ask the worker to end after the command it has. Past `patience` seconds (default: its stop timeout; infinity: who asks waits
        himself) its stdin is closed, then its process tree gets SIGTERM and SIGKILL, each after a bounded wait.
        """
        self._final = True
        self._with_incarnation(Incarnation.retire)
        if self.state == "spawning":
            self._killed_for = "stopped while it was starting"
        self._take("stop", wait=patience if self.state in ("booting", "ready", "draining", "stopping") else None)

    def kill(self, reason: str, *, final: bool) -> None:
        """End the worker and its process tree by force. `final`: because nobody wants it any more."""
        self._final = self._final or final
        if self.has_process and self.state != "killing":
            self._killed_for = reason
        self._with_incarnation(Incarnation.retire)
        self._take("kill")

    def abandon(self, reason: str) -> None:
        """Fail what it has, as transport; the worker itself goes on."""
        self._with_incarnation(lambda now: now.ledger.abandon(reason))

    async def launched(self) -> None:
        """Wait until there is a process, or until it is known that there will be none."""
        await self._launched.wait()

    async def gone(self) -> None:
        """Wait until there is no process. Being cancelled while waiting does not touch the worker."""
        if self.life is not None:
            await asyncio.wait([self.life])

    @property
    def life(self) -> asyncio.Task[None] | None:
        """What is done when the incarnation of now is gone; None: there is none."""
        return None if self._task is None or self._task.done() else self._task

    def snapshot(self) -> WorkerSnapshot:
        now = self._now
        return WorkerSnapshot(
            worker_id=self.worker_id,
            pid=None if now is None else now.process.pid,
            state=self.state,
            generation=self.generation,
            in_flight=self.outstanding,
            requests=0 if now is None else now.ledger.answered,
            restarts=max(0, self.generation - 1),
        )

    # -- the machine and its deeds

    def _take(self, event: WorkerEvent, *, wait: float | None = None) -> None:
        loop = asyncio.get_running_loop()
        instructions = self._machine.take(event, loop.time(), wait=wait)
        if self._alarm is not None:
            self._alarm.cancel()
        deadline = self._machine.deadline
        self._alarm = None if deadline is None else loop.call_at(deadline, self._take, "overdue")
        for instruction in instructions:
            self._deeds[instruction]()

    def _with_incarnation(self, deed: Callable[[Incarnation], None]) -> None:
        if self._now is not None:
            deed(self._now)

    def _spawn(self) -> None:
        self.generation = next(self.generations)
        self._final = False
        self._killed_for = self._boot_error = None
        if self._launched.is_set():  # a new one: this may be another event loop
            self._launched = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._live(), name=f"stream_kernel {self.worker_id}")
        self._task.add_done_callback(self._lived)

    def _lived(self, life: asyncio.Task[None]) -> None:
        if life.cancelled():  # before there was a process; by us, if we had a reason
            self._take("spawn_failed")
            self._launched.set()
            self._tell_end(self._killed_for or _CANCELLED, None, was_ready=False, is_cancelled=self._killed_for is None)

    def _introduce(self) -> None:
        assert self._now is not None
        faults = orders_for(self._place.faults, self._group.name, self.index, self.generation)
        spins = self.index in self._place.spinning
        order = bootstrap_message(self._place.config, self._group, self.index, self.worker_id, self.generation, spins=spins, faults=faults)
        try:
            self._now.send(order)
        except PayloadError as error:
            self._refuse(f"{self.worker_id} cannot be told its settings and its import path: the message {error.reason}")

    def _say_stop(self, now: Incarnation) -> None:
        self._emit("worker_stopping")
        now.say_stop()

    def _terminate(self, now: Incarnation) -> None:
        self._killed_for = self._killed_for or _DEAF
        now.process.terminate_tree()

    def _kill(self, now: Incarnation) -> None:
        self._killed_for = self._killed_for or _DEAF
        now.process.kill_tree()

    def _leave_behind(self) -> None:
        if self._now is not None:
            self._now.leave_behind()
        elif self._task is not None:  # what spawns it does not come back; should it bring a process all the same, that is killed
            self._task.cancel()

    def _refuse_late_start(self) -> None:
        late, longer = ("spawned", "that takes longer") if self._now is None else ("ready", "its nodes need longer to load")
        self._note_boot_error(
            f"{self.worker_id} was not {late} within {self._group.start_timeout_seconds:g} s; if {longer}, raise "
            "process_groups.start_timeout_seconds"
        )

    # -- one incarnation

    async def _live(self) -> None:
        try:
            process = await self._launch()
        except Exception as error:  # noqa: BLE001  whatever keeps a process from being spawned, those who wait for it must hear
            python = "the parent's interpreter" if self._group.python is None else repr(self._group.python)
            cause = error.strerror if isinstance(error, OSError) else type(error).__name__
            self._take("spawn_failed")
            self._launched.set()
            self._tell_end(f"could not be spawned with {python}: {cause}", None, was_ready=False)
            return
        self._now = now = Incarnation(self, self._place, Identity(self.worker_id, self.index, self.generation), process)
        self._emit("worker_spawned")
        self._launched.set()
        now.open()
        self._take("spawned")
        is_cancelled = False
        try:
            reason = await now.over()
        except asyncio.CancelledError:
            # An event loop that is being torn down waits for us: time to end the worker properly.
            reason, is_cancelled = _CANCELLED, not self._final
            self.kill(reason, final=True)
        was_ready = self.was_ready
        burial = await now.bury(reason, self._killed_for)
        is_cancelled = is_cancelled or (burial.was_cancelled and not self._final)
        self._late_replies += now.ledger.late_replies
        self._take("exited")
        if self._final:
            graceful = self._killed_for is None and burial.report.exit_code == 0
            self._emit("worker_stopped", mode="graceful" if graceful else "forced", report=burial.report)
        else:
            self._emit("worker_failed", reason=burial.report.reason, report=burial.report)
        self._now = None
        self._tell_end(burial.report.reason, burial, was_ready=was_ready, is_cancelled=is_cancelled)

    async def _launch(self) -> WorkerProcess:
        limit = self._place.config.execution_ipc.max_frame_bytes
        return await self._place.launch(
            lambda lifeline, black_box: worker_arguments(self._group, lifeline, limit, black_box),
            worker_environment(self._group, self.index),
            group=self._group.name,
            worker_id=self.worker_id,
        )

    @property
    def was_ready(self) -> bool:
        """Whether this incarnation ever was."""
        return self._now is not None and bool(self._now.nodes) and self._boot_error is None

    def _tell_end(self, reason: str, burial: Burial | None, *, was_ready: bool, is_cancelled: bool = False) -> None:
        boot_error = None
        if self._final or is_cancelled:
            kind: Literal["died", "inflicted", "stopped", "cancelled", "unbootable"] = "cancelled" if is_cancelled else "stopped"
        elif was_ready:
            is_no_news = self._killed_for is not None or (burial is not None and burial.was_on_trial)
            kind = "inflicted" if is_no_news else "died"
        else:
            kind = "unbootable"
            detail = None if burial is None else "\n".join([*burial.report.stderr_tail, burial.report.stack or ""]).strip()
            text = f"group '{self._group.name}': {self.worker_id} was not ready: {reason} (what it wrote is in the log and in `detail`)"
            boot_error = self._boot_error or WorkerBootstrapError(text, group=self._group.name, detail=detail)
        report, unbegun = (None, ()) if burial is None else (burial.report, burial.unbegun)
        self._owner.ended(self, End(kind, reason, boot_error, report, unbegun))

    # -- what its incarnation tells it

    def introduced(self, message: Hello | Ready | BootstrapError) -> None:
        if isinstance(message, Hello):
            if PROTOCOL_VERSION not in message.protocols:
                self._refuse(f"the worker speaks protocol versions {message.protocols}, this is version {PROTOCOL_VERSION}")
        elif isinstance(message, BootstrapError):
            self._refuse(message.message, message.detail)
        elif self.state == "booting":
            problem = self._owner.refusal(self, message.nodes)
            if problem is not None:
                self._refuse(problem)
                return
            self._take("became_ready")
            self.was_ever_ready = True
            self._emit("worker_ready")
            if self.generation > 1:
                self._emit("worker_restarted")
            self._owner.ready(self)

    def answered(self) -> None:
        self._stop_if_drained()
        if self.state == "ready":
            self._owner.idle(self)

    def hung(self, reason: str) -> None:
        self.kill(reason, final=False)

    def _stop_if_drained(self) -> None:
        if self.state == "draining" and not self.outstanding:
            self.stop()

    def _refuse(self, problem: str, detail: str = "") -> None:
        """The worker cannot be used: end it."""
        if self.state == "booting":
            self.kill(self._note_boot_error(problem, detail), final=False)

    def _note_boot_error(self, problem: str, detail: str = "") -> str:
        group = self._group.name
        text = problem if problem.startswith(f"group '{group}'") else f"group '{group}': {problem}"
        self._boot_error = WorkerBootstrapError(text, group=group, detail=detail or None)
        self._killed_for = text
        return text

    def _emit(
        self,
        kind: EventKind,
        *,
        mode: Literal["graceful", "forced"] | None = None,
        reason: str | None = None,
        report: WorkerExitReport | None = None,
    ) -> None:
        self._place.sink.emit(
            LifecycleEvent(
                kind=kind,
                group=self._group.name,
                worker_id=self.worker_id,
                generation=self.generation,
                pid=None if self._now is None else self._now.process.pid,
                mode=mode,
                reason=reason,
                exit=report,
                time=time.time(),
                monotonic=time.monotonic(),
            )
        )
