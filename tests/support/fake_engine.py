"""An engine that a test answers by hand: nothing happens until the test says so, in the order it says."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, Literal

import orjson
from msgspec import Raw

from stream_kernel.engine.base import Answer, AtWork, Capabilities, Command, Engine, GroupSnapshot, Loss, PayloadCodec, Promise
from stream_kernel.engine.boundary import BoundaryCall
from stream_kernel.engine.preparation import prepare
from stream_kernel.engine.settlement import Failure, Settled
from stream_kernel.engine.turns import RunOrder
from stream_kernel.protocol.codec import Codec
from stream_kernel.reports import CommandReport, Delivery, WorkerExitReport
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.items import Emission, ItemFailure
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute, Router

__all__ = ["FakeEngine", "FakeTicket", "boundary_call_of", "call_of", "packed", "shown"]


def packed(value: Any) -> Packed:
    """Plain JSON, packed."""
    data = orjson.dumps(value)
    return Packed(Raw(data), None, len(data))


class FakeTicket:
    """A command in the test's hands. `taken` says that a worker has it, so that it cannot be withdrawn."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.future = Promise()
        self.taken = True

    @property
    def payloads(self) -> list[Any]:
        return [orjson.loads(bytes(item.packed.data)) for item in self.command.items]

    def cancel(self) -> bool:
        return self.future.cancel()

    def withdraw(self, reason: str) -> None:
        if not self.taken:
            self.future.set_result(Loss("transport", reason, self.report("not_executed", "withdrawn")))

    def answer(self, *outputs: tuple[int, Any, str | None], failures: Sequence[ItemFailure] = (), executed: bool = True) -> None:
        """Answer with `(index of the input, payload, target or None for a terminal output)`."""
        emissions = [Emission(index, "node", packed(payload), target is None, target) for index, payload, target in outputs]
        report = self.report("executed" if executed else "not_executed", "failed" if failures and not outputs else "answered")
        self.future.set_result(Answer(emissions, list(failures), lambda: report))

    def echo(self) -> None:
        """Answer each input with its payload."""
        self.answer(*((index, payload, None) for index, payload in enumerate(self.payloads)))

    def lose(
        self,
        category: Literal["transport", "timeout"],
        delivery: Delivery,
        *,
        at_work: AtWork | None = None,
        ended: WorkerExitReport | None = None,
        reason: str = "lost",
    ) -> None:
        """It is lost, by default with its worker when that may have begun it; `at_work` is what it was working on, where that is known."""
        if ended is None and (category, delivery) == ("transport", "maybe_executed"):
            ended = WorkerExitReport(worker_id="w#0", group=self.command.group, generation=1, reason=reason)
        self.future.set_result(Loss(category, reason, self.report(delivery, category), exit=ended, at_work=at_work))

    def report(self, delivery: Delivery, outcome: Literal["answered", "failed", "transport", "timeout", "withdrawn"]) -> CommandReport:
        command = self.command
        return CommandReport(
            correlation_id=command.correlation_id, group=command.group, inputs=len(command.items), delivery=delivery, outcome=outcome
        )


class FakeEngine(Engine):
    """Keeps the commands that it is given.

    `room` is how many commands each group's queue still takes (a group that is not named: any number), `refuses` the groups that do not let
    a call wait for room, `retries` how often their commands may be run again, `pieces` in how many a batch for them is split.
    """

    capabilities = Capabilities(kills=False, survives_crash=False, checks_payloads=True, runs_parallel=False)

    def __init__(
        self,
        *routes: NodeRoute,
        taken: Callable[[Command], bool] = lambda _: True,
        room: Mapping[str, int] | None = None,
        refuses: Sequence[str] = (),
        retries: Mapping[str, int] | None = None,
        pieces: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.router = Router(routes)
        self.is_open = True
        self.tickets: list[FakeTicket] = []
        self.reserved: Counter[str] = Counter()
        """How many commands have room in each queue that have not been handed over."""
        self._taken = taken
        self._room = dict(room or {})
        self._refuses = refuses
        self._retries = dict(retries or {})
        self._pieces = dict(pieces or {})
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    def codec(self, classes: Sequence[type] = ()) -> PayloadCodec:
        return Codec(classes, tags=self.router.tags, max_bytes=1 << 20)

    def submit(self, command: Command) -> FakeTicket:
        ticket = FakeTicket(command)
        ticket.taken = self._taken(command)
        self.tickets.append(ticket)
        if command.is_admitted:
            self.reserved[command.group] -= 1
        return ticket

    def reserve(self, group: str, commands: int, size: int) -> bool:
        if self._room.get(group, commands) < commands:
            return False
        self._admit(group, commands)
        return True

    def refuses_overflow(self, group: str) -> bool:
        return group in self._refuses

    async def wait_for_room(self, group: str, commands: int, size: int) -> None:
        entry = (group, commands, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            await entry[2]
        finally:
            self._waiting.remove(entry)

    def release(self, group: str, commands: int, size: int) -> None:
        self.reserved[group] -= commands
        self.make_room(group, commands)

    def make_room(self, group: str, commands: int) -> None:
        """Let so many commands more into the queue of `group`: those that wait first, in the order in which they came."""
        if group in self._room:
            self._room[group] += commands
        for name, wanted, future in self._waiting:
            if name == group and not future.done() and self._room.get(group, wanted) >= wanted:
                self._admit(group, wanted)
                future.set_result(None)

    def _admit(self, group: str, commands: int) -> None:
        self.reserved[group] += commands
        if group in self._room:
            self._room[group] -= commands

    def retries(self, group: str) -> int:
        return self._retries.get(group, 0)

    def pieces(self, group: str) -> int:
        return self._pieces.get(group, 1)

    async def commands(self, count: int) -> list[FakeTicket]:
        """The tickets so far, when there are `count`; nothing else may come."""
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(self.tickets) == count, [ticket.command.group for ticket in self.tickets]
        return self.tickets

    async def start(self, groups: Sequence[str]) -> None:
        raise NotImplementedError

    async def wait_ready(self) -> None:
        raise NotImplementedError

    def abandon(self, reason: str) -> None:
        raise NotImplementedError

    async def stop(self, groups: Sequence[str], deadline: float) -> None:
        raise NotImplementedError

    async def end(self, groups: Sequence[str]) -> None:
        raise NotImplementedError

    async def kill(self, groups: Sequence[str]) -> None:
        raise NotImplementedError

    def kill_now(self) -> None:
        raise NotImplementedError

    async def restart(self, group: str) -> None:
        raise NotImplementedError

    def snapshot(self) -> tuple[GroupSnapshot, ...]:
        return ()


def boundary_call_of(
    engine: FakeEngine,
    *inputs: BoundaryDispatchInput,
    on_error: Literal["raise", "collect"] = "raise",
    limit: int = 1 << 20,
    deadline: float = 1e9,
    order: RunOrder | None = None,
    limit_seconds: float = inf,
) -> BoundaryCall:
    """A call that has not begun; `order` is that of the run it belongs to."""
    groups = dict.fromkeys(route.group for route in engine.router.routes)
    ids = itertools.count(1)
    return BoundaryCall(
        engine,
        prepare(inputs, codec=engine.codec(), router=engine.router, groups=groups),
        run_id="r",
        scenario_id="s",
        on_error=on_error,
        deadline=deadline,
        max_frame_bytes=limit,
        next_id=lambda: f"c{next(ids)}",
        turn=None if order is None else order.turn(),
        limit_seconds=limit_seconds,
    )


def call_of(engine: FakeEngine, *inputs: BoundaryDispatchInput, **arguments: Any) -> asyncio.Task[Settled]:
    """A call at work on `engine`; the arguments are those of `boundary_call_of`."""
    call = boundary_call_of(engine, *inputs, **arguments)

    async def run() -> Settled:
        settled = await call.run()
        assert isinstance(settled, list)
        return settled

    return asyncio.get_running_loop().create_task(run())


def shown(settled: Settled) -> list[Any]:
    """Payloads of outputs; of failures their category and delivery."""
    return [(one.category, one.delivery) if isinstance(one, Failure) else orjson.loads(bytes(one.emission.packed.data)) for one in settled]
