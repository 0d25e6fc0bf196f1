"""What must hold of a supervisor at every moment, whatever its workers and its callers do."""

from __future__ import annotations

import asyncio
from collections import Counter

from stream_kernel import (
    BoundaryError,
    BoundaryInputError,
    BoundaryOverloadedError,
    RoutingResult,
    TerminalEvent,
    UsageError,
    WorkerBootstrapError,
)
from stream_kernel.engine.base import Answer, GroupSnapshot, Loss
from supervision_world import Call, Order, World

__all__ = ["Invariants"]

_GRACE = 0.05
"""How long after its deadline a caller may hear of it, in seconds."""


class Invariants:
    """Looks at a world after each step. What was settled is looked at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open_orders: list[Order] = []
        self._seen_orders = 0
        self._open_calls: list[Call] = []
        self._seen_calls = 0
        self._seen_events = 0
        self._generations: set[tuple[str, int]] = set()
        self._restarts: dict[str, int] = {}
        """Group -> how many restarts may have left it a worker more than it has places, one that is not gone yet."""
        self._lost_at: dict[int, str] = {}
        """Process -> the one command that may have run there when it was lost."""

    def check(self) -> None:
        """Raise `AssertionError` for what does not hold."""
        self._check_orders()
        self._check_calls()
        self._check_tasks()
        self._check_begins()
        self._check_generations()
        for child in self._world.launch.children:
            assert child.violation is None, f"the parent broke the protocol: {child.violation}"
        for group in self._world.engine.snapshot():
            self._check_group(group)

    # -- commands

    def _check_orders(self) -> None:
        orders = self._world.engine.orders
        self._open_orders += orders[self._seen_orders :]
        self._seen_orders = len(orders)
        for order in self._open_orders:
            if order.settled_at is None:
                assert order.ticket.settled or self._world.now <= order.deadline + _GRACE, f"{order.id} is open past its deadline"
            else:
                assert order.settled_at <= order.deadline + _GRACE, f"{order.id} was settled {order.settled_at - order.deadline} s late"
                self._check_outcome(order)
        self._open_orders = [order for order in self._open_orders if order.settled_at is None]

    def _check_outcome(self, order: Order) -> None:
        outcome = order.outcome
        if isinstance(outcome, Answer):
            for emission in outcome.emissions:
                token = order.tokens[emission.index]
                assert bytes(emission.packed.data) == f'"{token}"'.encode(), f"{order.id} got the output of another"
            indexes = sorted([row.index for row in outcome.emissions] + [row.index for row in outcome.failures])
            if outcome.report.outcome == "answered":
                assert indexes == list(range(len(order.tokens))), f"{order.id} got rows for {indexes}"
        if outcome is not None and outcome.report.delivery == "not_executed":
            began = {cid for token in order.tokens for _, cid in self._world.begun.get((order.group, token), ())}
            assert order.id not in began, f"{order.id} began, and its caller hears that it did not"
        if isinstance(outcome, Loss) and (outcome.category, outcome.report.delivery) == ("transport", "maybe_executed"):
            self._check_was_at_work(order, outcome)

    def _check_was_at_work(self, order: Order, loss: Loss) -> None:
        """Of a worker that keeps to the protocol only the oldest command is lost: those behind it are run elsewhere."""
        world, pid = self._world, loss.report.pid
        assert pid is not None, f"{order.id} never reached a worker, and is said to have run perhaps"
        if pid in world.broke or world.was_abandoned:
            return
        child = world.child(pid)
        assert self._lost_at.setdefault(pid, order.id) == order.id, f"{child} cost two commands: {self._lost_at[pid]}, {order.id}"
        known = [command.correlation_id for command in child.commands]
        torn = world.torn.get(pid)
        head = torn or (child.unanswered[0].correlation_id if child.unanswered else None)
        assert order.id == head or (head is None and order.id not in known), f"{order.id} was not at work in {child}, but {head}"

    # -- calls

    def _check_calls(self) -> None:
        calls = self._world.calls
        self._open_calls += calls[self._seen_calls :]
        self._seen_calls = len(calls)
        for call in self._open_calls:
            moment = self._world.now if call.settled_at is None else call.settled_at
            if call.settled_at is not None or not call.task.done():
                assert moment <= call.deadline + _GRACE, f"a call hears {moment - call.deadline} s after its deadline"
            if call.settled_at is not None:
                self._check_result(call)
        self._open_calls = [call for call in self._open_calls if call.settled_at is None]

    def _check_result(self, call: Call) -> None:
        if call.task.cancelled():
            assert call.was_cancelled, "a call was cancelled that nobody cancelled"
            return
        error = call.task.exception()
        if error is None:
            self._check_outputs(call, call.task.result())
        else:
            assert isinstance(error, (BoundaryError, BoundaryInputError)), f"a call raised {error!r}"
            assert call.on_error == "raise", f"a call that collects raised {error!r}"
            if isinstance(error, BoundaryOverloadedError):
                assert self._world.variant.overflow == "refuse"
            has_run = any(self._began(token) for token in call.groups)
            assert error.delivery != "not_executed" or not has_run, f"a call ran, and its caller hears that it did not: {error.report}"

    def _check_outputs(self, call: Call, result: RoutingResult) -> None:
        got: list[str] = []
        for envelope in result.terminal_outputs:
            token = str(envelope.trace_id)
            got.append(token)
            if not isinstance(envelope.payload, TerminalEvent):
                assert envelope.payload == token, f"the caller of {token} got {envelope.payload}"
                continue
            failure = envelope.payload.failure
            assert failure is not None and call.on_error == "collect"
            if failure.delivery == "not_executed":
                assert not self._began(token, str(failure.group)), f"{token} began in {failure.group}, and its caller hears that it did not"
            elif failure.delivery == "executed":
                assert self._began(token), f"{token} never began, and its caller hears that it ran"
        assert Counter(got) == Counter(call.groups.keys()), f"a call with the inputs {list(call.groups)} got {got}"

    def _began(self, token: str, group: str | None = None) -> bool:
        return any((name, token) in self._world.begun for name in ("g", "s") if group in (None, name))

    # -- what is started, stopped, restarted

    def _check_tasks(self) -> None:
        for task in self._world.tasks:
            if task.done() and not task.cancelled():
                error = task.exception()
                assert error is None or isinstance(error, (UsageError, WorkerBootstrapError, TimeoutError)), f"{task} raised {error!r}"

    # -- workers

    def _check_begins(self) -> None:
        world = self._world
        for (group, token), begins in world.begun.items():
            if len(begins) > 1:
                assert group == "g" and world.variant.retries, f"{token} was begun twice in {group}: {begins}"
        given: dict[str, int] = {}
        for child in world.launch.children:
            for command in child.commands:
                before = given.setdefault(command.correlation_id, child.pid)
                if before != child.pid:
                    assert before not in world.broke, f"{command.correlation_id} of a worker that broke the protocol was run again"
                    given[command.correlation_id] = child.pid

    def _check_generations(self) -> None:
        events = self._world.sink.events
        for event in events[self._seen_events :]:
            if event.kind == "worker_spawned":
                born = (event.worker_id, event.generation)
                assert born not in self._generations, f"generation {event.generation} of {event.worker_id} came twice"
                self._generations.add(born)
        self._seen_events = len(events)

    def _check_group(self, group: GroupSnapshot) -> None:
        world, name = self._world, group.name
        variant = world.variant
        workers, depth = (variant.workers, variant.depth) if name == "g" else (1, variant.stateful_depth)
        live = world.live_of(name)
        before = self._restarts.get(name, 0) if len(live) > workers + 1 else 0
        self._restarts[name] = max(before, world.engine.restarts)  # one that a stop has ended leaves what it was about to replace
        most = workers + 1 + self._restarts[name]
        assert len(live) <= most, f"{len(live)} processes for {workers} workers: {live}"
        assert all(worker.in_flight <= depth for worker in group.workers)
        waiting = [order for order in world.open_orders() if order.group == name and order.is_queued]
        entered = [order for order in waiting if order.ticket.command.is_admitted and not order.ticket.number]
        assert len(entered) <= world.most_queued(name), f"{len(entered)} commands entered the queue"
        if world.is_quiet:
            assert group.queued == len(waiting), f"{group.queued} in the queue, {[order.id for order in waiting]} wait"
        if group.state == "failed" and name == "g" and variant.strategy == "permanent" and not world.has_boot_trouble:
            assert world.faults[name] > variant.intensity, f"failed for {world.faults[name]} deaths of its own"

    # -- at the end

    def check_room(self) -> None:
        """An idle group has room for all that it may hold, and for no more."""
        world = self._world
        for group in world.engine.snapshot():
            if group.state == "ready" and not group.queued and not group.waiting:
                most = world.most_queued(group.name)
                assert world.engine.reserve(group.name, 1, 1)
                has_rest = most == 1 or world.engine.reserve(group.name, most - 1, 1)
                assert has_rest, f"the queue of {group.name} is empty, and has no room for {most}"
                assert not world.engine.reserve(group.name, 1, 1), f"the queue of {group.name} has room for more than {most}"
                world.engine.release(group.name, most, 1 if most == 1 else 2)

    def check_end(self) -> None:
        """After the close nothing is left."""
        world, loop = self._world, self._world.clock.loop
        assert not world.open_orders(), f"open after the close: {[order.id for order in world.open_orders()]}"
        assert all(call.task.done() for call in world.calls), "a call is open after the close"
        assert not asyncio.all_tasks(loop), f"left: {asyncio.all_tasks(loop)}"
        timers = [handle for handle in getattr(loop, "_scheduled", []) if not handle.cancelled()]
        assert not timers, f"left: {timers}"
        for child in world.launch.children:
            assert {"reap", "close"} <= set(child.log), f"{child} was not buried: {child.log}"
