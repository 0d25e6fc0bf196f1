"""Plain JSON goes as it is or not at all."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import gc
import os
import sys
import uuid
from collections import OrderedDict
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naming import named
from stream_kernel.errors import PayloadError
from stream_kernel.protocol.plain import LARGE_DATA_PAGE, decode_plain, encode_plain, encode_plain_all

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(1 << 63), max_value=(1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5),
    max_leaves=20,
)


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    left: int
    right: int


@dataclasses.dataclass
class Record:
    n: int = 1


class Foreign:
    """An array of another library, which need not be installed for this."""


Foreign.__module__ = "numpy"
Foreign.__qualname__ = "ndarray"

REFUSED: list[tuple[Any, str]] = [
    (float("nan"), "is NaN or infinite"),
    (float("inf"), "is NaN or infinite"),
    (float("-inf"), "is NaN or infinite"),
    (1 << 64, "is an integer beyond 64 bit"),
    (-(1 << 63) - 1, "is an integer beyond 64 bit"),
    (10**30, "is an integer beyond 64 bit"),
    ({1}, "is of type set"),
    (frozenset(), "is of type frozenset"),
    ((1, 2), "is a tuple, which JSON would turn into a list"),
    ((), "is a tuple"),
    (b"x", "is of type bytes"),
    ("\ud800", "lone surrogates"),
    (Text("x"), "is of type"),
    (Number(1), "is of type"),
    (Colour.RED, "is of type"),
    (Level.LOW, "is of type"),
    (Pair(1, 2), "is of type"),
    (OrderedDict(a=1), "is of type collections.OrderedDict"),
    (Record(), "is of type"),
    (datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "is of type datetime.datetime"),
    (datetime.date(2020, 1, 1), "is of type datetime.date"),
    (decimal.Decimal(1), "is of type decimal.Decimal"),
    (uuid.UUID(int=0), "is of type uuid.UUID"),
    (object(), "is of type object"),
    (1j, "is of type complex"),
    (Foreign(), f"is a numpy.ndarray; {LARGE_DATA_PAGE}"),
    ({1: 2}, "a key is of type int; JSON keys are strings"),
    ({None: 2}, "a key is of type NoneType"),
    ({Text("x"): 2}, "a key is of type"),
    ({Colour.RED: 2}, "a key is of type"),
    ({(1,): 2}, "a key is of type tuple"),
    ({"\ud800": 2}, "a key is a string with lone surrogates"),
]


def same(one: Any, other: Any) -> bool:
    """Equal in type and value all the way down; -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


def nested(depth: int, core: Any = 1) -> Any:
    for level in range(depth):
        core = [core] if level % 2 else {"k": core}
    return core


@pytest.mark.fault("FAULT-19")
@given(PLAIN)
def test_any_accepted_value_comes_back_exactly(value: Any) -> None:
    assert same(decode_plain(encode_plain(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        1.0,
        1e22,
        5e-324,
        1.7976931348623157e308,
        (1 << 64) - 1,
        -(1 << 63),
        "\x00\r\n\u2028\x7f\U0001f600",
        "null",
        [None, 1.5],
        {"": ""},
        True,
    ],
)
def test_values_at_the_edges_come_back_exactly(value: Any) -> None:
    assert same(decode_plain(encode_plain(value)), value)


@pytest.mark.fault("FAULT-19")
@pytest.mark.parametrize(("value", "reason"), REFUSED, ids=lambda value: named(value)[:40])
@pytest.mark.parametrize(
    ("around", "path"),
    [
        (lambda value: value, ""),
        (lambda value: [1, None, value], "[2]"),
        (lambda value: {"a": [{"b c": value}]}, ".a[0].b c"),
        (lambda value: nested(100, [value]), None),
        (lambda value: [["x" * 2000, None, 1.5], {"a": [{"b c": value}]}], "[1].a[0].b c"),
        (lambda value: [["x" * 2000, 1.5], value], "[1]"),
    ],
    ids=["bare", "listed", "deep", "deeper", "in a large value", "beside a long text"],
)
def test_what_json_would_change_is_refused_with_its_path(value: Any, reason: str, around: Any, path: str | None) -> None:
    with pytest.raises(PayloadError) as caught:
        encode_plain(around(value))
    assert caught.value.reason.startswith(reason) or reason in caught.value.reason
    if path is not None:
        assert caught.value.path == path
        assert str(caught.value) == f"at ${path}: {caught.value.reason}"


@given(
    st.recursive(
        st.sampled_from([value for value, _ in REFUSED]) | LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=3) | st.integers() | st.none(), inner, max_size=3)
            | st.tuples(inner, inner)
        ),
        max_leaves=8,
    )
)
@pytest.mark.fault("FAULT-19")
def test_an_arbitrary_object_is_carried_exactly_or_refused(value: Any) -> None:
    try:
        data = encode_plain(value)
    except PayloadError:
        return
    assert same(decode_plain(data), value)


@pytest.mark.fault("FAULT-19")
def test_the_deepest_value_passes_and_one_level_more_is_refused() -> None:
    deepest = nested(254)
    assert same(decode_plain(encode_plain(deepest)), deepest)
    for too_deep in (nested(255), nested(10_000)):
        with pytest.raises(PayloadError, match="nested deeper than 254 levels"):
            encode_plain(too_deep)


def test_a_value_that_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(PayloadError, match="nested deeper"):
        encode_plain(ring)


def test_a_caller_deep_in_his_own_stack_is_served_and_refused_as_ever() -> None:
    deepest, spoiled = nested(254), nested(253, {1})

    def descend(levels: int, value: Any) -> bytes:
        return descend(levels - 1, value) if levels else encode_plain(value)

    levels = sys.getrecursionlimit() - len(_frames()) - 100
    assert descend(levels, deepest) == encode_plain(deepest)
    with pytest.raises(PayloadError, match="too deeply for the stack that is left"):
        descend(levels, spoiled)


@pytest.mark.parametrize("width", [1, 11, 12, 13, 200])
@pytest.mark.parametrize("with_null", [False, True])
def test_one_value_among_many_is_found(width: int, with_null: bool) -> None:
    others: list[Any] = [1, "a", True, 1.5, {}, [], None if with_null else 2][:width]
    others += [1.5] * (width - len(others))
    for place in (0, width):
        assert decode_plain(encode_plain([*others[:place], {"a": others}, *others[place:]]))
        for wrong in ((), float("nan"), Level.LOW):
            with pytest.raises(PayloadError) as caught:
                encode_plain([*others[:place], [wrong], *others[place:]])
            assert caught.value.path == f"[{place}][0]"


def test_large_floats_beside_a_null_are_no_infinity_though_their_sum_is() -> None:
    value = [1.7e308] * 400 + [None]
    assert same(decode_plain(encode_plain(value)), value)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="what a process holds is told under /proc")
def test_who_keeps_many_small_results_keeps_no_more_than_those() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    kept = [encode_plain({"n": number}) for number in range(20_000)]
    assert (resident() - before) / len(kept) < 1000


@pytest.mark.parametrize("wrong", [{1: 2}, (), float("nan"), "\ud800", 1 << 64], ids=repr)
def test_of_values_that_go_together_none_is_encoded_when_one_is_refused(wrong: Any) -> None:
    assert [bytes(one) for one in encode_plain_all([1, "a", [None]]) or []] == [b"1", b'"a"', b"[null]"]
    assert encode_plain_all([1, wrong]) is None


def _frames() -> list[Any]:
    frames = []
    frame = sys._getframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return frames


def test_a_long_path_is_shortened_in_the_text_only() -> None:
    with pytest.raises(PayloadError) as caught:
        encode_plain(nested(200, {1}))
    assert len(caught.value.path) > 120
    assert len(str(caught.value)) < 220 and " … " in str(caught.value)


@pytest.mark.fault("FAULT-19")
@given(st.binary(max_size=60) | PLAIN.map(encode_plain))
def test_arbitrary_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        value = decode_plain(data)
    except PayloadError:
        return
    assert isinstance(value, (dict, list, str, int, float, bool, type(None)))


@pytest.mark.fault("FAULT-19")
@pytest.mark.parametrize(
    "data",
    [b"", b"NaN", b"Infinity", b"1e999", b'"\\ud800"', b'"\xff"', b"[1,]", b"01", b"\xef\xbb\xbf1", b"1 2", b"[" * 1_000_000],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(PayloadError, match="is not JSON that can be read back") as caught:
        decode_plain(data)
    assert caught.value.__context__ is None


def test_a_large_value_is_decoded_without_a_collection_meanwhile() -> None:
    data = encode_plain([[number] for number in range(20_000)])
    collections: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        collections.append(phase)

    gc.callbacks.append(note)
    try:
        value = decode_plain(data)
    finally:
        gc.callbacks.remove(note)
    assert len(value) == 20_000
    assert collections.count("start") <= 1, "one at most, once all is there"


@pytest.mark.parametrize("data", [b"[%b]" % b",".join([b"[]"] * 1000), b"[%b" % b",".join([b"[]"] * 1000)], ids=["json", "no json"])
def test_the_collector_is_left_as_it_was(data: bytes) -> None:
    for switch in (gc.disable, gc.enable):
        switch()
        try:
            with suppress(PayloadError):
                decode_plain(data)
            assert gc.isenabled() == (switch is gc.enable)
        finally:
            gc.enable()


def test_a_thread_that_switches_the_collector_off_in_between_finds_it_so(monkeypatch: pytest.MonkeyPatch) -> None:
    is_enabled, looks = gc.isenabled, iter([True, False])
    with monkeypatch.context() as patched:
        patched.setattr(gc, "isenabled", lambda: next(looks))
        assert decode_plain(b"[%b]" % b",".join([b"[]"] * 1000)) == [[]] * 1000
    try:
        assert is_enabled() == (sys.version_info >= (3, 12)), "from then on nothing is switched"
    finally:
        gc.enable()


@pytest.mark.fault("FAULT-19")
def test_an_integer_of_30_digits_from_elsewhere_is_read_exactly() -> None:
    assert decode_plain(b"1" * 30) == int("1" * 30)
