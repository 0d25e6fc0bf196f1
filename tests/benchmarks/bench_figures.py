"""Figures of a run, and what is made of them: medians, ratios within a round, the middle half."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles
from typing import Literal

import msgspec

Unit = Literal["µs", "ms", "s", "/s", "MB"]


class Spread(msgspec.Struct, frozen=True):
    """A median over the rounds and the middle half around it."""

    median: float
    low: float
    high: float


class Row(msgspec.Struct, eq=False):
    """One contender in a table: a figure for each round."""

    name: str
    rounds: list[float] = []
    note: str = ""
    """Why it has no figures, or what to know of them."""

    @property
    def spread(self) -> Spread | None:
        return spread_of(self.rounds) if self.rounds else None


class Table(msgspec.Struct):
    """Contenders that did the same work in turns."""

    key: str
    """The workload and what of it, for example `W5/nested 64 KiB`."""
    title: str
    unit: Unit
    rows: list[Row] = []
    """The first one is ours."""
    has_ratios: bool = True
    """Differences near zero have none that say anything."""

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)


class Point(msgspec.Struct):
    """One place of a curve: how much work, and in each round what a unit of it cost, in seconds."""

    at: float
    rounds: list[float] = []


class Curve(msgspec.Struct):
    """What a unit of work costs as something grows."""

    key: str
    title: str
    axis: str
    """What grows."""
    per: str
    """What the cost is of, for example `input`."""
    points: list[Point] = []
    note: str = ""


def spread_of(values: Sequence[float]) -> Spread:
    """Median and middle half; of a single value, the value itself."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high)


def ratios(mine: Sequence[float], others: Sequence[float]) -> list[float]:
    """Within each round, mine to the other's."""
    return [one / other for one, other in zip(mine, others, strict=True)]


def best_of(rows: Sequence[Row]) -> list[float]:
    """Within each round, the highest figure of any of these rows."""
    return [max(figures) for figures in zip(*(row.rounds for row in rows), strict=True)]
