"""What the project wants to reach, as data, and whether a run has reached it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from bench_figures import Row, Spread, Table, best_of, ratios, spread_of
from bench_kernel import OURS
from bench_lineup import POOLS

EXECUTOR = "ProcessPoolExecutor (spawn)"
PIPE = "raw pipe ping-pong"
ANYIO = "anyio.to_process"


class Target(msgspec.Struct, frozen=True):
    """A bound for a figure, or for its ratio to another one of the same table."""

    table: str
    what: str
    row: str
    at_most: float | None = None
    at_least: float | None = None
    stretch: float | None = None
    to: tuple[str, ...] = ()
    """The rows that the ratio is to, the best of them in each round; none: the figure itself is bounded."""
    unit: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """A target beside what was found."""

    target: Target
    figure: Spread | None
    """None: it was not measured."""
    is_met: bool | None
    is_stretch_met: bool | None


TARGETS = (
    Target("W1", "sync call to ProcessPoolExecutor", OURS, at_most=0.75, stretch=0.55, to=(EXECUTOR,)),
    Target("W1", "sync call to raw ping-pong", OURS, at_most=4.0, stretch=2.5, to=(PIPE,)),
    Target("W2", "async call to run_in_executor", OURS, at_most=0.45, stretch=0.30, to=(EXECUTOR,)),
    Target("W2", "async call to anyio.to_process", OURS, at_most=0.90, stretch=0.70, to=(ANYIO,)),
    Target("W3", "rate, 256 at once, to ProcessPoolExecutor", OURS, at_least=4.5, stretch=8.0, to=(EXECUTOR,)),
    Target("W3", "rate, 256 at once, to the best pool", OURS, at_least=1.5, to=POOLS),
    Target("W4/100", "rate, batches of 100, to ProcessPoolExecutor", OURS, at_least=1.1, stretch=1.4, to=(EXECUTOR,)),
    Target("W4/1000", "rate, batches of 1,000, to ProcessPoolExecutor", OURS, at_least=1.0, stretch=1.3, to=(EXECUTOR,)),
    Target("W5/nested 64 KiB", "nested records of 64 KiB to ProcessPoolExecutor", OURS, at_least=1.0, to=(EXECUTOR,)),
    Target("W5/nested 1 MiB", "nested records of 1 MiB to ProcessPoolExecutor", OURS, at_least=1.0, to=(EXECUTOR,)),
    Target("W6", "typed rate to own untyped", f"{OURS}, typed", at_least=0.6, to=(f"{OURS}, untyped",)),
    Target("W7/chain", "four groups to four chained pools", OURS, at_least=1.0, stretch=1.5, to=("four chained pools",)),
    Target("W7/chain", "four groups, records a second", OURS, at_least=60_000, unit="/s"),
    Target("W7/fund-load", "fund-load, workers to inline", f"{OURS}, workers", at_least=0.8, to=(f"{OURS}, inline",)),
    Target("W8/small calls", "small calls, two workers to one", f"{OURS}, 2 workers", at_least=1.8, to=(f"{OURS}, 1 worker",)),
    Target("W8/one batch", "one big batch, two workers to one", f"{OURS}, 2 workers", at_least=1.8, to=(f"{OURS}, 1 worker",)),
    Target("W9/4", "start of 4 workers to bare interpreters", OURS, at_most=1.5, to=("bare interpreters",)),
    Target("W10/worker", "resident memory of a worker", f"{OURS}, at rest", at_most=18.0, unit=" MB"),
    Target("W10/growth", "growth of a worker over the calls", f"{OURS}, worker", at_most=1.0, unit=" MB"),
    Target("W10/growth", "growth of the parent over the calls", f"{OURS}, parent", at_most=1.0, unit=" MB"),
)


def verdicts(tables: Sequence[Table], targets: Sequence[Target] = TARGETS) -> list[Verdict]:
    """One for each target whose workload was run."""
    by_key = {table.key: table for table in tables}
    workloads = {key.partition("/")[0] for key in by_key}
    return [_verdict(target, by_key) for target in targets if target.table.partition("/")[0] in workloads]


def _verdict(target: Target, tables: Mapping[str, Table]) -> Verdict:
    values = _values(target, tables.get(target.table))
    if not values:
        return Verdict(target, None, None, None)
    figure = spread_of(values)
    bound = target.at_least if target.at_most is None else target.at_most
    return Verdict(target, figure, _reaches(target, figure.median, bound), _reaches(target, figure.median, target.stretch))


def _values(target: Target, table: Table | None) -> list[float]:
    row = None if table is None else table.row(target.row)
    if table is None or row is None or not row.rounds:
        return []
    if not target.to:
        return row.rounds
    others: list[Row] = [other for other in table.rows if other.name in target.to and other.rounds]
    # "The best" is the highest rate; ratios of times have one row to go to.
    return ratios(row.rounds, best_of(others)) if others else []


def _reaches(target: Target, value: float, bound: float | None) -> bool | None:
    if bound is None:
        return None
    return value <= bound if target.at_most is not None else value >= bound
