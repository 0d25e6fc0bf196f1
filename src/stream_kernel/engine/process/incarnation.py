"""One life of a worker: its process, the connection to it, the commands that it has, and what can be told of it afterwards."""

from __future__ import annotations

import asyncio
import signal
import time
from math import inf
from typing import Protocol

import msgspec

from stream_kernel.config.model import ProcessGroupConfig, RuntimeConfig
from stream_kernel.engine.base import AtWork, Command
from stream_kernel.engine.process.connection import ENDED, Connection
from stream_kernel.engine.process.expiry import Expiry
from stream_kernel.engine.process.fault_plan import PlannedFault
from stream_kernel.engine.process.idle_watch import IdleWatch
from stream_kernel.engine.process.ledger import DEADLINE_PASSED, Ledger
from stream_kernel.engine.process.memory import MemoryPulse
from stream_kernel.engine.process.pacing import Pacing
from stream_kernel.engine.process.ticket import LastTrace, Ticket
from stream_kernel.engine.process.wear import Wear
from stream_kernel.engine.process.worker_process import ExitStatus, Launch, WorkerProcess, signal_name
from stream_kernel.observability.sinks import Sink
from stream_kernel.protocol.breadcrumb import STACKS_SIGNAL
from stream_kernel.protocol.columns import inputs_to_columns
from stream_kernel.protocol.messages import (
    BootstrapError,
    Cancel,
    ExecuteBoundary,
    ExecuteBoundaryError,
    ExecuteBoundaryResult,
    FromParent,
    FromWorker,
    Hello,
    Ping,
    Pong,
    Ready,
    StartWork,
    Stop,
)
from stream_kernel.reports import WorkerExitReport
from stream_kernel.routing.router import NodeRoute

__all__ = ["Burial", "Identity", "Incarnation", "IncarnationOwner", "Workplace"]

_OUR_SIGNALS = {signal_name(number) for number in (signal.SIGTERM, signal.SIGKILL, STACKS_SIGNAL)}
_KILL_GRACE = 0.01
"""How long a caller whose deadline has passed waits to hear that its worker is dead, in seconds."""


class Workplace(msgspec.Struct, frozen=True):
    """What all workers of a group have in common."""

    config: RuntimeConfig
    group: ProcessGroupConfig
    sink: Sink
    launch: Launch
    spinning: frozenset[int] = frozenset()
    """The places of those workers that may poll before they sleep."""
    faults: tuple[PlannedFault, ...] = ()


class Identity(msgspec.Struct, frozen=True):
    """Which worker, and which life of it."""

    worker_id: str
    index: int
    generation: int


class Burial(msgspec.Struct, frozen=True):
    """What was left of an incarnation."""

    report: WorkerExitReport
    was_on_trial: bool
    """It died with an input at work of which another had died before."""
    unbegun: tuple[Ticket, ...]
    """Commands that it had and provably did not begin."""
    was_cancelled: bool = False
    """Nobody has waited until it could be reaped."""


class IncarnationOwner(Protocol):
    """What an incarnation tells its slot."""

    def introduced(self, message: Hello | Ready | BootstrapError) -> None:
        """A message of the handshake has come."""

    def answered(self) -> None:
        """A command less is outstanding."""

    def hung(self, reason: str) -> None:
        """It has to be killed."""


class Incarnation:
    """A worker process and its work. It decides nothing about its end."""

    def __init__(self, owner: IncarnationOwner, place: Workplace, identity: Identity, process: WorkerProcess) -> None:
        self._owner = owner
        self._place = place
        self._loop = asyncio.get_running_loop()
        self.identity = identity
        self.process = process
        self._name = (identity.worker_id, process.pid, identity.generation)
        """As reports tell it."""
        self.ledger = Ledger()
        self._pacing = Pacing(place.group.depth, place.group.workers)
        self.nodes: tuple[NodeRoute, ...] = ()
        """What it declared."""
        self._works = False
        self._is_retired = False
        self._is_spoken_to = True
        self._is_left_behind = self._is_buried = False
        self._has_answered = False
        """A command less is outstanding, and its slot has not been told."""
        self._born = self._loop.time()
        self._last_sent = 0.0
        self._expiry: Expiry | None = None
        self._missed: Ticket | None = None
        """The one at work whose deadline has passed while another's was being concluded."""
        self._wear = Wear(place.group, process.resident_bytes)
        self._pulse = MemoryPulse(process.resident_bytes, is_at_work=lambda: bool(self.ledger))
        self._connection = Connection(process, place.config.execution_ipc.max_frame_bytes, self._on_message, self._on_pause)
        self._idle_watch: IdleWatch | None = None

    # -- what its slot asks of it

    def open(self) -> None:
        """Watch its pipes and its end."""
        self._connection.open()

    async def over(self) -> str:
        """Wait until it can be of no use any more; gives a clean reason."""
        reason = await self._connection.over
        if reason == ENDED and self._expiry is not None:
            self._expiry.process_ended()
        return reason

    def send(self, message: FromParent) -> bool:
        """Say something; False when nobody will ever read it. Raises `PayloadError`."""
        return self._connection.send(message)

    def close_stdin(self) -> None:
        self._connection.close_stdin()

    def leave_behind(self) -> None:
        """It does not end, whatever is done to it: go on without it."""
        self._is_left_behind = True
        self._connection.end("it does not end after SIGKILL")

    def start_work(self, routes: tuple[NodeRoute, ...]) -> None:
        """Tell it the routes: from now on it takes commands, unless it has retired."""
        if not (self._works or self._is_retired):
            self._works = True
            self.send(StartWork(routes=list(routes)))
            group = self._place.group
            self._idle_watch = IdleWatch(
                interval_seconds=group.ping_interval_seconds,
                timeout_seconds=group.ping_timeout_seconds,
                is_idle=self._is_idle,
                ping=self._ping,
                on_silence=lambda: self._owner.hung(f"it was idle and gave no sign of life for {group.ping_timeout_seconds:g} s"),
            )

    def say_stop(self) -> None:
        """Tell it to end after what it has; nothing may be said to it after that."""
        self._is_spoken_to = False
        self.send(Stop())

    def retire(self) -> None:
        """No command any more, no question either; for good."""
        self._works, self._is_retired = False, True
        if self._idle_watch is not None:
            self._idle_watch.close()

    @property
    def is_free(self) -> bool:
        """It knows the routes, and may have one command more."""
        if not self._works or self._expiry is not None or not self._connection.is_sound:
            return False
        return not self.ledger or self._pacing.has_room(self.ledger, self._loop.time())

    def has_of_call(self, command: Command) -> bool:
        """It has another command of the same call."""
        return bool(self.ledger) and command.call is not None and any(ticket.command.call == command.call for ticket in self.ledger.owed)

    @property
    def worn(self) -> str | None:
        """Why it should be replaced by now, or None. To be asked after each answer."""
        return self._wear.after_answer(self.ledger.answered, self._loop.time())

    @property
    def uptime_seconds(self) -> float:
        return self._loop.time() - self._born

    def take(self, ticket: Ticket, now: float) -> bool:
        """Hand over a command, `now` on the loop's clock; False when the worker has just died, and nothing of the command has reached it.

        Raises `PayloadError` when the command cannot be sent to any worker.
        """
        command = ticket.command
        is_sent = self._connection.send(
            ExecuteBoundary(
                correlation_id=command.correlation_id,
                run_id=command.run_id,
                scenario_id=command.scenario_id,
                remaining_ms=max(0.0, command.deadline - now) * 1000,
                on_error=command.on_error,
                inputs=inputs_to_columns(command.items),
                after_ms=(now - self._last_sent) * 1000 if self.ledger else None,
                limit_ms=None if command.limit_seconds == inf else command.limit_seconds * 1000,
            )
        )
        if is_sent:
            self._last_sent = now
            ticket.given_to(self, self.ledger.given + 1, self._name)
            self.ledger.enter(ticket)
            self._pulse.begin()
        return is_sent

    # -- what a ticket asks of its holder

    def cancel(self, ticket: Ticket) -> None:
        """The caller has gone. The worker may stop between two items; until it answers, the deadline still bounds it."""
        if self.ledger.cancel(ticket):
            self._send_cancel(ticket)

    def expire(self, ticket: Ticket) -> None:
        """A command has passed its deadline: end the worker if it is at work on it, unless the reply has just come."""
        self._connection.pump()
        if not self.ledger.owes(ticket):
            return
        if self.ledger.head is not ticket:  # the one at work is another caller's
            self.ledger.expire(ticket)
            self._send_cancel(ticket)
        elif self._is_buried:  # there is nobody left to end: the next one in its place has nothing to do with this
            ticket.at_deadline = self._trace()
            self._tell_soon(ticket)
        elif self._expiry is None:
            ticket.at_deadline = self._trace()
            self._expiry = Expiry(self.process, lambda: self._answers(ticket), lambda is_late: self._conclude_expiry(ticket, is_late))
        else:  # the one before it came late, and that is not concluded yet
            self._missed = ticket

    def _answers(self, ticket: Ticket) -> bool:
        self._connection.pump()
        return not self.ledger.owes(ticket)

    def _conclude_expiry(self, ticket: Ticket, is_late: bool) -> None:
        self._expiry = None
        if not (is_late and self.ledger):
            self._owner.hung(DEADLINE_PASSED)
            self._tell_soon(ticket)
        else:  # the reply came late, and the worker is at work for somebody else
            self.ledger.expire(ticket, ticket.at_deadline)
            self._owner.answered()
            missed, self._missed = self._missed, None
            if missed is not None and missed is self.ledger.head:
                self.expire(missed)

    def _tell_soon(self, ticket: Ticket) -> None:
        """The caller hears when the worker is dead, or soon after."""
        self._loop.call_later(_KILL_GRACE, self._give_up_on, ticket)

    def _give_up_on(self, ticket: Ticket) -> None:
        if not ticket.settled:
            trace = ticket.at_deadline or LastTrace()
            report = self._report(ExitStatus(), DEADLINE_PASSED, trace.at_work, is_own_doing=True)
            self.ledger.expire(ticket, msgspec.structs.replace(trace, exit=report))

    def _send_cancel(self, ticket: Ticket) -> None:
        if self._is_spoken_to and self._connection.is_sound:
            self.send(Cancel(correlation_id=ticket.command.correlation_id))

    # -- what comes in

    def _on_message(self, message: FromWorker | FromParent) -> None:
        if isinstance(message, (ExecuteBoundaryResult, ExecuteBoundaryError)):
            head = self.ledger.head
            if self.ledger.receive(message):
                assert head is not None
                self._pacing.answered(head.command, message.executing_ms / 1000 if isinstance(message, ExecuteBoundaryResult) else None)
                self._has_answered = True
        elif isinstance(message, (Hello, Ready, BootstrapError)):
            if isinstance(message, Ready):
                self.nodes = tuple(message.nodes)
                self.process.resident_bytes()  # its peak up to now, should it end too suddenly to be asked
            self._owner.introduced(message)
        elif isinstance(message, Pong) and self._idle_watch is not None:
            self._idle_watch.pong(message.token)
            self.process.resident_bytes()  # it is seen alive, after whatever was killed for want of memory up to now

    def _on_pause(self) -> None:
        # Not after each answer: what came with it may be a violation, after which nothing may be given to this worker.
        if self._has_answered:
            self._has_answered = False
            self._pulse.answered()
            self._owner.answered()

    def _ping(self, token: int) -> None:
        self.send(Ping(token=token))

    def _is_idle(self) -> bool:
        self._connection.pump()
        return self._works and not self.ledger

    # -- the end

    async def bury(self, reason: str, killed_for: str | None) -> Burial:
        """Take what is left, kill what is left, reap, and settle what nobody will answer."""
        self.retire()
        self._is_buried = True
        if self._expiry is not None:
            self._expiry.close()
        self._connection.pump()
        self.process.kill_tree()
        was_cancelled = False
        try:
            status = await self.process.reap(0.0 if self._is_left_behind else self._place.group.reap_timeout_seconds)
        except asyncio.CancelledError:  # an event loop that is torn down: the rest needs no waiting
            status, was_cancelled = ExitStatus(), True
        finally:
            # Before the descriptors go: another thread may be given their numbers at once.
            self._connection.close()
            self._pulse.close()
            self.process.close()
        is_own_doing = killed_for is not None or reason != ENDED
        if reason == ENDED or killed_for is not None:
            reason = killed_for or str(status)
        trace = self._trace()
        report = self._report(status, reason, trace.at_work, is_own_doing=is_own_doing)
        head = self.ledger.head
        progress = self.process.progress()
        # When we have killed it for a command that was answered in that very moment, the next one may not have begun.
        is_bystander = killed_for is not None and head is not None and progress is not None and progress.is_of(head.number - 1)
        unbegun = self.ledger.close(
            reason,
            msgspec.structs.replace(trace, exit=report, is_inflicted=killed_for is not None),
            is_trusted=not self._connection.broke_protocol,
            has_head_begun=not is_bystander,
        )
        return Burial(report, head is not None and head.command.is_trial, tuple(unbegun), was_cancelled)

    def _trace(self) -> LastTrace:
        """What can be told of the command at work."""
        head, progress, begun = self.ledger.head, self.process.progress(), self.process.begun()
        if head is None or progress is None or not progress.is_of(head.number):
            return LastTrace()
        at_work = AtWork(progress.index, self.nodes[progress.node].name) if progress.node < len(self.nodes) else None
        executing = None if begun is None else max(0.0, time.monotonic() - begun)
        return LastTrace(at_work=at_work, executing_seconds=executing)

    def _report(self, status: ExitStatus, reason: str, at_work: AtWork | None, *, is_own_doing: bool) -> WorkerExitReport:
        return WorkerExitReport(
            worker_id=self.identity.worker_id,
            group=self._place.group.name,
            generation=self.identity.generation,
            pid=self.process.pid,
            reason=reason,
            exit_code=status.exit_code,
            signal=status.signal,
            by_supervisor=is_own_doing and status.signal in _OUR_SIGNALS,
            out_of_memory="no" if is_own_doing else self.process.out_of_memory(status),
            peak_rss_bytes=self.process.peak_rss_bytes(),
            is_peak_exact=self.process.is_peak_exact(),
            node=None if at_work is None else at_work.node,
            input_index=None if at_work is None else at_work.index,
            trace_ids=self.ledger.trace_ids(),
            uptime_seconds=self.uptime_seconds,
            requests=self.ledger.answered,
            stderr_tail=self.process.stderr_tail(),
            stack=self.process.stacks() or None,
        )
