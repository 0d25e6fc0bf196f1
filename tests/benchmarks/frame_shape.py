"""Rows or columns: what the items of a frame cost in either shape, encoded, decoded and made into items again.

    python tests/benchmarks/frame_shape.py

Per record, in microseconds, the best of many interleaved rounds; and the size of the frame.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

import msgspec
from msgspec import Raw

from stream_kernel.protocol.columns import InputColumns, inputs_from_columns, inputs_to_columns
from stream_kernel.protocol.plain import encode_plain
from stream_kernel.routing.items import InputItem
from stream_kernel.routing.packed import Packed

ROUNDS = 40


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item as an object of its own."""

    payload: Raw
    target: str
    type: str | None = None
    trace_id: str | None = None
    reply_to: str | None = None
    meta: Raw | None = None
    source_group: str | None = None
    route_hop: int | None = None
    steps: int = 0


ENCODER = msgspec.json.Encoder()
ROWS = msgspec.json.Decoder(list[Row])
COLUMNS = msgspec.json.Decoder(InputColumns)


def items(count: int) -> list[InputItem]:
    """Small records to one node of another group, each with a trace of its own."""
    found = []
    for n in range(count):
        data = encode_plain({"id": n, "customer_id": f"c-{n}", "amount": 12.5, "accepted": True})
        found.append(InputItem(Packed(Raw(data), None, len(data)), "score", f"trace-{n}", source_group="execution.ingress", route_hop=1))
    return found


def encode_rows(given: list[InputItem]) -> bytes:
    return ENCODER.encode(
        [
            Row(
                item.packed.data,
                item.target,
                item.packed.tag,
                item.trace_id,
                item.reply_to,
                None if item.meta is None else item.meta.data,
                item.source_group,
                item.route_hop,
                item.steps,
            )
            for item in given
        ]
    )


def decode_rows(frame: bytes) -> list[InputItem]:
    return [
        InputItem(
            Packed(row.payload, row.type, len(bytes(row.payload))),
            row.target,
            row.trace_id,
            row.reply_to,
            None if row.meta is None else Packed(row.meta),
            row.source_group,
            row.route_hop,
            row.steps,
        )
        for row in ROWS.decode(frame)
    ]


def encode_columns(given: list[InputItem]) -> bytes:
    return ENCODER.encode(inputs_to_columns(given))


def decode_columns(frame: bytes) -> list[InputItem]:
    return inputs_from_columns(COLUMNS.decode(frame))


def main() -> None:
    print("| records in the frame | rows, µs a record | columns, µs a record | rows, bytes | columns, bytes |")
    print("|---:|---:|---:|---:|---:|")
    for count in (1, 10, 100, 1000):
        given = items(count)
        as_rows, as_columns = encode_rows(given), encode_columns(given)
        assert [item.trace_id for item in decode_rows(as_rows)] == [item.trace_id for item in decode_columns(as_columns)]
        repeat = max(1, 2000 // count)
        ways: dict[str, Callable[[], object]] = {
            "rows": lambda given=given: decode_rows(encode_rows(given)),  # type: ignore[misc]
            "columns": lambda given=given: decode_columns(encode_columns(given)),  # type: ignore[misc]
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(ROUNDS):
            for name, way in ways.items():
                best[name] = min(best[name], timeit.timeit(way, number=repeat) / repeat / count)
        print(f"| {count} | {best['rows'] * 1e6:.2f} | {best['columns'] * 1e6:.2f} | {len(as_rows)} | {len(as_columns)} |")


if __name__ == "__main__":
    main()
