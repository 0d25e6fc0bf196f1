"""Rows or columns: what the items of a command and of its reply cost in either shape, from the inputs of a call to its outputs.

    python tests/benchmarks/frame_shape.py

Columns go the way of the engine and the worker: several inputs side by side (`engine/bulk.py`), a single one as an item. Rows go the
shortest way that there would be. What costs the same in either shape is left out: payloads are encoded beforehand and not decoded, inputs
not checked. Per record, in microseconds, the best of many interleaved rounds; and the bytes of both frames.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any, cast

import msgspec
from bench_payloads import attempts, records
from msgspec import Raw

from stream_kernel import BoundaryDispatchInput
from stream_kernel.engine.base import PayloadCodec
from stream_kernel.engine.bulk import Bulk
from stream_kernel.engine.settlement import Finished
from stream_kernel.protocol.columns import (
    InputColumns,
    InputRows,
    OutputColumns,
    OutputRows,
    OutputTable,
    collapse,
    inputs_from_columns,
    inputs_to_columns,
    outputs_from_columns,
)
from stream_kernel.protocol.plain import encode_plain
from stream_kernel.routing.envelope import Envelope
from stream_kernel.routing.items import Emission, InputItem, Way
from stream_kernel.routing.packed import Packed

ROUNDS = 40
GROUP, NODE = "execution.cpu", "score"
WAY = Way(NODE, None, terminal=True)
Inputs = list[BoundaryDispatchInput]


class InputRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An item of a command as an object of its own."""

    payload: Raw
    target: str
    type: str | None = None
    trace_id: str | None = None
    reply_to: str | None = None
    meta: Raw | None = None
    source_group: str | None = None
    route_hop: int | None = None
    steps: int = 0


class OutputRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An output of a reply as an object of its own, with what plain ones have."""

    index: int
    payload: Raw
    node: str | None = None
    type: str | None = None
    steps: int = 0


class Encoded:
    """A codec for payloads that stay encoded."""

    def unpack_all(self, payloads: list[Raw], tag: str | None) -> list[Any]:
        return payloads


CODEC = cast(PayloadCodec, Encoded())
ENCODER = msgspec.json.Encoder()
INPUT_ROWS, OUTPUT_ROWS = msgspec.json.Decoder(list[InputRow]), msgspec.json.Decoder(list[OutputRow])
INPUT_COLUMNS, OUTPUT_COLUMNS = msgspec.json.Decoder(InputColumns), msgspec.json.Decoder(OutputColumns)


def inputs(payloads: list[Any]) -> Inputs:
    """Each with a trace of its own, from another group."""
    return [
        BoundaryDispatchInput(Raw(encode_plain(payload)), GROUP, NODE, f"trace-{n}", source_group="execution.ingress", route_hop=1)
        for n, payload in enumerate(payloads)
    ]


def item_of(one: BoundaryDispatchInput) -> InputItem:
    packed = Packed(one.payload, None, len(one.payload))
    return InputItem(packed, NODE, one.trace_id, one.reply_to, None, one.source_group, one.route_hop)


def bulk_of(given: Inputs) -> Bulk:
    """As the engine makes one, without its checks."""
    texts = [[one.trace_id for one in given], [one.reply_to for one in given], [one.source_group for one in given]]
    trace_id, reply_to, source_group = map(collapse, texts)
    columns = InputColumns(
        payload=[one.payload for one in given],
        target=NODE,
        trace_id=trace_id,
        reply_to=reply_to,
        source_group=source_group,
        route_hop=collapse([one.route_hop for one in given]),
    )
    return Bulk(GROUP, columns, 0, 0)


def by_columns(given: Inputs, note: Callable[[bytes], object]) -> list[Any]:
    """Several as one bulk, one as an item; the worker makes no difference."""
    bulk = bulk_of(given) if len(given) > 1 else None
    command = ENCODER.encode(inputs_to_columns(InputRows(bulk.columns) if bulk else [item_of(one) for one in given]))
    note(command)

    table = OutputTable()
    for index, item in enumerate(inputs_from_columns(INPUT_COLUMNS.decode(command))):
        table.add_plain(index, item.packed, WAY, 1)
    reply = ENCODER.encode(table.columns())
    note(reply)

    found = OUTPUT_COLUMNS.decode(reply)
    if bulk:
        plain = bulk.outputs(OutputRows(found, terminal=True))
        assert plain is not None
        return plain.finish(CODEC) or []
    outputs = cast(list[Emission], outputs_from_columns(found, terminal=True))
    return [
        Finished(
            output.index, Envelope(output.packed.data, one.trace_id, None, one.reply_to, {}, output.packed.tag), None, GROUP, output.node
        )
        for output, one in zip(outputs, given, strict=True)
    ]


def by_rows(given: Inputs, note: Callable[[bytes], object]) -> list[Any]:
    """A row for each input, and for each output."""
    command = ENCODER.encode(
        [InputRow(one.payload, NODE, None, one.trace_id, one.reply_to, None, one.source_group, one.route_hop) for one in given]
    )
    note(command)

    items = [
        InputItem(
            Packed(row.payload, row.type, len(row.payload)),
            row.target,
            row.trace_id,
            row.reply_to,
            None if row.meta is None else Packed(row.meta),
            row.source_group,
            row.route_hop,
            row.steps,
        )
        for row in INPUT_ROWS.decode(command)
    ]
    reply = ENCODER.encode([OutputRow(index, item.packed.data, NODE, item.packed.tag, 1) for index, item in enumerate(items)])
    note(reply)

    return [
        Finished(row.index, Envelope(row.payload, one.trace_id, None, one.reply_to, {}, row.type), None, GROUP, row.node)
        for one, row in zip(given, OUTPUT_ROWS.decode(reply), strict=True)
    ]


SHAPES = {"rows": by_rows, "columns": by_columns}


def forget(frame: bytes) -> None:
    """A frame whose size nobody asks for."""


def main() -> None:
    print("| record | records in the frame | rows, µs a record | columns, µs a record | rows, bytes | columns, bytes |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, fresh in (("small", records), ("of 8 fields", attempts)):
        for count in (1, 10, 100, 1000):
            given = inputs(fresh(count))
            frames: dict[str, list[bytes]] = {way: [] for way in SHAPES}
            answers = [
                [(bytes(one.envelope.payload), one.envelope.trace_id) for one in SHAPES[way](given, frames[way].append)] for way in SHAPES
            ]
            assert answers[0] == answers[1] == [(bytes(one.payload), one.trace_id) for one in given]
            repeat = max(1, 2000 // count)
            best = dict.fromkeys(SHAPES, float("inf"))
            for _ in range(ROUNDS):
                for way, run in SHAPES.items():
                    best[way] = min(
                        best[way], timeit.timeit(lambda run=run, given=given: run(given, forget), number=repeat) / repeat / count
                    )
            rows, columns = (sum(map(len, frames[way])) for way in SHAPES)
            print(f"| {name} | {count:,} | {best['rows'] * 1e6:.2f} | {best['columns'] * 1e6:.2f} | {rows:,} | {columns:,} |")


if __name__ == "__main__":
    main()
