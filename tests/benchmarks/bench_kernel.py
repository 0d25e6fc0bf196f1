"""This project as a contender: both supervisors, with the defaults of the library."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bench_peers import Function, Peer

from stream_kernel import AsyncBoundarySupervisor, BoundaryDispatchInput, MultiprocessBootstrapSupervisor, RuntimeConfig
from stream_kernel.platform.services.async_supervisor import SupervisorSnapshot

OURS = "stream_kernel"
GROUP = "bench"
NODES = ["work", "decide", "give_back", "burn"]


def one_group(workers: int = 1, **more: Any) -> RuntimeConfig:
    """A group with all plain nodes of the benchmark; `more` are keys of the group."""
    group = {"name": GROUP, "workers": workers, "nodes": NODES, **more}
    return RuntimeConfig.from_mapping({"discovery_modules": ["bench_work"], "process_groups": [group]})


def typed_group() -> RuntimeConfig:
    """A group with the nodes that take orders."""
    group = {"name": GROUP, "nodes": ["bill", "bill_plain"]}
    modules = ["bench_typed_work"]
    return RuntimeConfig.from_mapping({"discovery_modules": modules, "message_modules": modules, "process_groups": [group]})


def chain(groups: int) -> RuntimeConfig:
    """So many groups of one worker, each with one link."""
    links = [{"name": f"link.{number}", "nodes": [f"hop_{number}"]} for number in range(1, groups + 1)]
    return RuntimeConfig.from_mapping({"discovery_modules": ["bench_work"], "process_groups": links})


def _inputs(function: Function, payloads: Sequence[Any]) -> list[BoundaryDispatchInput]:
    return [BoundaryDispatchInput(payload, GROUP, function.__name__) for payload in payloads]


class Kernel(Peer):
    """The synchronous supervisor."""

    name = OURS

    def __init__(self, workers: int = 1, config: RuntimeConfig | None = None) -> None:
        super().__init__(workers)
        self.supervisor = MultiprocessBootstrapSupervisor(one_group(workers) if config is None else config)

    async def open(self) -> None:
        await asyncio.to_thread(self.supervisor.__enter__)

    async def close(self) -> None:
        await asyncio.to_thread(self.supervisor.close)

    def snapshot(self) -> SupervisorSnapshot:
        return self.supervisor.snapshot()

    def call(self, function: Function, payload: Any) -> Any:
        return self.supervisor.call(function.__name__, payload)

    def batch(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        result = self.supervisor.execute_boundary(run_id="bench", scenario_id="bench", inputs=_inputs(function, payloads))
        return [output.payload for output in result.terminal_outputs]


class AsyncKernel(Peer):
    """The asynchronous supervisor."""

    name = OURS

    def __init__(self, workers: int = 1, config: RuntimeConfig | None = None) -> None:
        super().__init__(workers)
        self.supervisor = AsyncBoundarySupervisor(one_group(workers) if config is None else config)

    async def open(self) -> None:
        await self.supervisor.__aenter__()

    async def close(self) -> None:
        await self.supervisor.close()

    async def call_async(self, function: Function, payload: Any) -> Any:
        return await self.supervisor.call(function.__name__, payload)

    async def batch_async(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        result = await self.supervisor.execute_boundary(run_id="bench", scenario_id="bench", inputs=_inputs(function, payloads))
        return [output.payload for output in result.terminal_outputs]
