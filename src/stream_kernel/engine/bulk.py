"""Inputs of a call that go through it side by side, as columns: nothing is made for each of them on the way.

That holds as long as nothing concerns one of them alone. At the first failure, loss, or second output, steps are made of them, and the
call goes on with those.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec

from stream_kernel.engine.base import PayloadCodec
from stream_kernel.engine.settlement import PlainOutputs, Step
from stream_kernel.protocol.columns import InputColumns, InputRows, OutputRows, collapse
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.items import CHARACTER_BYTES, ITEM_BYTES, Emission
from stream_kernel.routing.router import NodeRoute, Router

__all__ = ["Bulk", "bulk_of"]

_meta_of = attrgetter("meta")
_MAX_TEXT = 1024
"""Inputs with longer texts are looked at one by one."""


class Bulk(msgspec.Struct, frozen=True, gc=False):
    """The inputs `first`, `first + 1`, … of a call on their way to one group, each with one message in the `hop`."""

    group: str
    columns: InputColumns
    weight: int
    """At most so many bytes they have on the wire."""
    first: int
    hop: int = 0
    emitter: tuple[str, str] | None = None

    def steps(self) -> list[Step]:
        """The same, one by one."""
        path = (0, 0) * self.hop
        return [
            Step((0, root, self.hop, path), root, self.group, item, item.size, self.emitter)
            for root, item in enumerate(InputRows(self.columns), self.first)
        ]

    def following(self, emissions: Sequence[Emission], router: Router) -> Bulk | None:
        """Where all go next, when each has one output, and all lead to the same node of one other group."""
        if not isinstance(emissions, OutputRows) or emissions.terminal:
            return None
        given, columns = self.columns, emissions.columns
        node, tag, target, steps = columns.node, columns.type, columns.target, columns.steps
        if not isinstance(node, str) or isinstance(tag, list) or isinstance(target, list):
            return None
        routes = router.beyond(self.group, target, tag)
        if len(routes) != 1 or columns.index != list(range(len(given.payload))):
            return None
        (route,) = routes
        following = InputColumns(
            payload=columns.payload,
            target=route.name,
            type=tag,
            trace_id=given.trace_id,
            reply_to=given.reply_to,
            source_group=self.group,
            route_hop=self.hop + 1,
            steps=steps,
        )
        return Bulk(route.group, following, _weight(following), self.first, self.hop + 1, (self.group, node))

    def outputs(self, emissions: Sequence[Emission]) -> PlainOutputs | None:
        """What all came to in the end, when nothing is to be told of one that does not hold for all."""
        if not isinstance(emissions, OutputRows) or not emissions.terminal:
            return None
        given, columns = self.columns, emissions.columns
        if not isinstance(columns.node, str) or isinstance(columns.type, list) or columns.index != sorted(columns.index):
            return None
        if columns.target is not None:
            return None
        return PlainOutputs(
            first=self.first,
            index=columns.index,
            payloads=columns.payload,
            tag=columns.type,
            group=self.group,
            node=columns.node,
            trace_id=given.trace_id,
            reply_to=given.reply_to,
        )


def bulk_of(inputs: Sequence[BoundaryDispatchInput], codec: PayloadCodec, router: Router, first: int) -> Bulk | None:
    """These inputs as a bulk, when they are of one kind and nothing is wrong with any."""
    target, group = inputs[0].target, inputs[0].dispatch_group
    route = router.find(target)
    if route is None or group != route.group or not _are_alike(inputs, route):
        return None
    texts = [[one.trace_id for one in inputs], [one.reply_to for one in inputs], [one.source_group for one in inputs]]
    if not all(map(_is_short, texts)):
        return None
    packed = codec.pack_all([one.payload for one in inputs])
    if packed is None:
        return None
    encoded, tag = packed
    if route.refusal(tag) is not None:
        return None
    trace_id, reply_to, source_group = map(collapse, texts)
    columns = InputColumns(
        payload=encoded,
        target=route.name,
        type=tag,
        trace_id=trace_id,
        reply_to=reply_to,
        source_group=source_group,
        route_hop=collapse([one.route_hop for one in inputs]),
    )
    return Bulk(route.group, columns, _weight(columns), first)


def _are_alike(inputs: Sequence[BoundaryDispatchInput], route: NodeRoute) -> bool:
    """Whether all go to this node, and none has meta."""
    if any(map(_meta_of, inputs)):
        return False
    count = len(inputs)
    return [one.target for one in inputs].count(route.name) == count == [one.dispatch_group for one in inputs].count(route.group)


def _is_short(texts: list[str | None]) -> bool:
    if texts.count(None) == len(texts):
        return True
    return all(text is None or (len(text) <= _MAX_TEXT and text.isascii()) for text in texts)


def _weight(columns: InputColumns) -> int:
    count = len(columns.payload)
    characters = sum(_characters(column, count) for column in (columns.target, columns.type, columns.trace_id, columns.reply_to))
    return sum(map(len, columns.payload)) + count * ITEM_BYTES + CHARACTER_BYTES * (characters + _characters(columns.source_group, count))


def _characters(column: Any, count: int) -> int:
    if column is None:
        return 0
    if isinstance(column, list):
        return sum([len(text) for text in column if text is not None])
    return len(column) * count
