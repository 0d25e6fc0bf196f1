"""The inputs of a call, checked and packed, in the caller's thread and before anything is dispatched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from stream_kernel.engine.base import PayloadCodec
from stream_kernel.engine.settlement import Failure, Place, Step
from stream_kernel.errors import PayloadError
from stream_kernel.reports import Category, FailureReport
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.items import InputItem
from stream_kernel.routing.router import Router
from stream_kernel.routing.text import is_utf8

__all__ = ["Prepared", "prepare", "refuse_all"]

_MAX_HEADER_BYTES = 65_536
"""What trace_id, reply_to and meta of one item may come to, encoded."""


class Prepared(msgspec.Struct):
    """The inputs of a call, packed; those that were refused are failures already."""

    steps: list[Step]
    refused: list[Failure]


def prepare(
    inputs: Sequence[BoundaryDispatchInput], *, codec: PayloadCodec, router: Router, groups: Iterable[str], first: int = 0
) -> Prepared:
    """Check and pack the inputs. `groups` are the names that exist, `first` is the position of the first input."""
    known = frozenset(groups)
    ranks: dict[str | None, int] = {}
    prepared = Prepared([], [])
    for position, given in enumerate(inputs, first):
        rank = ranks.setdefault(given.dispatch_group, len(ranks))
        one = _prepare_one(given, (rank, position, 0, ()), codec, router, known)
        if isinstance(one, Failure):
            prepared.refused.append(one)
        else:
            prepared.steps.append(one)
    prepared.steps.sort(key=lambda step: step.place)
    return prepared


def _prepare_one(given: BoundaryDispatchInput, place: Place, codec: PayloadCodec, router: Router, groups: frozenset[str]) -> Step | Failure:
    route = router.find(given.target)
    unreachable = None
    if given.dispatch_group is None or given.dispatch_group not in groups:
        unreachable = "the input names no dispatch group" if given.dispatch_group is None else "there is no such group"
    elif route is None or route.group != given.dispatch_group:
        unreachable = f"the group has no node '{given.target}'"
    failure = Failure(place, place[1], "transport", "not_executed", given.dispatch_group, given.trace_id, given.reply_to, given.target)
    if unreachable is not None or route is None:
        failure.report = FailureReport(reason=unreachable, node=given.target, input_index=place[1])
        return failure
    where = f"input {place[1]} for node '{route.name}'"
    try:
        item = InputItem(
            packed=codec.pack(given.payload),
            target=route.name,
            trace_id=given.trace_id,
            reply_to=given.reply_to,
            meta=codec.pack(given.meta) if given.meta else None,
            source_group=given.source_group,
            route_hop=given.route_hop,
        )
        refusal = route.refusal(item.packed.tag)
        if refusal is None and not is_utf8(given.trace_id, given.reply_to, given.source_group):
            refusal = "its trace_id, reply_to or source_group has lone surrogates, which UTF-8 cannot carry"
        if refusal is None and item.header_size > _MAX_HEADER_BYTES:
            refusal = f"its trace_id, reply_to and meta exceed {_MAX_HEADER_BYTES} bytes"
        problem = None if refusal is None else f"{where}: {refusal}"
    except PayloadError as error:
        problem = f"{where} {error}"
    else:
        if problem is None:
            return Step(place, place[1], route.group, item)
    failure.category = "input"
    failure.message = problem
    failure.report = FailureReport(reason=problem, node=route.name, input_index=place[1])
    return failure


def refuse_all(inputs: Sequence[BoundaryDispatchInput], category: Category, reason: str, *, first: int = 0) -> Prepared:
    """The inputs of a call that cannot begin."""
    ranks: dict[str | None, int] = {}
    return Prepared(
        [],
        [
            Failure(
                (ranks.setdefault(given.dispatch_group, len(ranks)), position, 0, ()),
                position,
                category,
                "not_executed",
                given.dispatch_group,
                given.trace_id,
                given.reply_to,
                given.target,
                report=FailureReport(reason=reason, node=given.target, input_index=position),
            )
            for position, given in enumerate(inputs, first)
        ],
    )
