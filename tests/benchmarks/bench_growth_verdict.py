"""Whether what a unit of work costs stays as something grows."""

from __future__ import annotations

from statistics import median

import msgspec
from bench_figures import Curve

TOLERANCE = 1.5
"""A unit at the large end may cost so much of what it costs at its cheapest: two runs of the same differ by less."""


class Growth(msgspec.Struct, frozen=True):
    """The large end of a curve against its cheapest point and its middle one."""

    to_cheapest: float
    to_middle: float
    is_defect: bool

    def __str__(self) -> str:
        word = "GROWS FASTER THAN ITS WORK" if self.is_defect else "grows as its work"
        return f"{word}: at the large end {self.to_cheapest:.2f} x its cheapest, {self.to_middle:.2f} x its middle"


def growth_of(curve: Curve) -> Growth | None:
    """None for a curve of less than two points."""
    costs = [median(point.rounds) for point in curve.points if point.rounds]
    if len(costs) < 2:
        return None
    large, middle = costs[-1], costs[len(costs) // 2]
    return Growth(large / min(costs), large / middle, large > TOLERANCE * min(costs))
