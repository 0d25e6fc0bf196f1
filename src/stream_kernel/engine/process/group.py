"""One group: its workers, the queue in front of them, and what happens when one is lost."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from stream_kernel.config.model import ProcessGroupConfig, RuntimeConfig
from stream_kernel.engine.base import Command, GroupSnapshot, cardinality_refusal
from stream_kernel.engine.process.restart import RestartWindow
from stream_kernel.engine.process.slot import End, WorkerSlot
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.errors import PayloadError, WorkerBootstrapError
from stream_kernel.observability.sinks import Sink
from stream_kernel.routing.router import NodeRoute

__all__ = ["GroupState", "WorkerGroup"]

GroupState = Literal["stopped", "starting", "ready", "stopping", "failed"]


class WorkerGroup:
    """Takes commands and hands each to a free worker, round robin; replaces workers that are lost."""

    def __init__(self, config: RuntimeConfig, group: ProcessGroupConfig, sink: Sink, on_change: Callable[[WorkerGroup], None]) -> None:
        self.name = group.name
        self.config = group
        self.state: GroupState = "stopped"
        self.nodes: tuple[NodeRoute, ...] = ()
        """What the first worker that was ever ready declared; every later one must say the same."""
        self.boot_error: WorkerBootstrapError | None = None
        self._failure = ""
        self._on_change = on_change
        self._routes: tuple[NodeRoute, ...] | None = None
        self._queue: OrderedDict[str, Ticket] = OrderedDict()
        self._slots = [WorkerSlot(self, config, group, index, sink) for index in range(group.workers)]
        self._next = 0
        self._deaths = RestartWindow()

    # -- what the engine asks of it

    def start(self) -> None:
        """Begin to start, unless that has been done."""
        if self.state in ("starting", "ready"):
            return
        self.state = "starting"
        self.boot_error = None
        self._deaths.forget()
        self.spawn()

    def start_work(self, routes: tuple[NodeRoute, ...]) -> None:
        """All groups are ready: take commands."""
        self._routes = routes
        for slot in self._slots:
            slot.start_work(routes)
        self._dispatch()

    def submit(self, command: Command) -> Ticket:
        """Take a command, or settle it at once when this group cannot run it any more."""
        loop = asyncio.get_running_loop()
        ticket = Ticket(command, loop)
        if self.state not in ("starting", "ready"):
            ticket.lose("transport", self._why_not())
        elif command.deadline <= loop.time():
            ticket.lose("timeout", "the deadline had passed before the command could be sent")
        else:
            ticket.arm(self._expired)
            ticket.future.add_done_callback(lambda future: self._settled(ticket, cancelled=future.cancelled()))
            self._queue[command.correlation_id] = ticket
            self._dispatch()
        return ticket

    def abandon(self, reason: str) -> None:
        """Fail everything, as transport."""
        for ticket in self._queue.values():
            ticket.withdraw(reason)
        for slot in self._slots:
            slot.abandon(reason)

    def stop(self) -> None:
        """Ask all workers to end."""
        if self.state in ("starting", "ready"):
            self.state = "stopping"
            self._drop_queue("the group is being stopped")
            self._on_change(self)
        for slot in self._slots:
            slot.stop()
        self._settle_stop()

    def hold(self) -> None:
        """Before a restart: end the workers, but keep the queue and take calls into it."""
        self.state = "starting"
        self.boot_error = None
        self._deaths.forget()
        for slot in self._slots:
            if slot.state == "killing":
                slot.kill("its group is restarted", final=True)  # its end is no loss any more
            else:
                slot.stop()

    def end_slots(self, reason: str) -> None:
        """End the workers by force that did not end by themselves; what they had fails, the queue stays."""
        for slot in self._slots:
            slot.kill(reason, final=True)

    def spawn(self) -> None:
        """Start the workers that are not there."""
        for slot in self._slots:
            if slot.state == "stopped":
                slot.start()

    def kill(self, reason: str) -> None:
        """End all workers by force."""
        if self.state in ("starting", "ready"):
            self.state = "stopping"
            self._on_change(self)
        self._drop_queue(reason)
        self.end_slots(reason)
        self._settle_stop()

    async def gone(self) -> None:
        """Wait until no worker is left."""
        for slot in self._slots:
            await slot.gone()

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

    def running(self) -> list[str]:
        """The workers that still have a process."""
        return [slot.worker_id for slot in self._slots if slot.state != "stopped"]

    def snapshot(self) -> GroupSnapshot:
        return GroupSnapshot(
            name=self.name,
            state=self.state,
            queued=len(self._queue),
            workers=tuple(slot.snapshot() for slot in self._slots),
            late_replies=sum(slot.late_replies for slot in self._slots),
        )

    # -- what its slots tell it

    def refusal(self, slot: WorkerSlot, nodes: list[NodeRoute]) -> str | None:
        if self.nodes and tuple(nodes) != self.nodes:
            return f"{slot.worker_id} declares other nodes than the workers before it: their modules have changed meanwhile"
        refusal = cardinality_refusal(nodes, self.config.workers)
        if refusal is not None:
            return refusal
        self.nodes = tuple(nodes)
        return None

    def ready(self, slot: WorkerSlot) -> None:
        if self.state == "starting" and all(each.state == "ready" for each in self._slots):
            self.state = "ready"
            self._on_change(self)
        if self._routes is not None:
            slot.start_work(self._routes)
            self._dispatch()

    def idle(self) -> None:
        # After the callbacks of the call that was just settled: it may withdraw what it still has in the queue.
        asyncio.get_running_loop().call_soon(self._dispatch)

    def ended(self, slot: WorkerSlot, end: End) -> None:
        if self.state == "stopping" or end.kind == "stopped" or self.state in ("stopped", "failed"):
            self._settle_stop()
        elif end.kind == "unbootable" and self.state == "starting":
            # Before its first worker was ever ready there is nothing to go back to: trying again would fail the same way.
            self.boot_error = end.boot_error
            self._fail(f"it could not be started: {end.boot_error}")
        elif any(node.stateful for node in self.nodes):
            self._fail(f"its worker was lost ({end.reason}) and its state with it; restart_group('{self.name}') starts afresh")
        elif end.kind != "inflicted" and self._deaths.exceeded_by_death(asyncio.get_running_loop().time()):
            self._fail(f"its workers died too often, the last one: {end.reason}; restart_group('{self.name}') tries again")
        else:
            slot.start()

    # -- the queue

    def _dispatch(self) -> None:
        while self._queue:
            slot = self._select()
            if slot is None:
                return
            ticket = self._queue.popitem(last=False)[1]
            # A settled one is still here when its callback, which takes it out of the queue, has not run yet.
            if not ticket.settled and not self._hand_over(ticket, slot):
                self._queue[ticket.command.correlation_id] = ticket
                self._queue.move_to_end(ticket.command.correlation_id, last=False)

    def _hand_over(self, ticket: Ticket, slot: WorkerSlot) -> bool:
        try:
            return slot.take(ticket)
        except PayloadError as error:
            # Everything in it has been checked before; should that fail, it must not hold up those behind it.
            ticket.lose("transport", f"the command {error.reason}")
            return True

    def _select(self) -> WorkerSlot | None:
        """The next free worker in turn. With one command at a worker at a time, least outstanding first is just that."""
        count = len(self._slots)
        for step in range(count):
            index = (self._next + step) % count
            if self._slots[index].is_free:
                self._next = (index + 1) % count
                return self._slots[index]
        return None

    def _expired(self, ticket: Ticket) -> None:
        if not ticket.is_taken:
            ticket.lose("timeout", "the deadline passed before a worker was free")
            return
        for slot in self._slots:
            if slot.owes(ticket):
                slot.expire(ticket)

    def _settled(self, ticket: Ticket, *, cancelled: bool) -> None:
        if not ticket.is_taken:
            self._queue.pop(ticket.command.correlation_id, None)
            ticket.disarm()
        elif cancelled:
            for slot in self._slots:
                slot.cancel(ticket)

    def _drop_queue(self, reason: str) -> None:
        for ticket in self._queue.values():
            ticket.lose("transport", reason)

    # -- the end

    def _fail(self, reason: str) -> None:
        self.state = "failed"
        self._failure = reason
        self._drop_queue(f"the group has failed: {reason}")
        self.end_slots("its group has failed")
        self._on_change(self)

    def _settle_stop(self) -> None:
        if self.state == "stopping" and not self.running():
            self.state = "stopped"

    def _why_not(self) -> str:
        return f"the group has failed: {self._failure}" if self.state == "failed" else f"the group is {self.state}"
