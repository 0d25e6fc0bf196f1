"""W1 to W4: one call at a time, many at once, batches; one worker each."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import msgspec
from bench_figures import Table
from bench_kernel import OURS, AsyncKernel, Kernel
from bench_lineup import ASYNCHRONOUS, SYNCHRONOUS, Lineup
from bench_payloads import attempts, records
from bench_peers import Executor, Function, Peer
from bench_ping_pong import PingPong, line_of
from bench_turns import (
    AsyncBatches,
    Batches,
    Contender,
    Effort,
    Turn,
    batches,
    batches_async,
    calls_for,
    check,
    in_a_thread,
    many_at_once,
    one_at_a_time,
    one_at_a_time_async,
    take_turns,
)
from bench_watchdog import Watchdog
from bench_work import Record, decide, decide_many, work, work_many

ONE_CALL = "the batch as one call"
_CALLS = 200
_IN_FLIGHT = 256


def one_record() -> Any:
    return records(1)[0]


def ping_pong(peer: PingPong, fresh: Callable[[], Any], calls: int) -> Turn:
    """The median time for the same bytes there and back, in µs."""

    def measure() -> float:
        lines = [line_of(fresh()) for _ in range(calls)]
        times, answers = [], []
        peer.pin()
        try:
            for line in lines:
                began = perf_counter()
                answer = peer.call(bytes, line)
                times.append(perf_counter() - began)
                answers.append(answer)
        finally:
            peer.unpin()
        check(peer.name, answers, lines)
        return median(times) * 1e6

    return in_a_thread(measure)


async def synchronous_calls(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W1."""
    calls = effort.count(_CALLS, 5)
    async with Kernel() as ours, lineup.entered(("pipe", *SYNCHRONOUS)) as peers:
        contenders = [Contender(OURS, one_at_a_time(ours, work, one_record, calls), ours)]
        for peer in peers.values():
            if isinstance(peer, PingPong):
                contenders.append(Contender(peer.name, ping_pong(peer, one_record, calls), peer, peer.note))
            else:
                contenders.append(Contender(peer.name, one_at_a_time(peer, work, one_record, calls), peer))
        return [await take_turns("W1", "one synchronous call at a time", "µs", contenders, effort.rounds, watchdog)]


async def asynchronous_calls(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W2."""
    calls = effort.count(_CALLS, 5)
    async with AsyncKernel() as ours, lineup.entered(ASYNCHRONOUS) as peers:
        contenders = []
        for peer in (ours, *peers.values()):
            turn = one_at_a_time_async(peer, work, one_record, calls_for(peer, calls))
            contenders.append(Contender(peer.name, turn, peer, _how(peer)))
        return [await take_turns("W2", "one asynchronous call at a time", "µs", contenders, effort.rounds, watchdog)]


def _how(peer: Peer) -> str:
    return "by run_in_executor" if isinstance(peer, Executor) else ""


async def calls_at_once(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W3."""
    calls = effort.count(10_000, _IN_FLIGHT)
    async with AsyncKernel() as ours, lineup.entered(ASYNCHRONOUS) as peers:
        contenders = [
            Contender(peer.name, many_at_once(peer, work, records, calls, _IN_FLIGHT), peer, _how(peer)) for peer in (ours, *peers.values())
        ]
        title = f"{calls:,} asynchronous calls, {_IN_FLIGHT} at once"
        return [await take_turns("W3", title, "/s", contenders, effort.part(0.4), watchdog)]


async def batches_of_records(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W4."""
    tables = []
    async with Kernel() as ours, AsyncKernel() as awaited, lineup.entered((*SYNCHRONOUS, "anyio", "aiomultiprocess")) as peers:
        everyone = list(peers.values())
        executor = [peer for peer in everyone if type(peer) is Executor]
        for kind, among, size, full in (
            (_TINY, everyone, 10, 60),
            (_TINY, everyone, 100, 30),
            (_TINY, everyone, 1000, 10),
            (_OF_EIGHT, executor, 100, 30),
            (_OF_EIGHT, executor, 1000, 10),
        ):
            contenders = _batch_contenders(ours, awaited, among, kind, size, effort.count(full, 2))
            title = f"batches of {size:,}{kind.suffix}, records a second"
            tables.append(await take_turns(f"W4/{size}{kind.suffix}", title, "/s", contenders, effort.rounds, watchdog))
    return tables


class _Kind(msgspec.Struct, frozen=True):
    """Records of one kind, and what is done to each of them, or to a list of them."""

    suffix: str
    fresh: Callable[[int], list[Record]]
    function: Function
    many: Callable[[list[Record]], list[Record]]


_TINY = _Kind("", records, work, work_many)
_OF_EIGHT = _Kind(" records of 8 fields", attempts, decide, decide_many)


def _batch_contenders(ours: Kernel, awaited: AsyncKernel, peers: list[Peer], kind: _Kind, size: int, calls: int) -> list[Contender]:
    def turn(name: str, run: Batches) -> Turn:
        return batches(name, run, kind.function, kind.fresh, size, calls)

    def turn_async(name: str, run: AsyncBatches, calls: int = calls) -> Turn:
        return batches_async(name, run, kind.function, kind.fresh, size, calls)

    contenders = [
        Contender(OURS, turn(OURS, ours.batch), ours),
        Contender(f"{OURS}, awaited", turn_async(OURS, awaited.batch_async), awaited),
    ]
    for peer in peers:
        if peer.name == "anyio.to_process":
            run = _as_one_awaited_call(peer, kind)
            contenders.append(Contender(f"{peer.name}, {ONE_CALL}", turn_async(peer.name, run), peer))
        elif peer.is_restless:
            contenders.append(Contender(peer.name, turn_async(peer.name, peer.batch_async, calls_for(peer, calls)), peer))
        else:
            contenders.append(Contender(peer.name, turn(peer.name, peer.batch), peer))
        if type(peer) is Executor:
            contenders.append(Contender(f"{peer.name}, {ONE_CALL}", turn(peer.name, _as_one_call(peer, kind)), peer))
    return contenders


def _as_one_call(peer: Executor, kind: _Kind) -> Batches:
    return lambda function, payloads: peer.as_one_call(kind.many, payloads)


def _as_one_awaited_call(peer: Peer, kind: _Kind) -> AsyncBatches:
    return lambda function, payloads: peer.batch_async(kind.many, payloads)
