"""The frozen configuration that everything else is built from.

Sources: a TOML file or a mapping, overridden by environment variables (`STREAM_KERNEL_EXECUTION_IPC__MAX_HOPS=8`). An unknown key,
a wrong type or groups that contradict each other is a `ConfigurationError` that names the path of the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stream_kernel.errors import ConfigurationError
from stream_kernel.printable import printable
from stream_kernel.routing.text import is_utf8

__all__ = ["BootstrapConfig", "ExecutionIpcConfig", "Mode", "ProcessGroupConfig", "RestartConfig", "RuntimeConfig", "SourceConfig"]

Mode = Literal["process_supervisor", "inline", "inline_wire"]
Name = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# TOML and JSON have arrays, the frozen model has tuples: lax for the container alone, the items stay strict.
Names = Annotated[tuple[Name, ...], Field(strict=False)]


_MAX_WORKERS = 1024
_MAX_DEPTH = 64


def _depth(value: object) -> int | Literal["auto"]:
    """One of two kinds, and one sentence for what is neither."""
    if type(value) is int and 1 <= value <= _MAX_DEPTH:
        return value
    if value == "auto":
        return "auto"
    raise PydanticCustomError("depth", "must be 'auto' or an integer from 1 to 64")


Depth = Annotated[int | Literal["auto"], PlainValidator(_depth)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _refuse_setting(value: object, path: str, depth: int = 0) -> None:
    """Raise `ValueError` for a setting that would not reach the worker as it is: it travels as JSON. Its text names no value."""
    if depth > _MAX_SETTING_DEPTH:
        raise ValueError(f"{path[:60]}…: is nested deeper than {_MAX_SETTING_DEPTH} levels")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError(f"{path}: a key is of type {type(key).__name__}; settings travel as JSON, whose keys are strings")
            _refuse_setting(item, f"{path}.{key}", depth + 1)
    elif type(value) is list:
        for index, item in enumerate(value):
            _refuse_setting(item, f"{path}[{index}]", depth + 1)
    elif type(value) is float and not isfinite(value):
        raise ValueError(f"{path}: is NaN or infinite; settings travel as JSON")
    elif type(value) is int and not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"{path}: is an integer beyond 64 bit; write it as text")
    elif type(value) is str and not is_utf8(value):
        raise ValueError(f"{path}: is a string with lone surrogates, which UTF-8 cannot carry")
    elif value is not None and type(value) not in (bool, int, float, str):
        raise ValueError(f"{path}: is of type {type(value).__name__}; settings travel as JSON: write it as text")


_MAX_SETTING_DEPTH = 64


def _refuse_name(name: str, where: str) -> None:
    """Raise `ValueError` for a name that a log or a terminal would obey: names of groups and nodes are in every report."""
    if not name.isprintable():
        raise ValueError(f"{where}: '{printable(name)}': a name must not hold control characters or line breaks")


def _refuse_environment(group: ProcessGroupConfig, where: str) -> None:
    """Raise `ValueError` for what no operating system would hand to a process."""
    if "\0" in (group.python or ""):
        raise ValueError(f"{where}.python: holds a NUL character")
    for name, value in group.env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ValueError(f"{where}.env: {name!r}: a name must not be empty, and no name may hold '=', nothing a NUL character")


class BootstrapConfig(_Frozen):
    """`[bootstrap]`: how the groups run."""

    mode: Mode = "process_supervisor"


class ExecutionIpcConfig(_Frozen):
    """`[execution_ipc]`: the boundary between parent and workers."""

    transport: Literal["stdio_jsonl"] = "stdio_jsonl"
    boundary_timeout_seconds: Annotated[float, Field(gt=0, le=1e9)] = 30.0
    """The deadline of a call that names none."""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 8 * 1024 * 1024
    """The largest encoded payload, in bytes."""
    max_hops: Annotated[int, Field(ge=1, le=200)] = 64
    """The longest chain of node runs that one input may start."""


class RestartConfig(_Frozen):
    """`restart` of a group: what becomes of a worker that was lost."""

    strategy: Literal["permanent", "transient", "temporary"] = "permanent"
    """permanent: always replaced · transient: unless it ended by itself with exit code 0 · temporary: never."""
    intensity: Annotated[int, Field(ge=0, le=1000)] = 5
    """More unprovoked deaths than this within `period_seconds` fail the group."""
    period_seconds: Seconds = 30.0
    backoff_seconds: Annotated[tuple[Seconds, Seconds], Field(strict=False)] = (0.1, 30.0)
    """The first replacement comes at once; each further one waits at random up to the first figure, doubled each time up to the second."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> RestartConfig:
        if self.backoff_seconds[0] > self.backoff_seconds[1]:
            raise ValueError("backoff_seconds: the first figure must not be greater than the second")
        return self


class ProcessGroupConfig(_Frozen):
    """One entry of `[[process_groups]]`: workers that run the same nodes."""

    name: Name
    nodes: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)]
    workers: Annotated[int, Field(ge=1, le=_MAX_WORKERS)] = 1
    discovery_modules: Names | None = None
    """Modules that define this group's nodes; None takes the global list."""
    python: Name | None = None
    """Interpreter of the workers; None takes the parent's."""
    env: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """Variables set in the workers; `{worker_index}` in a value is replaced."""
    env_passthrough: Names = ()
    """Names of variables handed on from the parent; a trailing `*` matches any ending."""
    fan_out: Literal["whole", "split"] = "whole"
    """What becomes of a batch of a call: one command, or one for each worker that is ready; not where a node is stateful."""
    depth: Depth = "auto"
    """How many commands a worker may have at a time, the one at work included. `auto`: one; a group's only worker up to four quick ones."""
    spin_microseconds: Annotated[int, Field(ge=0, le=10_000)] = 0
    """How long an idle worker polls its pipe before it sleeps; only so many workers do as leave a CPU for the parent."""
    max_queued: Annotated[int, Field(ge=1)] = 1024
    """How many commands may wait for a worker."""
    max_queued_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    """How many bytes of payloads may wait for a worker."""
    overflow: Literal["wait", "refuse"] = "wait"
    """What a call meets when the queue is full: it waits within its deadline, or is refused at once."""
    retries: Annotated[int, Field(ge=0, le=100)] = 0
    """How often a command whose worker was lost is run again; only where every node of the group is idempotent."""
    restart: RestartConfig = RestartConfig()
    max_requests_per_worker: Annotated[int, Field(ge=1)] | None = None
    """A worker that has answered about so many commands (up to a tenth fewer, at random) is replaced; None: never."""
    max_rss_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """A worker that has grown by about so many MiB since its first answer is replaced; None: never."""
    ping_interval_seconds: Seconds = 10.0
    """An idle worker is asked for a sign of life this often."""
    ping_timeout_seconds: Seconds = 5.0
    """How long it may take to answer; it is killed then, and replaced."""
    start_timeout_seconds: Seconds = 30.0
    drain_timeout_seconds: Seconds | None = None
    """How long the work that was admitted may take once the end has begun; None takes `stop_timeout_seconds`."""
    stop_timeout_seconds: Seconds = 5.0
    """How long a worker may take to end after the stop message."""
    eof_timeout_seconds: Seconds = 0.5
    """How long it may take to end after its stdin has been closed."""
    terminate_timeout_seconds: Seconds = 1.0
    """How long its process tree may take to end after SIGTERM."""
    reap_timeout_seconds: Seconds = 2.0
    """How long a process may take to vanish after SIGKILL, before it is left behind."""

    @property
    def drain_seconds(self) -> float:
        """The drain timeout in force."""
        return self.stop_timeout_seconds if self.drain_timeout_seconds is None else self.drain_timeout_seconds


class SourceConfig(_Frozen):
    """`[source]`: what a run feeds its input lines to."""

    target: Name
    format: Literal["text", "jsonl"] = "text"


class RuntimeConfig(BaseSettings):
    """The whole configuration. Build it with `from_toml` or `from_mapping`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="STREAM_KERNEL_",
        env_nested_delimiter="__",
        hide_input_in_errors=True,
    )

    process_groups: Annotated[tuple[ProcessGroupConfig, ...], Field(strict=False, min_length=1)]
    scenario_id: Name = "default"
    discovery_modules: Names = ()
    message_modules: Names = ()
    bootstrap: BootstrapConfig = BootstrapConfig()
    execution_ipc: ExecutionIpcConfig = ExecutionIpcConfig()
    source: SourceConfig | None = None
    nodes: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict, repr=False)
    """Settings of class nodes: keyword arguments of their constructors."""

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RuntimeConfig:
        """Check `mapping` (and the environment) and freeze it; raises `ConfigurationError`."""
        from stream_kernel.config.loader import load

        return load(mapping, origin="configuration")

    @classmethod
    def from_toml(cls, path: str | Path) -> RuntimeConfig:
        """Read, check and freeze a TOML file; raises `ConfigurationError` naming the file."""
        from stream_kernel.config.loader import read_toml

        return read_toml(Path(path))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The loader reads the environment itself, to name what is wrong in it; construction takes what it is given.
        return (init_settings,)

    def adapted(self, *, mode: Mode | None = None, workers: Mapping[str, int] | None = None) -> RuntimeConfig:
        """The same with another mode, and with other numbers of workers by group name; raises `ConfigurationError`."""
        counts = dict(workers or {})
        groups = []
        for group in self.process_groups:
            count = counts.pop(group.name, group.workers)
            if not 1 <= count <= _MAX_WORKERS:
                raise ConfigurationError(f"group '{group.name}': workers must be from 1 to {_MAX_WORKERS}, not {count}")
            groups.append(group.model_copy(update={"workers": count}))
        if counts:
            known = ", ".join(group.name for group in groups)
            raise ConfigurationError(f"there is no group '{next(iter(counts))}' (there are: {known})")
        bootstrap = self.bootstrap if mode is None else BootstrapConfig(mode=mode)
        return self.model_copy(update={"bootstrap": bootstrap, "process_groups": tuple(groups)})

    def group(self, name: str | None) -> ProcessGroupConfig | None:
        """The group of that name, or None."""
        return next((group for group in self.process_groups if group.name == name), None)

    def group_of(self, node: str) -> str | None:
        """The name of the group that runs `node`, or None."""
        return next((group.name for group in self.process_groups if node in group.nodes), None)

    def modules_of(self, group: ProcessGroupConfig) -> tuple[str, ...]:
        """The modules in which the group's nodes are looked for."""
        return self.discovery_modules if group.discovery_modules is None else group.discovery_modules

    @model_validator(mode="after")
    def _groups_agree(self) -> RuntimeConfig:
        homes: dict[str, str] = {}
        names: set[str] = set()
        for index, group in enumerate(self.process_groups):
            where = f"process_groups[{index}]"
            if group.name in names:
                raise ValueError(f"{where}.name: there is another group named '{group.name}'")
            names.add(group.name)
            _refuse_name(group.name, f"{where}.name")
            _refuse_environment(group, where)
            if not self.modules_of(group):
                raise ValueError(f"{where}.discovery_modules: name the modules that define the nodes, here or at the top level")
            for node in group.nodes:
                if node in homes:
                    raise ValueError(f"{where}.nodes: node '{node}' is already in group '{homes[node]}'")
                homes[node] = group.name
                _refuse_name(node, f"{where}.nodes")
        for node, settings in self.nodes.items():
            if node not in homes:
                raise ValueError(f"nodes.{node}: settings for a node that is in no group")
            for key, value in settings.items():
                _refuse_setting(value, f"nodes.{node}.{key}")
        if self.source is not None and self.source.target not in homes:
            raise ValueError(f"source.target: node '{self.source.target}' is in no group")
        return self
