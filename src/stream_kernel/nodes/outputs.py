"""What a node gives, made ready to go on: packed, checked, and routed to nodes of this group or out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from stream_kernel.errors import PayloadError
from stream_kernel.nodes.failure import NodeFailure
from stream_kernel.nodes.registry import BuiltNode
from stream_kernel.routing.envelope import Envelope, TerminalEvent
from stream_kernel.routing.items import Emission, Way
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute, Router
from stream_kernel.routing.text import is_utf8

__all__ = ["Carrier", "Outputs", "Sending", "Trail", "Work", "wanted_of"]

_ENDING = (dict, str, int, float, bool)
"""Classes of plain JSON that are one output each when a node gives them as they are."""
_MAX_HEADER_BYTES = 65_536
"""What an output's trace_id, reply_to, meta and error may come to."""


class Carrier(Protocol):
    """Makes payloads unchangeable and reads them again; both raise `PayloadError`."""

    def pack(self, payload: Any) -> Packed: ...

    def unpack(self, packed: Packed, wanted: str | None = None) -> Any: ...


class Work(msgspec.Struct):
    """A node of the group, and what it has spent in the last batch."""

    node: BuiltNode
    name: str
    call: Callable[..., Any]
    is_async: bool
    runs: int = 0
    seconds: float = 0.0
    ways: dict[Any, Way] = {}
    """The known ways that lead nowhere but out of the group: of a class of outputs, or of a target and a class of what is in an `Envelope`.
    Those of messages and of targets come in as they are met."""


class Trail(msgspec.Struct):
    """What one message in a chain inherits."""

    index: int
    trace_id: str | None
    reply_to: str | None
    meta: Packed | None
    steps: int
    own_trace_id: str | None = None
    own_reply_to: str | None = None
    own_meta: Packed | None = None

    def after(self, trace_id: str | None, reply_to: str | None, meta: Packed | None) -> Trail:
        """The trail of an output that was given these of its own, by its node or by one before it."""
        return Trail(
            self.index,
            self.trace_id if trace_id is None else trace_id,
            self.reply_to if reply_to is None else reply_to,
            self.meta if meta is None else meta,
            self.steps + 1,
            trace_id,
            reply_to,
            meta,
        )


class Sending(msgspec.Struct):
    """An output that has been packed and routed, and goes to nobody yet."""

    emission: Emission | None
    local: tuple[tuple[Work, Any], ...]
    trail: Trail


class Outputs:
    """The ways that the outputs of one group may go."""

    def __init__(self, works: Mapping[str, Work], group: str, router: Router, carrier: Carrier, max_hops: int) -> None:
        self._works = works
        self._group = group
        self._router = router
        self._carrier = carrier
        self._max_hops = max_hops
        for name, work in works.items():
            work.ways.update(dict.fromkeys(_ENDING, Way(name, None, terminal=True)))

    def leave(self, work: Work, output: Any, steps: int) -> tuple[Packed, Way] | None:
        """Pack an output that inherits everything and takes a known way out of the group; None for any other. Raises `NodeFailure`."""
        payload = output
        key: Any = type(output)
        if key is Envelope:
            if output.trace_id is not None or output.reply_to is not None or output.meta or output.type is not None:
                return None
            payload = output.payload
            key = (output.target, type(payload))
        way = work.ways.get(key)
        if way is None or not (way.terminal or steps < self._max_hops):
            return None
        try:
            return self._carrier.pack(payload), way
        except PayloadError as error:
            raise _unpacked(work.name, error) from None

    def pack(self, work: Work, payload: Any) -> Packed:
        """Pack what a node gave; raises `NodeFailure`."""
        try:
            packed = self._carrier.pack(payload)
        except PayloadError as error:
            raise _unpacked(work.name, error) from None
        if packed.tag is not None and packed.tag not in work.node.route.emits:
            raise NodeFailure(work.name, f"node '{work.name}' gave a {packed.tag}, which is not in its emits")
        return packed

    def prepare(self, work: Work, output: Any, trail: Trail) -> Sending:
        """Pack an output and find its way; what cannot go on is a `NodeFailure` of the node that gave it."""
        name = work.name
        trace_id, reply_to, meta, steps = trail.own_trace_id, trail.own_reply_to, trail.own_meta, trail.steps + 1
        if trace_id is None and reply_to is None and meta is None:
            leaving = self.leave(work, output, steps)
            if leaving is not None:
                packed, way = leaving
                return Sending(Emission(trail.index, name, packed, way.terminal, way.target, None, None, None, steps), (), trail)
        envelope = output if isinstance(output, Envelope) else Envelope(output)
        event = envelope.payload if isinstance(envelope.payload, TerminalEvent) else None
        packed = self.pack(work, envelope.payload if event is None else event.payload)
        if envelope.meta:
            meta = self.pack(work, envelope.meta)
        if envelope.trace_id is not None:
            trace_id = envelope.trace_id
        if envelope.reply_to is not None:
            reply_to = envelope.reply_to
        if envelope.type is not None and envelope.type != packed.tag:
            raise NodeFailure(name, f"node '{name}' set an Envelope.type that is not its payload's: leave it out")
        if event is not None and envelope.target is not None:
            raise NodeFailure(name, f"node '{name}' gave a TerminalEvent a target: it ends the chain")
        routes = () if event is not None else self._routes(work, envelope, packed)
        if routes and steps >= self._max_hops:
            raise NodeFailure(name, f"the chain exceeds max_hops = {self._max_hops} steps at node '{name}'")
        local = tuple([(self._works[route.name], self._fitting(name, route, packed)) for route in routes if self._is_local(route)])
        emission = None
        if len(local) < len(routes) or not routes:
            emission = Emission(trail.index, name, packed, not routes, envelope.target, trace_id, reply_to, meta, steps)
            if event is not None:
                emission.status, emission.error, emission.failure = event.status, event.error, event.failure
            self._check_header(name, emission)
            if event is None and not local:
                _learn(work, output, emission)
        return Sending(emission, local, trail.after(trace_id, reply_to, meta) if local else trail)

    def _check_header(self, name: str, emission: Emission) -> None:
        """Refuse what could not be sent around the payload."""
        failure = emission.failure
        texts = () if failure is None else (failure.group, failure.node, failure.message)
        if not is_utf8(emission.trace_id, emission.reply_to, emission.error, *texts):
            raise NodeFailure(name, f"output of node '{name}' has a trace_id, reply_to or error with lone surrogates")
        if emission.size - emission.packed.size > _MAX_HEADER_BYTES:
            raise NodeFailure(
                name, f"output of node '{name}' has a trace_id, reply_to, meta and error of more than {_MAX_HEADER_BYTES} bytes"
            )

    def _routes(self, work: Work, envelope: Envelope, packed: Packed) -> tuple[NodeRoute, ...]:
        target = envelope.target
        if target is None:
            return self._router.consumers(packed.tag)
        name = work.name
        route = self._router.find(target)
        if route is None:
            raise NodeFailure(name, f"node '{name}' names the target '{target}', which no group has")
        if target not in work.node.spec.sends_to:
            self._check_undeclared(name, route)
        refusal = route.refusal(packed.tag)
        if refusal is not None:
            raise NodeFailure(name, f"output of node '{name}' does not fit: {refusal}")
        return (route,)

    def _check_undeclared(self, name: str, route: NodeRoute) -> None:
        """Refuse an undeclared target where the order of a stateful group hangs on what is declared."""
        if route.group in self._router.stateful_groups:
            raise NodeFailure(
                name, f"node '{name}' names '{route.name}' of the stateful group '{route.group}', which its sends_to does not list"
            )
        if route.group in self._router.ordered_groups and not self._is_local(route):
            raise NodeFailure(
                name,
                f"node '{name}' names '{route.name}' of group '{route.group}', which leads to a stateful group, and its sends_to does not "
                "list it",
            )

    def _fitting(self, name: str, route: NodeRoute, packed: Packed) -> Any:
        try:
            return self._carrier.unpack(packed, wanted_of(route, packed.tag))
        except PayloadError as error:
            raise NodeFailure(name, f"output of node '{name}' does not fit node '{route.name}' {error}") from None

    def _is_local(self, route: NodeRoute) -> bool:
        return route.group == self._group


def _learn(work: Work, output: Any, emission: Emission) -> None:
    """Remember the way of an output that was found right: so is that of the next one of its class for its target."""
    key: Any = (output.target, type(output.payload)) if isinstance(output, Envelope) else type(output)
    # A list that a node gives as it is is several outputs.
    if key not in work.ways and key is not list:
        work.ways[key] = Way(emission.node, emission.packed.tag, emission.terminal, emission.target)


def _unpacked(name: str, error: PayloadError) -> NodeFailure:
    return NodeFailure(name, f"output of node '{name}' {error}")


def wanted_of(route: NodeRoute, tag: str | None) -> str | None:
    """The class that a node wants made of plain JSON."""
    return route.consumes[0] if tag is None and route.consumes else None
