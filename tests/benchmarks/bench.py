"""The cost of a call, beside ProcessPoolExecutor and anyio.to_process: one worker each, warm, answers checked.

    python tests/benchmarks/bench.py [--rounds 30] [--calls 100]

All contenders run in one process and take turns (A B C A B C …), each round beginning with another one, so that a noisy machine is
noisy for all of them. A cell is the median over the rounds of the round's median; a ratio is taken within a round, before the median.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from statistics import median, quantiles

import anyio
import anyio.to_process
from bench_work import Record, work, work_many

from stream_kernel import AsyncBoundarySupervisor, BoundaryDispatchInput, MultiprocessBootstrapSupervisor, RoutingResult, RuntimeConfig

BATCH = 100
_numbers = itertools.count(1)

Sync = Callable[[list[Record]], list[Record]]
Async = Callable[[list[Record]], Awaitable[list[Record]]]


class Contender:
    """One way to run `work` on a batch in another process."""

    def __init__(self, name: str, size: int, *, sync: Sync | None = None, asynchronous: Async | None = None) -> None:
        self.name = name
        self.size = size
        self._sync = sync
        self._async = asynchronous
        self.rounds: list[float] = []

    async def measure(self, calls: int) -> None:
        """One round: the median time of a call, in seconds."""
        batches = [fresh(self.size) for _ in range(calls)]
        if self._sync is not None:
            # In a thread: the loop of this program, which the others need, only sleeps meanwhile.
            times = await asyncio.to_thread(timed, self._sync, batches)
        else:
            assert self._async is not None
            times = []
            for batch in batches:
                began = time.perf_counter()
                answers = await self._async(batch)
                times.append(time.perf_counter() - began)
                check(batch, answers)
        self.rounds.append(median(times))


def fresh(size: int) -> list[Record]:
    """Records that no call has had before."""
    return [{"n": n, "key": f"record-{n}"} for n in itertools.islice(_numbers, size)]


def timed(run: Sync, batches: list[list[Record]]) -> list[float]:
    times = []
    for batch in batches:
        began = time.perf_counter()
        answers = run(batch)
        times.append(time.perf_counter() - began)
        check(batch, answers)
    return times


def check(batch: list[Record], answers: list[Record]) -> None:
    if answers != work_many(batch):
        sys.exit("a contender gave a wrong answer")


def inputs_of(batch: list[Record]) -> list[BoundaryDispatchInput]:
    return [BoundaryDispatchInput(record, "bench", "work") for record in batch]


def payloads_of(result: RoutingResult) -> list[Record]:
    return [output.payload for output in result.terminal_outputs]


async def contenders(stack: AsyncExitStack) -> dict[str, list[Contender]]:
    """Per table, its contenders; the first one of each is what ratios are taken to."""
    config = RuntimeConfig.from_mapping({"discovery_modules": ["bench_work"], "process_groups": [{"name": "bench", "nodes": ["work"]}]})
    sync_kernel = MultiprocessBootstrapSupervisor(config)
    await asyncio.to_thread(sync_kernel.__enter__)
    stack.push_async_callback(asyncio.to_thread, sync_kernel.close)
    kernel = await stack.enter_async_context(AsyncBoundarySupervisor(config))
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    stack.callback(pool.shutdown)
    limiter = anyio.CapacityLimiter(1)
    loop = asyncio.get_running_loop()

    async def kernel_call(batch: list[Record]) -> list[Record]:
        return [await kernel.call("work", batch[0])]

    async def kernel_batch(batch: list[Record]) -> list[Record]:
        return payloads_of(await kernel.execute_boundary(run_id="bench", scenario_id="bench", inputs=inputs_of(batch)))

    async def pool_call(batch: list[Record]) -> list[Record]:
        return [await loop.run_in_executor(pool, work, batch[0])]

    async def pool_batch(batch: list[Record]) -> list[Record]:
        return await loop.run_in_executor(pool, work_many, batch)

    async def anyio_call(batch: list[Record]) -> list[Record]:
        return [await anyio.to_process.run_sync(work, batch[0], limiter=limiter)]

    async def anyio_batch(batch: list[Record]) -> list[Record]:
        return await anyio.to_process.run_sync(work_many, batch, limiter=limiter)

    def sync_batch(batch: list[Record]) -> list[Record]:
        return payloads_of(sync_kernel.execute_boundary(run_id="bench", scenario_id="bench", inputs=inputs_of(batch)))

    return {
        "one call, synchronous": [
            Contender("ProcessPoolExecutor.submit().result()", 1, sync=lambda batch: [pool.submit(work, batch[0]).result()]),
            Contender("stream_kernel call()", 1, sync=lambda batch: [sync_kernel.call("work", batch[0])]),
        ],
        "one call, asynchronous": [
            Contender("ProcessPoolExecutor by run_in_executor", 1, asynchronous=pool_call),
            Contender("anyio.to_process.run_sync", 1, asynchronous=anyio_call),
            Contender("stream_kernel await call()", 1, asynchronous=kernel_call),
        ],
        f"a batch of {BATCH}, synchronous": [
            Contender(
                f"ProcessPoolExecutor.map(chunksize={BATCH})", BATCH, sync=lambda batch: list(pool.map(work, batch, chunksize=BATCH))
            ),
            Contender("stream_kernel execute_boundary()", BATCH, sync=sync_batch),
        ],
        f"a batch of {BATCH}, asynchronous": [
            Contender("ProcessPoolExecutor, the batch as one call", BATCH, asynchronous=pool_batch),
            Contender("anyio.to_process, the batch as one call", BATCH, asynchronous=anyio_batch),
            Contender("stream_kernel await execute_boundary()", BATCH, asynchronous=kernel_batch),
        ],
    }


def table(name: str, entries: list[Contender]) -> str:
    base = entries[0]
    lines = [f"| {name} | µs | ratio | middle half of the ratios |", "|---|---:|---:|---|"]
    for entry in entries:
        ratios = [mine / other for mine, other in zip(entry.rounds, base.rounds, strict=True)]
        low, _, high = quantiles(ratios, n=4)
        spread = "" if entry is base else f"{low:.2f} … {high:.2f}"
        lines.append(f"| {entry.name} | {median(entry.rounds) * 1e6:.0f} | {median(ratios):.2f} | {spread} |")
    return "\n".join(lines)


async def main(rounds: int, calls: int) -> None:
    async with AsyncExitStack() as stack:
        tables = await contenders(stack)
        everyone = [entry for entries in tables.values() for entry in entries]
        for entry in everyone:
            await entry.measure(calls)
            entry.rounds.clear()  # that was for the warmth
        for number in range(rounds):
            first = number % len(everyone)
            for entry in everyone[first:] + everyone[:first]:
                await entry.measure(calls)
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores, {processor()}")
    print(f"{rounds} rounds of {calls} calls each; load of the machine at the end: {os.getloadavg()[0]:.1f}\n")
    print("\n\n".join(table(name, entries) for name, entries in tables.items()))


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.partition(":")[2].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--calls", type=int, default=100)
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.calls))
