"""W10: resident memory of parent and worker, at rest and after many calls, in a process of its own for each contender.

    python tests/benchmarks/bench_memory.py kernel 100000

prints megabytes (10^6 bytes of `Rss` in `/proc/PID/smaps_rollup`): `{"parent": [at rest, after a tenth, at the end], "worker": [...]}`.
"""

# A worker of the pool that is spawned imports this file again: what it needs is imported where it is needed.
from __future__ import annotations

import sys
from typing import Any

_IN_FLIGHT = 256
_STEP = 1000


async def memory_of(contender: str, calls: int) -> dict[str, list[float]]:
    """Measure one contender, with this process as its parent."""
    import gc

    from bench_kernel import AsyncKernel
    from bench_payloads import records
    from bench_peers import Executor, Peer
    from bench_work import own_pid, work

    found: dict[str, list[float]] = {"parent": [], "worker": []}
    made: Peer = AsyncKernel() if contender == "kernel" else Executor()
    async with made as peer:
        await peer.call_async(work, records(1)[0])
        if isinstance(peer, AsyncKernel):
            pid = peer.supervisor.snapshot().groups[0].workers[0].pid
        else:
            pid = (await peer.call_async(own_pid, {}))["pid"]
        assert pid is not None

        def note() -> None:
            gc.collect()
            found["parent"].append(resident(None))
            found["worker"].append(resident(pid))

        note()
        done = 0
        for goal in (calls // 10, calls):
            while done < goal:
                step = min(_STEP, goal - done)
                await _calls(peer, records(step))
                done += step
            note()
    return found


async def _calls(peer: Any, given: list[Any]) -> None:
    """Many at once, and the collector as it always is: what it leaves lying is resident too."""
    import asyncio

    from bench_turns import check
    from bench_work import work

    waiting = iter(given)

    async def take() -> None:
        for record in waiting:
            check(peer.name, [await peer.call_async(work, record)], [work(record)])

    await asyncio.gather(*(take() for _ in range(_IN_FLIGHT)))


def resident(pid: int | None) -> float:
    """Resident megabytes of a process, of this one without `pid`."""
    with open(f"/proc/{'self' if pid is None else pid}/smaps_rollup", encoding="utf-8") as lines:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Rss:"))


async def resident_memory(effort: Any, lineup: Any, watchdog: Any) -> list[Any]:
    """W10."""
    import json
    import subprocess

    from bench_figures import Row, Table
    from bench_memory_kinds import memory_by_kind

    calls = effort.count(100_000, 100)
    contenders = {"kernel": "stream_kernel", **({"executor": "ProcessPoolExecutor (spawn)"} if lineup.has("executor") else {})}
    tables = {who: Table(f"W10/{who}", f"resident memory of the {who}, {calls:,} calls", "MB") for who in ("worker", "parent")}
    growth = Table("W10/growth", f"growth of resident memory from {calls // 10:,} to {calls:,} calls", "MB", has_ratios=False)
    rows: dict[str, Row] = {}

    def note(table: Table, name: str, figure: float) -> None:
        row = rows.get(f"{table.key} {name}")
        if row is None:
            row = rows[f"{table.key} {name}"] = Row(name)
            table.rows.append(row)
        row.rounds.append(figure)

    for _ in range(effort.part(0.14)):
        for contender, name in contenders.items():
            with watchdog.over(f"W10: {name}"):
                command = [sys.executable, __file__, contender, str(calls)]
                done = await _finished(subprocess.Popen(command, stdout=subprocess.PIPE))
            found = json.loads(done)
            for who, (rest, tenth, end) in found.items():
                note(tables[who], f"{name}, at rest", rest)
                note(tables[who], f"{name}, after the calls", end)
                note(growth, f"{name}, {who}", end - tenth)
    return [*tables.values(), growth, await memory_by_kind(effort, watchdog)]


async def _finished(child: Any) -> bytes:
    import asyncio

    output, _ = await asyncio.to_thread(child.communicate)
    if child.returncode:
        raise RuntimeError(f"bench_memory.py ended with {child.returncode}")
    return bytes(output)


if __name__ == "__main__":
    import asyncio
    import json

    print(json.dumps(asyncio.run(memory_of(sys.argv[1], int(sys.argv[2])))))
