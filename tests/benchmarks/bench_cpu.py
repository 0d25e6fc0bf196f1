"""W8: nodes that hold a CPU, with one worker and with two."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from bench_figures import Table
from bench_kernel import OURS, AsyncKernel, one_group
from bench_lineup import Lineup
from bench_payloads import burners
from bench_peers import Executor, Function
from bench_turns import Contender, Effort, batches, batches_async, many_at_once, take_turns
from bench_watchdog import Watchdog
from bench_work import burn

TURNS = 10_000
"""About a millisecond of Python."""
_COUNT = 400
_IN_FLIGHT = 32
_CHUNKS_PER_WORKER = 4


class _Chunked(Executor):
    """A batch in several chunks for each worker, since one chunk has one worker."""

    def batch(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        chunk = max(1, len(payloads) // (_CHUNKS_PER_WORKER * self.workers))
        return list(self.pool.map(function, payloads, chunksize=chunk))


def _orders(count: int) -> list[Any]:
    return burners(count, TURNS)


async def cpu_bound(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W8."""
    count, rounds = effort.count(_COUNT, 20), effort.part(0.6)
    async with AsyncExitStack() as stack:
        small: list[Contender] = []
        large: list[Contender] = []
        for workers in (2, 1):
            words = f"{workers} worker{'s' if workers > 1 else ''}"
            ours = await stack.enter_async_context(AsyncKernel(workers, one_group(workers)))
            split = await stack.enter_async_context(AsyncKernel(workers, one_group(workers, fan_out="split")))
            name = f"{OURS}, {words}"
            small.append(Contender(name, many_at_once(ours, burn, _orders, count, _IN_FLIGHT), ours))
            large.append(Contender(name, batches_async(name, split.batch_async, burn, _orders, count, 1), split, "fan_out = split"))
        for workers in (2, 1) if lineup.has("executor") else ():
            peer = await stack.enter_async_context(_Chunked(workers))
            name = f"{peer.name}, {workers} worker{'s' if workers > 1 else ''}"
            small.append(Contender(name, many_at_once(peer, burn, _orders, count, _IN_FLIGHT), peer))
            large.append(Contender(name, batches(name, peer.batch, burn, _orders, count, 1), peer, f"{_CHUNKS_PER_WORKER} chunks a worker"))
        title = f"{count} calls of about 1 ms, {_IN_FLIGHT} at once, calls a second"
        return [
            await take_turns("W8/small calls", title, "/s", small, rounds, watchdog),
            await take_turns("W8/one batch", f"one batch of {count} such inputs, inputs a second", "/s", large, rounds, watchdog),
        ]
