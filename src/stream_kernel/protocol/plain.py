"""Plain JSON payloads: encoded as they are, or refused.

Accepted: dict with string keys, list, str, bool, None, int within -2^63 … 2^64-1, finite float; exactly these classes, at most 254
levels deep. `orjson` refuses most of the rest by itself; what it would change in silence (tuples, UUIDs, enums, NaN) is found by a
look at exact types, which costs 0.12 to 0.45 µs for a small record.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Collection
from functools import partial
from math import isfinite
from operator import call
from typing import Any

import msgspec
import orjson

from stream_kernel.errors import PayloadError
from stream_kernel.routing.text import is_utf8

__all__ = [
    "LARGE_DATA_PAGE",
    "PLAIN_TYPES",
    "decode_plain",
    "decode_plain_all",
    "encode_plain",
    "encode_plain_all",
    "refusal_of",
    "refuse_depth",
]

LARGE_DATA_PAGE = "docs/large-data.md"
PLAIN_TYPES = frozenset({dict, list, str, int, float, bool, type(None)})
_ARRAY_LIBRARIES = frozenset({"numpy", "pandas", "torch", "polars", "pyarrow", "jax", "jaxlib", "tensorflow", "cupy"})
_LEAVES_BUT_FLOAT: frozenset[type] = frozenset({str, int, bool, type(None)})
_LARGE = 1024
"""From so many bytes on, a look at whole levels costs less than one at each value."""
_OPTIONS = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_MAX_DEPTH = 254
_dumps = orjson.dumps
_DECODER = msgspec.json.Decoder()
_ROW_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
_BUFFER = 4096
"""orjson leaves a small result in the buffer of this size that it wrote it in. A copy is as large as it has to be: without it a thousand
results take a megabyte and more, and the page faults of that, 1.8 µs each where a copy takes 0.03."""
_join = b"".join


def encode_plain(value: Any) -> bytes:
    """UTF-8 JSON of `value`. Raises `PayloadError` with the path of what JSON cannot carry unchanged."""
    try:
        data = _dumps(value, option=_OPTIONS)
    except (TypeError, ValueError):
        pass
    else:
        if _is_exact(value, data):
            return _join((data, b"")) if len(data) < _BUFFER else data
    raise refusal_of(value)


def encode_plain_all(values: list[Any]) -> list[msgspec.Raw] | None:
    """Each of `values` as UTF-8 JSON, all in one go; None when one of them is to be refused."""
    try:
        data = _dumps(values, option=_OPTIONS)
        if _is_exact(values, data):
            return _ROW_DECODER.decode(data)
    except (TypeError, ValueError, RecursionError):
        pass
    return None


def refusal_of(value: Any) -> PayloadError:
    """What is wrong with a value that cannot be encoded."""
    try:
        return _explain(value, 0) or PayloadError("was changed while it was encoded")
    except RecursionError:  # the caller's own stack is part of it
        return PayloadError("is nested too deeply for the stack that is left")


def decode_plain(data: bytes | msgspec.Raw) -> Any:
    """The value of UTF-8 JSON; raises `PayloadError` for anything else."""
    try:
        return _DECODER.decode(data) if len(data) < _LARGE else _decode_large(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    raise PayloadError("is not JSON that can be read back")


def _decode_at_once(data: bytes | msgspec.Raw) -> Any:
    """Decode with no garbage collection meanwhile: all that is made here stays alive, and each of many collections would look through it,
    and some through all else that the program has. For a MiB of small records that took ten times as long as the rest.

    To see whether it is on, to switch it off, to decode and to switch it on are one call of C, in which no other thread and no signal
    handler runs: none of them changes it meanwhile, or remembers that it was off.
    """
    if not gc.isenabled():
        return _DECODER.decode(data)
    steps: tuple[Callable[[], Any], ...] = (gc.isenabled, gc.disable, partial(_DECODER.decode, data), gc.enable)
    done: list[Any] = []
    try:
        done.extend(map(call, steps))
    finally:
        if not done[0]:  # another thread has switched it off since we looked
            gc.disable()
        elif len(done) < len(steps):
            gc.enable()
    return done[2]


# From Python 3.12 on there is no collection inside of a C function.
_decode_large = _decode_at_once if sys.version_info < (3, 12) else _DECODER.decode


def decode_plain_all(encoded: list[msgspec.Raw]) -> list[Any]:
    """The values, in one go; raises `PayloadError` when one is not JSON."""
    values: list[Any] = decode_plain(b"[%b]" % b",".join(encoded))
    return values


def refuse_depth(value: Any) -> None:
    """Raise `PayloadError` for a plain value that is nested deeper than a payload may be."""
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [item for parent in level if type(parent) in (dict, list) for item in (parent.values() if type(parent) is dict else parent)]
        if not level:
            return
    raise PayloadError(f"is nested deeper than {_MAX_DEPTH} levels")


def _is_exact(value: Any, data: bytes) -> bool:
    """Whether it holds but lists, dicts, leaves and finite floats. `data` is its encoding: it is not too deep, nor in itself."""
    if len(data) >= _LARGE and _is_exact_at_once(value, data):
        return True
    kind = type(value)
    level: Collection[Any] = value.values() if kind is dict else value if kind is list else (value,)
    while level:
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind in _LEAVES_BUT_FLOAT:
                continue
            if kind is dict:
                below += item.values()
            elif kind is list:
                below += item
            elif kind is not float or not isfinite(item):
                return False
        level = below
    return True


def _is_exact_at_once(value: Any, data: bytes) -> bool:
    """True says the same, for large values in less than half the time: whole levels are looked through in C. False says nothing.

    What a list or a dict refers to are its items, its keys and its values; leaves refer to nothing.
    """
    level, nones, has_floats = [value], 0, False
    while level:
        kinds = set(map(type, level))
        if not kinds <= PLAIN_TYPES:
            return False
        if type(None) in kinds:
            nones += level.count(None)
        has_floats = has_floats or float in kinds
        level = gc.get_referents(*level)
    # A NaN and an infinity become `null` as a None does. A text that has it in it is looked at the long way.
    return not has_floats or data.count(b"null") == nones


def _explain(value: Any, depth: int) -> PayloadError | None:
    """Find what is wrong; only ever called after something was refused."""
    if depth > _MAX_DEPTH:
        return PayloadError(f"is nested deeper than {_MAX_DEPTH} levels")
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                return PayloadError(f"a key is of type {_name(type(key))}; JSON keys are strings")
            if (wrong := _leaf_problem(key)) is not None:
                return PayloadError(f"a key {wrong}")
            if (found := _explain(item, depth + 1)) is not None:
                return found.below(f".{key}")
    elif kind is list:
        for index, item in enumerate(value):
            if (found := _explain(item, depth + 1)) is not None:
                return found.below(f"[{index}]")
    elif (wrong := _leaf_problem(value)) is not None:
        return PayloadError(wrong)
    return None


def _leaf_problem(value: Any) -> str | None:
    kind = type(value)
    if kind is float:
        return None if isfinite(value) else "is NaN or infinite, which JSON cannot carry"
    if kind is int:
        return None if -(1 << 63) <= value < 1 << 64 else "is an integer beyond 64 bit; pass it as text"
    if kind is str:
        return None if is_utf8(value) else "is a string with lone surrogates, which UTF-8 cannot carry"
    if kind is bool or value is None:
        return None
    if kind.__module__.partition(".")[0] in _ARRAY_LIBRARIES:
        return f"is a {_name(kind)}; {LARGE_DATA_PAGE} says how to pass arrays and frames"
    if kind is tuple:
        return "is a tuple, which JSON would turn into a list"
    return f"is of type {_name(kind)}, which plain JSON cannot carry; pass plain JSON values or an instance of a message class"


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
