"""Brings faults about: by signals from outside, and by orders that nodes obey."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Literal

from tests.campaign.history import History, Strike
from tests.campaign.load import Goal
from tests.campaign.processes import strike
from tests.campaign.recording import Calls, spread

from stream_kernel import AsyncBoundarySupervisor
from stream_kernel.engine.base import WorkerSnapshot

__all__ = ["ORDERED", "Nemesis"]

ORDERED = {
    "exit": 10, "abort": 4, "segv": 4, "hang_sleep": 3, "hang_python": 2, "hang_c": 3, "garbage": 10, "close_out": 5,
    "close_out_lives": 4, "close_in": 5, "flood": 8, "adopt": 6, "adopt_exit": 6,
}  # fmt: skip
"""Faults that a node brings about, with their weights."""

_TARGETS = {"fast": 10, "deep": 10, "again": 8, "slow": 8, "parent": 8, "keeper": 1}
_WITH_COMMANDS = frozenset(_TARGETS) - {"keeper"}
_HANGS = ("hang_sleep", "hang_python", "hang_c", "close_out_lives")
_MOST_AT_ONCE = 24
_MODES: tuple[Literal["raise", "collect"], ...] = ("raise", "collect")


class Nemesis:
    """Faults at a steady rate until the goal is reached."""

    def __init__(self, supervisor: AsyncBoundarySupervisor, history: History, calls: Calls, goal: Goal, seed: int) -> None:
        self._supervisor = supervisor
        self._history = history
        self._calls = calls
        self._goal = goal
        self._random = random.Random(f"{seed} nemesis")
        self._orders: set[asyncio.Task[None]] = set()
        self._resumes: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()
        """Faults by kind; an ordered one counts when its call was neither refused nor left unexecuted."""

    @property
    def is_done(self) -> bool:
        """Whether the goal is reached."""
        return self.counts["kill"] >= self._goal.kills and self.counts.total() >= self._goal.faults

    async def run(self) -> None:
        """Bring about what the goal asks for, at its pace, then wait for what is under way."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        ending = due + self._goal.seconds
        while not self.is_done or loop.time() < ending:
            due += self._random.expovariate(self._goal.pace(self._goal.faults))
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._one()
        await asyncio.gather(*self._orders, *self._resumes)

    async def _one(self) -> None:
        kind = self._random.random()
        share = self._goal.kills / max(self._goal.faults, 1)
        is_short_of_kills = self.counts["kill"] < share * self.counts.total()
        group = self._pick(_TARGETS)
        if kind < share + 0.02 or is_short_of_kills:
            self._kill(group)
        elif kind < share + 0.15:
            self._stop(group)
        else:
            self._order(group)
            if len(self._orders) >= _MOST_AT_ONCE:
                await asyncio.wait(self._orders, return_when=asyncio.FIRST_COMPLETED)

    def _pick(self, weights: Mapping[str, int]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]

    # -- from outside

    def _aim(self, groups: Collection[str], *, busy: bool) -> tuple[str, WorkerSnapshot] | None:
        """A worker that has been ready: one that cannot even boot is another fault, and fails its group."""
        able = [
            (group.name, worker)
            for group in self._supervisor.snapshot().groups
            if group.name in groups
            for worker in group.workers
            if worker.state == "ready" and worker.pid is not None and (worker.in_flight > 0 or not busy)
        ]
        return self._random.choice(able) if able else None

    def _hit(self, aim: tuple[str, WorkerSnapshot] | None, number: signal.Signals, kind: str) -> tuple[int, int] | None:
        if aim is None or aim[1].pid is None:
            return None
        group, worker = aim
        now = time.monotonic()
        started = strike(aim[1].pid, number)
        if started is None:
            return None
        self._history.strikes.append(Strike(now, kind, group, worker.worker_id, worker.generation, aim[1].pid, worker.in_flight > 0))
        self.counts[kind] += 1
        return aim[1].pid, started

    def _kill(self, group: str) -> None:
        """Half of them where a command is at work now."""
        busy = self._aim(_WITH_COMMANDS, busy=True) if self._random.random() < 0.5 else None
        self._hit(busy or self._aim((group,), busy=False), signal.SIGKILL, "kill")

    def _stop(self, group: str) -> None:
        """Most go on after a moment; the others stay stopped until a deadline, or a ping without an answer, ends them."""
        hit = self._hit(self._aim((group,), busy=False), signal.SIGSTOP, "stop")
        if hit is not None and self._random.random() < 0.85:
            resume = asyncio.create_task(self._resume(*hit, spread(self._random, 0.002, 0.3)))
            self._resumes.add(resume)
            resume.add_done_callback(self._resumes.discard)

    async def _resume(self, pid: int, started: int, after: float) -> None:
        await asyncio.sleep(after)
        strike(pid, signal.SIGCONT, started)

    # -- by orders

    def _order(self, group: str) -> None:
        task = asyncio.create_task(self._ordered(group, self._pick(ORDERED)))
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    async def _ordered(self, group: str, order: str) -> None:
        timeout = spread(self._random, 0.2, 0.8) if order in _HANGS else 5.0
        inputs = self._random.choice((1, 1, 1, 4))
        orders = ["work"] * inputs
        orders[self._random.randrange(inputs)] = order
        cancel_after = spread(self._random, 0.001, 0.2) if self._random.random() < 0.05 else None
        on_error = self._random.choice(_MODES)
        call = await self._calls.make(group, orders, inputs=inputs, on_error=on_error, timeout=timeout, cancel_after=cancel_after)
        if call.outcome != "cancelled" and call.delivery != "not_executed":
            self.counts[order] += 1
