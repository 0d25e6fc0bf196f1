"""The shape of a frame's items: columns with defaults.

A column is one value where all items agree (their target, most of the time), a list where they differ, and left out where it is
null for all. For 1,000 small records that takes a third of the bytes and little more than three quarters of the time of rows; a frame of
one or of ten costs 3 µs more (tests/benchmarks/frame_shape.py, see docs/protocol.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from stream_kernel.routing.envelope import BoundaryFailure, TerminalStatus
from stream_kernel.routing.items import Emission, InputItem, ItemFailure, Way
from stream_kernel.routing.packed import Packed

__all__ = [
    "InputColumns",
    "InputRows",
    "OutputColumns",
    "OutputRows",
    "OutputTable",
    "are_plain",
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
_NO_OTHERS = (None,) * 4


class InputColumns(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
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


class OutputColumns(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
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


def _each(column: Any, count: int) -> Iterable[Any]:
    """The same to go through beside a column of `count`, without a list of what all share."""
    return spread(column, count) if isinstance(column, list) else repeat(column)


def inputs_to_columns(items: Sequence[InputItem]) -> InputColumns:
    """The items of a command as columns."""
    if isinstance(items, InputRows):
        return items.columns
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
    payloads = columns.payload
    count = len(payloads)
    meta = None if columns.meta is None else _spread_meta(columns.meta, count)
    return [
        InputItem(Packed(payload, tag, len(payload)), target, trace_id, reply_to, meta, source_group, route_hop, steps)
        for payload, target, tag, trace_id, reply_to, meta, source_group, route_hop, steps in zip(
            payloads,
            _each(columns.target, count),
            _each(columns.type, count),
            _each(columns.trace_id, count),
            _each(columns.reply_to, count),
            _each(meta, count),
            _each(columns.source_group, count),
            _each(columns.route_hop, count),
            _each(columns.steps, count),
            strict=False,  # the shared ones have no end
        )
    ]


def outputs_to_columns(outputs: Iterable[Emission | ItemFailure]) -> OutputColumns | None:
    """Outputs and failed items of a reply as columns; None when there are none."""
    table = OutputTable()
    for output in outputs:
        table.add(output)
    return table.columns()


class OutputTable:
    """Outputs and failed items, one after the other, as the columns of a reply. A column that is null for all is never made."""

    def __init__(self) -> None:
        self._index: list[int] = []
        self._payload: list[Raw] = []
        self._ways: list[Way] = []
        self._last: Way | None = None
        self._steps: list[int] = []
        self._others: dict[str, list[Any]] = {}

    def add_plain(self, index: int, packed: Packed, way: Way, steps: int) -> None:
        """Add an output that has nothing but a payload of its own."""
        self._index.append(index)
        self._payload.append(packed.data)
        self._ways.append(way)
        self._steps.append(steps)
        if self._others:
            for column in self._others.values():
                column.append(None)

    def add(self, output: Emission | ItemFailure) -> None:
        """Add an output or a failed item."""
        if isinstance(output, ItemFailure):
            self.add_plain(output.index, _NOTHING, self._way(output.node or "", None, None, terminal=True), 0)
            self._set("error", output)
            return
        way = self._way(output.node, output.packed.tag, output.target, terminal=output.terminal)
        self.add_plain(output.index, output.packed, way, output.steps)
        if output.trace_id is not None:
            self._set("trace_id", output.trace_id)
        if output.reply_to is not None:
            self._set("reply_to", output.reply_to)
        if output.meta is not None:
            self._set("meta", output.meta)
        if output.status is not None:
            self._set("status", output.status)
        if output.error is not None:
            self._set("event_error", output.error)
        if output.failure is not None:
            self._set("event_failure", output.failure)

    def columns(self) -> OutputColumns | None:
        """The columns, or None when there is nothing in them."""
        if not self._index:
            return None
        meta = self._others.pop("meta", None)
        ways = collapse(self._ways)
        nodes, types, targets = _told_of(ways) if isinstance(ways, list) else (ways.node, ways.tag, ways.target)
        return OutputColumns(
            index=self._index,
            payload=self._payload,
            node=nodes,
            type=types,
            target=targets,
            steps=collapse(self._steps),
            meta=None if meta is None else _collapse_meta(meta),
            **{name: collapse(values) for name, values in self._others.items()},
        )

    def _way(self, node: str, tag: str | None, target: str | None, *, terminal: bool) -> Way:
        """That of the last row, where this one comes the same way."""
        last = self._last
        if last is None or last.node != node or last.tag != tag or last.target != target:
            last = self._last = Way(node, tag, terminal, target)
        return last

    def _set(self, name: str, value: object) -> None:
        """Give the last row a value in a column that most rows have none in."""
        column = self._others.get(name)
        if column is None:
            column = self._others[name] = [None] * len(self._index)
        column[-1] = value


def _told_of(ways: list[Way]) -> tuple[Any, Any, Any]:
    return collapse([way.node for way in ways]), collapse([way.tag for way in ways]), collapse([way.target for way in ways])


class InputRows(Sequence[InputItem]):
    """The items of a command that are columns already; rows are made of them when one is asked for."""

    def __init__(self, columns: InputColumns) -> None:
        self.columns = columns
        self._rows: list[InputItem] | None = None

    def __len__(self) -> int:
        return len(self.columns.payload)

    def __getitem__(self, place: Any) -> Any:
        if self._rows is None:
            self._rows = inputs_from_columns(self.columns)
        return self._rows[place]


class OutputRows(Sequence[Emission]):
    """The outputs of one reply of which no more is said than what they are and where they go; rows are made of them when one is asked for.

    Raises `ValueError` for columns that do not fit together.
    """

    def __init__(self, columns: OutputColumns, *, terminal: bool) -> None:
        self.columns = columns
        self.terminal = terminal
        self._rows: list[Emission] | None = None
        count = len(columns.index)
        for column in (columns.payload, columns.node, columns.type, columns.target, columns.steps):
            if isinstance(column, list) and len(column) != count:
                raise ValueError("a column has another length than its frame")

    def __len__(self) -> int:
        return len(self.columns.index)

    def __getitem__(self, place: Any) -> Any:
        if self._rows is None:
            self._rows = _plain_rows(self.columns, self.terminal)
        return self._rows[place]


def are_plain(columns: OutputColumns) -> bool:
    """Whether no more is said of these outputs than what they are and where they go, as of most."""
    others = (columns.trace_id, columns.reply_to, columns.meta, columns.status)
    return others == _NO_OTHERS and columns.event_error is columns.event_failure is columns.error is None


def outputs_from_columns(columns: OutputColumns | None, *, terminal: bool) -> list[Emission | ItemFailure]:
    """The inverse; raises `ValueError` for columns that do not fit together."""
    if columns is None:
        return []
    if are_plain(columns):
        return [*_plain_rows(columns, terminal)]
    count = len(columns.index)
    rows: list[Emission | ItemFailure] = [
        Emission(
            index, node or "", Packed(payload, tag, len(payload)), terminal, target, trace_id, reply_to, meta, steps, status, error, ended
        )
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


def _only(column: Any) -> Any:
    """The one value of a column of one."""
    if not isinstance(column, list):
        return column
    (value,) = column
    return value


def _plain_rows(columns: OutputColumns, terminal: bool) -> list[Emission]:
    count = len(columns.index)
    if count == 1 == len(columns.payload):
        node, tag, target, steps = _only(columns.node), _only(columns.type), _only(columns.target), _only(columns.steps)
        (payload,) = columns.payload
        return [Emission(columns.index[0], node or "", Packed(payload, tag, len(payload)), terminal, target, None, None, None, steps)]
    return [
        Emission(index, node or "", Packed(payload, tag, len(payload)), terminal, target, None, None, None, steps)
        for index, payload, node, tag, target, steps in zip(
            columns.index,
            columns.payload,
            spread(columns.node, count),
            spread(columns.type, count),
            spread(columns.target, count),
            spread(columns.steps, count),
            strict=True,
        )
    ]


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
