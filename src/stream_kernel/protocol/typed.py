"""Typed payloads: instances of message classes, encoded by their declared types, or refused.

Message classes are dataclasses, pydantic models and `msgspec.Struct`s. `msgspec` turns them into JSON and back; what it would change
in silence is found before by a check that is compiled once from the declared types: every value must be of exactly the type that
its field declares. So a decoded message equals the one that was sent, field by field, type by type.

Field types: bool, int, float, str, None, bytes, Decimal, datetime (aware, whole-minute offset), date, UUID, Enum (all-text or
all-integer values), Literal, list, tuple, set, frozenset, dict with string keys, Any (plain JSON), unions that JSON can tell apart,
and message classes.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from stream_kernel.errors import PayloadError
from stream_kernel.protocol.plain import PLAIN_TYPES, decode_plain, encode_plain

__all__ = ["TypedCodec", "UnsupportedType", "is_message_class"]

Check = Callable[[Any], None]


class UnsupportedType(TypeError):
    """A message class has a field whose type cannot cross a boundary. The text names class, field and type."""


def is_message_class(cls: Any) -> bool:
    """Whether instances of `cls` can be messages: a dataclass, a pydantic model or a `msgspec.Struct`."""
    return isinstance(cls, type) and (dataclasses.is_dataclass(cls) or issubclass(cls, msgspec.Struct) or _is_model(cls))


def _is_model(cls: type) -> bool:
    # pydantic costs a worker 60 ms and 20 MB: it is asked for by its mark, and imported only by those who use it.
    return "__pydantic_validator__" in cls.__dict__ and hasattr(cls, "model_fields")


class TypedCodec:
    """Encodes and decodes instances of exactly one class."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        if not is_message_class(cls):
            raise UnsupportedType(f"{_name(cls)} is no dataclass, pydantic model or msgspec.Struct")
        self._check = _Compiler().check_for(cls, _name(cls))
        self._is_model = _is_model(cls)
        self._decoder = _decoder(cls, _struct_of(cls) if self._is_model else cls)

    def encode(self, value: Any) -> bytes:
        """UTF-8 JSON of `value`; raises `PayloadError` with the path of what does not have its declared type."""
        self._check(value)
        return _ENCODER.encode(value)

    def decode(self, data: bytes | msgspec.Raw) -> Any:
        """The inverse of `encode`; raises `PayloadError`."""
        try:
            value = self._decoder.decode(data)
            return _validated(self.cls, value) if self._is_model else value
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
            problem = _decode_problem(error)
        raise problem

    def adopt(self, data: bytes | msgspec.Raw) -> Any:
        """Build an instance from plain JSON that somebody else wrote: nothing of it may be lost, and the result must be sendable."""
        plain = decode_plain(data)
        if self._is_model:
            value = self._adopt_model(plain)
        else:
            value = self.decode(data)
            _refuse_unknown(plain, value)
        self._check(value)
        return value

    def _adopt_model(self, plain: Any) -> Any:
        try:
            # pydantic's own rules hold here: aliases, coercions and what to do with extra keys are the model's choice.
            return self.cls.model_validate(plain)  # type: ignore[attr-defined]
        except (ValueError, TypeError) as error:
            problem = _decode_problem(error)
        raise problem


def _decoder(cls: type, wire: type) -> msgspec.json.Decoder[Any]:
    try:
        return msgspec.json.Decoder(wire, dec_hook=_build_model)
    except TypeError as error:
        problem = str(error).split(" - ")[0]
    raise UnsupportedType(f"{_name(cls)}: {problem[0].lower()}{problem[1:]}")


def _decode_problem(error: Exception) -> PayloadError:
    errors = getattr(error, "errors", None)
    if callable(errors):  # pydantic: its text quotes the input, its details need not
        first = errors(include_url=False, include_input=False, include_context=False)[0]
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        return PayloadError(first["type"].replace("_", " "), path)
    if isinstance(error, msgspec.ValidationError):
        reason, _, path = str(error).partition(" - at `$")
        # The reason of a ValueError from user code (a validator) may quote the value; msgspec's own start with these words.
        known = reason.startswith(("Expected", "Invalid", "Object", "Number", "Integer", "Missing"))
        return PayloadError(reason if known and "value '" not in reason else "is not a value of its field", path.rstrip("`"))
    if isinstance(error, RecursionError):
        return PayloadError("is nested too deeply")
    if isinstance(error, (msgspec.DecodeError, UnicodeDecodeError)):
        return PayloadError("is not JSON that can be read back")
    return PayloadError(f"was refused by its class ({type(error).__name__})")


def _refuse_unknown(plain: Any, value: Any, path: str = "") -> None:
    """Raise for keys that no field took: dropping them would lose them in silence."""
    if isinstance(plain, dict):
        if isinstance(value, Mapping):
            below = ((f".{key}", item, value.get(key)) for key, item in plain.items())
        else:
            taken = {wire: attribute for attribute, wire, _ in _fields(type(value))}
            for key in plain:
                if key not in taken:
                    raise PayloadError(f"{type(value).__name__} has no field '{key}'", path)
            below = ((f".{key}", item, getattr(value, taken[key])) for key, item in plain.items())
        for step, item, inner in below:
            _refuse_unknown(item, inner, path + step)
    elif isinstance(plain, list) and isinstance(value, (list, tuple)):
        for index, (item, inner) in enumerate(zip(plain, value, strict=True)):
            _refuse_unknown(item, inner, f"{path}[{index}]")


def _fields(cls: type) -> Iterator[tuple[str, str, Any]]:
    """Attribute, key on the wire and declared type of each field."""
    if issubclass(cls, msgspec.Struct):
        for struct_field in msgspec.structs.fields(cls):
            yield struct_field.name, struct_field.encode_name, struct_field.type
        return
    if _is_model(cls):
        for name, info in cls.model_fields.items():  # type: ignore[attr-defined]
            yield name, name, info.annotation
        return
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if not field.init:
            raise UnsupportedType(f"{_name(cls)}.{field.name}: a field with init=False would not survive the way")
        yield field.name, field.name, hints[field.name]


def _fields_struct(cls: type) -> type[msgspec.Struct]:
    """What msgspec decodes in place of a pydantic model: its fields by name, their leaves as Python values."""
    return msgspec.defstruct(cls.__name__, [(name, kind) for name, _, kind in _fields(cls)], kw_only=True)


def _validated(cls: type, fields: msgspec.Struct) -> Any:
    values = {name: getattr(fields, name) for name in fields.__struct_fields__}
    return cls.model_validate(values, by_alias=False, by_name=True)  # type: ignore[attr-defined]


def _build_model(cls: type, plain: Any) -> Any:
    if not _is_model(cls):
        raise NotImplementedError(_name(cls))
    return _validated(cls, msgspec.convert(plain, _struct_of(cls), dec_hook=_build_model))


_STRUCTS: dict[type, type[msgspec.Struct]] = {}


def _struct_of(cls: type) -> type[msgspec.Struct]:
    found = _STRUCTS.get(cls)
    if found is None:
        found = _STRUCTS[cls] = _fields_struct(cls)
    return found


def _dump_model(value: Any) -> Any:
    # Only ever called for what the check let through and msgspec does not know: a pydantic model.
    return {name: getattr(value, name) for name, _, _ in _fields(type(value))}


_ENCODER = msgspec.json.Encoder(enc_hook=_dump_model)


class _Compiler:
    """Turns declared types into checks. Classes may refer to themselves: a class's check is registered before its fields'."""

    def __init__(self) -> None:
        self._classes: dict[type, Check] = {}

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
        if (origin or kind) in _CONTAINERS:
            return self._container_check(origin or kind, typing.get_args(kind), where)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return _exactly(kind)
        if is_message_class(kind):
            return self._class_check(kind)
        raise UnsupportedType(f"{where}: values of type {_name(kind)} cannot cross a boundary")

    def _class_check(self, cls: type) -> Check:
        if cls in self._classes:
            return self._classes[cls]
        compiled: list[tuple[str, Check]] = []

        def check(value: Any) -> None:
            if type(value) is not cls:
                raise PayloadError(f"is {_article(type(value))}, not exactly {_name(cls)}")
            name = ""
            try:
                for name, inner in compiled:
                    inner(getattr(value, name))
            except PayloadError as error:
                raise error.below(f".{name}") from None
            except AttributeError:
                raise PayloadError("is not set", f".{name}") from None

        self._classes[cls] = check
        if getattr(cls, "model_config", {}).get("extra") == "allow":
            raise UnsupportedType(f"{_name(cls)}: extra='allow' lets values in that have no declared type")
        for name, _, kind in _fields(cls):
            compiled.append((name, self.check_for(kind, f"{_name(cls)}.{name}")))
        if _is_model(cls):
            _decoder(cls, _struct_of(cls))  # msgspec looks into a nested model only when one arrives
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

    def _container_check(self, origin: Any, args: tuple[Any, ...], where: str) -> Check:
        if origin is dict:
            key, item = args or (str, Any)
            if key is not str:
                raise UnsupportedType(f"{where}: a dict needs keys of type str, not {_name(key)}")
            return _dict_check(self.check_for(item, where))
        if origin is tuple and args and args[-1] is not Ellipsis:
            return _tuple_check([self.check_for(arg, where) for arg in args])
        return _array_check(origin, self.check_for(args[0] if args else Any, where))


_CONTAINERS = (list, tuple, set, frozenset, dict)


def _exactly(cls: type) -> Check:
    def check(value: Any) -> None:
        if type(value) is not cls:
            hint = "; write 1.0 for 1" if cls is float and type(value) is int else ""
            raise PayloadError(f"is {_article(type(value))}, its field declares {_name(cls)}{hint}")

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
    return "has a time zone offset with seconds, which RFC 3339 cannot carry" if offset.total_seconds() % 60 else None


_SIMPLE: dict[Any, Check] = {
    bool: _exactly(bool),
    int: _checked(int, lambda value: None if -(1 << 63) <= value < 1 << 64 else "is an integer beyond 64 bit; pass it as text"),
    float: _checked(float, lambda value: None if value - value == 0 else "is NaN or infinite, which JSON cannot carry"),
    str: _checked(str, lambda value: None if value.isascii() else _text_problem(value)),
    bytes: _exactly(bytes),
    None: _exactly(type(None)),
    type(None): _exactly(type(None)),
    decimal.Decimal: _checked(decimal.Decimal, lambda value: "is a signalling NaN" if value.is_snan() else None),
    datetime.datetime: _checked(datetime.datetime, _datetime_problem),
    datetime.date: _exactly(datetime.date),
    uuid.UUID: _exactly(uuid.UUID),
}


def _text_problem(value: str) -> str | None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return "is a string with lone surrogates, which UTF-8 cannot carry"
    return None


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
            raise PayloadError(f"is {_article(type(value))}, its field declares dict")
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
            raise PayloadError(f"is {_article(type(value))}, its field declares {cls.__name__}")
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
            raise PayloadError(f"is {_article(type(value))}, its field declares a tuple of {len(inner)}")
        for index, (one, item) in enumerate(zip(inner, value, strict=True)):
            try:
                one(item)
            except PayloadError as error:
                raise error.below(f"[{index}]") from None

    return check


def _name(kind: Any) -> str:
    return getattr(kind, "__qualname__", None) or str(kind)


def _article(cls: type) -> str:
    return f"{'an' if cls.__name__[0] in 'aeiouAEIOU' else 'a'} {_name(cls)}"
