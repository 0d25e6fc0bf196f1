"""Instances of message classes arrive as what they were, field by field and type by type, or are refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from typing import Annotated, Any, Final, Generic, Literal, NewType, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naming import named
from stream_kernel.errors import PayloadError
from stream_kernel.protocol.typed import TypedCodec, UnsupportedType, is_message_class

FEW = settings(max_examples=40)
"""Big values are slow to draw, and every test of them runs for ten classes."""
UTC = dt.UTC
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
INTS = st.integers(min_value=-(1 << 63), max_value=(1 << 64) - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.decimals(allow_nan=False) | st.sampled_from([decimal.Decimal("-0.00"), decimal.Decimal("1E+9"), decimal.Decimal("1.10")])
TIMES = st.datetimes(
    timezones=st.sampled_from([UTC, dt.timezone(dt.timedelta(hours=5, minutes=45)), dt.timezone(-dt.timedelta(minutes=30))])
)
PLAIN = st.recursive(
    st.none() | st.booleans() | INTS | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = -2


class Word(enum.StrEnum):
    A = "a"


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


Cents = NewType("Cents", int)


@dataclasses.dataclass
class Leaf:
    flag: bool
    whole: int
    real: float
    text: str
    nothing: None
    raw: bytes
    amount: decimal.Decimal
    at: dt.datetime
    day: dt.date
    key: uuid.UUID
    colour: Colour
    level: Level
    word: Word
    permission: Permission
    choice: Literal["x", 1, None]
    cents: Cents
    noted: Annotated[int, "a note"]


LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "flag": st.booleans(),
    "whole": INTS,
    "real": FLOATS,
    "text": TEXT,
    "nothing": st.none(),
    "raw": st.binary(max_size=5),
    "amount": DECIMALS,
    "at": TIMES,
    "day": st.dates(),
    "key": st.uuids(),
    "colour": st.sampled_from(Colour),
    "level": st.sampled_from(Level),
    "word": st.sampled_from(Word),
    "permission": st.sampled_from([Permission(0), Permission.READ, Permission.READ | Permission.WRITE]),
    "choice": st.sampled_from(["x", 1, None]),
    "cents": INTS,
    "noted": INTS,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Point:
    x: int
    _y: float = 0.0


class Pair(msgspec.Struct, frozen=True):
    left: int
    right: Literal["l", "r"] = "l"


POINTS = st.builds(Point, x=INTS, _y=FLOATS)
PAIRS = st.builds(Pair, INTS, st.sampled_from(["l", "r"]))


@dataclasses.dataclass
class Containers:
    items: list[int | float | None]
    bare: list  # type: ignore[type-arg]
    pair: tuple[int, str]
    empty: tuple[()]
    many: tuple[decimal.Decimal, ...]
    loose: tuple  # type: ignore[type-arg]
    names: set[str]
    frozen: frozenset[frozenset[int]]
    table: dict[str, list[bytes]]
    open: dict  # type: ignore[type-arg]
    anything: Any
    either: bool | Colour | None
    points: frozenset[Point]
    structs: list[Pair]


CONTAINERS: dict[str, st.SearchStrategy[Any]] = {
    "items": st.lists(INTS | FLOATS | st.none(), max_size=4),
    "bare": st.lists(PLAIN, max_size=3),
    "pair": st.tuples(INTS, TEXT),
    "empty": st.just(()),
    "many": st.lists(DECIMALS, max_size=3).map(tuple),
    "loose": st.lists(PLAIN, max_size=3).map(tuple),
    "names": st.sets(TEXT, max_size=4),
    "frozen": st.frozensets(st.frozensets(INTS, max_size=3), max_size=3),
    "table": st.dictionaries(TEXT, st.lists(st.binary(max_size=3), max_size=2), max_size=3),
    "open": st.dictionaries(TEXT, PLAIN, max_size=2),
    "anything": PLAIN,
    "either": st.booleans() | st.sampled_from(Colour) | st.none(),
    "points": st.frozensets(POINTS, max_size=3),
    "structs": st.lists(PAIRS, max_size=3),
}


class LeafModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    flag: bool
    whole: int = pydantic.Field(alias="wholeNumber")
    real: float = pydantic.Field(alias="whole")
    text: str = pydantic.Field(exclude=True)
    raw: bytes
    amount: decimal.Decimal
    at: dt.datetime
    day: dt.date
    key: uuid.UUID
    colour: Colour
    level: Level
    choice: Literal["x", 1, None]
    number: int | float
    names: set[str]
    pair: tuple[int, bytes]
    anything: Any
    point: Point
    struct: Pair
    inner: LeafModel | None = None


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree]
    twin: Tree | None = None


TREES = st.recursive(
    st.builds(Tree, INTS, st.just([])),
    lambda inner: st.builds(Tree, INTS, st.lists(inner, max_size=2), st.none() | inner),
    max_leaves=5,
)


class Root(pydantic.RootModel[dict[str, Any]]):
    pass


class Tagged(msgspec.Struct, tag="tagged", rename="camel", omit_defaults=True):
    long_name: int
    signed: float = 0.0
    anything: Any = 1
    items: list[int] = []


class Rowed(msgspec.Struct, array_like=True, tag=3):
    first: int
    second: str = "s"


class Noted(msgspec.Struct, array_like=True):
    whole: Annotated[int, "a note"]


class One(msgspec.Struct, tag=True):
    n: int


class Other(msgspec.Struct, tag=True):
    n: int


@dataclasses.dataclass
class Mixed:
    model: LeafModel
    models: list[LeafModel]
    root: Root
    struct: Tagged
    row: Rowed
    which: One | Other | None


def plain_models() -> st.SearchStrategy[Any]:
    fields = {name: LEAVES[name] for name in LeafModel.model_fields if name in LEAVES}
    fields["amount"] = st.decimals(allow_nan=False, allow_infinity=False)
    fields |= {"number": INTS | FLOATS, "names": st.sets(TEXT, max_size=3), "pair": st.tuples(INTS, st.binary(max_size=3))}
    fields |= {"anything": PLAIN, "point": POINTS, "struct": PAIRS}
    return st.fixed_dictionaries(fields).map(lambda values: LeafModel.model_validate(values, by_name=True))


MODELS = plain_models()
TAGGED = st.builds(Tagged, INTS, signed=FLOATS, anything=PLAIN, items=st.lists(INTS, max_size=2))
ROWED = st.builds(Rowed, INTS, TEXT)
MIXED = st.builds(
    Mixed,
    MODELS,
    st.lists(MODELS, max_size=1),
    st.dictionaries(TEXT, PLAIN, max_size=2).map(Root),
    TAGGED,
    ROWED,
    st.builds(One, INTS) | st.builds(Other, INTS) | st.none(),
)


def parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, pydantic.BaseModel):
        return [(name, getattr(value, name)) for name in type(value).model_fields]
    if isinstance(value, msgspec.Struct):
        return [(name, getattr(value, name)) for name in value.__struct_fields__]
    return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]


def assert_same(one: Any, other: Any) -> None:
    """Equal in type and value all the way down; -0.0 is not 0.0, 1.10 is not 1.1."""
    assert type(one) is type(other)
    if is_message_class(type(one)):
        for (name, mine), (_, theirs) in zip(parts(one), parts(other), strict=True):
            assert hasattr(one, name)
            assert_same(mine, theirs)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    elif isinstance(one, dt.datetime):
        assert one == other and one.utcoffset() == other.utcoffset()
    elif isinstance(one, (set, frozenset)):
        assert (one == other and sorted(map(repr, one)) == sorted(map(repr, other))) or isinstance(next(iter(one)), frozenset)
    else:
        assert repr(one) == repr(other)


CASES: dict[type, st.SearchStrategy[Any]] = {
    Leaf: st.builds(Leaf, **LEAVES),
    Containers: st.builds(Containers, **CONTAINERS),
    Tree: TREES,
    Point: POINTS,
    Pair: PAIRS,
    LeafModel: MODELS,
    Root: st.dictionaries(TEXT, PLAIN, max_size=2).map(Root),
    Tagged: TAGGED,
    Rowed: ROWED,
    Noted: st.builds(Noted, INTS),
    Mixed: MIXED,
}
CODECS = {cls: TypedCodec(cls) for cls in CASES}


def class_with(kind: Any) -> type:
    return dataclasses.make_dataclass("Carrier", [("v", kind)])


def refused(kind: Any, value: Any) -> PayloadError:
    cls = class_with(kind)
    codec = TypedCodec(cls)
    with pytest.raises(PayloadError) as caught:
        codec.encode(cls(value))
    return caught.value


@pytest.mark.fault("FAULT-19")
@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
def test_any_instance_comes_back_exactly(cls: type) -> None:
    codec = CODECS[cls]

    @FEW
    @given(CASES[cls])
    def comes_back(value: Any) -> None:
        data = codec.encode(value)
        assert b"\n" not in data
        assert_same(codec.decode(data), value)

    comes_back()


@pytest.mark.fault("FAULT-19")
@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
def test_arbitrary_json_is_an_instance_or_the_one_error(cls: type) -> None:
    codec = CODECS[cls]

    @FEW
    @given(st.one_of(st.binary(max_size=30), PLAIN.map(lambda value: json.dumps(value).encode())))
    def read(data: bytes) -> None:
        for way in (codec.decode, codec.adopt):
            try:
                value = way(data)
            except PayloadError:
                continue
            assert type(value) is cls

    read()


@pytest.mark.fault("FAULT-19")
@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
def test_one_changed_field_gives_an_instance_or_the_one_error(cls: type) -> None:
    codec = CODECS[cls]

    @FEW
    @given(st.data())
    def read(data: st.DataObject) -> None:
        wire = json.loads(codec.encode(data.draw(CASES[cls])))
        steps = list(wire) if isinstance(wire, dict) else list(range(len(wire)))
        if steps:
            wire[data.draw(st.sampled_from(steps))] = data.draw(PLAIN)
        for way in (codec.decode, codec.adopt):
            try:
                assert type(way(json.dumps(wire).encode())) is cls
            except PayloadError:
                continue

    read()


@pytest.mark.fault("FAULT-19")
@pytest.mark.parametrize("cls", [Leaf, Containers, LeafModel, Tagged, Mixed], ids=lambda cls: cls.__name__)
def test_a_field_with_an_arbitrary_value_is_carried_exactly_or_refused(cls: type) -> None:
    codec = CODECS[cls]
    strange = [
        float("nan"),
        1 << 64,
        {1, 2},
        (1, [2]),
        "\ud800",
        object(),
        b"x",
        dt.datetime(2020, 1, 1),
        Level.LOW,
        Point(x=1),
        True,
        1.0,
        None,
    ]

    @FEW
    @given(st.data())
    def carry(data: st.DataObject) -> None:
        value = data.draw(CASES[cls])
        name = data.draw(st.sampled_from([name for name, _ in parts(value)]))
        setattr(value, name, data.draw(st.sampled_from(strange) | PLAIN))
        try:
            encoded = codec.encode(value)
        except PayloadError:
            return
        assert_same(codec.decode(encoded), value)

    carry()


@pytest.mark.fault("FAULT-19")
@pytest.mark.parametrize(
    ("kind", "value", "reason", "path"),
    [
        (float, math.nan, "is NaN or infinite", ".v"),
        (float, -math.inf, "is NaN or infinite", ".v"),
        (float, 1, "is an int, its field declares float; write 1.0 for 1", ".v"),
        (float, True, "is a bool, its field declares float", ".v"),
        (int, True, "is a bool", ".v"),
        (int, 1.0, "is a float", ".v"),
        (int, Level.LOW, "is a Level", ".v"),
        (int, 1 << 64, "beyond 64 bit", ".v"),
        (int, -(1 << 63) - 1, "beyond 64 bit", ".v"),
        (str, "\ud800", "lone surrogates", ".v"),
        (str, Word.A, "is a Word", ".v"),
        (str, b"x", "is a bytes", ".v"),
        (bytes, bytearray(b"x"), "is a bytearray", ".v"),
        (None, 0, "is an int", ".v"),
        (decimal.Decimal, 1, "is an int", ".v"),
        (decimal.Decimal, decimal.Decimal("sNaN"), "signalling NaN", ".v"),
        (dt.datetime, dt.datetime(2020, 1, 1), "without a time zone", ".v"),
        (dt.datetime, dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=61))), "offset with seconds", ".v"),
        (dt.datetime, dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), "twice or never", ".v"),
        (dt.datetime, dt.datetime(2024, 3, 31, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")), "twice or never", ".v"),
        (dt.date, dt.datetime(2020, 1, 1, tzinfo=UTC), "is a datetime", ".v"),
        (uuid.UUID, str(uuid.UUID(int=1)), "is a str", ".v"),
        (Colour, "red", "is a str", ".v"),
        (Literal["a"], "b", "none of the values", ".v"),
        (Literal["a"], Word.A, "none of the values", ".v"),
        (Literal[1], True, "none of the values", ".v"),
        (Literal[1], 1.0, "none of the values", ".v"),
        (Literal["a"], ["a"], "none of the values", ".v"),
        (list[int], (1,), "is a tuple, its field declares list", ".v"),
        (list[int], [1, "2"], "is a str", ".v[1]"),
        (tuple[int, ...], [1], "is a list, its field declares tuple", ".v"),
        (tuple[int, str], (1,), "a tuple of 2", ".v"),
        (tuple[int, str], (1, 2), "is an int", ".v[1]"),
        (tuple[()], (1,), "a tuple of 0", ".v"),
        (set[int], frozenset({1}), "is a frozenset", ".v"),
        (dict[str, int], {1: 1}, "is an int", ".v.<key>"),
        (dict[str, int], {"a": "b"}, "is a str", ".v.a"),
        (dict[str, int], {"\n": "b"}, "is a str", ".v.<key>"),
        (dict[str, int], {"\ud800": 1}, "lone surrogates", ".v.<key>"),
        (dict[str, int], [1], "is a list, its field declares dict", ".v"),
        (Any, (1,), "is a tuple", ".v"),
        (Any, {"a": [{1}]}, "is of type set", ".v.a[0]"),
        (Any, Point(x=1), "is of type", ".v"),
        (list[Point] | None, [Point(x=1), Point(x=2, _y=1)], "is an int", ".v[1]._y"),
        (int | None, "1", "is a str", ".v"),
    ],
    ids=named,
)
def test_a_value_that_is_not_exactly_of_its_declared_type_is_refused(kind: Any, value: Any, reason: str, path: str) -> None:
    error = refused(kind, value)
    assert reason in error.reason
    assert error.path == path


def test_a_time_in_a_named_zone_arrives_as_the_same_instant_with_its_offset() -> None:
    cls = class_with(dt.datetime)
    codec = TypedCodec(cls)
    sent = dt.datetime(2024, 6, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    arrived = codec.decode(codec.encode(cls(sent))).v
    assert arrived == sent and arrived.utcoffset() == dt.timedelta(hours=2)


def test_a_time_zone_that_raises_gives_the_one_error() -> None:
    class Broken(dt.tzinfo):
        def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
            raise KeyError("hunter2")

        dst = tzname = None  # type: ignore[assignment]

    error = refused(dt.datetime, dt.datetime(2020, 1, 1, tzinfo=Broken()))
    assert "KeyError" in str(error) and "hunter2" not in str(error)
    assert error.__context__ is None


def test_a_decimal_nan_arrives_as_one() -> None:
    cls = class_with(decimal.Decimal)
    codec = TypedCodec(cls)
    assert str(codec.decode(codec.encode(cls(decimal.Decimal("-NaN12")))).v) == "-NaN12"


@dataclasses.dataclass
class Base:
    a: int = 1


@dataclasses.dataclass
class Derived(Base):
    b: int = 2


def test_an_instance_of_a_subclass_is_refused_in_place_of_its_base() -> None:
    with pytest.raises(PayloadError, match="is a Derived, not exactly Base"):
        TypedCodec(Base).encode(Derived())
    assert "not exactly Base" in refused(Base, Derived()).reason


def test_a_field_that_was_never_set_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"\.x: is not set"):
        TypedCodec(Point).encode(Point.__new__(Point))
    with pytest.raises(PayloadError, match=r"\.whole: is not set"):
        CODECS[LeafModel].encode(LeafModel.model_construct(flag=True))


@pytest.mark.fault("FAULT-19")
def test_a_chain_is_carried_to_the_depth_of_a_payload_and_refused_beyond() -> None:
    codec = CODECS[Tree]

    def chain(length: int) -> Tree:
        tree = Tree(0, [])
        for n in range(length - 1):
            tree = Tree(n, [], tree)
        return tree

    deepest = chain(254)
    assert_same_chain(codec.decode(codec.encode(deepest)), deepest)
    with pytest.raises(PayloadError, match="nested deeper than 254 levels"):
        codec.encode(chain(255))
    with pytest.raises(PayloadError, match="nested too deeply"):
        codec.encode(chain(5000))


def assert_same_chain(one: Tree | None, other: Tree | None) -> None:
    while one is not None and other is not None:
        assert one.value == other.value
        one, other = one.twin, other.twin
    assert one is other is None


def test_an_instance_that_contains_itself_is_refused() -> None:
    ring = Tree(1, [])
    ring.twin = ring
    with pytest.raises(PayloadError, match="contains itself"):
        CODECS[Tree].encode(ring)


class Scrambled(str, enum.Enum):  # noqa: UP042  a StrEnum cannot do this
    """Its members' text is not their value."""

    A = ("a", "b")
    B = ("b", "a")

    def __new__(cls, text: str, value: str) -> Scrambled:
        made = str.__new__(cls, text)
        made._value_ = value
        return made


class Mix(enum.Enum):
    A = "a"
    B = 1


class Big(enum.IntEnum):
    A = 1 << 70


class Broken(enum.StrEnum):
    A = "\ud800"


class Truth(enum.Enum):
    YES = True


class Nothing(enum.Enum):
    pass


class Open(pydantic.BaseModel, extra="allow"):
    a: int


class Private(pydantic.BaseModel):
    a: int
    _cache: int = pydantic.PrivateAttr(0)


@dataclasses.dataclass
class Computed:
    a: int
    b: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass
class Initial:
    a: int
    b: dataclasses.InitVar[int] = 0


@dataclasses.dataclass
class Listing(dict[str, int]):
    a: int = 0


@dataclasses.dataclass
class Unnamed:
    a: NotThere  # type: ignore[name-defined]  # noqa: F821


@dataclasses.dataclass
class Misspelled:
    a: dt.datetim  # type: ignore[name-defined]


class UnnamedStruct(msgspec.Struct):
    a: NotThere  # type: ignore[name-defined]  # noqa: F821


class UnnamedModel(pydantic.BaseModel):
    a: NotThere  # type: ignore[name-defined]  # noqa: F821


T = TypeVar("T")


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class ModelA(pydantic.BaseModel):
    a: int


class ModelB(pydantic.BaseModel):
    b: int


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (object, "values of type object cannot"),
        (complex, "values of type complex cannot"),
        (dt.time, "values of type time cannot"),
        (dt.timedelta, "values of type timedelta cannot"),
        (dt.datetime | str, "more than one str-like type"),
        (str | decimal.Decimal, "more than one str-like type"),
        (str | bytes, "more than one str-like type"),
        (Colour | str, "more than one str-like type"),
        (int | Level, "more than one int-like type"),
        (list[int] | tuple[int, ...], "more than one array-like"),
        (dict[str, Any] | Point, "more than one"),
        (Pair | Tagged, "union"),
        (ModelA | ModelB, "more than one custom type"),
        (ModelA | int, "custom type"),
        (Any | None, "a union with Any"),
        (dict[int, str], "keys of type str, not int"),
        (list[object], "values of type object cannot"),
        (tuple[int, object], "values of type object cannot"),
        (Final[int], "values of type"),
        (type, "values of type type cannot"),
        (Box[int], "cannot"),
        (T, "cannot"),
        (Open, "extra='allow' lets values in"),
        (Private, "Private._cache: a private attribute would not survive"),
        (Computed, "Computed.b: a field with init=False would not survive"),
        (Initial, "InitVar"),
        (Listing, "is a dict as well, whose content is in no field"),
        (Unnamed, "a field's type is not defined when the program runs (name 'NotThere' is not defined)"),
        (Misspelled, "Misspelled: a field's type cannot be evaluated (AttributeError: module 'datetime' has no attribute 'datetim'"),
        (UnnamedStruct, "is not defined when the program runs"),
        (UnnamedModel, "is not defined when the program runs"),
        (Scrambled, "'A' would arrive as another member"),
        (Mix, "either all str or all int"),
        (Truth, "either all str or all int"),
        (Big, "integer values"),
        (Broken, "surrogates"),
        (Nothing, "at least one item"),
    ],
    ids=named,
)
def test_a_class_with_a_field_that_cannot_cross_is_refused_when_it_is_declared(kind: Any, reason: str) -> None:
    with pytest.raises(UnsupportedType) as caught:
        TypedCodec(class_with(kind))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", [int, dict, list[int], enum.Enum, object()], ids=named)
def test_what_is_no_message_class_has_no_codec(cls: Any) -> None:
    assert not is_message_class(cls)
    with pytest.raises(UnsupportedType, match=r"is no dataclass, pydantic model or msgspec\.Struct"):
        TypedCodec(cls)


class Early(pydantic.BaseModel):
    later: Later | None = None


class Later(pydantic.BaseModel):
    n: int


def test_a_model_may_name_a_class_that_is_defined_after_it() -> None:
    codec = TypedCodec(Early)
    sent = Early.model_validate({"later": {"n": 1}})
    assert codec.decode(codec.encode(sent)) == sent


@dataclasses.dataclass
class Config:
    model_config: str = "x"


def test_a_dataclass_may_have_a_field_of_any_name() -> None:
    codec = TypedCodec(Config)
    assert codec.decode(codec.encode(Config("y"))) == Config("y")


# -- what classes do when they are built


@dataclasses.dataclass
class Doubling:
    n: int
    items: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.n *= 2


class Growing(msgspec.Struct):
    items: list[list[int]]

    def __post_init__(self) -> None:
        self.items[0].append(1)


@dataclasses.dataclass
class Keyed:
    table: dict[str, int]
    pair: tuple[int, ...] = (1,)
    nan: decimal.Decimal = decimal.Decimal("NaN")

    def __post_init__(self) -> None:
        self.table.setdefault("made", 1)


@dataclasses.dataclass
class Around:
    inner: list[Keyed]


class DoublingModel(pydantic.BaseModel):
    n: int

    @pydantic.field_validator("n")
    @classmethod
    def double(cls, value: int) -> int:
        return value * 2


class Stripping(pydantic.BaseModel, str_strip_whitespace=True):
    text: str


@pytest.mark.parametrize(
    ("value", "path"), [(Doubling(1), ".n"), (Growing([[]]), ".items[0]"), (class_with(Doubling)(Doubling(3)), ".v.n")], ids=named
)
def test_a_class_that_changes_its_fields_when_it_is_built_is_refused_at_the_sender(value: Any, path: str) -> None:
    with pytest.raises(PayloadError, match="is changed by its class when it is built again") as caught:
        TypedCodec(type(value)).encode(value)
    assert caught.value.path == path


def test_a_class_that_only_completes_its_fields_when_it_is_built_is_carried() -> None:
    codec = TypedCodec(Around)
    sent = Around([Keyed({"a": 1})])
    arrived = codec.decode(codec.encode(sent))
    assert arrived.inner[0].table == {"a": 1, "made": 1} and str(arrived.inner[0].nan) == "NaN"
    del sent.inner[0].table["made"]
    with pytest.raises(PayloadError, match="is changed by its class") as caught:
        codec.encode(sent)
    assert caught.value.path == ".inner[0].table"


def test_a_class_that_builds_values_of_another_type_is_refused() -> None:
    @dataclasses.dataclass
    class Loose:
        n: int

        def __post_init__(self) -> None:
            self.n = True if self.n == 1 else self.n

    codec = TypedCodec(Loose)
    value = Loose(2)
    value.n = 1
    with pytest.raises(PayloadError, match=r"\.n: is changed by its class"):
        codec.encode(value)


def test_a_model_whose_validators_change_a_valid_value_is_refused_where_it_arrives() -> None:
    codec = TypedCodec(DoublingModel)
    with pytest.raises(PayloadError, match=r"\.n: is changed by its class"):
        codec.decode(codec.encode(DoublingModel(n=1)))
    nested = TypedCodec(class_with(DoublingModel))
    with pytest.raises(PayloadError, match=r"\.v\.n: is changed by its class"):
        nested.decode(b'{"v":{"n":1}}')
    blank = Stripping(text="x")
    blank.text = " x "
    with pytest.raises(PayloadError, match=r"\.text: is changed by its class"):
        TypedCodec(Stripping).decode(TypedCodec(Stripping).encode(blank))


class Choosy(pydantic.BaseModel):
    n: int = pydantic.Field(gt=0)

    @pydantic.field_validator("n")
    @classmethod
    def choose(cls, value: int) -> int:
        if value == 3:
            raise KeyError("hunter2")
        if value == 4:
            raise ValueError("hunter2")
        return value


@dataclasses.dataclass
class Strict:
    n: int

    def __post_init__(self) -> None:
        if self.n == 3:
            raise KeyError("hunter2")
        if self.n == 4:
            raise ValueError("hunter2")


@pytest.mark.parametrize("cls", [Choosy, Strict, class_with(Choosy), class_with(Strict)], ids=named)
@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.fault("FAULT-34")
def test_what_a_class_raises_when_it_is_built_is_the_one_error_without_its_text(cls: type, n: int) -> None:
    wire = {"n": n} if cls in (Choosy, Strict) else {"v": {"n": n}}
    for way in (TypedCodec(cls).decode, TypedCodec(cls).adopt):
        with pytest.raises(PayloadError) as caught:
            way(json.dumps(wire).encode())
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_a_model_says_which_of_its_rules_was_broken_and_where() -> None:
    with pytest.raises(PayloadError, match=r"at \$\.n: greater than"):
        TypedCodec(Choosy).decode(b'{"n":-1}')
    with pytest.raises(PayloadError, match=r"at \$\.v\.n: greater than"):
        TypedCodec(class_with(Choosy)).decode(b'{"v":{"n":-1}}')


# -- plain JSON for a node that wants a class


@dataclasses.dataclass
class Order:
    amount: decimal.Decimal = decimal.Decimal(0)
    ratio: float = 0.0
    count: int = 0
    at: dt.datetime | None = None
    names: set[str] = dataclasses.field(default_factory=set)
    pairs: list[tuple[int, ...]] = dataclasses.field(default_factory=list)
    point: Point | None = None
    row: Rowed | None = None
    struct: Tagged | None = None
    table: dict[str, Point] = dataclasses.field(default_factory=dict)
    open: Any = None


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({}, Order()),
        ({"amount": "1.10"}, Order(amount=decimal.Decimal("1.10"))),
        ({"amount": 0.1, "ratio": 1}, Order(amount=decimal.Decimal("0.1"), ratio=1.0)),
        ({"at": "2020-01-01T00:00:00.123456000Z"}, Order(at=dt.datetime(2020, 1, 1, microsecond=123456, tzinfo=UTC))),
        ({"names": ["a", "b"], "pairs": [[1, 2]]}, Order(names={"a", "b"}, pairs=[(1, 2)])),
        ({"point": {"x": 1}, "table": {"k": {"x": 2, "_y": 1}}}, Order(point=Point(x=1), table={"k": Point(x=2, _y=1.0)})),
        ({"row": [3, 1]}, Order(row=Rowed(1))),
        ({"row": [3, 1, "t"]}, Order(row=Rowed(1, "t"))),
        ({"struct": {"type": "tagged", "longName": 1}}, Order(struct=Tagged(1))),
        ({"struct": {"longName": 1}}, Order(struct=Tagged(1))),
        ({"open": {"x": [1, {"y": None}]}}, Order(open={"x": [1, {"y": None}]})),
    ],
    ids=lambda value: named(value) if isinstance(value, dict) else type(value).__name__,
)
def test_plain_json_becomes_an_instance_of_the_wanted_class(wire: Any, expected: Order) -> None:
    assert_same(TypedCodec(Order).adopt(json.dumps(wire).encode()), expected)


@pytest.mark.parametrize(
    ("wire", "reason", "path"),
    [
        ({"amuont": 1}, "Order has no field 'amuont'", ""),
        ({"point": {"x": 1, "z": 2}}, "Point has no field 'z'", ".point"),
        ({"table": {"k": {"x": 1, "z": 2}}}, "Point has no field 'z'", ".table.k"),
        ({"struct": {"longName": 1, "long_name": 2}}, "Tagged has no field 'long_name'", ".struct"),
        ({"row": [3, 1, "t", 4]}, "Rowed has no more than 3 items", ".row"),
        ({"ratio": (1 << 53) + 1}, "an integer that a float cannot hold", ".ratio"),
        ({"at": "2020-01-01T00:00:00.1234567Z"}, "parts of a microsecond", ".at"),
        ({"at": "2020-01-01T00:00:00"}, "without a time zone", ".at"),
        ({"names": ["a", "a"]}, "names a member of a set twice", ".names"),
        ({"count": 1.0}, "Expected `int`, got `float`", ".count"),
        ({"count": "1"}, "Expected `int`, got `str`", ".count"),
        ({"ratio": None}, "Expected `float`, got `null`", ".ratio"),
        ([], "Expected `object`, got `array`", ""),
        ({"open": 1 << 64}, "beyond 64 bit", ".open"),
    ],
    ids=named,
)
def test_plain_json_of_which_something_would_be_lost_is_refused(wire: Any, reason: str, path: str) -> None:
    with pytest.raises(PayloadError) as caught:
        TypedCodec(Order).adopt(json.dumps(wire).encode())
    assert reason in caught.value.reason
    assert caught.value.path == path


def test_the_rows_of_an_untagged_struct_are_its_fields() -> None:
    assert TypedCodec(Noted).adopt(b"[1]") == Noted(1)
    with pytest.raises(PayloadError, match="Noted has no more than 1 items"):
        TypedCodec(Noted).adopt(b"[1,2]")


@dataclasses.dataclass
class Tidy:
    table: dict[str, int] | None

    def __post_init__(self) -> None:
        self.table = self.table or None


def test_a_class_may_tidy_up_what_it_is_built_from() -> None:
    assert TypedCodec(Tidy).adopt(b'{"table":{}}') == Tidy(None)


class Lax(pydantic.BaseModel, strict=True):
    amount: decimal.Decimal = pydantic.Field(alias="Amount")
    at: dt.datetime
    pair: tuple[int, ...]


def test_a_model_reads_plain_json_by_its_own_rules() -> None:
    value = TypedCodec(Lax).adopt(b'{"Amount":"1.10","at":"2020-01-01T00:00:00Z","pair":[1]}')
    assert (str(value.amount), value.at, value.pair) == ("1.10", dt.datetime(2020, 1, 1, tzinfo=UTC), (1,))
    with pytest.raises(PayloadError, match="Amount: missing"):
        TypedCodec(Lax).adopt(b'{"amount":"1.10","at":"2020-01-01T00:00:00Z","pair":[1]}')


def test_an_adopted_value_must_be_sendable() -> None:
    class Naive(pydantic.BaseModel):
        at: dt.datetime

    with pytest.raises(PayloadError, match=r"\.at: is a datetime without a time zone"):
        TypedCodec(Naive).adopt(b'{"at":"2020-01-01T00:00:00"}')


@pytest.mark.fault("FAULT-34")
def test_no_refused_value_is_quoted() -> None:
    cls = class_with(Colour)
    with pytest.raises(PayloadError) as caught:
        TypedCodec(cls).decode(b'{"v":"hunter2"}')
    assert "hunter2" not in str(caught.value)


@dataclasses.dataclass
class Metered:
    n: Annotated[int, ["a list, which has no hash"]]


def test_a_field_whose_annotation_has_no_hash_is_checked_like_any_other() -> None:
    codec = TypedCodec(Metered)
    assert codec.decode(codec.encode(Metered(1))) == Metered(1)
    with pytest.raises(PayloadError, match="is a str"):
        codec.encode(Metered("1"))  # type: ignore[arg-type]


@dataclasses.dataclass
class Spoiled:
    n: Any

    def __post_init__(self) -> None:
        self.n = object()


def test_a_message_that_its_class_makes_unsendable_is_refused_when_it_is_adopted() -> None:
    with pytest.raises(PayloadError):
        TypedCodec(Spoiled).adopt(b'{"n": 1}')
