"""Contenders take turns: A B C, A C B, C A B, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from statistics import median
from typing import Any

import msgspec
from bench_figures import Row, Table, Unit
from bench_peers import Function, Peer
from bench_watchdog import Watchdog

Turn = Callable[[], Awaitable[float]]


class Effort(msgspec.Struct, frozen=True):
    """How much of everything: the whole run, a look, or a test."""

    rounds: int = 15
    scale: float = 1.0

    def count(self, full: int, least: int = 1) -> int:
        """So many calls, records or lines where the whole run has `full`."""
        return max(least, round(full * self.scale))

    def part(self, share: float) -> int:
        """So many rounds for a workload that takes longer than others."""
        return max(1, round(self.rounds * share))


class Contender(msgspec.Struct):
    """One row of a table: `turn` does one round of it and gives its figure."""

    name: str
    turn: Turn
    peer: Peer | None = None
    note: str = ""


class NoFigure(Exception):
    """A contender cannot do this at all: its row says why, in the place of figures."""


class WrongAnswer(Exception):
    """A contender did not do the work."""


async def take_turns(
    key: str, title: str, unit: Unit, contenders: Sequence[Contender], rounds: int, watchdog: Watchdog, *, is_cold: bool = False
) -> Table:
    """All rounds of a table. Each contender has a turn before the first round for the warmth, unless a start itself is measured."""
    rows = {contender.name: Row(contender.name, note=contender.note) for contender in contenders}
    out: set[str] = set()
    if not is_cold:
        for contender in contenders:
            is_restless = contender.peer is not None and contender.peer.is_restless
            if not is_restless and await _figure(contender, rows[contender.name], key, watchdog) is None:
                out.add(contender.name)
    for number in range(rounds):
        first = number % len(contenders)
        order = [*contenders[first:], *contenders[:first]]
        # There and back, so that nobody always comes after the same one.
        for contender in order if number % 2 == 0 else order[::-1]:
            if contender.name in out:
                continue
            row = rows[contender.name]
            figure = await _figure(contender, row, key, watchdog)
            if figure is None:
                row.rounds = []
                out.add(contender.name)
            else:
                row.rounds.append(figure)
    return Table(key, title, unit, list(rows.values()))


async def _figure(contender: Contender, row: Row, key: str, watchdog: Watchdog) -> float | None:
    """The figure of a turn; None for one that failed, and then the row says why."""
    try:
        return await _turn(contender, key, watchdog)
    except WrongAnswer:
        raise
    except Exception as reason:  # noqa: BLE001  a library that fails is a result, and the others go on
        row.note = str(reason) if isinstance(reason, NoFigure) else f"failed: {type(reason).__name__}: {reason}".splitlines()[0]
        return None


def calls_for(peer: Peer, calls: int) -> int:
    """A tenth for a restless peer, each of whose calls waits for its next look, some milliseconds."""
    return max(2, calls // 10) if peer.is_restless else calls


async def _turn(contender: Contender, key: str, watchdog: Watchdog) -> float:
    gc.collect()
    with watchdog.over(f"{key}: {contender.name}"):
        async with AsyncExitStack() as stack:
            if contender.peer is not None and contender.peer.is_restless:
                # It would wake up all the time while others have their turn.
                await stack.enter_async_context(contender.peer)
            return await contender.turn()


# -- turns of the usual kinds; each begins with a little that is not timed, answers are compared once the time is taken

WARM_CALLS = 5


def warm_calls(calls: int) -> int:
    """How many calls go before so many that are timed: few where calls are few, because large."""
    return min(WARM_CALLS, max(1, calls // 10))


@contextmanager
def inputs_out_of_sight() -> Iterator[None]:
    """The inputs of a whole round are there before it, which no caller would have: the collector does not go through them."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _timed(function: Function, run: Callable[[Any], Any], payloads: list[Any], name: str, warm: int) -> float:
    """The median time of `run`, in seconds, without the first `warm` ones."""
    times, answers = [], []
    with inputs_out_of_sight():
        for payload in payloads:
            began = time.perf_counter()
            answer = run(payload)
            times.append(time.perf_counter() - began)
            answers.append(answer)
    check(name, answers, list(map(function, payloads)))
    return median(times[warm:])


async def _timed_async(function: Function, run: Callable[[Any], Awaitable[Any]], payloads: list[Any], name: str, warm: int) -> float:
    times, answers = [], []
    with inputs_out_of_sight():
        for payload in payloads:
            began = time.perf_counter()
            answer = await run(payload)
            times.append(time.perf_counter() - began)
            answers.append(answer)
    check(name, answers, list(map(function, payloads)))
    return median(times[warm:])


def one_at_a_time(peer: Peer, function: Function, fresh: Callable[[], Any], calls: int) -> Turn:
    """The median time of a synchronous call, in µs."""

    def measure() -> float:
        warm = warm_calls(calls)
        payloads = [fresh() for _ in range(warm + calls)]
        return _timed(function, partial(peer.call, function), payloads, peer.name, warm) * 1e6

    return in_a_thread(measure)


def one_at_a_time_async(peer: Peer, function: Function, fresh: Callable[[], Any], calls: int) -> Turn:
    """The median time of an asynchronous call, in µs."""

    async def measure() -> float:
        warm = warm_calls(calls)
        payloads = [fresh() for _ in range(warm + calls)]
        return await _timed_async(function, partial(peer.call_async, function), payloads, peer.name, warm) * 1e6

    return measure


def many_at_once(peer: Peer, function: Function, fresh: Callable[[int], list[Any]], calls: int, width: int) -> Turn:
    """Asynchronous calls a second, `width` of them in flight."""

    async def measure() -> float:
        for payload in fresh(WARM_CALLS):
            await peer.call_async(function, payload)
        payloads = fresh(calls)
        answers: list[Any] = [None] * calls
        waiting = iter(enumerate(payloads))

        async def take() -> None:
            for index, payload in waiting:
                answers[index] = await peer.call_async(function, payload)

        with inputs_out_of_sight():
            began = time.perf_counter()
            await asyncio.gather(*(take() for _ in range(min(width, calls))))
            seconds = time.perf_counter() - began
        check(peer.name, answers, list(map(function, payloads)))
        return calls / seconds

    return measure


Batches = Callable[[Function, list[Any]], list[Any]]
AsyncBatches = Callable[[Function, list[Any]], Awaitable[list[Any]]]


def batches(name: str, run: Batches, function: Function, fresh: Callable[[int], list[Any]], size: int, calls: int) -> Turn:
    """Records a second of the median batch."""

    def measure() -> float:
        given = [fresh(size) for _ in range(1 + calls)]
        return size / _timed(partial(_each, function), partial(run, function), given, name, 1)

    return in_a_thread(measure)


def batches_async(name: str, run: AsyncBatches, function: Function, fresh: Callable[[int], list[Any]], size: int, calls: int) -> Turn:
    """The same, awaited."""

    async def measure() -> float:
        given = [fresh(size) for _ in range(1 + calls)]
        return size / await _timed_async(partial(_each, function), partial(run, function), given, name, 1)

    return measure


def _each(function: Function, batch: list[Any]) -> list[Any]:
    return list(map(function, batch))


def in_a_thread(measure: Callable[[], float]) -> Turn:
    """Synchronous work goes on in a thread; the loop of this program, which others need, only sleeps meanwhile."""

    async def turn() -> float:
        return await asyncio.to_thread(measure)

    return turn


def check(name: str, answers: Sequence[Any], expected: Sequence[Any]) -> None:
    """Raise `WrongAnswer` unless these are the answers."""
    if list(answers) != list(expected):
        raise WrongAnswer(f"{name} gave a wrong answer")
