"""From a file or a mapping, and the environment, to a `RuntimeConfig`; every mistake with its key path and a way out."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, SettingsError

from stream_kernel.config.model import ProcessGroupConfig, RestartConfig, RuntimeConfig
from stream_kernel.errors import ConfigurationError

__all__ = ["load", "read_toml"]

_PREFIX = "STREAM_KERNEL_"
_TABLES = {
    "process_groups": '[[process_groups]] with name = "g"',
    "restart": 'restart = {strategy = "permanent"}',
    "bootstrap": 'bootstrap = {mode = "inline"}',
    "execution_ipc": "execution_ipc = {max_hops = 8}",
    "source": 'source = {target = "parse"}',
}
"""How each table is written that is easily taken for its first key."""


def read_toml(path: Path) -> RuntimeConfig:
    """Parse the file at `path` and load it."""
    try:
        mapping = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"{path}: cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = f"{path}: is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem = f"{path}: is not TOML: {error}"
    else:
        return load(mapping, origin=str(path))
    raise ConfigurationError(problem)


def load(mapping: Mapping[str, Any], *, origin: str) -> RuntimeConfig:
    """Check `mapping`, overridden by the environment; `origin` is what messages call the source."""
    if not isinstance(mapping, Mapping):
        raise ConfigurationError(f"{origin}: must be a mapping, not {type(mapping).__name__}")
    overrides = _environment()
    given = dict(mapping)
    # What was written down is checked strictly ("3" is no number); what comes from the environment is text by nature.
    problems = _problems(given, origin, strict=True, overridden=bool(overrides))
    if not problems and overrides:
        given = _merge(given, overrides)
        problems = _problems(given, f"{origin} with the environment", strict=False, overridden=False)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return RuntimeConfig.model_validate(given)


def _environment() -> dict[str, Any]:
    known = set(RuntimeConfig.model_fields)
    for variable in os.environ:
        if variable.upper().startswith(_PREFIX):
            key, levels, _ = variable[len(_PREFIX) :].lower().partition("__")
            if key not in known:
                raise ConfigurationError(f"environment variable {variable}: unknown key '{key}'{_hint(key, known)}")
            if levels and get_origin(RuntimeConfig.model_fields[key].annotation) is tuple:
                whole = variable[: len(_PREFIX) + len(key)]
                raise ConfigurationError(f"environment variable {variable}: {key} is a list, which comes as a whole: as JSON in {whole}")
    try:
        return EnvSettingsSource(RuntimeConfig)()
    except SettingsError as error:
        problem = f"environment: {error}: a list or table is written as JSON"
    raise ConfigurationError(problem)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _problems(given: dict[str, Any], origin: str, *, strict: bool, overridden: bool) -> list[str]:
    try:
        RuntimeConfig.model_validate(given, strict=False if not strict else None)
        return _wrong_kinds(given, origin) if strict else []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
    # A key that the file lacks may still come from the environment: then the second pass decides. A list that is too short only
    # because its one entry is wrong is no problem of its own.
    wrong = [detail for detail in details if not (overridden and detail["type"] == "missing")]
    return [_sentence(detail, origin) for detail in wrong if not (detail["type"] == "too_short" and _is_wrong_inside(detail, details))]


def _is_wrong_inside(outer: ErrorDetails, details: Iterable[ErrorDetails]) -> bool:
    depth = len(outer["loc"])
    return any(len(detail["loc"]) > depth and detail["loc"][:depth] == outer["loc"] for detail in details)


def _wrong_kinds(given: dict[str, Any], origin: str) -> list[str]:
    """Scalars that pydantic would convert although they were written as something else."""
    checked = RuntimeConfig.model_validate(given)
    return [f"{origin}: {path}: must be {want}, not {got}" for path, want, got in _conversions(given, checked, "")]


def _conversions(given: Any, checked: Any, path: str) -> Iterable[tuple[str, str, str]]:
    if isinstance(checked, BaseModel):
        for key in given:
            yield from _conversions(given[key], getattr(checked, key), f"{path}.{key}" if path else key)
    elif isinstance(checked, tuple):
        for index, item in enumerate(checked):
            yield from _conversions(given[index], item, f"{path}[{index}]")
    elif isinstance(checked, (bool, int, str)) and type(given) is not type(checked):
        yield path, type(checked).__name__, type(given).__name__
    elif isinstance(checked, float) and type(given) not in (int, float):
        yield path, "a number", type(given).__name__


def _sentence(detail: ErrorDetails, origin: str) -> str:
    path = ""
    for step in detail["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    if detail["type"] == "value_error":
        return f"{origin}: {path}{'.' if path else ''}{detail['msg'].removeprefix('Value error, ')}"
    if detail["type"] == "extra_forbidden":
        key = str(detail["loc"][-1])
        return f"{origin}: {path}: unknown key{_hint(key, _siblings(detail['loc']))}"
    if detail["type"] == "missing":
        return f"{origin}: {path}: is missing"
    if detail["type"] == "tuple_type":
        return f"{origin}: {path}: must be a list"
    if detail["type"] == "dict_type":
        return f"{origin}: {path}: must be a table"
    if detail["type"] == "model_type":
        key = next(step for step in reversed(detail["loc"]) if isinstance(step, str))
        return f"{origin}: {path}: must be a table, for example {_TABLES[key]}"
    if detail["type"] == "too_short":
        return f"{origin}: {path}: must not be empty"
    return f"{origin}: {path}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _siblings(loc: tuple[int | str, ...]) -> Iterable[str]:
    if len(loc) == 1:
        return RuntimeConfig.model_fields
    if loc[0] == "process_groups":
        return RestartConfig.model_fields if "restart" in loc else ProcessGroupConfig.model_fields
    section = RuntimeConfig.model_fields[str(loc[0])].default
    return type(section).model_fields if isinstance(section, BaseModel) else ()


def _hint(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
