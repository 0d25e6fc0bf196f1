"""Columns lose nothing of the rows that they stand for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from stream_kernel.protocol.columns import (
    InputColumns,
    InputRows,
    OutputColumns,
    OutputRows,
    collapse,
    inputs_from_columns,
    inputs_to_columns,
    outputs_from_columns,
    outputs_to_columns,
    spread,
)
from stream_kernel.routing.envelope import BoundaryFailure
from stream_kernel.routing.items import Emission, InputItem, ItemFailure
from stream_kernel.routing.packed import Packed

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
OPTIONAL = st.none() | TEXT
COUNT = st.integers(min_value=0, max_value=5)


def packed(data: bytes, tag: str | None = None) -> Packed:
    return Packed(Raw(data), tag, len(data))


PAYLOADS = st.builds(packed, st.sampled_from([b"null", b"1", b'{"a":1}', b'{"a":true}', b'"\xc3\xa4"']), OPTIONAL)
METAS = st.none() | st.builds(packed, st.sampled_from([b'{"a":1}', b'{"a":true}', b"{}"]))
INPUTS = st.builds(
    InputItem,
    PAYLOADS,
    TEXT,
    trace_id=OPTIONAL,
    reply_to=OPTIONAL,
    meta=METAS,
    source_group=OPTIONAL,
    route_hop=st.none() | COUNT,
    steps=COUNT,
)
EMISSIONS = st.builds(
    Emission,
    COUNT,
    TEXT,
    PAYLOADS,
    st.just(True),
    target=OPTIONAL,
    trace_id=OPTIONAL,
    reply_to=OPTIONAL,
    meta=METAS,
    steps=COUNT,
    status=st.sampled_from([None, "success", "error", "cancelled", "timeout"]),
    error=OPTIONAL,
    failure=st.none() | st.builds(BoundaryFailure, st.just("input"), st.just("not_executed"), OPTIONAL, OPTIONAL, TEXT),
)
FAILURES = st.builds(
    ItemFailure,
    COUNT,
    st.sampled_from(["execution", "input", "transport", "timeout"]),
    TEXT,
    node=OPTIONAL,
    executed=st.booleans(),
    exception_type=OPTIONAL,
    detail=OPTIONAL,
)


def over_the_wire(columns: Any, kind: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(columns), type=kind)


def rows(items: Any) -> list[Any]:
    """Comparable, with bytes in place of raw values."""
    return [msgspec.to_builtins(item, enc_hook=bytes) for item in items]


@given(st.lists(INPUTS, max_size=6))
def test_any_inputs_come_back_from_their_columns(items: list[InputItem]) -> None:
    columns = over_the_wire(inputs_to_columns(items), InputColumns)
    assert rows(inputs_from_columns(columns)) == rows(items)


@given(st.lists(EMISSIONS | FAILURES, max_size=6))
def test_any_outputs_come_back_from_their_columns(outputs: list[Emission | ItemFailure]) -> None:
    columns = over_the_wire(outputs_to_columns(outputs), OutputColumns | None)
    back = outputs_from_columns(columns, terminal=True)
    assert [type(one) for one in back] == [type(one) for one in outputs]
    assert rows(back) == rows(outputs)


def test_where_outputs_go_is_said_by_the_list_that_they_come_in() -> None:
    columns = outputs_to_columns([Emission(0, "n", packed(b"1"), True)])
    (emission,) = outputs_from_columns(columns, terminal=False)
    assert isinstance(emission, Emission) and not emission.terminal


def test_what_all_items_share_is_said_once_and_nulls_are_left_out() -> None:
    items = [InputItem(packed(b"%d" % n), "score", trace_id=f"t{n}", meta=packed(b'{"k":1}')) for n in range(3)]
    assert msgspec.json.encode(inputs_to_columns(items)) == (
        b'{"payload":[0,1,2],"target":"score","trace_id":["t0","t1","t2"],"meta":[{"k":1}]}'
    )


def test_metas_that_are_equal_as_values_but_not_as_json_stay_apart() -> None:
    items = [InputItem(packed(b"1"), "n", meta=packed(b'{"a":1}')), InputItem(packed(b"1"), "n", meta=packed(b'{"a":true}'))]
    assert [bytes(item.meta.data) for item in inputs_from_columns(inputs_to_columns(items)) if item.meta] == [b'{"a":1}', b'{"a":true}']


def test_collapse_and_spread_are_inverse() -> None:
    assert collapse([1, 1]) == 1
    assert collapse([1, 2]) == [1, 2]
    assert collapse([]) == []
    assert spread(1, 3) == [1, 1, 1]
    column: int | list[int] = [1, 2]
    assert spread(column, 2) == [1, 2]


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize("column", ["target", "type", "trace_id", "reply_to", "source_group", "route_hop", "steps", "meta"])
@pytest.mark.parametrize("length", [0, 2, 4])
def test_an_input_column_of_another_length_is_refused(column: str, length: int) -> None:
    values: list[Any] = [Raw(b"{}") if column == "meta" else 1] * length
    columns = msgspec.structs.replace(InputColumns(payload=[Raw(b"1")] * 3, target="n"), **{column: values})
    with pytest.raises(ValueError, match="another length"):
        inputs_from_columns(columns)


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize(
    "column", ["node", "type", "target", "trace_id", "reply_to", "meta", "steps", "status", "event_error", "event_failure", "error"]
)
def test_an_output_column_of_another_length_is_refused(column: str) -> None:
    values: list[Any] = [Raw(b"{}") if column == "meta" else None] * 2
    columns = msgspec.structs.replace(OutputColumns(index=[0, 1, 2], payload=[Raw(b"1")] * 3), **{column: values})
    with pytest.raises(ValueError, match="another length"):
        outputs_from_columns(columns, terminal=True)


@pytest.mark.fault("FAULT-18")
def test_payloads_and_indexes_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        outputs_from_columns(OutputColumns(index=[0, 1], payload=[Raw(b"1")]), terminal=True)


def test_no_outputs_have_no_columns() -> None:
    assert outputs_to_columns([]) is None
    assert outputs_from_columns(None, terminal=True) == []


@pytest.mark.parametrize("column", ["payload", "node", "type", "target", "steps"])
def test_outputs_of_which_little_is_said_are_rows_when_they_are_asked_for(column: str) -> None:
    columns = OutputColumns(index=[0, 1], payload=[Raw(b"1"), Raw(b"2")], node=["a", "b"], type="m:X", target=["x", None], steps=1)
    rows = OutputRows(columns, terminal=True)
    assert len(rows) == 2 and [*rows] == outputs_from_columns(columns, terminal=True)
    assert [(row.node, row.packed.tag, row.target, row.steps) for row in rows] == [("a", "m:X", "x", 1), ("b", "m:X", None, 1)]
    with pytest.raises(ValueError, match="another length"):
        OutputRows(msgspec.structs.replace(columns, **{column: [Raw(b"1")] * 3}), terminal=True)


def test_a_single_output_is_read_whether_its_columns_are_values_or_lists() -> None:
    shared = OutputColumns(index=[0], payload=[Raw(b"1")], node="a", type="m:X", target="x", steps=2)
    listed = OutputColumns(index=[0], payload=[Raw(b"1")], node=["a"], type=["m:X"], target=["x"], steps=[2])
    (output,) = outputs_from_columns(shared, terminal=True)
    assert isinstance(output, Emission) and (output.node, output.packed.tag, output.target, output.steps) == ("a", "m:X", "x", 2)
    assert outputs_from_columns(shared, terminal=True) == outputs_from_columns(listed, terminal=True)


def test_items_that_are_columns_are_rows_when_they_are_asked_for() -> None:
    items = [InputItem(Packed(Raw(b"1"), None, 1), "n", "t1"), InputItem(Packed(Raw(b"2"), None, 1), "n", "t2")]
    columns = inputs_to_columns(items)
    rows = InputRows(columns)
    assert len(rows) == 2 and [*rows] == items
    assert inputs_to_columns(rows) is columns
