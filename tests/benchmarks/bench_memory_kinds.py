"""W10: resident memory of a worker that is ready and idle, by what its nodes take."""

from __future__ import annotations

from bench_figures import Row, Table
from bench_kernel import GROUP
from bench_memory import resident
from bench_turns import Effort
from bench_watchdog import Watchdog

from stream_kernel import AsyncBoundarySupervisor, RuntimeConfig

KINDS = {
    "plain JSON": {"bench_work": "work"},
    "dataclasses": {"bench_typed_work": "bill"},
    "plain JSON, one of them async": {"bench_work": "work", "bench_async_work": "work_async"},
    "pydantic models": {"bench_pydantic_work": "keep"},
}
"""For each kind its nodes, by their modules."""


async def memory_by_kind(effort: Effort, watchdog: Watchdog) -> Table:
    """Each kind in a worker of its own; they take turns."""
    title = "resident memory of a worker that is ready and idle, by what its nodes take"
    table = Table("W10/nodes", title, "MB", list(map(Row, KINDS)), has_ratios=False)
    for _ in range(effort.part(0.14)):
        for row in table.rows:
            with watchdog.over(f"W10: {row.name}"):
                row.rounds.append(await _at_rest(KINDS[row.name]))
    return table


async def _at_rest(nodes: dict[str, str]) -> float:
    modules = [*nodes]
    config = RuntimeConfig.from_mapping(
        {"discovery_modules": modules, "message_modules": modules, "process_groups": [{"name": GROUP, "nodes": [*nodes.values()]}]}
    )
    async with AsyncBoundarySupervisor(config) as supervisor:
        pid = supervisor.snapshot().groups[0].workers[0].pid
        assert pid is not None
        return resident(pid)
