"""A group of workers that are none, on a virtual clock: what its slots and its queue make of what a test has the workers do."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import orjson
from msgspec import Raw

from stream_kernel import RuntimeConfig
from stream_kernel.engine.base import Command, Outcome
from stream_kernel.engine.process.group import WorkerGroup
from stream_kernel.engine.process.incarnation import Workplace
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.routing.items import InputItem
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute
from stream_kernel.testing import FakeChild, FakeLaunch, RecordingSink
from stream_kernel.testing.fake_process import ChildTraits

__all__ = ["Stage", "moments", "now", "outcome", "workplace"]


def workplace(launch: FakeLaunch, sink: RecordingSink, **keys: Any) -> Workplace:
    """A group `g` with the node `n`, or with other keys."""
    group = {"name": "g", "nodes": ["n"], **keys}
    config = RuntimeConfig.from_mapping({"discovery_modules": ["m"], "process_groups": [group]})
    return Workplace(config, config.process_groups[0], sink, launch)


def now() -> float:
    return asyncio.get_running_loop().time()


async def moments(count: int = 60) -> None:
    """Let everything happen that can happen now."""
    for _ in range(count):
        await asyncio.sleep(0)


class Stage:
    """A group, its workers and its commands. The workers do nothing but boot, unless `answers`."""

    def __init__(self, *, answers: bool = False, stateful: bool = False, idempotent: bool = False, **keys: Any) -> None:
        """`keys` are those of the group."""
        self.sink = RecordingSink()
        route = NodeRoute("n", "g", stateful=stateful, idempotent=idempotent)
        self.launch = FakeLaunch(ChildTraits(answers=answers, routes=(route,)))
        self.changes: list[str] = []
        """The states that the group told its supervisor."""
        self.group = WorkerGroup(workplace(self.launch, self.sink, **keys), lambda group: self.changes.append(group.state))
        self._ids = itertools.count(1)

    async def start(self) -> None:
        """Start it; its workers take commands when they are ready."""
        self.group.start()
        await moments()
        if self.group.state == "ready":
            self.group.start_work(self.group.nodes)
            await moments()

    @property
    def children(self) -> list[FakeChild]:
        """All processes that there ever were."""
        return self.launch.children

    @property
    def states(self) -> list[str]:
        """Of its workers, in their places."""
        return [worker.state for worker in self.group.snapshot().workers]

    @property
    def kinds(self) -> list[str]:
        """The events so far, with the worker's generation."""
        return [f"{event.kind} {event.generation}" for event in self.sink.events]

    def command(self, payload: Any = 1, seconds: float = 60.0, **fields: Any) -> Command:
        """A command that has not been handed over; `c1`, `c2` and so on."""
        data = orjson.dumps(payload)
        item = InputItem(Packed(Raw(data), None, len(data)), "n", f"t{payload}")
        items = fields.pop("items", [item])
        return Command(f"c{next(self._ids)}", "g", "r", "s", "collect", now() + seconds, items, **{"size": len(data), **fields})

    def submit(self, payload: Any = 1, seconds: float = 60.0, **fields: Any) -> Ticket:
        """Hand a command over."""
        return self.group.submit(self.command(payload, seconds, **fields))

    async def gone(self) -> None:
        """Wait until the workers that live now are gone."""
        await asyncio.gather(*self.group.lives())

    async def end(self) -> None:
        """Kill all that is left, and wait until it is gone."""
        self.group.kill("the test is over")
        await self.gone()
        assert not self.launch.alive


def outcome(ticket: Ticket) -> str:
    """What became of a command, in a word or two."""
    if not ticket.settled:
        return "open"
    if ticket.future.cancelled():
        return "cancelled"
    settled: Outcome = ticket.future.result()
    return f"{settled.report.outcome} {settled.report.delivery}"
