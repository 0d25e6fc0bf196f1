"""The one page that a campaign leaves: figures, rules, broken cases. Markdown."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence

from tests.campaign.checker import ALLOWANCE_SECONDS, RULES, Broken
from tests.campaign.figures import Spread, deaths_noticed, faults_by_kind, lateness, outcomes, replacements, spread_of
from tests.campaign.history import History
from tests.campaign.load import Goal
from tests.campaign.nemesis import ORDERED

__all__ = ["figures_out_of_bounds", "page"]

_WITHOUT_CHILDREN = ("fast", "deep", "slow")
_WITH_CHILDREN = ("parent",)
_SHOWN = 10
_LEAST_RESULTS = 0.75
"""With fewer results the campaign would show how failures are told, and not how the rest goes on."""


def figures_out_of_bounds(history: History, goal: Goal) -> list[Broken]:
    """Figures that are not what they must be."""
    broken = []
    faults = faults_by_kind(history, ORDERED)
    for name, reached, wanted in (
        ("calls", len(history.calls), goal.calls),
        ("faults", faults.total(), goal.faults),
        ("kills", faults["kill"], goal.kills),
    ):
        if reached < wanted:
            broken.append(Broken("the campaign reached its goal", f"{reached} {name} of {wanted}"))
    found = replacements(history)
    results = outcomes(history)["result"]
    if results < _LEAST_RESULTS * len(history.calls):
        broken.append(Broken("most calls gave a result", f"{results} of {len(history.calls)}"))
    bounded: list[tuple[str, Spread]] = [
        ("death to failure of its head", deaths_noticed(history, _WITHOUT_CHILDREN, without_lag=True)),
        ("death to failure of its head, children alive", deaths_noticed(history, _WITH_CHILDREN, without_lag=True)),
        ("death to the start of the replacement", found.to_spawned_without_lag),
    ]
    broken += [Broken(f"{name}: p99 ≤ 50 ms", str(spread)) for name, spread in bounded if spread.p99 > ALLOWANCE_SECONDS]
    return broken


def page(history: History, goal: Goal, seed: int, broken: Sequence[Broken]) -> str:
    """The whole page."""
    seconds = history.ended - history.began
    verdict = "every rule held" if not broken else f"**{len(broken)} broken cases**"
    return "\n".join(
        [
            f"# Campaign, seed {seed}: {verdict}",
            "",
            f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores, load at the end "
            f"{os.getloadavg()[0]:.1f}. {seconds:.0f} s.",
            "",
            *_amounts(history, goal),
            *_times(history),
            *_rules(broken),
            "",
        ]
    )


def _amounts(history: History, goal: Goal) -> list[str]:
    faults = faults_by_kind(history, ORDERED)
    inputs = sum(call.inputs for call in history.calls)
    uncertain = [call for call in history.calls if call.delivery == "maybe_executed"]
    ran = sum(any(token in history.executions for token in call.tokens) for call in uncertain)
    crashes = sum(history.executions.get(call.first_token, 0) for call in history.calls if call.group == "doomed" and "exit" in call.orders)
    again = sum(count > 1 for count in history.executions.values())
    return [
        "| amount | | goal |",
        "|---|---:|---:|",
        f"| calls (`execute_boundary`) | {len(history.calls):,} | {goal.calls:,} |",
        f"| inputs of these calls | {inputs:,} | |",
        f"| executions by nodes (journals) | {sum(history.executions.values()):,} | |",
        f"| faults | {faults.total():,} | {goal.faults:,} |",
        f"| deaths in the crash loop, besides | {crashes:,} | |",
        f"| of the faults SIGKILL | {faults['kill']:,} | {goal.kills:,} |",
        f"| at a busy worker | {sum(each.is_busy for each in history.strikes if each.kind == 'kill'):,} | |",
        f"| incarnations of workers | {len(history.incarnations):,} | |",
        f"| failures of groups, each ended by `restart_group` | {sum(map(len, history.restarts.values())):,} | |",
        f"| calls reported as maybe executed; whose node did run | {len(uncertain):,}; {ran:,} | |",
        f"| inputs run more than once (idempotent nodes only) | {again:,} | |",
        "",
        f"Faults: {_listed(faults)}.",
        "",
        f"Outcomes: {_listed(outcomes(history))}. Cancelled by their callers: {sum(call.cancelled for call in history.calls):,}.",
        "",
    ]


def _times(history: History) -> list[str]:
    found = replacements(history)
    rows = [
        ("SIGKILL to failure of its head", deaths_noticed(history, _WITHOUT_CHILDREN, without_lag=False)),
        ("the same, loop lag taken off", deaths_noticed(history, _WITHOUT_CHILDREN, without_lag=True)),
        ("the same with children that hold its pipes", deaths_noticed(history, _WITH_CHILDREN, without_lag=False)),
        ("the same, loop lag taken off", deaths_noticed(history, _WITH_CHILDREN, without_lag=True)),
        ("SIGKILL to the start of its replacement", found.to_spawned),
        ("the same, loop lag taken off", found.to_spawned_without_lag),
        ("start of a worker to ready", found.starts),
        ("SIGKILL to replacement ready", found.to_ready),
        ("calls settled after their deadline, loop lag taken off", lateness(history)),
        ("loop lag", spread_of(lag.ended - lag.began for lag in history.lags)),
    ]
    return ["| time | p50 | p99 | most | number |", "|---|---:|---:|---:|---:|", *(_row(name, spread) for name, spread in rows), ""]


def _row(name: str, spread: Spread) -> str:
    cells = [f"{seconds * 1000:.1f} ms" for seconds in (spread.p50, spread.p99, spread.most)] if spread.count else ["", "", ""]
    return f"| {name} | {' | '.join(cells)} | {spread.count:,} |"


def _rules(broken: Sequence[Broken]) -> list[str]:
    counts = Counter(case.rule for case in broken)
    lines = ["| rule | broken |", "|---|---:|"]
    lines += [f"| {rule} | {counts.pop(rule, 0)} |" for rule in RULES]
    lines += [f"| {rule} | {count} |" for rule, count in counts.items()]
    for rule in dict.fromkeys(case.rule for case in broken):
        cases = [case.text for case in broken if case.rule == rule]
        lines += ["", f"{rule}:", "", *(f"* {text}" for text in cases[:_SHOWN])]
        if len(cases) > _SHOWN:
            lines.append(f"* and {len(cases) - _SHOWN} more")
    return lines


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
