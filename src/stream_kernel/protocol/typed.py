"""Typed payloads: instances of message classes, encoded by their declared types, or refused.

Message classes are dataclasses, pydantic models and `msgspec.Struct`s. `msgspec` turns them into JSON and back; what it would change
in silence is found before by a check that is compiled once from the declared types: every value must be of exactly the type that
its field declares. So a decoded message equals the one that was sent, field by field, type by type.

Field types: bool, int, float, str, None, bytes, Decimal, datetime (aware, whole-minute offset; it arrives with the offset, not with
the name of its zone), date, UUID, Enum (all-text or all-integer values), Literal, list, tuple, set, frozenset, dict with string
keys, Any (plain JSON), unions that JSON can tell apart, and message classes.

What a class does when it is built (`__post_init__`, validators) must leave the fields of an instance as they are: a message that
comes out different is refused. For dataclasses and Structs with a `__post_init__` that costs the sender a decoding.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from stream_kernel.errors import PayloadError
from stream_kernel.protocol.checks import Compiler
from stream_kernel.protocol.fields import UnsupportedType, fields_of, is_message_class, is_model, name_of, struct_of
from stream_kernel.protocol.plain import decode_plain, refuse_depth

__all__ = ["TypedCodec", "UnsupportedType", "is_message_class"]


class TypedCodec:
    """Encodes and decodes instances of exactly one class."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        if not is_message_class(cls):
            raise UnsupportedType(f"{name_of(cls)} is no dataclass, pydantic model or msgspec.Struct")
        compiler = Compiler()
        self._check = compiler.check_for(cls, name_of(cls))
        self._is_model = is_model(cls)
        for each in compiler.classes:
            if is_model(each):
                _decoder(each, struct_of(each))  # msgspec looks into a nested model only when one arrives
        self._decoder = _decoder(cls, struct_of(cls) if self._is_model else cls)
        self._is_recursive = compiler.is_recursive
        self._is_rebuilt = any(hasattr(each, "__post_init__") for each in compiler.classes)

    def encode(self, value: Any) -> bytes:
        """UTF-8 JSON of `value`; raises `PayloadError` with the path of what does not have its declared type."""
        try:
            self._check(value)
            data = _ENCODER.encode(value)
        except PayloadError:
            raise
        except Exception as error:  # noqa: BLE001  a time zone is user code, and may raise anything
            problem = _decode_problem(error)
        else:
            if self._is_recursive:
                refuse_depth(decode_plain(data))
            if self._is_rebuilt:
                _refuse_difference(value, self.decode(data))
            return data
        raise problem

    def decode(self, data: bytes | msgspec.Raw) -> Any:
        """The inverse of `encode`; raises `PayloadError`."""
        try:
            value = self._decoder.decode(data)
            return _validated(self.cls, value) if self._is_model else value
        except Exception as error:  # noqa: BLE001  validators are user code, and may raise anything
            problem = _decode_problem(error)
        raise problem

    def adopt(self, data: bytes | msgspec.Raw) -> Any:
        """Build an instance from plain JSON that somebody else wrote: nothing of it may be lost, and the result must be sendable."""
        plain = decode_plain(data)
        if self._is_model:
            value = self._adopt_model(data)
        else:
            value = self.decode(data)
            if not _says(value, plain):
                _refuse_loss(plain, value)
        self._check(value)
        return value

    def _adopt_model(self, data: bytes | msgspec.Raw) -> Any:
        try:
            # pydantic's own rules hold here: aliases, coercions and what to do with extra keys are the model's choice.
            return self.cls.model_validate_json(bytes(data))  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001  validators are user code, and may raise anything
            problem = _decode_problem(error)
        raise problem


def _decoder(cls: type, wire: type) -> msgspec.json.Decoder[Any]:
    try:
        return msgspec.json.Decoder(wire, dec_hook=_build_model)
    except (TypeError, ValueError, NotImplementedError) as error:
        problem = str(error).split(" - ")[0]
    raise UnsupportedType(f"{name_of(cls)}: {problem[0].lower()}{problem[1:]}")


def _decode_problem(error: BaseException) -> PayloadError:
    if isinstance(error, PayloadError):
        return error
    if type(error).__module__.startswith("pydantic") and hasattr(error, "errors"):  # its text quotes the input, its details need not
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        return PayloadError(first["type"].replace("_", " "), path)
    if isinstance(error, msgspec.ValidationError):
        reason, _, path = str(error).rpartition(" - at `$") if " - at `$" in str(error) else (str(error), "", "")
        if error.__cause__ is not None:  # what a class said when it was built; msgspec knows where
            return _decode_problem(error.__cause__).below(path.rstrip("`"))
        return PayloadError("is not a value of its field" if "value '" in reason else reason, path.rstrip("`"))
    if isinstance(error, RecursionError):
        return PayloadError("is nested too deeply, or contains itself")
    if isinstance(error, (msgspec.DecodeError, UnicodeDecodeError)):
        return PayloadError("is not JSON that can be read back")
    return PayloadError(f"was refused by its class ({type(error).__name__})")


def _refuse_difference(sent: Any, built: Any) -> None:
    """Raise where `built`, made from the fields of `sent`, does not equal it."""
    kind = type(sent)
    if type(built) is not kind:
        raise PayloadError("is changed by its class when it is built again")
    for step, one, other in _parts(sent, built):
        try:
            _refuse_difference(one, other)
        except PayloadError as error:
            raise error.below(step) from None


def _parts(sent: Any, built: Any) -> Iterator[tuple[str, Any, Any]]:
    """The pairs that must be the same in two values of one class."""
    kind = type(sent)
    if is_message_class(kind):
        for attribute, _, _ in fields_of(kind):
            yield f".{attribute}", getattr(sent, attribute), getattr(built, attribute, None)
    elif kind is dict and sent.keys() == built.keys():
        for key, item in sent.items():
            yield f".{key}", item, built[key]
    elif (kind is list or kind is tuple) and len(sent) == len(built):
        for index, (item, other) in enumerate(zip(sent, built, strict=True)):
            yield f"[{index}]", item, other
    elif sent != built and sent == sent:
        raise PayloadError("is changed by its class when it is built again")


def _says(value: Any, plain: Any) -> bool:
    """Whether a message is encoded as this plain value: then nothing of it was lost. That it is not says nothing: `1.50` may be `"1.5"`."""
    try:
        return bool(decode_plain(_ENCODER.encode(value)) == plain)
    except Exception:  # noqa: BLE001  a time zone is user code; what is wrong is for the check to say
        return False


def _refuse_loss(plain: Any, value: Any, path: str = "") -> None:
    """Raise for what no field took, or took with less precision: dropping it would lose it in silence."""
    kind = type(plain)
    if kind is int and type(value) is float and int(float(plain)) != plain:
        raise PayloadError("is an integer that a float cannot hold", path)
    if kind is str and type(value) is datetime.datetime and _SUBMICROSECOND.search(plain):
        raise PayloadError("has parts of a microsecond, which a datetime cannot hold", path)
    if kind is list and isinstance(value, (set, frozenset)) and len(value) < len(plain):
        raise PayloadError("names a member of a set twice", path)
    for step, item, inner in _taken(plain, value, path):
        _refuse_loss(item, inner, path + step)


_SUBMICROSECOND = re.compile(r"\.\d{6}0*[1-9]")


def _taken(plain: Any, value: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The parts of a plain value, each with what was made of it."""
    if type(plain) is dict:
        if type(value) is dict:
            yield from ((f".{key}", item, value.get(key)) for key, item in plain.items())
        elif is_message_class(type(value)):
            wanted = {wire: getattr(value, attribute, None) for attribute, wire, _ in fields_of(type(value))}
            if isinstance(value, msgspec.Struct) and value.__struct_config__.tag_field is not None:
                wanted[value.__struct_config__.tag_field] = value.__struct_config__.tag
            for key, item in plain.items():
                if key not in wanted:
                    raise PayloadError(f"{type(value).__name__} has no field '{key}'", path)
                yield f".{key}", item, wanted[key]
    elif type(plain) is list and isinstance(value, msgspec.Struct):
        items = list(_struct_items(value))
        if len(plain) > len(items):
            raise PayloadError(f"{type(value).__name__} has no more than {len(items)} items", path)
        yield from _numbered(plain, items)
    elif type(plain) is list and isinstance(value, (list, tuple)):
        yield from _numbered(plain, value)


def _numbered(plain: Sequence[Any], items: Sequence[Any]) -> Iterator[tuple[str, Any, Any]]:
    # An `array_like` Struct fills up what is missing at its end.
    yield from ((f"[{index}]", item, inner) for index, (item, inner) in enumerate(zip(plain, items, strict=False)))


def _struct_items(value: msgspec.Struct) -> Iterator[Any]:
    """What an `array_like` Struct is on the wire."""
    if value.__struct_config__.tag is not None:
        yield value.__struct_config__.tag
    for attribute, _, _ in fields_of(type(value)):
        yield getattr(value, attribute)


def _validated(cls: Any, fields: msgspec.Struct) -> Any:
    values = {name: getattr(fields, name) for name in fields.__struct_fields__}
    if getattr(cls, "__pydantic_root_model__", False):
        built = cls.model_validate(values["root"])
    else:
        built = cls.model_validate(values, by_alias=False, by_name=True)
    for name, value in values.items():
        arrived = getattr(built, name, None)
        if arrived is not value:
            try:
                _refuse_difference(value, arrived)
            except PayloadError as error:
                raise error.below(f".{name}") from None
    return built


def _build_model(cls: type, plain: Any) -> Any:
    # Only ever called for what the checks let through and msgspec does not know: a pydantic model.
    return _validated(cls, msgspec.convert(plain, struct_of(cls), dec_hook=_build_model))


def _dump_model(value: Any) -> Any:
    # Only ever called for what the check let through and msgspec does not know: a pydantic model.
    return {name: getattr(value, name) for name, _, _ in fields_of(type(value))}


_ENCODER = msgspec.json.Encoder(enc_hook=_dump_model)
