"""The process engine over worker processes that are none. Made and used on a running event loop, one with virtual time mostly."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from msgspec import Raw

from stream_kernel import AsyncBoundarySupervisor, RuntimeConfig
from stream_kernel.engine.base import Command, GroupSnapshot, Ticket
from stream_kernel.engine.process.supervisor import ProcessEngine
from stream_kernel.protocol.plain import encode_plain
from stream_kernel.routing.items import InputItem
from stream_kernel.routing.packed import Packed
from stream_kernel.testing import FakeChild, FakeLaunch, RecordingSink
from stream_kernel.testing.fake_process import ChildTraits

__all__ = ["EngineOnFakes", "fake_config", "supervisor_on"]


def fake_config(groups: dict[str, dict[str, Any]] | None = None) -> RuntimeConfig:
    """Group name -> its keys, by default one group `g` with one worker. The nodes of group `g` are just `n`, of any other `n_GROUP`."""
    entries = [{"name": name, "nodes": ["n" if name == "g" else f"n_{name}"], **keys} for name, keys in (groups or {"g": {}}).items()]
    return RuntimeConfig.from_mapping({"discovery_modules": ["nowhere"], "process_groups": entries})


def supervisor_on(launch: FakeLaunch, config: RuntimeConfig, sink: RecordingSink) -> AsyncBoundarySupervisor:
    """A supervisor whose workers `launch` starts."""
    return AsyncBoundarySupervisor(config, sink=sink, launch=launch)


class EngineOnFakes:
    """An engine with its launch and its sink; commands for it; what it shows. As a context it is started, and killed at the end."""

    def __init__(self, groups: dict[str, dict[str, Any]] | None = None, traits: ChildTraits | None = None) -> None:
        """See `fake_config`; `traits` are those of the first children."""
        self.config = fake_config(groups)
        self.launch = FakeLaunch(traits)
        self.sink = RecordingSink()
        self.engine = ProcessEngine(self.config, self.sink, launch=self.launch)
        self.group_names = [group.name for group in self.config.process_groups]

    async def __aenter__(self) -> EngineOnFakes:
        await self.engine.start(self.group_names)
        await self.engine.wait_ready()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.launch.traits.ignores = frozenset()
        for child in self.launch.alive:
            if "kill" in child.traits.ignores:
                child.die(signal="SIGKILL")
        await self.engine.kill(self.group_names)
        if error is None:
            assert self.violations == []

    @property
    def violations(self) -> list[str]:
        """What the parent has said that it may not, to any child."""
        return [str(child.violation) for child in self.launch.children if child.violation is not None]

    def submit(self, correlation_id: str, *payloads: Any, group: str = "g", seconds: float = 20.0) -> Ticket:
        """Hand over a command with these payloads (by default the one payload 1), with so much time from now."""
        target = self.config.process_groups[self.group_names.index(group)].nodes[0]
        items: list[InputItem] = []
        for payload in payloads or (1,):
            data = encode_plain(payload)
            items.append(InputItem(Packed(Raw(data), None, len(data)), target, trace_id=f"{correlation_id}.{len(items)}"))
        deadline = asyncio.get_running_loop().time() + seconds
        size = sum(item.packed.size for item in items)
        return self.engine.submit(Command(correlation_id, group, "r", "s", "collect", deadline, items, size=size))

    async def settle(self, passes: int = 20) -> None:
        """Let happen what can happen now; no time passes."""
        for _ in range(passes):
            await asyncio.sleep(0)

    def group(self, name: str = "g") -> GroupSnapshot:
        return next(group for group in self.engine.snapshot() if group.name == name)

    @property
    def latest(self) -> FakeChild:
        """The child that was spawned last."""
        return self.launch.children[-1]
