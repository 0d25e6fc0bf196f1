"""What message classes are made of: their kinds, their fields, and what msgspec decodes in their place."""

from __future__ import annotations

import enum
import typing
from functools import cache
from typing import Any

import msgspec

__all__ = [
    "Field",
    "UnsupportedType",
    "article",
    "fields_of",
    "is_message_class",
    "is_model",
    "name_of",
    "refuse_class",
    "refuse_enum",
    "struct_of",
]

Field = tuple[str, str, Any]
"""Attribute, key on the wire and declared type of a field."""


class UnsupportedType(TypeError):
    """A message class has a field whose type cannot cross a boundary. The text names class, field and type."""


def is_message_class(cls: Any) -> bool:
    """Whether instances of `cls` can be messages: a dataclass, a pydantic model or a `msgspec.Struct`."""
    # A dataclass by its mark as well: who has none does not import what makes them.
    return isinstance(cls, type) and (hasattr(cls, "__dataclass_fields__") or issubclass(cls, msgspec.Struct) or is_model(cls))


def is_model(cls: type) -> bool:
    """Whether `cls` is a pydantic model."""
    # pydantic costs a worker 60 ms and 20 MB: it is asked for by its mark, and imported only by those who use it.
    return "__pydantic_validator__" in cls.__dict__ and hasattr(cls, "model_fields")


def refuse_class(cls: Any) -> None:
    """Raise `UnsupportedType` for a class whose instances hold more than its fields say."""
    builtin = next((base for base in cls.__mro__ if base.__module__ == "builtins" and base is not object), None)
    if builtin is not None:
        raise UnsupportedType(f"{name_of(cls)}: is {article(builtin)} as well, whose content is in no field and would not survive the way")
    if not is_model(cls):
        return
    if cls.model_config.get("extra") == "allow":
        raise UnsupportedType(f"{name_of(cls)}: extra='allow' lets values in that have no declared type")
    if cls.__private_attributes__:
        name = next(iter(cls.__private_attributes__))
        raise UnsupportedType(f"{name_of(cls)}.{name}: a private attribute would not survive the way")


def fields_of(cls: type) -> tuple[Field, ...]:
    """The fields of a message class. Raises `UnsupportedType` where a type's name leads nowhere or a field would be lost."""
    try:
        return _fields(cls)
    except UnsupportedType:
        raise
    except NameError as error:
        problem = f"{name_of(cls)}: a field's type is not defined when the program runs ({str(error).splitlines()[0]})"
    except Exception as error:  # noqa: BLE001  annotations are code of the user's, evaluated here
        problem = f"{name_of(cls)}: a field's type cannot be evaluated ({type(error).__name__}: {str(error)[:200]})"
    raise UnsupportedType(problem)


@cache
def _fields(cls: Any) -> tuple[Field, ...]:
    if issubclass(cls, msgspec.Struct):
        return tuple((field.name, field.encode_name, field.type) for field in msgspec.structs.fields(cls))
    if is_model(cls):
        if not cls.__pydantic_complete__:
            cls.model_rebuild()
        return tuple((name, name, info.annotation) for name, info in cls.model_fields.items())
    import dataclasses

    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    lost = next((field.name for field in fields if not field.init), None)
    if lost is not None:
        raise UnsupportedType(f"{name_of(cls)}.{lost}: a field with init=False would not survive the way")
    return tuple((field.name, field.name, hints[field.name]) for field in fields)


@cache
def struct_of(model: type) -> type[msgspec.Struct]:
    """What msgspec decodes in place of a pydantic model: its fields by name, their leaves as Python values."""
    return msgspec.defstruct(model.__name__, [(name, kind) for name, _, kind in fields_of(model)], kw_only=True)


def refuse_enum(kind: type[enum.Enum], where: str) -> None:
    """Raise `UnsupportedType` for an enum that has a member which its encoding does not lead back to."""
    try:
        decoder = msgspec.json.Decoder(kind)
        lost = next((member for member in kind if decoder.decode(msgspec.json.encode(member)) is not member), None)
    except (TypeError, ValueError, NotImplementedError) as error:
        problem = str(error).splitlines()[0]
    else:
        if lost is None:
            return
        problem = f"'{lost.name}' would arrive as another member"
    raise UnsupportedType(f"{where}: {name_of(kind)}: {problem[0].lower()}{problem[1:]}")


def name_of(kind: Any) -> str:
    """How messages call a class or a declared type."""
    return getattr(kind, "__qualname__", None) or str(kind)


def article(cls: type) -> str:
    """The same of a class, with its article."""
    return f"{'an' if cls.__name__[0] in 'aeiouAEIOU' else 'a'} {name_of(cls)}"
