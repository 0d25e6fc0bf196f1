"""A supervisor over worker processes that are none, everybody who calls it, and a record of what its workers did.

The deeds of the workers are true to life: one is at work on its oldest command only, notes what it begins before it begins it, and does
nothing any more once it has been sent SIGKILL.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Raw

from engine_on_fakes import fake_config
from stream_kernel import AsyncBoundarySupervisor, BoundaryDispatchInput, RoutingResult
from stream_kernel.engine.base import Command, Outcome, Promise
from stream_kernel.engine.process.supervisor import ProcessEngine
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.protocol.columns import inputs_from_columns
from stream_kernel.protocol.messages import ExecuteBoundary, ExecuteBoundaryResult, Hello
from stream_kernel.protocol.plain import encode_plain
from stream_kernel.routing.items import Emission, InputItem, ItemFailure
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute
from stream_kernel.testing import FakeChild, FakeLaunch, RecordingSink
from stream_kernel.testing.fake_process import ChildTraits
from virtual_clock import VirtualClock

__all__ = ["Call", "Order", "Variant", "World", "tokens_of"]

_TORN_BYTES = 40


@dataclass(frozen=True)
class Variant:
    """What kind of groups there are. `g` is stateless; `s` is stateful and has one worker."""

    workers: int = 1
    depth: int = 1
    stateful_depth: int = 1
    retries: int = 0
    overflow: str = "wait"
    max_queued: int = 1024
    strategy: str = "permanent"
    intensity: int = 3
    max_requests: int | None = None
    ping_interval: float = 10.0
    notes: bool = True
    """Whether workers note what they begin."""
    exit_comes_first: bool = False
    stdin_bytes: int = 1 << 16

    def groups(self) -> dict[str, dict[str, Any]]:
        """The keys of both groups."""
        restart = {"strategy": self.strategy, "intensity": self.intensity, "backoff_seconds": [0.5, 4]}
        common = {"ping_interval_seconds": self.ping_interval, "restart": restart, "start_timeout_seconds": 8}
        queue = {"overflow": self.overflow, "max_queued": self.max_queued, "max_requests_per_worker": self.max_requests}
        return {
            "g": {**common, **queue, "workers": self.workers, "depth": self.depth, "retries": self.retries},
            "s": {**common, "depth": self.stateful_depth},
        }


@dataclass
class Order:
    """A command as the engine got it, and what became of it."""

    ticket: Ticket
    group: str
    tokens: tuple[str, ...]
    deadline: float
    outcome: Outcome | None = None
    settled_at: float | None = None

    @property
    def id(self) -> str:
        return self.ticket.command.correlation_id

    @property
    def is_queued(self) -> bool:
        return not self.ticket.settled and self.ticket.holder is None


@dataclass
class Call:
    """A call of the supervisor's, and what its caller got."""

    task: asyncio.Task[RoutingResult]
    groups: dict[str, str]
    """Token -> the group that it was sent to."""
    on_error: str
    deadline: float
    settled_at: float | None = None
    was_cancelled: bool = False


class WatchedEngine(ProcessEngine):
    """Keeps all that it is handed."""

    orders: list[Order]

    def submit(self, command: Command) -> Ticket:
        state = self.state_of(command.group)
        deadline = command.deadline
        ticket = super().submit(command)
        if state not in ("starting", "ready"):
            assert ticket.settled, f"a group that is {state} does not answer at once"
        order = Order(ticket, command.group, tokens_of(command.items), deadline)
        self.orders.append(order)
        ticket.future.add_done_callback(lambda future: _note_outcome(order, future))
        return ticket

    def state_of(self, name: str) -> str:
        """The state of a group."""
        return next(group.state for group in self.snapshot() if group.name == name)

    @property
    def restarts(self) -> int:
        """How many are under way, also those whose caller has gone."""
        return len(self._restarting)


def _note_outcome(order: Order, future: Promise) -> None:
    order.settled_at = asyncio.get_running_loop().time()
    order.outcome = None if future.cancelled() else future.result()


def tokens_of(items: Sequence[InputItem]) -> tuple[str, ...]:
    """What names the inputs: their trace ids."""
    return tuple(str(item.trace_id) for item in items)


def _item(token: str, target: str) -> InputItem:
    data = encode_plain(token)
    return InputItem(Packed(Raw(data), None, len(data)), target, trace_id=token)


@dataclass
class World:
    """Everything. `perform` has something done on the loop; `advance` lets time pass."""

    variant: Variant
    clock: VirtualClock = field(default_factory=VirtualClock)
    begun: dict[tuple[str, str], set[tuple[int, str]]] = field(default_factory=dict)
    """Group and token -> the process and the command in which it was begun."""
    broke: set[int] = field(default_factory=set)
    """The processes that have said what they may not."""
    torn: dict[int, str] = field(default_factory=dict)
    """Process -> the command whose reply it did not finish."""
    faults: Counter[str] = field(default_factory=Counter)
    """Group -> how often a worker of it did harm by itself."""
    calls: list[Call] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    """Starts, stops, restarts and closes."""
    has_boot_trouble: bool = False
    was_abandoned: bool = False
    is_quiet: bool = True
    """Nothing can happen any more at this moment."""
    _reached: dict[tuple[int, str], int] = field(default_factory=dict)
    _parts: dict[tuple[int, str], int] = field(default_factory=dict)
    _mute: set[int] = field(default_factory=set)
    _greeted: set[int] = field(default_factory=set)
    _count: int = 0

    def __post_init__(self) -> None:
        self.clock.__enter__()
        routes = (NodeRoute("n", "g", idempotent=self.variant.retries > 0), NodeRoute("n_s", "s", stateful=True))
        config = fake_config(self.variant.groups())
        self.sink = RecordingSink()
        self.launch = self.clock.call(FakeLaunch, ChildTraits(routes=routes))
        self.set_traits()
        self.engine = WatchedEngine(config, self.sink, launch=self.launch)
        self.engine.orders = []
        self.supervisor = AsyncBoundarySupervisor(config)
        self.supervisor.engine = self.engine

    @property
    def now(self) -> float:
        return self.clock.now

    def set_traits(self, **traits: Any) -> None:
        """How the workers behave that are spawned from now on, where they differ from orderly ones."""
        self.has_boot_trouble = self.has_boot_trouble or not traits.get("boots", True)
        plain = {"boots": True, "answers": False, "ignores": frozenset(), "stdin_bytes": self.variant.stdin_bytes}
        plain["exit_comes_first"] = self.variant.exit_comes_first
        self.launch.traits = msgspec.structs.replace(self.launch.traits, **{**plain, **traits})

    def most_queued(self, group: str) -> int:
        """How many commands may wait that enter `group`."""
        return self.variant.max_queued if group == "g" else 1024

    # -- time

    def perform(self, deed: Callable[[], None], passes: int | None = None) -> None:
        """Do it, and let the loop run so many passes (0: it is done together with the next deed; None: until nothing happens any more)."""
        self.clock.loop.call_soon(deed)
        self.is_quiet = False
        if passes is None:
            self.advance(0)
        for _ in range(passes or 0):
            self.clock.loop.stop()  # it runs one pass then
            self.clock.loop.run_forever()
        self.clock.check()

    def perform_at(self, moment: float, deed: Callable[[], None]) -> None:
        """Do it when time has come so far."""
        self.clock.loop.call_at(moment, deed)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds and not self.launch.may_spawn.is_set():
            self.has_boot_trouble = True  # a spawn may be given up
        self.clock.advance(seconds)
        self.is_quiet = True

    def next_deadline(self) -> float:
        """The first of what is still open, or now."""
        return min((order.deadline for order in self.open_orders()), default=self.now)

    def open_orders(self) -> list[Order]:
        return [order for order in self.engine.orders if not order.ticket.settled]

    # -- callers

    def _tokens(self, count: int) -> list[str]:
        self._count += count
        return [f"t{number}" for number in range(self._count - count + 1, self._count + 1)]

    def submit(self, group: str, count: int, seconds: float) -> None:
        """Hand the engine a command with `count` inputs."""
        target = {"g": "n", "s": "n_s"}[group]
        items = [_item(token, target) for token in self._tokens(count)]
        deadline = self.now + seconds
        self.engine.submit(Command(f"c{self._count}", group, "r", "s", "collect", deadline, items, size=count))

    def call(self, groups: list[str], seconds: float, on_error: str) -> None:
        """Call the supervisor with one input for each of `groups`."""
        placed = dict(zip(self._tokens(len(groups)), groups, strict=True))
        inputs = [BoundaryDispatchInput(token, name, {"g": "n", "s": "n_s"}[name], token) for token, name in placed.items()]
        work = self.supervisor.execute_boundary(
            run_id="r", scenario_id="s", inputs=inputs, timeout_seconds=seconds, on_error="raise" if on_error == "raise" else "collect"
        )
        call = Call(self.clock.loop.create_task(work), placed, on_error, self.now + seconds)
        call.task.add_done_callback(lambda _: setattr(call, "settled_at", self.now))
        self.calls.append(call)

    def cancel(self, number: int) -> None:
        """Cancel one of the open commands or calls."""
        by_calls = {token for call in self.calls for token in call.groups}
        own = [order.ticket for order in self.open_orders() if not by_calls.intersection(order.tokens)]
        calls = [call for call in self.calls if not call.task.done()]
        if not own and not calls:
            return
        chosen = number % (len(own) + len(calls))
        if chosen < len(own):
            own[chosen].cancel()
        else:
            calls[chosen - len(own)].was_cancelled = True
            calls[chosen - len(own)].task.cancel()

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Start, stop, restart, close: as a task of its own."""
        self.tasks.append(self.clock.loop.create_task(work))

    # -- workers

    def workers(self) -> list[FakeChild]:
        """Those that can do something: alive, and not sent what ends them at once."""
        return [child for child in self.launch.alive if not {"kill", "close", *({"stacks"} - child.traits.ignores)}.intersection(child.log)]

    def live_of(self, group: str) -> list[FakeChild]:
        """Those that live and have not been left behind."""
        return [child for child in self.launch.alive if child.group == group and "close" not in child.log]

    def child(self, pid: int | None) -> FakeChild:
        return next(child for child in self.launch.children if child.pid == pid)

    def boot(self, child: FakeChild, how: str) -> None:
        """Go on with the boot of a worker that does not boot by itself."""
        if child.traits.boots or child.pid in self._mute:
            return
        if how != "ready":
            self._harm(child)
        if child.pid not in self._greeted:
            self._greeted.add(child.pid)
            child.say(Hello(protocols=[99 if how == "version" else 1], pid=child.pid, sdk_version="0", language="fake"))
        if child.bootstrap is None or "ready" in child.log or how == "version":
            return
        if how == "refuse":
            child.refuse("no")
        elif how == "ready":
            child.log.append("ready")
            child.ready()

    def begin_input(self, child: FakeChild, index: int | None = None) -> ExecuteBoundary:
        """The worker begins the inputs up to `index` (None: all) of its oldest command."""
        command = child.unanswered[0]
        tokens = tokens_of(inputs_from_columns(command.inputs))
        key = (child.pid, command.correlation_id)
        last = max(self._reached.get(key, 0), len(tokens) - 1 if index is None else min(index, len(tokens) - 1))
        self._reached[key] = last
        for token in tokens[: last + 1]:
            self.begun.setdefault((child.group, token), set()).add(key)
        if self.variant.notes:
            child.note_progress(index=last)
        return command

    def reply(self, child: FakeChild, how: str) -> None:
        """Answer the oldest command: `echo`, `forward` (to the next group), `part`, `fail` (an input), `break` (the command), `refuse`
        (nothing ran), `torn`, `astray` (an input that it does not have).
        """
        if not child.unanswered or child.pid in self._mute:
            return
        command = child.unanswered[0]
        key = (child.pid, command.correlation_id)
        if how == "refuse":
            if key not in self._reached:
                child.fail("it does not fit", executed=False)
            return
        self.begin_input(child)
        if how == "break" or (how == "fail" and command.on_error == "raise"):
            child.fail(index=0)
        else:
            self._send_rows(child, command, how)
        if self.variant.notes and child.is_alive and child.unanswered and how != "part":
            # Its note stays until it begins the next one.
            child.note_progress(len(child.commands) - len(child.unanswered), index=self._reached[key])

    def _send_rows(self, child: FakeChild, command: ExecuteBoundary, how: str) -> None:
        key = (child.pid, command.correlation_id)
        rows = _rows(command, how, hops=child.group == "g")
        done = self._parts.get(key, 0)
        if how == "part":
            if done < len(rows):
                child.answer(rows[done : done + 1], more=True)
                self._parts[key] = done + 1
        elif how == "astray":
            self._harm(child)
            self.broke.add(child.pid)
            child.answer([msgspec.structs.replace(row, index=len(rows)) for row in rows])
        elif how == "torn":
            self.torn[child.pid] = command.correlation_id
            child.answer(rows[done:], first_bytes=_TORN_BYTES)
            if child.is_alive:  # otherwise it was told to stop, and this was its last command
                self.die(child, "SIGKILL")
        else:
            child.answer(rows[done:])

    def misbehave(self, child: FakeChild, how: str) -> None:
        """Break the protocol: `garbage`, `unknown` (a reply to nobody), `again` (a reply twice); or close a pipe: `mute`, `deaf`."""
        if child.pid in self._mute:
            return
        if how == "again":
            if not child.unanswered:
                return
            self.reply(child, "echo")
            if not child.is_alive:
                return
        self._harm(child)
        if how in ("mute", "deaf"):
            (child.close_stdout if how == "mute" else child.hang_up)()
            if how == "mute":
                self._mute.add(child.pid)
            return
        self.broke.add(child.pid)
        if how == "unknown":
            child.send_bytes(msgspec.json.encode(ExecuteBoundaryResult(correlation_id="nobody")) + b"\n")
        else:
            (child.send_garbage if how == "garbage" else child.duplicate)()

    def die(self, child: FakeChild, how: str) -> None:
        """End: by exit code `0` or `1`, by a signal of that name, or `held`: a grandchild keeps the pipes open."""
        self._harm(child)
        if how.isdigit():
            child.die(exit_code=int(how))
        else:
            child.die(signal="SIGKILL" if how == "held" else how, pipes_stay_open=how == "held")

    def _harm(self, child: FakeChild) -> None:
        self.faults[child.group] += 1
        if "start_work" not in child.log:
            self.has_boot_trouble = True


def _rows(command: ExecuteBoundary, how: str, *, hops: bool) -> list[Emission | ItemFailure]:
    rows: list[Emission | ItemFailure] = []
    for index, item in enumerate(inputs_from_columns(command.inputs)):
        if how == "fail" and index == 0:
            rows.append(ItemFailure(0, "execution", "the node raised", item.target))
        else:
            onward = how == "forward" and hops
            rows.append(Emission(index, item.target, item.packed, terminal=not onward, target="n_s" if onward else None))
    return rows
