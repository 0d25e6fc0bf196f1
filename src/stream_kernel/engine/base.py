"""The contract of an engine: start groups, take commands, say what became of each, stop.

An engine never raises for a command: its ticket's promise gets an `Answer` or a `Loss`. A ticket that is cancelled withdraws the caller;
the engine then settles whatever comes later by itself.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from math import inf
from typing import Any, Literal, Protocol

import msgspec

from stream_kernel.reports import CommandReport, WorkerExitReport
from stream_kernel.routing.items import Emission, InputItem, ItemFailure
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute, Router

__all__ = [
    "Answer",
    "AtWork",
    "Capabilities",
    "Command",
    "Engine",
    "GroupSnapshot",
    "Loss",
    "Outcome",
    "PayloadCodec",
    "Promise",
    "Ticket",
    "WorkerSnapshot",
    "cardinality_refusal",
    "fan_out_refusal",
    "retries_refusal",
]


class Capabilities(msgspec.Struct, frozen=True):
    """What an engine can do that another cannot."""

    kills: bool
    """A command past its deadline is stopped, not only reported."""
    survives_crash: bool
    """`os._exit` or a segmentation fault in a node costs one command, not this process."""
    checks_payloads: bool
    """What JSON cannot carry is refused at every boundary."""
    runs_parallel: bool
    """Nodes run beside this process, on other CPUs."""


class Command(msgspec.Struct, gc=False):
    """A batch for one group: what one frame carries. `deadline` is a point on the loop's clock."""

    correlation_id: str
    group: str
    run_id: str
    scenario_id: str
    on_error: Literal["raise", "collect"]
    deadline: float
    items: Sequence[InputItem]
    limit_seconds: float = inf
    """How long a worker may work on it, within the deadline; what it waits for that does not count."""
    size: int = 0
    """Bytes of its payloads."""
    is_admitted: bool = False
    """Room in the queue has been reserved for it."""
    waited_since: float | None = None
    """When it began to wait for room; None: it did not have to."""
    call: int | None = None
    """Which call of this supervisor it is of, among those that are not settled; None: of one of its own."""
    is_trial: bool = False
    """It holds one input, with which at work a worker has died before: should that happen again, it is no news of the group's health."""

    def taken_at(self, now: float) -> None:
        """A worker begins it now: it has until the deadline, or until its limit."""
        self.deadline = min(self.deadline, now + self.limit_seconds)


class Answer(msgspec.Struct):
    """The group answered. A command that failed as a whole has one failure and no emissions."""

    emissions: Sequence[Emission]
    failures: list[ItemFailure]
    tell: Callable[[], CommandReport]
    """Makes the report; most are never asked for."""

    @property
    def report(self) -> CommandReport:
        """What became of the command."""
        return self.tell()


class AtWork(msgspec.Struct, frozen=True):
    """What a worker was working on when it was lost: the input at this place in its command, in this node."""

    index: int
    node: str


class Loss(msgspec.Struct):
    """The group did not answer."""

    category: Literal["transport", "timeout"]
    reason: str
    report: CommandReport
    exit: WorkerExitReport | None = None
    """How the worker ended that had it."""
    at_work: AtWork | None = None
    """Those before it are done, those behind it have not begun; None: nothing is known."""
    is_inflicted: bool = False
    """Its worker was ended by us, for no fault of what it was at."""


Outcome = Answer | Loss


class Promise:
    """An outcome that comes once, or is wanted no more.

    Unlike a future of asyncio it calls back where it is settled, at once: that is a pass of the loop less on the way of every call.
    """

    __slots__ = ("_callbacks", "_is_cancelled", "_outcome")

    def __init__(self) -> None:
        self._outcome: Outcome | None = None
        self._is_cancelled = False
        self._callbacks: tuple[Callable[[Promise], None], ...] = ()

    def done(self) -> bool:
        """Whether it is settled or cancelled."""
        return self._outcome is not None or self._is_cancelled

    def cancelled(self) -> bool:
        """Whether it is wanted no more."""
        return self._is_cancelled

    def result(self) -> Outcome:
        """What it was settled with."""
        if self._outcome is None:
            raise asyncio.CancelledError if self._is_cancelled else asyncio.InvalidStateError
        return self._outcome

    def set_result(self, outcome: Outcome) -> bool:
        """Settle it; False when that has been done, or it has been cancelled."""
        if self._outcome is not None or self._is_cancelled:
            return False
        self._outcome = outcome
        self._call_back()
        return True

    def cancel(self) -> bool:
        """Nobody waits any more; False when it is settled already."""
        if self._outcome is not None or self._is_cancelled:
            return False
        self._is_cancelled = True
        self._call_back()
        return True

    def add_done_callback(self, callback: Callable[[Promise], None]) -> None:
        """Call this when it is settled or cancelled; where that has happened, in the next pass: who asks has not finished yet."""
        if self.done():
            asyncio.get_running_loop().call_soon(callback, self)
        else:
            self._callbacks += (callback,)

    def _call_back(self) -> None:
        callbacks, self._callbacks = self._callbacks, ()
        for callback in callbacks:
            callback(self)

    def __await__(self) -> Generator[Any, None, Outcome]:
        if not self.done():
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.add_done_callback(lambda _: None if change.done() else change.set_result(None))
            yield from change
        return self.result()


class Ticket(Protocol):
    """A command that was handed over."""

    @property
    def future(self) -> Promise: ...

    def cancel(self) -> bool:
        """The caller has gone; False when the command was settled before."""

    def withdraw(self, reason: str) -> None:
        """Settle it as not executed if no worker has taken it yet; otherwise do nothing."""


class PayloadCodec(Protocol):
    """How an engine makes payloads unchangeable, on the caller's side. Methods raise `PayloadError`."""

    def pack(self, payload: Any) -> Packed: ...

    def pack_all(self, payloads: list[Any]) -> tuple[list[msgspec.Raw], str | None] | None:
        """All of one tag in one go, and that; None when they are of several, when one cannot be encoded, or where nothing is."""

    def unpack(self, packed: Packed, wanted: str | None = None) -> Any: ...

    def unpack_all(self, encoded: list[msgspec.Raw], tag: str | None) -> list[Any] | None:
        """Those of one tag in one go; None when one cannot be decoded."""

    def plain(self, packed: Packed) -> Any: ...

    def knows(self, tag: str | None) -> bool: ...


class WorkerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One worker at one moment."""

    worker_id: str
    pid: int | None
    state: str
    generation: int
    in_flight: int
    requests: int
    """Commands answered by this incarnation."""
    restarts: int


class GroupSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One group at one moment. `late_replies` came after their caller had gone and were dropped; `waiting` calls found no room yet;
    `failure` says why it has failed, where it has.
    """

    name: str
    state: str
    queued: int
    workers: tuple[WorkerSnapshot, ...]
    late_replies: int = 0
    waiting: int = 0
    failure: str | None = None


class Engine(ABC):
    """Runs groups. All methods are called on one event loop."""

    capabilities: Capabilities

    def __init__(self) -> None:
        self.router = Router(())
        """The routes of all nodes; complete once the engine is open."""
        self.is_open = False
        """Every group has been ready: the routes are known, and commands are taken."""
        self._started: list[str] = []

    @abstractmethod
    async def start(self, groups: Sequence[str]) -> None:
        """Begin to start these groups; raises `WorkerBootstrapError` when a worker cannot even be spawned."""

    @abstractmethod
    async def wait_ready(self) -> None:
        """Return when all configured groups are ready; raises `WorkerBootstrapError` when one said that it cannot boot."""

    @abstractmethod
    def codec(self, classes: Sequence[type]) -> PayloadCodec:
        """The caller's side of the payload codec; `classes` are those that outputs are decoded into. Needs the routes."""

    @abstractmethod
    def submit(self, command: Command) -> Ticket:
        """Hand a command over. Never blocks, never raises."""

    def reserve(self, group: str, commands: int, size: int) -> bool:
        """Room in the queue of `group` for a call that enters; False when there is none. Here there is no queue."""
        return True

    def refuses_overflow(self, group: str) -> bool:
        """Whether a call is refused that finds no room, instead of waiting for it."""
        return False

    async def wait_for_room(self, group: str, commands: int, size: int) -> None:  # noqa: B027  only where there is a queue
        """Return when room has been reserved, or when the group takes no commands any more."""

    def release(self, group: str, commands: int, size: int) -> None:  # noqa: B027
        """Give up room that was reserved and is not used."""

    def retries(self, group: str) -> int:
        """How often a command of `group` may be run again whose worker was lost."""
        return 0

    def pieces(self, group: str) -> int:
        """How many commands a batch for `group` becomes now, if it has as many inputs."""
        return 1

    @abstractmethod
    def abandon(self, reason: str) -> None:
        """Fail everything that is queued or in flight, as transport."""

    @abstractmethod
    async def stop(self, groups: Sequence[str], deadline: float) -> None:
        """Ask the workers to end and wait until `deadline`; raises `TimeoutError` naming those that did not. Kills nothing."""

    @abstractmethod
    async def end(self, groups: Sequence[str]) -> None:
        """End the workers of these groups, first with patience, then by force, each step within its bound; returns when none is left."""

    @abstractmethod
    async def kill(self, groups: Sequence[str]) -> None:
        """End the workers of these groups by force and wait until they are gone."""

    @abstractmethod
    def kill_now(self) -> None:
        """End all workers by force without waiting; for callers that may not wait."""

    @abstractmethod
    async def restart(self, group: str) -> None:
        """Replace the workers of a group, a failed one included; returns when it is ready."""

    @abstractmethod
    def snapshot(self) -> tuple[GroupSnapshot, ...]:
        """All groups as they are now."""

    def _note_start(self, group: str) -> None:
        """It is started now, after all others."""
        self._started = [*(name for name in self._started if name != group), group]

    def _in_start_order(self, groups: Sequence[str]) -> list[str]:
        """These groups in the order in which they were last started; those that never were come first."""
        return sorted(groups, key=lambda name: self._started.index(name) if name in self._started else -1)


def cardinality_refusal(nodes: Sequence[NodeRoute], workers: int) -> str | None:
    """Why a group with these nodes cannot have this many workers, or None."""
    stateful = next((node.name for node in nodes if node.stateful), None)
    if stateful is None or workers == 1:
        return None
    return (
        f"node '{stateful}' is stateful, so its group must have one worker, not {workers}: "
        "set process_groups.workers = 1, or move the node to a group of its own"
    )


def fan_out_refusal(nodes: Sequence[NodeRoute], fan_out: Literal["whole", "split"]) -> str | None:
    """Why a batch for a group with these nodes cannot be split, or None."""
    stateful = next((node.name for node in nodes if node.stateful), None)
    if stateful is None or fan_out == "whole":
        return None
    return (
        f"process_groups.fan_out = 'split' cannot be had with node '{stateful}': it is stateful, so one worker gets all of a batch: "
        "leave fan_out out, or move the node to a group of its own"
    )


def retries_refusal(nodes: Sequence[NodeRoute], retries: int) -> str | None:
    """Why what is lost in a group with these nodes cannot be run again, or None."""
    if not retries:
        return None
    stateful = next((node.name for node in nodes if node.stateful), None)
    if stateful is not None:
        return f"process_groups.retries cannot be had with node '{stateful}': it is stateful, and its state is lost with its worker"
    cannot = next((node.name for node in nodes if not node.idempotent), None)
    if cannot is None:
        return None
    return (
        f"process_groups.retries needs every node of the group idempotent, and '{cannot}' is not: "
        "mark it @node(idempotent=True) if it may run twice for the same message, or leave retries out"
    )
