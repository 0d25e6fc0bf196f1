"""Shows what a look at a configuration has found: its groups, nodes and routes as a tree, then the findings. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from stream_kernel.cli.reporter import counted
from stream_kernel.config.model import ProcessGroupConfig
from stream_kernel.execution.orchestration.preflight import Finding, Preflight
from stream_kernel.routing.router import NodeRoute

__all__ = ["show_check"]

_STYLES = {"problem": "bold red", "warning": "yellow"}


def show_check(result: Preflight, console: Console) -> None:
    """Print `result`. Where `console` is no terminal it is plain text, and each finding one line."""
    # Names and sentences are the user's: as `Text` they are neither markup nor highlighted.
    console.print(_tree(result))
    for line in (Text(), *_findings(result), _verdict(result)):
        console.print(line, soft_wrap=not console.is_terminal)


def _tree(result: Preflight) -> Tree:
    tree = Tree(Text.assemble("scenario ", (result.config.scenario_id, "bold")))
    for group in result.config.process_groups:
        routes = {route.name: route for route in result.routes[group.name]}
        branch = tree.add(_group_label(group, any(route.stateful for route in routes.values())))
        for name in group.nodes:
            node = branch.add(_node_label(result, name, routes.get(name)))
            for line in _destinations(result, routes[name]) if name in routes else ():
                node.add(Text(line))
    return tree


def _group_label(group: ProcessGroupConfig, is_stateful: bool) -> Text:
    details = [counted(group.workers, "worker"), *(["stateful"] if is_stateful else [])]
    return Text.assemble("group ", (group.name, "bold"), f" ({', '.join(details)})")


def _node_label(result: Preflight, name: str, route: NodeRoute | None) -> Text:
    details = ["not found"] if route is None else _details(route)
    label = Text.assemble((name, "bold"), f": {', '.join(details)}")
    source = result.config.source
    if source is not None and source.target == name:
        label.append(f" <- source ({source.format})", "green")
    return label


def _details(route: NodeRoute) -> list[str]:
    return [
        f"consumes {_short(route.consumes) or 'plain JSON'}",
        *([f"emits {_short(route.emits)}"] if route.emits else []),
        *(["stateful"] if route.stateful else []),
        *(["idempotent"] if route.idempotent else []),
    ]


def _destinations(result: Preflight, route: NodeRoute) -> Iterator[str]:
    """Where the outputs go that the node declares; one that declares none gives plain JSON."""
    for tag in route.emits:
        consumers = [f"{each.name} ({each.group})" for each in result.router.consumers(tag)]
        yield from (f"{_short([tag])} -> {goal}" for goal in consumers or ["terminal"])
    for name in route.sends_to:
        yield f"by name -> {name} ({result.config.group_of(name) or 'in no group'})"
    if not route.emits and not route.sends_to:
        yield "plain JSON -> terminal"


def _findings(result: Preflight) -> Iterator[Text]:
    for finding in (*result.problems, *result.warnings):
        yield _line(finding)


def _line(finding: Finding) -> Text:
    severity = (finding.severity, _STYLES[finding.severity])
    return Text.assemble(severity, f" [{finding.kind}] ", (finding.place, "bold"), f": {finding.message}")


def _verdict(result: Preflight) -> Text:
    problems, warnings = len(result.problems), len(result.warnings)
    text = counted(problems, "problem") if problems else "no problems"
    if warnings:
        text += f", {counted(warnings, 'warning')}"
    return Text(text, _STYLES["problem"] if problems else "green")


def _short(tags: Sequence[str]) -> str:
    """Type tags without their modules."""
    return ", ".join(tag.rpartition(":")[2] for tag in tags)
