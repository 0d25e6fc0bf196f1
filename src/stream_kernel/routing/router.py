"""Where an output goes: by the name of its target, or by its type to every node that consumes it.

Parent, worker and the inline engine use this one table. It is built from what the workers' nodes declare, in configuration order.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

__all__ = ["NodeRoute", "Router"]


class NodeRoute(msgspec.Struct, frozen=True):
    """What everybody may know of a node. Types are tags (`module:qualname`)."""

    name: str
    group: str
    consumes: tuple[str, ...] = ()
    emits: tuple[str, ...] = ()
    sends_to: tuple[str, ...] = ()
    stateful: bool = False
    idempotent: bool = False

    def refusal(self, tag: str | None) -> str | None:
        """Why a payload with this tag (None: untagged) cannot be a message of this node; None when it can."""
        if tag is None:
            if len(self.consumes) > 1:
                return f"node '{self.name}' consumes several types ({', '.join(self.consumes)}): pass an instance of one"
            return None
        if tag in self.consumes:
            return None
        wants = ", ".join(self.consumes) if self.consumes else "plain JSON only"
        return f"node '{self.name}' does not consume {tag} (it consumes {wants})"


class Router:
    """The routes of one configuration; immutable after construction."""

    def __init__(self, routes: Iterable[NodeRoute]) -> None:
        self.routes = tuple(routes)
        self._by_name = {route.name: route for route in self.routes}
        consumers: dict[str, list[NodeRoute]] = {}
        for route in self.routes:
            for tag in route.consumes:
                consumers.setdefault(tag, []).append(route)
        self._consumers = {tag: tuple(found) for tag, found in consumers.items()}
        self.tags = frozenset(tag for route in self.routes for tag in (*route.consumes, *route.emits))
        self.stateful_groups = frozenset(route.group for route in self.routes if route.stateful)
        self._upstream = self._reachability()
        self.ordered_groups = self.stateful_groups.union(*map(self.upstream, self.stateful_groups))
        """The stateful groups and all that lead to them: whatever enters one of these comes by declared routes."""

    def find(self, name: str | None) -> NodeRoute | None:
        """The node of that name, or None."""
        return None if name is None else self._by_name.get(name)

    def consumers(self, tag: str | None) -> tuple[NodeRoute, ...]:
        """All nodes that consume this type, in configuration order; plain JSON (None) is consumed by target only."""
        return () if tag is None else self._consumers.get(tag, ())

    def beyond(self, group: str, target: str | None, tag: str | None) -> list[NodeRoute]:
        """Where an output that leaves `group` goes: to its target, or by its type to all its consumers in other groups."""
        if target is not None:
            named = self.find(target)
            return [] if named is None else [named]
        return [route for route in self.consumers(tag) if route.group != group]

    def upstream(self, group: str) -> frozenset[str]:
        """The other groups from which declared routes lead to `group`, over any number of hops."""
        return self._upstream.get(group, frozenset())

    def circle_of(self, group: str) -> frozenset[str]:
        """The other groups that `group` both leads to and is fed by: its messages may come back to it."""
        return frozenset(other for other in self.upstream(group) if group in self.upstream(other))

    def _reachability(self) -> dict[str, frozenset[str]]:
        feeds: dict[str, set[str]] = {route.group: set() for route in self.routes}
        for route in self.routes:
            named = [self._by_name[name] for name in route.sends_to if name in self._by_name]
            typed = [target for tag in route.emits for target in self.consumers(tag)]
            for target in (*named, *typed):
                feeds[target.group].add(route.group)
        return {group: frozenset(_closure(group, feeds) - {group}) for group in feeds}


def _closure(start: str, feeds: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for group in feeds[waiting.pop()] - seen:
            seen.add(group)
            waiting.append(group)
    return seen
