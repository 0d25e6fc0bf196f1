"""A run: the chosen workloads one after the other, then table, JSON and chart into a folder."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bench_calls import asynchronous_calls, batches_of_records, calls_at_once, synchronous_calls
from bench_chain import chain_of_groups
from bench_chart import chart
from bench_cpu import cpu_bound
from bench_figures import Curve, Table
from bench_growth import growth
from bench_life import kill_to_ready, start_to_ready
from bench_lineup import Lineup
from bench_machine import this_machine
from bench_memory import resident_memory
from bench_report import Report, data, page
from bench_sizes import large_payloads, typed_payloads
from bench_targets import verdicts
from bench_turns import Effort
from bench_watchdog import Watchdog

Workload = Callable[[Effort, Lineup, Watchdog], Awaitable[Sequence[Table | Curve]]]

WORKLOADS: dict[str, Workload] = {
    "W1": synchronous_calls,
    "W2": asynchronous_calls,
    "W3": calls_at_once,
    "W4": batches_of_records,
    "W5": large_payloads,
    "W6": typed_payloads,
    "W7": chain_of_groups,
    "W8": cpu_bound,
    "W9": start_to_ready,
    "W10": resident_memory,
    "W11": kill_to_ready,
    "growth": growth,
}


async def run(
    effort: Effort, lineup: Lineup, names: Sequence[str], options: str, *, say: Callable[[str], object], note: Callable[[Report], object]
) -> Report:
    """Run these workloads; `note` gets what there is after each, since a later one may not end well. Raises `WrongAnswer`."""
    report = Report(this_machine(), options, 0.0, [], [], [])
    began, watchdog = time.monotonic(), Watchdog()
    for name in names:
        say(f"{name} (after {time.monotonic() - began:.0f} s)")
        for found in await WORKLOADS[name](effort, lineup, watchdog):
            if isinstance(found, Table):
                report.tables.append(found)
            else:
                report.curves.append(found)
        report.verdicts = verdicts(report.tables)
        report.seconds = time.monotonic() - began
        report.machine.load_at_end = this_machine().load_at_start
        note(report)
    return report


def write(report: Report, folder: Path) -> None:
    """Into `folder`: `benchmark.md`, `benchmark.json`, `benchmark.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.md").write_text(page(report), encoding="utf-8")
    (folder / "benchmark.json").write_bytes(data(report))
    (folder / "benchmark.svg").write_text(chart(report), encoding="utf-8")
