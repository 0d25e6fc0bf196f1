"""A run as a page (markdown) and as data (JSON)."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

import msgspec
from bench_figures import Curve, Row, Table, ratios, spread_of
from bench_growth_verdict import TOLERANCE, growth_of
from bench_machine import Machine
from bench_targets import Verdict


class Report(msgspec.Struct):
    """All that a run found."""

    machine: Machine
    options: str
    seconds: float
    tables: list[Table]
    curves: list[Curve]
    verdicts: list[Verdict]


def number(value: float) -> str:
    """Three figures that count, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def page(report: Report) -> str:
    """Everything as one markdown page."""
    parts = [_head(report), _targets(report.verdicts)]
    parts += [_table(table) for table in report.tables]
    if report.curves:
        parts += [_growth(report.curves), *map(_curve, report.curves)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: Report) -> str:
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    end = "?" if machine.load_at_end is None else f"{machine.load_at_end:.1f}"
    return "\n".join(
        [
            "# Beside the peers",
            "",
            f"- {machine.processor}, {machine.cpus} CPUs, {machine.system}, {machine.python}",
            f"- {versions}",
            f"- commit {machine.commit}, {machine.date}, `{report.options}`, {report.seconds:.0f} s",
            f"- load of the machine {machine.load_at_start:.1f} at the start, {end} at the end",
            "",
            "A figure is the median over the rounds, and the middle half of them. A ratio is ours to the peer's, taken within a round.",
        ]
    )


def _targets(found: Iterable[Verdict]) -> str:
    lines = [_target(verdict) for verdict in found]
    if not lines:
        return ""
    head = ["## Targets", "", "| workload | what | target | stretch | figure | middle half | met |", "|---|---|---:|---:|---:|---|---|"]
    return "\n".join([*head, *lines])


def _target(verdict: Verdict) -> str:
    target, figure = verdict.target, verdict.figure
    sign, bound = ("≤", target.at_most) if target.at_most is not None else ("≥", target.at_least)
    unit = target.unit or " x"
    stretch = "" if target.stretch is None else f"{sign} {number(target.stretch)}{unit}"
    cells = [target.table, target.what, f"{sign} {number(bound or 0.0)}{unit}", stretch]
    if figure is None:
        return _line([*cells, "", "", "not measured"])
    met = "no" if not verdict.is_met else "stretch" if verdict.is_stretch_met else "yes"
    return _line([*cells, f"{number(figure.median)}{unit}", f"{number(figure.low)} … {number(figure.high)}", met])


def _table(table: Table) -> str:
    lines = [
        f"## {table.key}: {table.title}",
        "",
        f"| | {table.unit} | middle half | ours to it | middle half | |",
        "|---|---:|---|---:|---|---|",
    ]
    ours = table.rows[0] if table.has_ratios else None
    return "\n".join([*lines, *(_row(row, ours) for row in table.rows)])


def _row(row: Row, ours: Row | None) -> str:
    spread = row.spread
    if spread is None:
        return _line([row.name, "", "", "", "", row.note or "not measured"])
    cells = [row.name, number(spread.median), f"{number(spread.low)} … {number(spread.high)}"]
    if ours is None or row is ours or len(ours.rounds) != len(row.rounds) or min(row.rounds) <= 0:
        return _line([*cells, "", "", row.note])
    ratio = spread_of(ratios(ours.rounds, row.rounds))
    return _line([*cells, f"{ratio.median:.2f}", f"{ratio.low:.2f} … {ratio.high:.2f}", row.note])


def _growth(curves: Iterable[Curve]) -> str:
    lines = [
        "## Growth",
        "",
        f"What a unit of work costs as something grows. More than {TOLERANCE} x its cheapest at the large end is a defect.",
        "",
        *(f"- {curve.key}: {growth_of(curve) or 'not measured'}{f' ({curve.note})' if curve.note else ''}" for curve in curves),
    ]
    return "\n".join(lines)


def _curve(curve: Curve) -> str:
    points = [point for point in curve.points if point.rounds]
    head = _line([curve.axis, *(number(point.at) if point.at < 100 and point.at % 1 else f"{point.at:,.0f}" for point in points)])
    return "\n".join(
        [
            f"### {curve.key}: {curve.title}",
            "",
            head,
            _line(["---"] + ["---:"] * len(points)).replace(" ", ""),
            _line([f"µs per {curve.per}", *(f"{median(point.rounds) * 1e6:.3g}" for point in points)]),
        ]
    )


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def data(report: Report) -> bytes:
    """The same as JSON: with each round, so that others can make of it what they like."""
    content: dict[str, Any] = {
        "machine": report.machine,
        "options": report.options,
        "seconds": report.seconds,
        "tables": [_table_data(table) for table in report.tables],
        "targets": [{**msgspec.structs.asdict(verdict.target), **_verdict_data(verdict)} for verdict in report.verdicts],
        "curves": [{**msgspec.structs.asdict(curve), "growth": growth_of(curve)} for curve in report.curves],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def _verdict_data(verdict: Verdict) -> dict[str, Any]:
    return {"figure": verdict.figure, "is_met": verdict.is_met, "is_stretch_met": verdict.is_stretch_met}


def _table_data(table: Table) -> dict[str, Any]:
    ours = table.rows[0]
    rows = []
    for row in table.rows:
        is_comparable = table.has_ratios and len(row.rounds) == len(ours.rounds) and all(row.rounds)
        ratio = ratios(ours.rounds, row.rounds) if is_comparable and row.rounds else []
        rows.append(
            {
                **msgspec.structs.asdict(row),
                "spread": row.spread,
                "ratios": ratio,
                "ratio": spread_of(ratio) if ratio else None,
            }
        )
    return {"key": table.key, "title": table.title, "unit": table.unit, "rows": rows}
