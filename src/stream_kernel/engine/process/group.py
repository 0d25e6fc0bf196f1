"""One group: its workers, the queue in front of them, and what happens when one is lost or worn.

It stays in one module of some 400 lines: every part of it moves the same few lists of workers and commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from math import inf
from typing import Literal

from stream_kernel.engine.base import Command, GroupSnapshot, cardinality_refusal, fan_out_refusal, retries_refusal
from stream_kernel.engine.process.deadlines import Deadlines
from stream_kernel.engine.process.incarnation import Workplace
from stream_kernel.engine.process.pacing import most_commands
from stream_kernel.engine.process.queue import CommandQueue
from stream_kernel.engine.process.replacement import Replacements
from stream_kernel.engine.process.restart import Abandon, Replace, RestartPolicy, Verdict
from stream_kernel.engine.process.roster import Roster
from stream_kernel.engine.process.slot import End, WorkerSlot
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.errors import PayloadError, WorkerBootstrapError
from stream_kernel.observability.quiet import QuietLogger
from stream_kernel.routing.router import NodeRoute

__all__ = ["GroupState", "WorkerGroup"]

GroupState = Literal["stopped", "starting", "ready", "stopping", "failed"]
_NO_TIME = "the deadline had passed before the command could be sent"
_logger = QuietLogger("stream_kernel.lifecycle")


class WorkerGroup:
    """Takes commands and hands each to the worker that has the fewest, round robin among equals; replaces workers that are lost."""

    def __init__(self, place: Workplace, on_change: Callable[[WorkerGroup], None]) -> None:
        self.name = place.group.name
        self.config = place.group
        self.state: GroupState = "stopped"
        self.nodes: tuple[NodeRoute, ...] = ()
        """What the first worker that was ever ready declared; every later one must say the same."""
        self.boot_error: WorkerBootstrapError | None = None
        self.starts = self.ends = 0
        """How often it was started, and asked to end: who waits for the one gives up when the other comes."""
        self._place = place
        self._failure = ""
        self._on_change = on_change
        self._routes: tuple[NodeRoute, ...] | None = None
        self._queue = CommandQueue(place.group.max_queued, place.group.max_queued_bytes)
        self._slots = [WorkerSlot(self, place, index) for index in range(place.group.workers)]
        self._replacements = Replacements(self._slots, lambda old: WorkerSlot(self, place, old.index, old.generations))
        self._deadlines = Deadlines(self._expired)
        self._roster = Roster(self._slots, most_commands(place.group.depth, place.group.workers))
        self._recycles = self.config.max_requests_per_worker is not None or self.config.max_rss_mb is not None
        self._policy = RestartPolicy(place.group.restart)

    # -- what the engine asks of it

    def start(self) -> None:
        """Begin to start, unless that has been done."""
        if self.state in ("starting", "ready"):
            return
        self.state = "starting"
        self.starts += 1
        self.boot_error = None
        self._policy.forget()
        self.spawn()

    def start_work(self, routes: tuple[NodeRoute, ...]) -> None:
        """All groups are ready: take commands."""
        self._routes = routes
        for slot in self._slots:
            slot.start_work(routes)
            self._roster.note(slot)
        self._dispatch()

    def reserve(self, commands: int, size: int) -> bool:
        """Room in the queue for a call that enters; False when there is none. A group that takes no commands says why when it gets them."""
        if self.state in ("starting", "ready"):
            return self._queue.reserve(commands, size)
        self._queue.admit(commands, size)
        return True

    async def wait_for_room(self, commands: int, size: int) -> None:
        """Reserve room as soon as there is some."""
        await self._queue.wait_for_room(commands, size)

    def release(self, commands: int, size: int) -> None:
        """Give up room that was reserved and is not used."""
        self._queue.release(commands, size)

    @property
    def pieces(self) -> int:
        """How many commands a batch becomes: one, or one for each worker that is ready, where batches are split."""
        if self.config.fan_out == "whole":
            return 1
        return max(1, sum(slot.state == "ready" for slot in self._slots))

    def submit(self, command: Command) -> Ticket:
        """Take a command, or settle it at once when this group cannot run it any more."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        ticket = Ticket(command, loop, now)
        problem: tuple[Literal["transport", "timeout"], str] | None = None
        if self.state not in ("starting", "ready"):
            problem = ("transport", self._why_not())
        elif command.deadline <= now:
            problem = ("timeout", _NO_TIME if command.waited_since is None else "the queue of the group was full until the deadline")
        if problem is not None:
            if command.is_admitted:
                self._queue.release(1, command.size)
            ticket.lose(*problem)
            return ticket
        ticket.arm(self._deadlines, self._leave_queue)
        # Where nobody waits it need not stand in the queue first.
        slot = None if self._queue else self._roster.choose(command)
        if slot is not None and self._hand_over(ticket, slot, now):
            if command.is_admitted:
                self._queue.release(1, command.size)
            return ticket
        self._queue.append(ticket)
        self._dispatch()
        return ticket

    def abandon(self, reason: str) -> None:
        """Fail everything, as transport."""
        for ticket in self._queue:
            ticket.withdraw(reason)
        for slot in self._all():
            slot.abandon(reason)

    def stop(self) -> None:
        """Ask all workers to end, and leave it to who asks how long to wait."""
        self._leave("the group is being stopped")
        for slot in self._all():
            slot.stop(patience=inf)
        self._settle_stop()

    def end(self, deadline: float) -> None:
        """End all workers, first with patience, until `deadline` at most; those that are still at work have had it."""
        self._leave("the group is being stopped")
        for slot in self._all():
            has_had_its_time = slot.outstanding or slot.state == "stopping"
            left = min(self.config.stop_timeout_seconds, deadline - asyncio.get_running_loop().time())
            slot.stop(patience=0.0 if has_had_its_time else max(0.0, left))
        self._settle_stop()

    def kill(self, reason: str) -> None:
        """End all workers by force."""
        self._leave(reason)
        self.end_slots(reason)
        self._settle_stop()

    def hold(self) -> None:
        """Before a restart from scratch: end the workers, but keep the queue and take calls into it."""
        self.state = "starting"
        self.boot_error = None
        self._policy.forget()
        for slot in self._all():
            if slot.state == "killing":
                slot.kill("its group is restarted", final=True)  # its end is no loss any more
            else:
                slot.stop()

    def end_slots(self, reason: str) -> None:
        """End the workers by force that did not end by themselves; what they had fails, the queue stays."""
        for slot in self._all():
            slot.kill(reason, final=True)

    def spawn(self) -> None:
        """Start the workers that are not there."""
        for slot in self._slots:
            if slot.state in ("stopped", "failed", "backoff"):
                slot.start()

    async def replace_all(self) -> None:
        """Replace one worker after the other, each by one that is ready. Raises `WorkerBootstrapError` for the first that does not come
        up: it and those after it stay as they were.
        """
        for slot in list(self._slots):
            if self.state == "ready" and slot in self._slots:  # and has not been replaced for another reason meanwhile
                await self._replacements.begin(slot, "its group is restarted")
                await slot.gone()

    @property
    def is_replaceable(self) -> bool:
        """Whether two workers in the same place can be there at a time: not where nodes keep state."""
        return self.state == "ready" and not self._is_stateful

    def lives(self) -> list[asyncio.Task[None]]:
        """The lives of its workers, of those that live now. To wait for them does not touch them."""
        return [slot.life for slot in self._all() if slot.life is not None]

    def check_not_failed(self) -> None:
        """Raise `WorkerBootstrapError` when this group has failed: it will not be ready."""
        if self.state == "failed":
            raise WorkerBootstrapError(f"group '{self.name}' has failed: {self._failure}", group=self.name)

    def mark_stopped(self) -> None:
        """No worker is left and none is wanted: a failed group becomes an ordinary stopped one."""
        if self.state in ("stopping", "failed"):  # and has not been started again meanwhile
            self.state = "stopped"

    def forget(self) -> None:
        """The next workers may declare other nodes."""
        self.nodes = ()
        self._routes = None

    async def launched(self) -> None:
        """Wait until every worker has been spawned, or could not be."""
        for slot in self._slots:
            await slot.launched()

    def pids(self) -> set[int]:
        """The processes of all workers, those included that are about to take a place, or have left one."""
        return {pid for slot in self._all() if (pid := slot.snapshot().pid) is not None}

    def running(self) -> list[str]:
        """The workers that still have a process."""
        return [slot.worker_id for slot in self._all() if slot.has_process]

    def snapshot(self) -> GroupSnapshot:
        return GroupSnapshot(
            name=self.name,
            state=self.state,
            queued=len(self._queue),
            workers=tuple(slot.snapshot() for slot in self._slots),
            late_replies=self._replacements.late_replies + sum(slot.late_replies for slot in self._all()),
            waiting=self._queue.waiting,
            failure=self._failure if self.state == "failed" else None,
        )

    # -- what its slots tell it

    def refusal(self, slot: WorkerSlot, nodes: list[NodeRoute]) -> str | None:
        if self.nodes and tuple(nodes) != self.nodes:
            return f"{slot.worker_id} declares other nodes than the workers before it: their modules have changed meanwhile"
        refusal = (
            cardinality_refusal(nodes, self.config.workers)
            or fan_out_refusal(nodes, self.config.fan_out)
            or retries_refusal(nodes, self.config.retries)
        )
        if refusal is not None:
            return refusal
        if not self.nodes and any(node.stateful for node in nodes) and self._recycles:
            _logger.warning("group '%s' has a stateful node: its worker is never replaced for its age or its memory", self.name)
        self.nodes = tuple(nodes)
        return None

    def ready(self, slot: WorkerSlot) -> None:
        self._policy.became_ready(slot.index)
        self._replacements.ready(slot)
        self._note_started()
        if self._routes is not None:
            slot.start_work(self._routes)
            self._roster.note(slot)
            self._dispatch()

    def _note_started(self) -> None:
        """It is ready when all of its workers are, without those that were ready, are lost, and are not replaced."""
        states = {slot.state for slot in self._slots}
        if self.state == "starting" and "ready" in states and states <= {"ready", "failed"}:
            self.state = "ready"
            self._on_change(self)

    def idle(self, slot: WorkerSlot) -> None:
        if self._recycles and self.is_replaceable and not self._replacements.is_under_way:
            worn = slot.worn
            if worn is not None and slot in self._slots:
                self._replacements.begin(slot, worn)
        self._roster.note(slot)
        self._dispatch()

    def ended(self, slot: WorkerSlot, end: End) -> None:
        is_wanted = self.state in ("starting", "ready")
        self._redo(end, is_wanted=is_wanted)
        resume = self._replacements.ended(slot, end)
        if self.state == "failed":
            slot.give_up()
        elif not is_wanted or end.kind == "stopped":
            self._settle_stop()
        elif end.kind == "cancelled" and (slot in self._slots or resume is not None):
            self._fail(end.reason)
        elif slot in self._slots:
            self._lost(slot, end)
        elif end.kind == "died":  # one that was about to retire; it counts all the same
            self._act(slot, end, self._verdict(slot, end))
        elif resume is not None:
            resume()
        self._dispatch()
        self._deadlines.rest()

    def _lost(self, slot: WorkerSlot, end: End) -> None:
        if end.kind != "unbootable" and self._is_stateful:
            self._fail(f"its worker was lost ({end.reason}) and its state with it")
        else:
            self._act(slot, end, self._verdict(slot, end))

    def _act(self, slot: WorkerSlot, end: End, verdict: Verdict) -> None:
        if isinstance(verdict, Abandon) and verdict.fails_group:
            self._abandon_slot(slot, end, verdict)
        elif slot not in self._slots or self._replacements.defer(slot, lambda: self._act(slot, end, verdict)):
            return  # somebody has taken its place, or is about to
        elif isinstance(verdict, Replace):
            slot.start_later(verdict.delay_seconds)
        else:
            self._abandon_slot(slot, end, verdict)

    def _verdict(self, slot: WorkerSlot, end: End) -> Verdict:
        now = asyncio.get_running_loop().time()
        if end.kind == "inflicted":
            return self._policy.after_inflicted(end.exit)
        if end.kind == "unbootable" and end.exit is None and not slot.was_ever_ready:
            return Abandon("it could not be spawned", fails_group=True)  # there is nothing that another attempt would find changed
        if end.kind == "unbootable":
            return self._policy.after_failed_boot(slot.index, now, was_ever_ready=slot.was_ever_ready)
        return self._policy.after_death(slot.index, now, end.exit)

    def _abandon_slot(self, slot: WorkerSlot, end: End, verdict: Abandon) -> None:
        slot.give_up()
        if end.boot_error is not None and not slot.was_ever_ready:
            self.boot_error = end.boot_error
            self._fail(f"it could not be started: {end.boot_error}")
        elif verdict.fails_group or all(each.state == "failed" for each in self._slots):
            self._fail(f"{verdict.reason}, the last one: {end.reason}")
        else:
            _logger.warning("%s is not replaced: %s", slot.worker_id, verdict.reason)
            self._note_started()

    def _redo(self, end: End, *, is_wanted: bool) -> None:
        """Commands that provably did not begin wait for a worker again, before all others."""
        for ticket in end.unbegun:
            ticket.put_back()
        if is_wanted:
            self._queue.put_back(list(end.unbegun))
        for ticket in () if is_wanted else end.unbegun:
            ticket.disarm()
            ticket.lose("transport", self._why_not())

    # -- the queue

    def _dispatch(self) -> None:
        while self._queue:
            slot = self._roster.choose(self._queue.first.command)
            if slot is None:
                return
            ticket, now = self._queue.pop(), asyncio.get_running_loop().time()
            if not ticket.settled and ticket.command.deadline <= now:
                self._expired(ticket)  # its timer is due in this very pass of the loop
            # A settled one is still here when its callback, which takes it out of the queue, has not run yet.
            if ticket.settled:
                self._roster.note(slot)
            elif not self._hand_over(ticket, slot, now):
                self._queue.put_back([ticket])

    def _hand_over(self, ticket: Ticket, slot: WorkerSlot, now: float) -> bool:
        try:
            return slot.take(ticket, now)
        except PayloadError as error:
            # Everything in it has been checked before; should that fail, it must not hold up those behind it.
            ticket.lose("transport", f"the command {error.reason}")
            self._roster.note(slot)
            return True

    def _expired(self, ticket: Ticket) -> None:
        if ticket.holder is None:
            ticket.lose("timeout", "the deadline passed before a worker was free")
        else:
            ticket.holder.expire(ticket)

    def _leave_queue(self, ticket: Ticket) -> None:
        """It is settled, and no worker has it."""
        self._queue.remove(ticket)
        ticket.disarm()
        if self._queue and self.config.depth != 1:  # as one of a call that a worker is at, it may have held up those behind it
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _leave(self, reason: str) -> None:
        """Take nothing any more, and fail what waits."""
        self.ends += 1
        if self.state in ("starting", "ready"):
            self.state = "stopping"
            self._on_change(self)
        self._drop_queue(reason)

    def _drop_queue(self, reason: str) -> None:
        for ticket in self._queue:
            ticket.lose("transport", reason)
        self._queue.open_all()
        self._deadlines.rest()

    def _fail(self, reason: str) -> None:
        self.state = "failed"
        self._failure = reason
        _logger.error("group '%s' has failed: %s; restart_group('%s') starts afresh", self.name, reason, self.name)
        self._drop_queue(f"the group has failed: {reason}")
        for slot in self._all():
            if slot.has_process:
                slot.kill("its group has failed", final=True)
            else:
                slot.give_up()
        self._on_change(self)

    def _settle_stop(self) -> None:
        if self.state == "stopping" and not self.running():
            self.state = "stopped"

    def _why_not(self) -> str:
        return f"the group has failed: {self._failure}" if self.state == "failed" else f"the group is {self.state}"

    def _all(self) -> Iterator[WorkerSlot]:
        """The workers, those that are to replace one, and those that have been replaced and are not gone yet."""
        yield from list(self._slots)
        yield from self._replacements.others()

    @property
    def _is_stateful(self) -> bool:
        return any(node.stateful for node in self.nodes)
