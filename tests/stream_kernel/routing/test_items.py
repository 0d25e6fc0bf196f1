"""The size of an item is never less than what it takes on the wire."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from stream_kernel.protocol.columns import inputs_to_columns, outputs_to_columns
from stream_kernel.routing.envelope import BoundaryFailure
from stream_kernel.routing.items import Emission, InputItem, ItemFailure, Way
from stream_kernel.routing.packed import Packed

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.just("\x00" * 8)
OPTIONAL = st.none() | TEXT
PAYLOADS = st.builds(lambda text, tag: Packed(Raw(data := msgspec.json.encode(text)), tag, len(data)), TEXT, OPTIONAL)
METAS = st.none() | st.builds(lambda text: Packed(Raw(data := msgspec.json.encode({"k": text})), None, len(data)), TEXT)
FRAME = 400
"""The names of the columns, once a frame."""


@given(st.lists(st.builds(InputItem, PAYLOADS, TEXT, OPTIONAL, OPTIONAL, METAS, OPTIONAL, st.none() | st.just(3), st.just(64)), max_size=6))
def test_inputs_take_at_most_their_sizes(items: list[InputItem]) -> None:
    encoded = msgspec.json.encode(inputs_to_columns(items))
    assert len(encoded) <= FRAME + sum(item.packed.size + item.header_size for item in items)


EMISSIONS = st.builds(
    Emission,
    st.just(100_000),
    TEXT,
    PAYLOADS,
    st.just(True),
    target=OPTIONAL,
    trace_id=OPTIONAL,
    reply_to=OPTIONAL,
    meta=METAS,
    steps=st.just(64),
    status=st.sampled_from([None, "cancelled"]),
    error=OPTIONAL,
    failure=st.none() | st.builds(BoundaryFailure, st.just("transport"), st.just("maybe_executed"), OPTIONAL, OPTIONAL, TEXT),
)
FAILURES = st.builds(ItemFailure, st.just(100_000), st.just("execution"), TEXT, OPTIONAL, st.booleans(), OPTIONAL, OPTIONAL)


@given(st.lists(EMISSIONS | FAILURES, max_size=6))
def test_outputs_take_at_most_their_sizes(outputs: list[Emission | ItemFailure]) -> None:
    encoded = msgspec.json.encode(outputs_to_columns(outputs))
    assert len(encoded) <= FRAME + sum(output.size for output in outputs)


@given(EMISSIONS)
def test_an_output_that_inherits_everything_has_the_size_of_its_payload_and_its_way(output: Emission) -> None:
    alone = Emission(output.index, output.node, output.packed, output.terminal, output.target)
    assert alone.size == output.packed.size + Way(output.node, output.packed.tag, output.terminal, output.target).size
