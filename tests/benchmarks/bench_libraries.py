"""The peers that are libraries of their own. Each is imported when it is made: one that is left out need not be there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from bench_peers import Executor, Function, Peer, by_callbacks
from bench_work import in_a_coroutine

_PEBBLE_TIMEOUT_SECONDS = 30.0


class Loky(Executor):
    """`loky.ProcessPoolExecutor`, with its own way to start processes."""

    name = "loky"

    async def open(self) -> None:
        import loky

        self.pool = loky.ProcessPoolExecutor(self.workers)


class Pebble(Peer):
    """`pebble.ProcessPool`, with a timeout for each call: it is the one peer that kills what hangs."""

    name = "pebble (timeout)"

    async def open(self) -> None:
        import multiprocessing

        import pebble

        self._pool = pebble.ProcessPool(max_workers=self.workers, context=multiprocessing.get_context("spawn"))

    async def close(self) -> None:
        self._pool.close()
        await asyncio.to_thread(self._pool.join)

    def call(self, function: Function, payload: Any) -> Any:
        return self._pool.schedule(function, args=[payload], timeout=_PEBBLE_TIMEOUT_SECONDS).result()

    async def call_async(self, function: Function, payload: Any) -> Any:
        return await asyncio.wrap_future(self._pool.schedule(function, args=[payload], timeout=_PEBBLE_TIMEOUT_SECONDS))

    def batch(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, payloads, chunksize=len(payloads), timeout=_PEBBLE_TIMEOUT_SECONDS).result())


class Mpire(Peer):
    """`mpire.WorkerPool`, by spawn, workers kept alive."""

    name = "mpire"

    async def open(self) -> None:
        import mpire

        self._pool = mpire.WorkerPool(self.workers, start_method="spawn", keep_alive=True)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.stop_and_join)
        await asyncio.to_thread(self._pool.terminate)

    def call(self, function: Function, payload: Any) -> Any:
        return self._pool.apply(function, (payload,))

    async def call_async(self, function: Function, payload: Any) -> Any:
        return await by_callbacks(partial(self._pool.apply_async, function, (payload,)))

    def batch(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        # Each in a tuple of its own: mpire would take a dict for keyword arguments.
        answers: list[Any] = self._pool.map(function, [(payload,) for payload in payloads], chunk_size=len(payloads))
        return answers


class Aiomultiprocess(Peer):
    """`aiomultiprocess.Pool`; parent and workers look every 5 ms whether there is something to do."""

    name = "aiomultiprocess"
    is_restless = True

    async def open(self) -> None:
        import aiomultiprocess

        self._pool = aiomultiprocess.Pool(self.workers)

    async def close(self) -> None:
        self._pool.close()
        await self._pool.join()

    async def call_async(self, function: Function, payload: Any) -> Any:
        return await self._pool.apply(in_a_coroutine, (function, payload))

    async def batch_async(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        return list(await self._pool.starmap(in_a_coroutine, [(function, payload) for payload in payloads]))
