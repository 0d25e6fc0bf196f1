"""The shape of a frame's items: columns with defaults.

A column is one value where all items agree (their target, most of the time), a list where they differ, and left out where it is
null for all. On batches of 100 small records that halves the frame and costs three quarters of the time of rows; a single item costs
4 µs more (tests/benchmarks/frame_shape.py, see docs/protocol.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from stream_kernel.routing.envelope import BoundaryFailure, TerminalStatus
from stream_kernel.routing.items import Emission, InputItem, ItemFailure
from stream_kernel.routing.packed import Packed

__all__ = [
    "InputColumns",
    "OutputColumns",
    "collapse",
    "inputs_from_columns",
    "inputs_to_columns",
    "outputs_from_columns",
    "outputs_to_columns",
    "spread",
]

T = TypeVar("T")
_NULL = Raw(b"null")
_NOTHING = Packed(_NULL, None, 4)
_NO_OTHERS = (None,) * 5


class InputColumns(msgspec.Struct, frozen=True, omit_defaults=True):
    """The items of a command."""

    payload: list[Raw]
    target: str | list[str]
    type: str | list[str | None] | None = None
    trace_id: str | list[str | None] | None = None
    reply_to: str | list[str | None] | None = None
    meta: list[Raw] | None = None
    source_group: str | list[str | None] | None = None
    route_hop: int | list[int | None] | None = None
    steps: int | list[int] = 0


class OutputColumns(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outputs of a reply. `index` is the position of each one's input in the command."""

    index: list[int]
    payload: list[Raw]
    node: str | list[str | None] | None = None
    type: str | list[str | None] | None = None
    target: str | list[str | None] | None = None
    trace_id: str | list[str | None] | None = None
    reply_to: str | list[str | None] | None = None
    meta: list[Raw] | None = None
    steps: int | list[int] = 0
    status: TerminalStatus | list[TerminalStatus | None] | None = None
    event_error: str | list[str | None] | None = None
    event_failure: BoundaryFailure | list[BoundaryFailure | None] | None = None
    error: ItemFailure | list[ItemFailure | None] | None = None


def collapse(values: list[T]) -> Any:
    """One value when all are equal, else the list. No column holds lists, so that the two stay apart."""
    return values[0] if values and values.count(values[0]) == len(values) else values


def spread(column: Any, count: int) -> list[Any]:
    """The inverse: `count` values. A list of another length raises `ValueError`."""
    if not isinstance(column, list):
        return [column] * count
    if len(column) != count:
        raise ValueError("a column has another length than its frame")
    return column


def inputs_to_columns(items: Sequence[InputItem]) -> InputColumns:
    """The items of a command as columns."""
    if len(items) == 1:
        (item,) = items
        packed, meta = item.packed, item.meta
        return InputColumns(
            [packed.data],
            item.target,
            packed.tag,
            item.trace_id,
            item.reply_to,
            None if meta is None else [Raw(bytes(meta.data))],
            item.source_group,
            item.route_hop,
            item.steps,
        )
    return InputColumns(
        payload=[item.packed.data for item in items],
        target=collapse([item.target for item in items]),
        type=collapse([item.packed.tag for item in items]),
        trace_id=collapse([item.trace_id for item in items]),
        reply_to=collapse([item.reply_to for item in items]),
        meta=_collapse_meta([item.meta for item in items]),
        source_group=collapse([item.source_group for item in items]),
        route_hop=collapse([item.route_hop for item in items]),
        steps=collapse([item.steps for item in items]),
    )


def inputs_from_columns(columns: InputColumns) -> list[InputItem]:
    """The inverse; raises `ValueError` for columns that do not fit together."""
    count = len(columns.payload)
    return [
        InputItem(Packed(payload, tag, len(payload)), target, trace_id, reply_to, meta, source_group, route_hop, steps)
        for payload, target, tag, trace_id, reply_to, meta, source_group, route_hop, steps in zip(
            columns.payload,
            spread(columns.target, count),
            spread(columns.type, count),
            spread(columns.trace_id, count),
            spread(columns.reply_to, count),
            _spread_meta(columns.meta, count),
            spread(columns.source_group, count),
            spread(columns.route_hop, count),
            spread(columns.steps, count),
            strict=True,
        )
    ]


def outputs_to_columns(outputs: Sequence[Emission | ItemFailure]) -> OutputColumns | None:
    """Outputs and failed items of a reply as columns; None when there are none."""
    if not outputs:
        return None
    rows = [output if isinstance(output, Emission) else _empty(output) for output in outputs]
    return OutputColumns(
        index=[row.index for row in rows],
        payload=[row.packed.data for row in rows],
        node=collapse([row.node for row in rows]),
        type=collapse([row.packed.tag for row in rows]),
        target=collapse([row.target for row in rows]),
        trace_id=collapse([row.trace_id for row in rows]),
        reply_to=collapse([row.reply_to for row in rows]),
        meta=_collapse_meta([row.meta for row in rows]),
        steps=collapse([row.steps for row in rows]),
        status=collapse([row.status for row in rows]),
        event_error=collapse([row.error for row in rows]),
        event_failure=collapse([row.failure for row in rows]),
        error=collapse([output if isinstance(output, ItemFailure) else None for output in outputs]),
    )


def outputs_from_columns(columns: OutputColumns | None, *, terminal: bool) -> list[Emission | ItemFailure]:
    """The inverse; raises `ValueError` for columns that do not fit together."""
    if columns is None:
        return []
    count = len(columns.index)
    others = (columns.target, columns.trace_id, columns.reply_to, columns.meta, columns.status)
    if others == _NO_OTHERS and columns.event_error is columns.event_failure is columns.error is None:  # most outputs say no more
        return [
            Emission(index, node or "", Packed(payload, tag, len(payload)), terminal, None, None, None, None, steps)
            for index, payload, node, tag, steps in zip(
                columns.index,
                columns.payload,
                spread(columns.node, count),
                spread(columns.type, count),
                spread(columns.steps, count),
                strict=True,
            )
        ]
    rows: list[Emission | ItemFailure] = [
        Emission(index, node or "", Packed(payload, tag, len(payload)), terminal, target, trace_id, reply_to, meta, steps, status, error, ended)
        for index, payload, node, tag, target, trace_id, reply_to, meta, steps, status, error, ended in zip(
            columns.index,
            columns.payload,
            spread(columns.node, count),
            spread(columns.type, count),
            spread(columns.target, count),
            spread(columns.trace_id, count),
            spread(columns.reply_to, count),
            _spread_meta(columns.meta, count),
            spread(columns.steps, count),
            spread(columns.status, count),
            spread(columns.event_error, count),
            spread(columns.event_failure, count),
            strict=True,
        )
    ]
    if columns.error is None:
        return rows
    failures: list[ItemFailure | None] = spread(columns.error, count)
    return [row if failure is None else failure for row, failure in zip(rows, failures, strict=True)]


def _empty(failure: ItemFailure) -> Emission:
    return Emission(failure.index, failure.node or "", _NOTHING, terminal=True)


def _collapse_meta(values: list[Packed | None]) -> list[Raw] | None:
    # Compared as bytes: as values, {"a": 1} equals {"a": True}.
    encoded = [b"null" if value is None else bytes(value.data) for value in values]
    shared = collapse(encoded)
    if isinstance(shared, list):
        return [Raw(value) for value in encoded]
    return None if shared == b"null" else [Raw(shared)]


def _spread_meta(column: list[Raw] | None, count: int) -> list[Packed | None]:
    if column is None:
        return [None] * count
    shared = len(column) == 1
    if not shared and len(column) != count:
        raise ValueError("a column has another length than its frame")
    values = [bytes(value) for value in (column * count if shared else column)]
    return [None if value == b"null" else Packed(Raw(value), None, len(value)) for value in values]
