"""Payloads travel as plain JSON or with the tag of a registered class, and nothing is imported by a name from the wire."""

from __future__ import annotations

import dataclasses
import json
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from stream_kernel.errors import PayloadError, WorkerBootstrapError
from stream_kernel.protocol.codec import Codec
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.tags import type_tag


@dataclasses.dataclass
class Attempt:
    n: int
    amount: Decimal = Decimal(0)


@dataclasses.dataclass
class Elsewhere:
    """A class that another process's nodes declare."""

    n: int = 1


@dataclasses.dataclass
class Unsendable:
    n: object


TAG = type_tag(Attempt)
LIMIT = 1 << 16


@pytest.fixture
def codec() -> Codec:
    return Codec([Attempt], max_bytes=LIMIT)


def test_a_plain_payload_has_no_tag(codec: Codec) -> None:
    packed = codec.pack({"n": 1})
    assert (bytes(packed.data), packed.tag, packed.size) == (b'{"n":1}', None, 7)
    assert codec.unpack(packed) == codec.plain(packed) == {"n": 1}


def test_an_instance_of_a_registered_class_travels_with_its_tag(codec: Codec) -> None:
    packed = codec.pack(Attempt(1, Decimal("1.10")))
    assert packed.tag == TAG and packed.size == len(bytes(packed.data))
    assert codec.unpack(packed) == Attempt(1, Decimal("1.10"))
    assert codec.plain(packed) == {"n": 1, "amount": "1.10"}
    assert codec.knows(TAG) and not codec.knows("m:Other") and not codec.knows(None)


def test_registering_a_class_twice_changes_nothing(codec: Codec) -> None:
    codec.register(Attempt)
    assert codec.unpack(codec.pack(Attempt(2))) == Attempt(2)


def test_a_plain_payload_becomes_an_instance_where_a_class_is_wanted(codec: Codec) -> None:
    assert codec.unpack(codec.pack({"n": 1, "amount": "2.50"}), TAG) == Attempt(1, Decimal("2.50"))
    with pytest.raises(PayloadError, match="Expected `int`, got `str`"):
        codec.unpack(codec.pack({"n": "1"}), TAG)


def test_an_instance_of_no_registered_class_is_refused(codec: Codec) -> None:
    for payload in (Elsewhere(), Attempt, object(), (1,)):
        with pytest.raises(PayloadError):
            codec.pack(payload)
    assert codec.tag_of(Attempt(1)) == TAG and codec.tag_of([]) is None


def test_a_class_that_others_declared_is_encoded_but_never_decoded() -> None:
    codec = Codec([], tags=[type_tag(Elsewhere)], max_bytes=LIMIT)
    packed = codec.pack(Elsewhere(7))
    assert packed.tag == type_tag(Elsewhere) and codec.plain(packed) == {"n": 7}
    assert codec.pack(Elsewhere(8)).tag == packed.tag
    with pytest.raises(PayloadError, match="which no node here declares"):
        codec.unpack(packed)
    with pytest.raises(PayloadError, match="is of type"):
        codec.pack(Attempt(1))


def test_a_declared_class_that_cannot_cross_is_refused_as_a_payload() -> None:
    codec = Codec([], tags=[type_tag(Unsendable)], max_bytes=LIMIT)
    with pytest.raises(PayloadError, match=r"Unsendable\.n: values of type object cannot cross") as caught:
        codec.pack(Unsendable(1))
    assert caught.value.__context__ is None


@pytest.mark.fault("FAULT-35")
@pytest.mark.parametrize("tag", ["antigravity:fly", "this:x", "os:system", "nonsense", "", ":", f"{TAG}.__init__"])
def test_a_tag_outside_the_registry_is_refused_and_nothing_is_imported(codec: Codec, tag: str) -> None:
    before = set(sys.modules)
    with pytest.raises(PayloadError, match="which no node here declares"):
        codec.unpack(Packed(Raw(b"{}"), tag, 2))
    assert set(sys.modules) == before
    assert "antigravity" not in sys.modules and "this" not in sys.modules


@pytest.mark.fault("FAULT-20")
def test_a_payload_of_exactly_the_limit_passes_and_one_byte_more_is_refused() -> None:
    codec = Codec([Attempt], max_bytes=100)
    assert codec.pack("x" * 98).size == 100
    with pytest.raises(PayloadError, match=r"is 101 bytes encoded, over execution_ipc.max_frame_bytes = 100"):
        codec.pack("x" * 99)
    with pytest.raises(PayloadError, match="over execution_ipc"):
        codec.pack(Attempt(1, Decimal("1" * 100)))


def test_the_codec_of_nodes_names_the_node_whose_class_cannot_cross() -> None:
    codec = Codec.of_nodes("g", {"score": [Attempt, Elsewhere], "plain": []}, max_bytes=LIMIT)
    assert codec.knows(TAG) and codec.knows(type_tag(Elsewhere))
    with pytest.raises(WorkerBootstrapError, match=r"group 'g': node 'bad': Unsendable\.n: values of type object") as caught:
        Codec.of_nodes("g", {"score": [Attempt], "bad": [Unsendable]}, max_bytes=LIMIT)
    assert caught.value.group == "g"


KEYS = st.sampled_from(["n", "amount", "x"]) | st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["n", "amount", "x"]) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.fault("FAULT-19")
@given(JSON, st.sampled_from([None, TAG]), st.sampled_from([None, TAG, "m:Other"]))
def test_arbitrary_json_is_a_payload_or_the_one_error(value: Any, wanted: str | None, tag: str | None) -> None:
    codec = Codec([Attempt], max_bytes=LIMIT)
    try:
        payload = codec.unpack(Packed(Raw(json.dumps(value).encode()), tag, 1), wanted)
    except PayloadError:
        return
    if TAG in (wanted, tag):
        assert type(payload) is Attempt
    else:
        assert payload == value
