"""What `spin_microseconds` gives and takes: a call, and the CPU that a worker burns at a steady rate of calls.

    python tests/benchmarks/spin.py [--rounds 20] [--calls 200] [--spins 0,50,200]

One worker for each value, all warm, taking turns as in `bench.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from contextlib import AsyncExitStack
from statistics import median

from stream_kernel import AsyncBoundarySupervisor, MultiprocessBootstrapSupervisor, RuntimeConfig

_TICK = os.sysconf("SC_CLK_TCK")


def config(spin: int) -> RuntimeConfig:
    group = {"name": "bench", "nodes": ["work"], "spin_microseconds": spin}
    return RuntimeConfig.from_mapping({"discovery_modules": ["bench_work"], "process_groups": [group]})


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def sync_calls(kernel: MultiprocessBootstrapSupervisor, calls: int) -> float:
    times = []
    for n in range(calls):
        began = time.perf_counter()
        kernel.call("work", {"n": n, "key": "k"})
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 10]


async def async_calls(kernel: AsyncBoundarySupervisor, calls: int) -> float:
    times = []
    for n in range(calls):
        began = time.perf_counter()
        await kernel.call("work", {"n": n, "key": "k"})
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 10]


async def steady(kernel: AsyncBoundarySupervisor, rate: float, seconds: float) -> float:
    """CPUs that the worker takes at `rate` calls a second, each at its time."""
    (group,) = kernel.snapshot().groups
    pid = group.workers[0].pid
    assert pid is not None
    loop = asyncio.get_running_loop()
    before, began = cpu_seconds(pid), loop.time()
    for n in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + n / rate - loop.time()))
        await kernel.call("work", {"n": n, "key": "k"})
    return (cpu_seconds(pid) - before) / (loop.time() - began)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--spins", default="0,50,200")
    arguments = parser.parse_args()
    spins = [int(text) for text in arguments.spins.split(",")]
    rows: dict[int, dict[str, list[float]]] = {spin: {"sync": [], "async": [], "cpu": []} for spin in spins}
    async with AsyncExitStack() as stack:
        kernels = {}
        for spin in spins:
            sync = MultiprocessBootstrapSupervisor(config(spin))
            await asyncio.to_thread(sync.__enter__)
            stack.push_async_callback(asyncio.to_thread, sync.close)
            kernels[spin] = (sync, await stack.enter_async_context(AsyncBoundarySupervisor(config(spin))))
        for number in range(arguments.rounds):
            turn = number % len(spins)
            for spin in spins[turn:] + spins[:turn]:
                sync, kernel = kernels[spin]
                rows[spin]["sync"].append(await asyncio.to_thread(sync_calls, sync, arguments.calls))
                rows[spin]["async"].append(await async_calls(kernel, arguments.calls))
                if number % 5 == 0:
                    rows[spin]["cpu"].append(await steady(kernel, 1000, 2.0))
    print("| `spin_microseconds` | sync call, µs | ratio | async call, µs | ratio | CPU of the worker at 1,000 calls/s |")
    print("|---:|---:|---:|---:|---:|---:|")
    base = rows[spins[0]]
    for spin in spins:
        row = rows[spin]
        ratios = [median(a / b for a, b in zip(row[kind], base[kind], strict=True)) for kind in ("sync", "async")]
        print(
            f"| {spin} | {median(row['sync']) * 1e6:.0f} | {ratios[0]:.2f} | {median(row['async']) * 1e6:.0f} | {ratios[1]:.2f} "
            f"| {median(row['cpu']) * 100:.0f} % |"
        )


if __name__ == "__main__":
    asyncio.run(main())
