"""What a start costs: workers ready beside bare interpreters, memory at rest and after many calls, a kill to its replacement.

    python tests/benchmarks/start.py [--rounds 15] [--workers 1 4 16] [--calls 100000]

Starts and bare interpreters take turns, each round beginning with the other one; a ratio is taken within a round, before the median. The
interpreters get sessions of their own, as workers do: a busy machine is shared among sessions, and not among processes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles

from stream_kernel import AsyncBoundarySupervisor, RuntimeConfig
from stream_kernel.observability.events import LifecycleEvent

BARE = [sys.executable, "-c", "import orjson, msgspec"]


def config(workers: int) -> RuntimeConfig:
    group = {"name": "bench", "nodes": ["work"], "workers": workers}
    return RuntimeConfig.from_mapping({"discovery_modules": ["bench_work"], "process_groups": [group]})


async def start(workers: int) -> float:
    """Seconds from nothing to ready."""
    began = time.perf_counter()
    supervisor = AsyncBoundarySupervisor(config(workers))
    await supervisor.start_groups(["bench"])
    if not await supervisor.wait_ready(60):
        sys.exit("workers were not ready within a minute")
    seconds = time.perf_counter() - began
    await supervisor.close()
    return seconds


def bare(count: int) -> float:
    """Seconds for interpreters that import the two libraries and end."""
    began = time.perf_counter()
    interpreters = [subprocess.Popen(BARE, start_new_session=True) for _ in range(count)]
    for interpreter in interpreters:
        interpreter.wait()
    return time.perf_counter() - began


async def starts(workers: int, rounds: int) -> str:
    pairs = []
    for number in range(rounds + 1):  # the first one is for the warmth
        if number % 2:
            kernel, other = await start(workers), bare(workers)
        else:
            other, kernel = bare(workers), await start(workers)
        pairs.append((kernel, other))
    ratios = [kernel / other for kernel, other in pairs[1:]]
    low, _, high = quantiles(ratios, n=4)
    ready, ended = (median(times) * 1e3 for times in zip(*pairs[1:], strict=True))
    return f"| {workers} | {ready:.0f} | {ended:.0f} | {median(ratios):.2f} | {low:.2f} … {high:.2f} |"


async def memory(calls: int) -> str:
    """Resident memory of a worker, ready and idle, and after calls."""
    async with AsyncBoundarySupervisor(config(1)) as supervisor:
        pid = supervisor.snapshot().groups[0].workers[0].pid
        at_rest = resident(pid)
        for number in range(calls):
            await supervisor.call("work", {"n": number, "key": "k"})
        return f"resident: {at_rest:.1f} MB at rest, {resident(pid):.1f} MB after {calls:,} calls"


def resident(pid: int | None) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def replaced() -> float:
    """Seconds from the kill of an idle worker to its replacement being ready."""
    is_ready = asyncio.Event()

    class Listener:
        def emit(self, event: LifecycleEvent) -> None:
            if event.kind == "worker_restarted":
                is_ready.set()

    async with AsyncBoundarySupervisor(config(1), sink=Listener()) as supervisor:
        pid = supervisor.snapshot().groups[0].workers[0].pid
        assert pid is not None
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        await is_ready.wait()
        return time.perf_counter() - began


async def main(rounds: int, workers: list[int], calls: int) -> None:
    print("| workers | ready, ms | bare interpreters, ms | ratio | middle half of the ratios |\n|---:|---:|---:|---:|---|")
    for count in workers:
        print(await starts(count, rounds), flush=True)
    print(f"\n{await memory(calls)}")
    kills = [await replaced() for _ in range(rounds)]
    low, middle, high = (seconds * 1e3 for seconds in quantiles(kills, n=4))
    print(f"killed to replaced: {middle:.0f} ms, middle half {low:.0f} … {high:.0f} ms")
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--calls", type=int, default=100_000)
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.workers, given.calls))
