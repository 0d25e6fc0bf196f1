"""What all contenders have in common, and the peers of the standard library and anyio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_process

Function = Callable[[Any], Any]
"""A function of `bench_work` or `bench_typed_work`; the node of the same name does the same."""


class Peer:
    """One way to run a function in other processes: entered, called, left. A peer has those of the calls that its library has."""

    name = "?"
    is_restless = False
    """It wakes up all the time, also while it has nothing to do."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def call(self, function: Function, payload: Any) -> Any:
        raise NotImplementedError

    async def call_async(self, function: Function, payload: Any) -> Any:
        raise NotImplementedError

    def batch(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        """All answers, in order, as users of that library would send a batch."""
        raise NotImplementedError

    async def batch_async(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        raise NotImplementedError


class Executor(Peer):
    """`ProcessPoolExecutor`, by spawn."""

    name = "ProcessPoolExecutor (spawn)"
    method = "spawn"
    pool: concurrent.futures.Executor

    async def open(self) -> None:
        self.pool = ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context(self.method))

    async def close(self) -> None:
        await asyncio.to_thread(self.pool.shutdown)

    def call(self, function: Function, payload: Any) -> Any:
        return self.pool.submit(function, payload).result()

    async def call_async(self, function: Function, payload: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, payload)

    def batch(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        return list(self.pool.map(function, payloads, chunksize=len(payloads)))

    def as_one_call(self, many: Callable[[list[Any]], list[Any]], payloads: list[Any]) -> list[Any]:
        """The batch as one argument of a function that takes batches."""
        return self.pool.submit(many, payloads).result()


class ForkserverExecutor(Executor):
    """The same by forkserver."""

    name = "ProcessPoolExecutor (forkserver)"
    method = "forkserver"


class Pool(Peer):
    """`multiprocessing.Pool`, by spawn."""

    name = "multiprocessing.Pool"

    async def open(self) -> None:
        self._pool = await asyncio.to_thread(multiprocessing.get_context("spawn").Pool, self.workers)

    async def close(self) -> None:
        self._pool.close()
        await asyncio.to_thread(self._pool.join)

    def call(self, function: Function, payload: Any) -> Any:
        return self._pool.apply(function, (payload,))

    async def call_async(self, function: Function, payload: Any) -> Any:
        return await by_callbacks(partial(self._pool.apply_async, function, (payload,)))

    def batch(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        return self._pool.map(function, payloads, chunksize=len(payloads))


class AnyioProcess(Peer):
    """`anyio.to_process`, which serves one call at a time in each worker."""

    name = "anyio.to_process"

    async def open(self) -> None:
        self._limiter = anyio.CapacityLimiter(self.workers)

    async def call_async(self, function: Function, payload: Any) -> Any:
        return await anyio.to_process.run_sync(function, payload, limiter=self._limiter)

    async def batch_async(self, function: Function, payloads: Sequence[Any]) -> list[Any]:
        """It has no batches: the list is one call of a function that takes lists. Callers give that function."""
        return await anyio.to_process.run_sync(function, payloads, limiter=self._limiter)


async def by_callbacks(submit: Callable[..., object]) -> Any:
    """Await what tells its end, from a thread, to `callback` or to `error_callback`."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def tell(settle: Callable[[Any], None]) -> Callable[[Any], object]:
        return lambda outcome: loop.call_soon_threadsafe(settle, outcome)

    submit(callback=tell(future.set_result), error_callback=tell(future.set_exception))
    return await future
