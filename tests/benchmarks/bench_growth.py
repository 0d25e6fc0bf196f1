"""Growth: what a unit of work costs as batches, payloads, workers, groups and calls in flight grow. All of this project alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

from bench_calls import one_record
from bench_chain import pipelined, through_groups
from bench_figures import Curve, Point
from bench_kernel import OURS, AsyncKernel, Kernel, chain
from bench_lineup import Lineup
from bench_payloads import nested, records
from bench_turns import Effort, batches, many_at_once, one_at_a_time
from bench_watchdog import Watchdog
from bench_work import give_back, work

from stream_kernel import StreamKernelError

_KIB = 1024
_BATCHES = (1, 10, 100, 1000, 10_000, 100_000)
_PAYLOADS = (100, _KIB, 8 * _KIB, 64 * _KIB, 512 * _KIB, _KIB * _KIB, 8 * _KIB * _KIB)
_WORKERS = (1, 2, 4, 8, 16, 32)
_GROUPS = (1, 2, 4, 8)
_IN_FLIGHT = (1, 10, 100, 1000, 10_000)

Cost = Callable[[int], Awaitable[float]]
"""What a unit costs at a place, in seconds."""


async def growth(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Curve]:
    """All curves."""
    rounds = effort.part(0.2)
    # A look goes less far, rather than to call a smaller amount by the name of a larger one.
    sizes = [size for size in _BATCHES if size <= effort.count(_BATCHES[-1])]
    widths = [width for width in _IN_FLIGHT if width <= effort.count(_IN_FLIGHT[-1])]
    async with Kernel() as ours, AsyncKernel() as awaited:
        found = [
            await _curve(Curve("batch", "inputs in a call", "inputs in a call", "input"), sizes, _batch(ours, effort), rounds, watchdog),
            await _curve(Curve("payload", "bytes of a payload", "bytes", "KiB"), _PAYLOADS, _payload(ours, effort), rounds, watchdog),
            await _curve(
                Curve("in flight", "calls in flight", "calls in flight", "call"), widths, _flight(awaited, effort), rounds, watchdog
            ),
        ]
    starts = Curve("start", "start of workers", "workers", "worker started")
    workers = Curve("workers", "calls to a group of workers", "workers", "call", note="two calls in flight for each worker")
    await _curve(starts, _WORKERS, _start, rounds, watchdog)
    await _curve(workers, _WORKERS, _workers(effort), rounds, watchdog)
    groups = Curve("groups", "records through a chain of groups", "groups", "record and group")
    return [*found, workers, starts, await _curve(groups, _GROUPS, _chain(effort), rounds, watchdog)]


async def _curve(curve: Curve, places: Sequence[int], cost: Cost, rounds: int, watchdog: Watchdog) -> Curve:
    """Fill a curve: there and back, so that a machine that slows down is slow everywhere."""
    curve.points = [Point(place) for place in places]
    for number in range(rounds):
        for point in curve.points if number % 2 == 0 else curve.points[::-1]:
            with watchdog.over(f"growth, {curve.key}: {point.at:,.0f} {curve.axis}"):
                try:
                    point.rounds.append(await cost(int(point.at)))
                except StreamKernelError as error:  # a place that is never reached is a result too
                    curve.note = f"failed at {point.at:,.0f} {curve.axis}: {error}"
    return curve


def _batch(ours: Kernel, effort: Effort) -> Cost:
    async def cost(size: int) -> float:
        calls = min(100, max(1, effort.count(10_000) // size))
        return 1 / await batches(OURS, ours.batch, work, records, size, calls)()

    return cost


def _payload(ours: Kernel, effort: Effort) -> Cost:
    async def cost(size: int) -> float:
        calls = min(effort.count(50, 2), max(1, 2 * _KIB * _KIB // size))
        microseconds = await one_at_a_time(ours, give_back, lambda: nested(size), calls)()
        return microseconds / 1e6 / (size / _KIB)

    return cost


def _flight(awaited: AsyncKernel, effort: Effort) -> Cost:
    async def cost(width: int) -> float:
        return 1 / await many_at_once(awaited, work, records, effort.count(10_000, 100), width)()

    return cost


def _workers(effort: Effort) -> Cost:
    async def cost(workers: int) -> float:
        async with AsyncKernel(workers) as kernel:
            await many_at_once(kernel, work, records, 8 * workers, 2 * workers)()  # every one of them is to be warm
            return 1 / await many_at_once(kernel, work, records, effort.count(4000, 20 * workers), 2 * workers)()

    return cost


async def _start(workers: int) -> float:
    began = perf_counter()
    kernel = AsyncKernel(workers)
    async with kernel:
        seconds = perf_counter() - began
        await kernel.call_async(work, one_record())
    return seconds / workers


def _chain(effort: Effort) -> Cost:
    async def cost(groups: int) -> float:
        async with AsyncKernel(config=chain(groups)) as kernel:
            rate = await pipelined(OURS, through_groups(kernel), effort.count(5000, 256), groups)()
        return 1 / rate / groups

    return cost
