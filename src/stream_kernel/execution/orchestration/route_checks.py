"""What the declared routes of a configuration give away before the first message: circles, targets that take nothing, dead ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from stream_kernel.config.model import RuntimeConfig
from stream_kernel.execution.orchestration.findings import Finding, problem, warning
from stream_kernel.routing.router import NodeRoute, Router

__all__ = ["check_routes", "listed"]


def check_routes(config: RuntimeConfig, router: Router) -> Iterator[Finding]:
    """What is wrong with the routes. `router` may lack nodes that were not found; what these might lead to is then left open."""
    nodes = _by_node(router)
    in_circles: set[str] = set()
    for finding, circle in stateful_circles(router):
        in_circles |= circle
        yield finding
    yield from _node_circles(config, nodes, router, in_circles)
    for sender in router.routes:
        for name in sender.sends_to:
            yield from _target_findings(config, sender, name, router.find(name))
    if config.source is not None and len(router.routes) == sum(len(group.nodes) for group in config.process_groups):
        yield from _unreachable(config.source.target, nodes, router)


def listed(names: Iterable[str]) -> str:
    """The names as a sentence has them."""
    return ", ".join(f"'{name}'" for name in names)


def _by_node(router: Router) -> Router:
    """The same routes with every node a group of its own: what the router knows of groups, it then knows of nodes."""
    return Router(msgspec.structs.replace(route, group=route.name) for route in router.routes)


def stateful_circles(router: Router) -> Iterator[tuple[Finding, frozenset[str]]]:
    """Each circle of groups that has a stateful one in it, with its groups: a run cannot keep its order."""
    seen: set[str] = set()
    for group in dict.fromkeys(route.group for route in router.routes):
        others = router.circle_of(group)
        if group in seen or group not in router.stateful_groups or not others:
            continue
        seen |= {group, *others}
        message = (
            f"is stateful and in a circle with {listed(sorted(others))}: what it sends out may lead back to it, so the order in which it "
            "sees messages would depend on the batches; put the nodes of the circle into one group, or break the circle"
        )
        yield problem("circle", message, group), others | {group}


def _node_circles(config: RuntimeConfig, nodes: Router, router: Router, in_circles: set[str]) -> Iterator[Finding]:
    """Chains that may have no end. One that runs through several groups of a stateful circle is a problem already."""
    seen: set[str] = set()
    for route in router.routes:
        others = nodes.circle_of(route.name)
        if route.name in seen or not (others or _leads_to_itself(route)):
            continue
        circle = [each for each in router.routes if each.name == route.name or each.name in others]
        seen.update(each.name for each in circle)
        groups = {each.group for each in circle}
        if len(groups) > 1 and groups <= in_circles:
            continue
        by_way = f" by way of {listed(each.name for each in circle[1:])}" if others else ""
        message = (
            f"what it sends out may come back to it{by_way}: a chain that does not end by itself fails at "
            f"execution_ipc.max_hops = {config.execution_ipc.max_hops} steps; make sure that it ends, or break the circle"
        )
        yield warning("circle", message, route.group, route.name)


def _leads_to_itself(route: NodeRoute) -> bool:
    return route.name in route.sends_to or not set(route.emits).isdisjoint(route.consumes)


def _target_findings(config: RuntimeConfig, sender: NodeRoute, name: str, target: NodeRoute | None) -> Iterator[Finding]:
    if config.group_of(name) is None:
        message = f"sends_to names '{name}', which is in no group: correct the name, or add the node to a group"
        yield problem("sends-to", message, sender.group, sender.name)
    if target is None or not target.consumes or not set(sender.emits).isdisjoint(target.consumes):
        return
    takes = f"sends_to names '{name}', which consumes {', '.join(target.consumes)}"
    if len(target.consumes) > 1:  # a node that consumes one class can be sent plain JSON as well
        message = f"{takes}, and this node emits none of them: add what it sends there to its emits"
        yield problem("sends-to", message, sender.group, sender.name)
    elif sender.emits:
        message = f"{takes}, and this node emits other classes: unless it sends plain JSON there, add the class to its emits"
        yield warning("sends-to", message, sender.group, sender.name)


def _unreachable(entry: str, nodes: Router, router: Router) -> Iterator[Finding]:
    for route in router.routes:
        if route.name != entry and entry not in nodes.upstream(route.name):
            message = (
                f"no declared route leads to it from source.target = '{entry}': emit a class that it consumes, name it in the sends_to "
                "of a node, or take it out of its group"
            )
            yield problem("unreachable", message, route.group, route.name)
