"""What a history says in figures. Pure functions; times are seconds."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec
from tests.campaign.checker import LoopLag
from tests.campaign.history import Call, History, Incarnation

__all__ = ["Spread", "deaths_noticed", "faults_by_kind", "lateness", "outcomes", "replacements", "spread_of"]

_SOON_SECONDS = 10.0


class Spread(msgspec.Struct, frozen=True):
    """How times are distributed."""

    count: int
    p50: float
    p99: float
    most: float

    def __str__(self) -> str:
        if not self.count:
            return "none"
        return f"p50 {self.p50 * 1000:.1f} ms, p99 {self.p99 * 1000:.1f} ms, most {self.most * 1000:.1f} ms ({self.count:,})"


def spread_of(times: Iterable[float]) -> Spread:
    """Nearest rank: each figure is a time that was measured."""
    ordered = sorted(times)
    if not ordered:
        return Spread(0, 0.0, 0.0, 0.0)
    last = len(ordered) - 1
    return Spread(len(ordered), ordered[round(last * 0.5)], ordered[round(last * 0.99)], ordered[last])


def faults_by_kind(history: History, ordered: Iterable[str]) -> Counter[str]:
    """Strikes, and those orders that a node really obeyed: a token that ran twice brought its fault about twice.

    Without those of a group that is driven into failure: they are many, and all alike.
    """
    known = frozenset(ordered)
    counts = Counter(strike.kind for strike in history.strikes)
    for call in history.calls:
        if history.rules[call.group].may_fail or known.isdisjoint(call.orders):
            continue
        for index, token in enumerate(call.tokens):
            if call.order(index) in known:
                counts[call.order(index)] += history.executions.get(token, 0)
    return counts


def outcomes(history: History) -> Counter[str]:
    """Calls by outcome and, where there is one, delivery."""
    return Counter(f"{call.outcome} {call.delivery}".strip() for call in history.calls)


def lateness(history: History) -> Spread:
    """How much later than their deadlines calls were settled that were settled late, the loop's own lateness taken off."""
    lag = LoopLag(history.lags)
    late = (call for call in history.calls if call.settled > call.deadline)
    return spread_of(max(0.0, call.settled - call.deadline - lag.within(call.deadline, call.settled)) for call in late)


def deaths_noticed(history: History, groups: Sequence[str], *, without_lag: bool) -> Spread:
    """From the SIGKILL of a worker until the caller of the call at its head was told."""
    lag = LoopLag(history.lags if without_lag else [])
    lost: defaultdict[int, list[Call]] = defaultdict(list)
    for call in history.calls:
        if call.lost_pid:
            lost[call.lost_pid].append(call)
    times = []
    for strike in history.strikes:
        if strike.kind != "kill" or strike.group not in groups:
            continue
        told = [call.settled for call in lost[strike.pid] if call.started <= strike.time <= call.settled <= strike.time + _SOON_SECONDS]
        times += [settled - strike.time - lag.within(strike.time, settled) for settled in told[:1]]
    return spread_of(times)


class Replacements(msgspec.Struct, frozen=True):
    """From the SIGKILL of a ready worker to its ready successor."""

    starts: Spread
    """From the start of a process until its worker is ready: what a start takes in this run."""
    to_spawned: Spread
    """From the death to the start of the successor's process: what a replacement takes on top of a start."""
    to_spawned_without_lag: Spread
    to_ready: Spread


def replacements(history: History) -> Replacements:
    """How soon a worker that was killed had a successor."""
    lag = LoopLag(history.lags)
    by_worker: defaultdict[str, list[Incarnation]] = defaultdict(list)
    for each in history.incarnations:
        by_worker[each.worker_id].append(each)
    to_spawned, without_lag, to_ready = [], [], []
    for strike in history.strikes:
        if strike.kind != "kill" or history.rules[strike.group].is_stateful:
            continue
        successor = _successor(by_worker[strike.worker_id], strike.generation)
        if successor is None or successor.spawned < strike.time:
            continue
        to_spawned.append(successor.spawned - strike.time)
        without_lag.append(to_spawned[-1] - lag.within(strike.time, successor.spawned))
        if successor.ready:
            to_ready.append(successor.ready - strike.time)
    starts = (each.ready - each.spawned for each in history.incarnations if each.ready)
    return Replacements(spread_of(starts), spread_of(to_spawned), spread_of(without_lag), spread_of(to_ready))


def _successor(incarnations: Sequence[Incarnation], generation: int) -> Incarnation | None:
    at = bisect_left(incarnations, generation + 1, key=lambda each: each.generation)
    return incarnations[at] if at < len(incarnations) and incarnations[at].generation == generation + 1 else None
