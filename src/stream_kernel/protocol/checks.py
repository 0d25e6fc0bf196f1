"""Checks compiled from declared types: every value must be of exactly the type that its field declares.

`msgspec` would encode a subclass as its base, a naive datetime, a NaN: what it changes in silence is found here, before.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import keyword
import types
import typing
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from stream_kernel.errors import PayloadError
from stream_kernel.protocol.fields import UnsupportedType, article, fields_of, is_message_class, name_of, refuse_class, refuse_enum
from stream_kernel.protocol.plain import PLAIN_TYPES, encode_plain
from stream_kernel.routing.text import is_utf8

__all__ = ["Check", "Compiler"]

Check = Callable[[Any], None]


class Compiler:
    """Turns declared types into checks. Classes may refer to themselves: a class's check is registered before its fields'."""

    def __init__(self) -> None:
        self._classes: dict[type, Check] = {}
        self._open: set[type] = set()
        self.is_recursive = False
        """Whether some class leads to itself, so that values have no bounded depth."""

    @property
    def classes(self) -> Iterable[type]:
        """The message classes that were met."""
        return self._classes

    def check_for(self, kind: Any, where: str) -> Check:
        """The check of a declared type; `where` names the field in refusals. Raises `UnsupportedType`."""
        if isinstance(kind, typing.NewType):
            return self.check_for(kind.__supertype__, where)
        origin = typing.get_origin(kind)
        if origin is typing.Annotated:
            return self.check_for(typing.get_args(kind)[0], where)
        if origin is typing.Literal:
            return _literal_check(typing.get_args(kind))
        if origin in (typing.Union, types.UnionType):
            return self._union_check(typing.get_args(kind), where)
        if kind is Any:
            return _plain_check
        if (simple := _SIMPLE.get(kind)) is not None:
            return simple
        if kind in _CONTAINERS or origin in _CONTAINERS:
            return self._container_check(origin, kind if origin is None else origin, typing.get_args(kind), where)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            refuse_enum(kind, where)
            return _exactly(kind)
        if is_message_class(kind):
            return self._class_check(kind)
        raise UnsupportedType(f"{where}: values of type {name_of(kind)} cannot cross a boundary")

    def _class_check(self, cls: type) -> Check:
        if cls in self._classes:
            self.is_recursive |= cls in self._open
            return self._classes[cls]
        compiled: list[tuple[str, Check]] = []
        others: list[tuple[str, Check]] = []

        def check(value: Any) -> None:
            try:
                fields = others if accepts(value) else compiled
            except Exception:  # noqa: BLE001  a time zone is user code; what is wrong is said below
                fields = compiled
            if fields is compiled and type(value) is not cls:
                raise PayloadError(f"is {article(type(value))}, not exactly {name_of(cls)}")
            name = ""
            try:
                for name, inner in fields:
                    inner(getattr(value, name))
            except PayloadError as error:
                raise error.below(f".{name}") from None
            except AttributeError:
                raise PayloadError("is not set", f".{name}") from None

        self._classes[cls] = check
        self._open.add(cls)
        refuse_class(cls)
        simple: dict[str, tuple[Any, ...]] = {}
        for name, _, kind in fields_of(cls):
            compiled.append((name, self.check_for(kind, f"{name_of(cls)}.{name}")))
            members = _members(kind)
            if _is_attribute(name) and all(member in _TESTS for member in members):
                simple[name] = members
            else:
                others.append(compiled[-1])
        accepts = _acceptance(cls, simple)
        self._open.discard(cls)
        return check

    def _union_check(self, members: tuple[Any, ...], where: str) -> Check:
        if Any in members:
            raise UnsupportedType(f"{where}: a union with Any cannot tell its members apart")
        checks = [self.check_for(member, where) for member in members]

        def check(value: Any) -> None:
            first: PayloadError | None = None
            for one in checks:
                try:
                    return one(value)
                except PayloadError as error:
                    # The member that looked deepest into the value is the one that was meant.
                    first = error if first is None or len(error.path) > len(first.path) else first
            assert first is not None
            raise first

        return check

    def _container_check(self, origin: Any, cls: Any, args: tuple[Any, ...], where: str) -> Check:
        if cls is dict:
            key, item = args or (str, Any)
            if key is not str:
                raise UnsupportedType(f"{where}: a dict needs keys of type str, not {name_of(key)}")
            return _dict_check(self.check_for(item, where))
        if origin is tuple and args[-1:] != (Ellipsis,):
            return _tuple_check([self.check_for(arg, where) for arg in args])
        return _array_check(cls, self.check_for(args[0] if args else Any, where))


_CONTAINERS = (list, tuple, set, frozenset, dict)


def _exactly(cls: type) -> Check:
    def check(value: Any) -> None:
        if type(value) is not cls:
            hint = "; write 1.0 for 1" if cls is float and type(value) is int else ""
            raise PayloadError(f"is {article(type(value))}, its field declares {name_of(cls)}{hint}")

    return check


def _checked(cls: type, problem: Callable[[Any], str | None]) -> Check:
    exactly = _exactly(cls)

    def check(value: Any) -> None:
        exactly(value)
        if (wrong := problem(value)) is not None:
            raise PayloadError(wrong)

    return check


def _plain_check(value: Any) -> None:
    encode_plain(value)


def _datetime_problem(value: datetime.datetime) -> str | None:
    offset = value.utcoffset()
    if offset is None:
        return "is a datetime without a time zone; give it one (tzinfo=timezone.utc)"
    if offset.total_seconds() % 60:
        return "has a time zone offset with seconds, which RFC 3339 cannot carry"
    if type(value.tzinfo) is not datetime.timezone and value.replace(fold=1 - value.fold).utcoffset() != offset:
        return "is a time that its zone has twice or never, and that equals no other; convert it (astimezone(timezone.utc))"
    return None


def _text_problem(value: str) -> str | None:
    return None if is_utf8(value) else "is a string with lone surrogates, which UTF-8 cannot carry"


_SIMPLE: dict[Any, Check] = {
    bool: _exactly(bool),
    int: _checked(int, lambda value: None if -(1 << 63) <= value < 1 << 64 else "is an integer beyond 64 bit; pass it as text"),
    float: _checked(float, lambda value: None if value - value == 0 else "is NaN or infinite, which JSON cannot carry"),
    str: _checked(str, _text_problem),
    bytes: _exactly(bytes),
    None: _exactly(type(None)),
    type(None): _exactly(type(None)),
    decimal.Decimal: _checked(decimal.Decimal, lambda value: "is a signalling NaN" if value.is_snan() else None),
    datetime.datetime: _checked(datetime.datetime, _datetime_problem),
    datetime.date: _exactly(datetime.date),
    uuid.UUID: _exactly(uuid.UUID),
}


_TESTS: dict[Any, str] = {
    bool: "type({0}) is bool",
    int: "type({0}) is int and -0x8000_0000_0000_0000 <= {0} <= 0xFFFF_FFFF_FFFF_FFFF",
    float: "type({0}) is float and {0} - {0} == 0",
    str: "type({0}) is str and ({0}.isascii() or is_utf8({0}))",
    bytes: "type({0}) is bytes",
    None: "{0} is None",
    type(None): "{0} is None",
    decimal.Decimal: "type({0}) is Decimal and not {0}.is_snan()",
    datetime.datetime: "type({0}) is datetime and ({0}.tzinfo is UTC or datetime_problem({0}) is None)",
    datetime.date: "type({0}) is date",
    uuid.UUID: "type({0}) is UUID",
}
"""What holds of a value exactly when its check of `_SIMPLE` passes."""
_NAMES: dict[str, Any] = {
    "Decimal": decimal.Decimal,
    "UTC": datetime.UTC,
    "UUID": uuid.UUID,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "datetime_problem": _datetime_problem,
    "is_utf8": is_utf8,
}


def _acceptance(cls: type, fields: dict[str, tuple[Any, ...]]) -> Callable[[Any], bool]:
    """Whether a value is an instance that would pass the checks of these fields, each of one of some simple types.

    All in one function: a call for each field costs four times as much. Only names of attributes and tests of the table come into its text.
    """
    tests = ["type(value) is cls"]
    for number, (attribute, members) in enumerate(fields.items()):
        local = f"field_{number}"
        test = " or ".join(_TESTS[member].format(local) for member in members)
        tests.append(f"({test.replace(local, f'({local} := value.{attribute})', 1)})")
    accepts: Callable[[Any], bool] = eval(f"lambda value: {' and '.join(tests)}", {**_NAMES, "cls": cls})  # noqa: S307  see above
    return accepts


def _members(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _is_attribute(name: str) -> bool:
    """Whether the name means in a text what it means to `getattr`."""
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def _literal_check(allowed: tuple[Any, ...]) -> Check:
    exact = {(type(value), value) for value in allowed}

    def check(value: Any) -> None:
        if type(value) not in PLAIN_TYPES or type(value) in (dict, list) or (type(value), value) not in exact:
            raise PayloadError("is none of the values that its field allows")

    return check


def _dict_check(inner: Check) -> Check:
    key_check = _SIMPLE[str]

    def check(value: Any) -> None:
        if type(value) is not dict:
            raise PayloadError(f"is {article(type(value))}, its field declares dict")
        key: Any = None
        try:
            for key, item in value.items():
                key_check(key)
                inner(item)
        except PayloadError as error:
            raise error.below(f".{key}" if type(key) is str and key.isprintable() else ".<key>") from None

    return check


def _array_check(cls: type[Any], inner: Check) -> Check:
    def check(value: Any) -> None:
        if type(value) is not cls:
            raise PayloadError(f"is {article(type(value))}, its field declares {cls.__name__}")
        items: Iterable[Any] = value
        index = 0
        try:
            for index, item in enumerate(items):  # noqa: B007  the index is for the path
                inner(item)
        except PayloadError as error:
            raise error.below(f"[{index}]") from None

    return check


def _tuple_check(inner: list[Check]) -> Check:
    def check(value: Any) -> None:
        if type(value) is not tuple or len(value) != len(inner):
            raise PayloadError(f"is {article(type(value))}, its field declares a tuple of {len(inner)}")
        for index, (one, item) in enumerate(zip(inner, value, strict=True)):
            try:
                one(item)
            except PayloadError as error:
                raise error.below(f"[{index}]") from None

    return check
