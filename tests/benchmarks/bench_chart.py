"""A run as a chart: the targets, the contenders of some workloads, the curves of growth.

SVG by hand is some kilobytes of text, where libraries draw every letter. Nothing is filled behind it, and its colours are of a middle
brightness: it is read on white pages and on dark ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from xml.sax.saxutils import escape

from bench_figures import Curve, Table
from bench_growth_verdict import growth_of
from bench_report import Report, number
from bench_targets import Verdict

WIDTH = 880
_TEXT, _FAINT, _GOOD, _BAD, _MARK = "#787878", "#9a9a9a55", "#2f8f5b", "#d1602b", "#8a63d2"
_OTHER = "#5b84b1"
_SHOWN = ("W1", "W2", "W3", "W4/100", "W7/chain", "W9/4")
_LINE = 24
_LABEL = 330
_BAR = 380
_PANEL_WIDTH, _PANEL_HEIGHT = 270, 170


def chart(report: Report) -> str:
    """The whole picture as SVG."""
    measured = [verdict for verdict in report.verdicts if verdict.figure is not None]
    parts: list[str] = []
    top = 34.0
    parts.append(_text(0, 18, "stream_kernel beside its peers", size=16, weight="bold"))
    if measured:
        parts.append(_text(0, top + 10, "targets: the bar is the figure, the line its middle half, the mark the target; right is better"))
        top += 24
        for verdict in measured:
            parts.append(_bar(verdict, top))
            top += _LINE
    tables = [table for key in _SHOWN for table in report.tables if table.key == key]
    if tables:
        parts.append(_text(0, top + 22, "contenders: ours is green; a bar that fades out goes on"))
        top += 36
        for index in range(0, len(tables), 2):
            pair = tables[index : index + 2]
            parts += [_contenders(table, column * (WIDTH / 2 + 10), top) for column, table in enumerate(pair)]
            top += 30 + 18 * max(len(table.rows) for table in pair)
    curves = [curve for curve in report.curves if len([point for point in curve.points if point.rounds]) > 1]
    if curves:
        parts.append(_text(0, top + 22, "growth: µs per unit, both scales logarithmic; a flat line grows as its work"))
        top += 36
        for index, curve in enumerate(curves):
            column, line = index % 3, index // 3
            parts.append(_panel(curve, column * (_PANEL_WIDTH + 35), top + line * (_PANEL_HEIGHT + 20)))
        top += math.ceil(len(curves) / 3) * (_PANEL_HEIGHT + 20)
    machine = report.machine
    parts.append(
        _text(0, top + 16, f"{machine.processor}, {machine.cpus} CPUs, {machine.python}, {machine.date[:10]}, {machine.commit}", size=11)
    )
    height = round(top + 26)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 0 {WIDTH + 16} {height}" width="{WIDTH + 16}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_TEXT}" role="img">'
    )
    return "\n".join([head, "<title>stream_kernel beside its peers</title>", *parts, "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "start", weight: str = "", fill: str = "") -> str:
    more = "".join(f' {name}="{value}"' for name, value in (("font-weight", weight), ("fill", fill)) if value)
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def _bar(verdict: Verdict, top: float) -> str:
    """How far the target is reached, on a logarithmic scale: the target is in the middle, ten times better at the right end."""
    target, figure = verdict.target, verdict.figure
    assert figure is not None
    bound = target.at_most if target.at_most is not None else target.at_least
    assert bound
    is_low = target.at_most is not None

    def place(value: float) -> float:
        ratio = bound / value if is_low and value > 0 else value / bound if not is_low else 10.0
        return _LABEL + _BAR * min(1.0, max(0.01, 0.5 + math.log10(max(ratio, 1e-9)) / 2))

    low, end, high = sorted([place(figure.low), place(figure.median), place(figure.high)])
    end = place(figure.median)
    colour = _GOOD if verdict.is_met else _BAD
    middle = top + 8
    unit = target.unit or " x"
    sign = "≤" if is_low else "≥"
    return "".join(
        [
            _text(_LABEL - 8, top + 12, f"{target.table.partition('/')[0]} {target.what}", anchor="end"),
            f'<rect x="{_LABEL}" y="{top:.0f}" width="{end - _LABEL:.1f}" height="16" rx="2" fill="{colour}" fill-opacity="0.8"/>',
            f'<path d="M{low:.1f} {middle:.0f}H{high:.1f}" stroke="{_TEXT}" stroke-width="3"/>',
            f'<path d="M{place(bound):.1f} {top - 3:.0f}v22" stroke="{_MARK}" stroke-width="2"/>',
            _text(_LABEL + _BAR + 8, top + 12, f"{number(figure.median)}{unit} ({sign} {number(bound)}{unit})"),
        ]
    )


def _contenders(table: Table, left: float, top: float) -> str:
    """All rows of a table as bars, none longer than four times ours: one slow peer would make all others short."""
    figures = {row: row.spread.median for row in table.rows if row.spread is not None}
    ours = table.rows[0]
    full = min(max(figures.values()), 4 * figures[ours]) if ours in figures else max(figures.values(), default=1.0)
    parts = [_text(left, top + 12, f"{table.key}: {table.title}, {table.unit}", weight="bold")]
    for index, (row, figure) in enumerate(figures.items()):
        y = top + 20 + 18 * index
        length = 150 * min(1.0, figure / full)
        colour = _GOOD if row is ours else _OTHER
        fade = 0.8 if figure <= full else 0.4
        parts += [
            _text(left + 215, y + 10, row.name.replace("the batch as", "as"), size=10, anchor="end"),
            f'<rect x="{left + 220:.0f}" y="{y:.0f}" width="{length:.1f}" height="13" rx="2" fill="{colour}" fill-opacity="{fade}"/>',
            _text(left + 226 + length, y + 10, number(figure), size=10),
        ]
    return "".join(parts)


def _panel(curve: Curve, left: float, top: float) -> str:
    points = [(point.at, median(point.rounds) * 1e6) for point in curve.points if point.rounds]
    costs = [cost for _, cost in points]
    low, high = _bounds(costs)
    width, height = _PANEL_WIDTH - 44, _PANEL_HEIGHT - 52
    x0, y0 = left + 44, top + 26

    def x(at: float) -> float:
        first, last = math.log(points[0][0]), math.log(points[-1][0])
        return x0 + width * (math.log(at) - first) / (last - first)

    def y(cost: float) -> float:
        return y0 + height * (1 - (math.log(cost) - math.log(low)) / (math.log(high) - math.log(low)))

    growth = growth_of(curve)
    colour = _BAD if growth is not None and growth.is_defect else _GOOD
    path = "M" + "L".join(f"{x(at):.1f} {y(cost):.1f}" for at, cost in points)
    return "".join(
        [
            _text(left, top + 12, f"{curve.key}: µs per {curve.per}", weight="bold"),
            f'<rect x="{x0:.0f}" y="{y0:.0f}" width="{width}" height="{height}" fill="none" stroke="{_FAINT}"/>',
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            *(f'<circle cx="{x(at):.1f}" cy="{y(cost):.1f}" r="3" fill="{colour}"/>' for at, cost in points),
            _text(x0 - 5, y0 + 9, number(high), size=10, anchor="end"),
            _text(x0 - 5, y0 + height, number(low), size=10, anchor="end"),
            _text(x0, y0 + height + 14, short(points[0][0]), size=10),
            _text(x0 + width / 2, y0 + height + 14, curve.axis, size=10, anchor="middle"),
            _text(x0 + width, y0 + height + 14, short(points[-1][0]), size=10, anchor="end"),
        ]
    )


def _bounds(costs: Sequence[float]) -> tuple[float, float]:
    """At least a factor of four: a flat curve is to look flat."""
    low, high = min(costs) / 1.2, max(costs) * 1.2
    wanted = max(1.0, 4 * low / high)
    return low / math.sqrt(wanted), high * math.sqrt(wanted)


def short(value: float) -> str:
    """A place on an axis."""
    for size, letter in ((1 << 20, "Mi"), (1 << 10, "Ki")):
        if value >= size and value % size == 0:
            return f"{value / size:.0f} {letter}"
    return f"{value:,.0f}"
