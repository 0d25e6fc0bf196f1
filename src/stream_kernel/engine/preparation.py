"""The inputs of a call, checked and packed, in the caller's thread and before anything is dispatched."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import attrgetter

import msgspec

from stream_kernel.engine.base import PayloadCodec
from stream_kernel.engine.bulk import Bulk, bulk_of
from stream_kernel.engine.settlement import Failure, Step
from stream_kernel.errors import PayloadError
from stream_kernel.reports import Category, FailureReport
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.items import InputItem
from stream_kernel.routing.router import NodeRoute, Router
from stream_kernel.routing.text import is_utf8

__all__ = ["Prepared", "prepare", "refuse_all"]

_MAX_HEADER_BYTES = 65_536
"""What trace_id, reply_to and meta of one item may come to, encoded."""


class Prepared(msgspec.Struct):
    """The inputs of a call, packed: steps, or a bulk. Those that were refused are failures already."""

    steps: list[Step]
    refused: list[Failure]
    bulk: Bulk | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it can be dispatched."""
        return not self.steps and self.bulk is None


def prepare(
    inputs: Sequence[BoundaryDispatchInput], *, codec: PayloadCodec, router: Router, groups: Collection[str], first: int = 0
) -> Prepared:
    """Check and pack the inputs. `groups` are the names that exist, `first` is the position of the first input."""
    ranks: dict[str | None, int] = {}
    prepared = Prepared([], [])
    if len(inputs) > 1:
        prepared.bulk = bulk_of(inputs, codec, router, first)
        if prepared.bulk is not None:
            return prepared
    for position, given in enumerate(inputs, first):
        rank = ranks.setdefault(given.dispatch_group, len(ranks))
        route = router.find(given.target)
        if route is None or route.group != given.dispatch_group:
            prepared.refused.append(_unreachable(given, rank, position, groups))
            continue
        step = _step(given, rank, position, route, codec)
        if isinstance(step, Step):
            prepared.steps.append(step)
        else:
            prepared.refused.append(_refused(given, rank, position, route, step))
    if len(ranks) > 1:
        prepared.steps.sort(key=attrgetter("place"))
    return prepared


def _step(given: BoundaryDispatchInput, rank: int, position: int, route: NodeRoute, codec: PayloadCodec) -> Step | str:
    """The input on its way, or why it cannot be sent."""
    trace_id, reply_to, source_group = given.trace_id, given.reply_to, given.source_group
    try:
        packed = codec.pack(given.payload)
        meta = codec.pack(given.meta) if given.meta else None
    except PayloadError as error:
        return f" {error}"
    item = InputItem(packed, route.name, trace_id, reply_to, meta, source_group, given.route_hop)
    refusal = route.refusal(packed.tag)
    has_texts = trace_id is not None or reply_to is not None or source_group is not None
    if refusal is None and has_texts and not is_utf8(trace_id, reply_to, source_group):
        refusal = "its trace_id, reply_to or source_group has lone surrogates, which UTF-8 cannot carry"
    header = item.header_size
    if refusal is None and header > _MAX_HEADER_BYTES:
        refusal = f"its trace_id, reply_to and meta exceed {_MAX_HEADER_BYTES} bytes"
    if refusal is not None:
        return f": {refusal}"
    return Step((rank, position, 0, ()), position, route.group, item, packed.size + header)


def _unreachable(given: BoundaryDispatchInput, rank: int, position: int, groups: Collection[str]) -> Failure:
    """An input that nobody can get."""
    reason = f"the group has no node '{given.target}'"
    if given.dispatch_group is None or given.dispatch_group not in groups:
        reason = "the input names no dispatch group" if given.dispatch_group is None else "there is no such group"
    failure = _failure(given, rank, position, "transport")
    failure.report = FailureReport(reason=reason, node=given.target, input_index=position)
    return failure


def _refused(given: BoundaryDispatchInput, rank: int, position: int, route: NodeRoute, problem: str) -> Failure:
    """An input that cannot be sent."""
    failure = _failure(given, rank, position, "input")
    failure.message = f"input {position} for node '{route.name}'{problem}"
    failure.report = FailureReport(reason=failure.message, node=route.name, input_index=position)
    return failure


def _failure(given: BoundaryDispatchInput, rank: int, position: int, category: Category) -> Failure:
    place = (rank, position, 0, ())
    return Failure(place, position, category, "not_executed", given.dispatch_group, given.trace_id, given.reply_to, given.target)


def refuse_all(inputs: Sequence[BoundaryDispatchInput], category: Category, reason: str, *, first: int = 0) -> Prepared:
    """The inputs of a call that cannot begin."""
    ranks: dict[str | None, int] = {}
    prepared = Prepared([], [])
    for position, given in enumerate(inputs, first):
        failure = _failure(given, ranks.setdefault(given.dispatch_group, len(ranks)), position, category)
        failure.report = FailureReport(reason=reason, node=given.target, input_index=position)
        prepared.refused.append(failure)
    return prepared
