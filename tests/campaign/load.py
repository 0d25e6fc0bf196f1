"""The groups of the campaign and the callers that keep them at work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from tests.campaign.history import GroupRule, History
from tests.campaign.processes import MARK
from tests.campaign.recording import Calls, spread

from stream_kernel import AsyncBoundarySupervisor, RuntimeConfig, StreamKernelError

__all__ = ["GROUPS", "NODES", "RULES", "Goal", "Load", "configuration"]

_RETRIES = 3
_OFTEN = {"strategy": "permanent", "intensity": 1000, "period_seconds": 1.0, "backoff_seconds": [0.001, 0.001]}
"""A nemesis is no crash loop: its deaths must neither fail a group nor slow its restarts."""

GROUPS: Mapping[str, dict[str, Any]] = {
    "fast": {"nodes": ["fast"], "workers": 2, "restart": _OFTEN, "max_requests_per_worker": 2000},
    "deep": {"nodes": ["deep"], "workers": 2, "restart": _OFTEN, "depth": 3},
    "again": {"nodes": ["again"], "workers": 2, "restart": _OFTEN, "retries": _RETRIES},
    "slow": {"nodes": ["slow"], "workers": 2, "restart": _OFTEN},
    "parent": {"nodes": ["parent"], "workers": 2, "restart": _OFTEN},
    "keeper": {"nodes": ["keeper"], "workers": 1, "restart": _OFTEN},
    "doomed": {"nodes": ["doomed"], "workers": 1, "restart": {"intensity": 3, "period_seconds": 30.0, "backoff_seconds": [0.01, 0.05]}},
}
NODES = {name: str(group["nodes"][0]) for name, group in GROUPS.items()}
RULES = {
    name: GroupRule(executions=group.get("retries", 0) + 1, is_stateful=name == "keeper", may_fail=name == "doomed")
    for name, group in GROUPS.items()
}
_CALLERS = {"fast": 8, "deep": 8, "again": 4, "slow": 2, "parent": 3, "keeper": 2}
_REST_SECONDS = 5.0


def configuration(mark: str, journals: str) -> RuntimeConfig:
    """The configuration; `mark` is found again in the environment of every process that comes of it."""
    environment = {MARK: mark, "CAMPAIGN_JOURNALS": journals}
    return RuntimeConfig.from_mapping(
        {
            "discovery_modules": ["tests.campaign.nodes"],
            "process_groups": [{"name": name, "env": environment, **group} for name, group in GROUPS.items()],
        }
    )


class Goal(msgspec.Struct, frozen=True):
    """What a campaign must reach; it ends when all of it is there."""

    seconds: float
    calls: int
    faults: int
    kills: int

    def pace(self, count: int) -> float:
        """How many a second, a little more than needed."""
        return 1.05 * count / max(self.seconds, 1.0)


class Load:
    """Callers of all groups, until they are told to stop."""

    def __init__(self, supervisor: AsyncBoundarySupervisor, history: History, calls: Calls, goal: Goal, seed: int) -> None:
        self._supervisor = supervisor
        self._history = history
        self._calls = calls
        self._interval = sum(_CALLERS.values()) / goal.pace(goal.calls)
        self._seed = seed
        self.is_over = False

    async def run(self) -> None:
        """Work until `is_over`, and until the last caller has its answer."""
        async with asyncio.TaskGroup() as tasks:
            for group, callers in _CALLERS.items():
                for number in range(callers):
                    tasks.create_task(self._caller(group, random.Random(f"{self._seed} {group} {number}")), name=f"caller {group} {number}")
            tasks.create_task(self._revive(), name="revive")
            tasks.create_task(self._doom(), name="doom")

    async def _caller(self, group: str, generator: random.Random) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + generator.random() * self._interval
        while not self.is_over:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due += self._interval
            await self._one(group, generator)

    async def _one(self, group: str, generator: random.Random) -> None:
        kind = generator.random()
        timeout = spread(generator, 1.0, 8.0)
        cancel_after = spread(generator, 0.0002, 0.1) if generator.random() < 0.03 else None
        if kind < 0.8:
            order = "fail" if generator.random() < 0.01 else "work"
            await self._calls.make(group, [order], timeout=timeout, cancel_after=cancel_after)
            return
        most = 6 if group in ("slow", "parent") else 24
        inputs = generator.randint(2, most)
        orders = ["fail" if generator.random() < 0.02 else "work" for _ in range(inputs)]
        on_error: Literal["raise", "collect"] = "raise" if kind < 0.9 else "collect"
        await self._calls.make(group, orders, inputs=inputs, on_error=on_error, timeout=timeout, cancel_after=cancel_after)

    def _state(self, group: str) -> str:
        return next(each.state for each in self._supervisor.snapshot().groups if each.name == group)

    async def _restart(self, group: str) -> None:
        self._history.restarts.setdefault(group, []).append(asyncio.get_running_loop().time())
        try:
            await self._supervisor.restart_group(group)
        except StreamKernelError as error:
            self._history.complaints.append(f"restart of '{group}': {error}")

    async def _revive(self) -> None:
        """Bring a group back that has failed: the stateful one whenever it has lost its state; the others never should."""
        while not self.is_over:
            await asyncio.sleep(0.05)
            for group in self._supervisor.snapshot().groups:
                if group.state == "failed" and group.name != "doomed":
                    await self._restart(group.name)

    async def _doom(self) -> None:
        """Drive a group into its crash loop, ask it while it is down, bring it back, ask it again."""
        while not self.is_over:
            while self._state("doomed") != "failed":
                await self._calls.make("doomed", ["exit"], timeout=10)
            for _ in range(5):
                await self._calls.make("doomed", timeout=10, at_once=True)
            await self._restart("doomed")
            await self._calls.make("doomed", timeout=10)
            await asyncio.sleep(_REST_SECONDS)
