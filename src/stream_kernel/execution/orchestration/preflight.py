"""Looks at a configuration and at what its node modules declare, before any worker is started.

Node modules are imported in this process; nodes are not built. So what is found is what would keep the groups from starting or their
nodes from understanding each other; what a constructor, a context or a node does is known only when it runs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec

from stream_kernel.config.model import ProcessGroupConfig, RuntimeConfig
from stream_kernel.engine.base import cardinality_refusal, fan_out_refusal, retries_refusal
from stream_kernel.execution.orchestration.findings import Finding, problem, warning
from stream_kernel.execution.orchestration.route_checks import check_routes, listed
from stream_kernel.nodes.decorator import NodeSpec
from stream_kernel.nodes.guard import importing_nodes
from stream_kernel.nodes.registry import call_refusal, cause_of, marked_nodes, settings_refusal
from stream_kernel.protocol.codec import Codec
from stream_kernel.protocol.fields import UnsupportedType, is_model
from stream_kernel.routing.router import NodeRoute, Router
from stream_kernel.routing.tags import type_tag

__all__ = ["Finding", "Preflight", "examine"]


class Preflight(msgspec.Struct, frozen=True):
    """What was found."""

    config: RuntimeConfig
    routes: Mapping[str, tuple[NodeRoute, ...]]
    """The nodes of each group, in configuration order; those that were not found are missing."""
    router: Router
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "warning")


class _Node(msgspec.Struct, frozen=True):
    """A marked function or class, and the module in which it was met."""

    target: object
    spec: NodeSpec
    module: str


class _Group(msgspec.Struct, frozen=True):
    """A group and what its modules define."""

    config: ProcessGroupConfig
    defined: Mapping[str, Sequence[_Node]]
    """By name; several nodes of one name are a mistake."""
    is_complete: bool
    """All its modules could be imported."""

    @property
    def nodes(self) -> list[_Node]:
        """Those that the group runs, as far as they are known."""
        return [self.defined[name][0] for name in self.config.nodes if name in self.defined]


class _NotImported(msgspec.Struct, frozen=True):
    """What there is instead of a module that cannot be imported."""

    cause: str


_Modules = Mapping[str, ModuleType | _NotImported]


def examine(config: RuntimeConfig) -> Preflight:
    """Import what `config` names, and check what can be known without building or starting anything."""
    modules = _import_all(config)
    groups = [_discover(config, group, modules) for group in config.process_groups]
    routes = {group.config.name: tuple(node.spec.route(group.config.name) for node in group.nodes) for group in groups}
    router = Router(route for found in routes.values() for route in found)
    findings = (
        *_module_findings(config, modules),
        *(finding for group in groups for finding in _group_findings(config, group, routes[group.config.name])),
        *_class_findings(config, groups),
        *_source_findings(config, groups, router),
        *check_routes(config, router),
    )
    return Preflight(config, routes, router, findings)


def _import_all(config: RuntimeConfig) -> _Modules:
    names = dict.fromkeys([*(name for group in config.process_groups for name in config.modules_of(group)), *config.message_modules])
    # As in a worker: what a module prints goes to stderr, and a supervisor that it would start is refused.
    with contextlib.redirect_stdout(sys.stderr), importing_nodes():
        return {name: _import(name) for name in names if name != "__main__"}


def _import(name: str) -> ModuleType | _NotImported:
    try:
        return import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  user code runs here, and may raise anything, SystemExit included
        return _NotImported(" ".join(cause_of(error, importing=True).split()))


def _discover(config: RuntimeConfig, group: ProcessGroupConfig, modules: _Modules) -> _Group:
    defined: dict[str, list[_Node]] = {}
    named = [(name, modules.get(name)) for name in config.modules_of(group)]
    for name, module in named:
        for target, spec in marked_nodes(module) if isinstance(module, ModuleType) else ():
            known = defined.setdefault(spec.name, [])
            if all(node.target is not target for node in known):
                known.append(_Node(target, spec, name))
    return _Group(group, defined, all(isinstance(module, ModuleType) for _, module in named))


def _module_findings(config: RuntimeConfig, modules: _Modules) -> Iterator[Finding]:
    for group in config.process_groups:
        if "__main__" in config.modules_of(group):
            message = "discovery_modules names __main__, the started script: that is the command line itself, which has no nodes"
            yield problem("started-script", f"{message}; put them into a module and name that", group.name)
    for name, module in modules.items():
        if isinstance(module, _NotImported):
            yield from _import_findings(config, name, module.cause)


def _import_findings(config: RuntimeConfig, name: str, cause: str) -> Iterator[Finding]:
    """One problem for all who need the module here, and a warning for each group that has an interpreter of its own."""
    groups = [group for group in config.process_groups if name in config.modules_of(group)]
    here = [group.name for group in groups if _own_python(config, group) is None]
    if here or name in config.message_modules:
        of = f" of the groups {listed(here)}" if len(here) > 1 else ""
        key = "discovery_modules" if here else "message_modules"
        message = f"module '{name}'{of} cannot be imported ({cause}): mend that, or the name in {key}"
        yield problem("import", message, here[0] if len(here) == 1 else None)
    for group in groups:
        if group.name not in here:
            message = (
                f"module '{name}' cannot be imported ({cause}) with this interpreter, which is not the one of the group "
                f"({group.python}), so its nodes were not looked at: install what is missing here, too, for a complete check"
            )
            yield warning("import", message, group.name)


def _group_findings(config: RuntimeConfig, group: _Group, routes: Sequence[NodeRoute]) -> Iterator[Finding]:
    name, workers = group.config.name, group.config.workers
    python = _own_python(config, group.config)
    if python is not None and shutil.which(python, path=group.config.env.get("PATH")) is None:
        yield problem("interpreter", f"there is no program '{python}': correct process_groups.python", name)
    refusal = cardinality_refusal(routes, workers)
    if refusal is not None:
        yield problem("cardinality", refusal, name)
    refusal = fan_out_refusal(routes, group.config.fan_out)
    if refusal is not None:
        yield problem("fan-out", refusal, name)
    refusal = retries_refusal(routes, group.config.retries)
    if refusal is not None and config.bootstrap.mode == "process_supervisor":
        yield problem("retries", refusal, name)
    cores = _cores()
    if config.bootstrap.mode == "process_supervisor" and workers > cores:
        message = f"has {workers} workers, and this machine gives them {cores} cores: lower process_groups.workers, unless they mostly wait"
        yield warning("workers", message, name)
    yield from _name_findings(config, group)
    for node in group.nodes:
        settings = settings_refusal(node.target, node.spec, config.nodes.get(node.spec.name, {}))
        if settings is not None:
            yield problem("settings", settings, name, node.spec.name)
        call = call_refusal(node.target)
        if call is not None:
            yield problem("not-callable", call, name, node.spec.name)


def _name_findings(config: RuntimeConfig, group: _Group) -> Iterator[Finding]:
    for name, found in group.defined.items():
        if len(found) > 1:
            where = listed(dict.fromkeys(node.module for node in found))
            yield problem("duplicate-node", f"{len(found)} nodes in {where} have this name: rename all but one", group.config.name, name)
    if not group.is_complete:  # they may be where we could not look
        return
    modules = ", ".join(config.modules_of(group.config))
    there = ", ".join(sorted(group.defined)) or "no node"
    for name in group.config.nodes:
        if name not in group.defined:
            message = f"is defined in none of its modules ({modules}), which define: {there}; correct the name, or name its module"
            yield problem("missing-node", message, group.config.name, name)


def _class_findings(config: RuntimeConfig, groups: Sequence[_Group]) -> Iterator[Finding]:
    """Each class once, at the first node that declares it."""
    codec = Codec(max_bytes=config.execution_ipc.max_frame_bytes)
    seen: set[type] = set()
    for group in groups:
        for node in group.nodes:
            for cls in (*node.spec.consumes, *node.spec.emits):
                refusal = None if cls in seen else _class_refusal(codec, cls)
                seen.add(cls)
                if refusal is not None:
                    message = f"messages of {type_tag(cls)} cannot be sent ({refusal}): change the class, or declare another one"
                    yield problem("message-class", message, group.config.name, node.spec.name)


def _class_refusal(codec: Codec, cls: type) -> str | None:
    try:
        codec.register(cls)
    except UnsupportedType as error:
        return str(error)
    return None


def _source_findings(config: RuntimeConfig, groups: Sequence[_Group], router: Router) -> Iterator[Finding]:
    source = config.source
    if source is None:
        yield warning("source", "there is no [source]: a run needs one, with the target that is to get its input")
        return
    entry = router.find(source.target)
    if entry is None:  # reported as missing, or as hidden in a module that cannot be imported
        return
    several = entry.refusal(None)
    if several is not None:
        message = f"{several}; input lines are instances of none: put a node before it that takes plain JSON and emits them"
        yield problem("source", message, entry.group, entry.name)
    elif source.format == "text" and entry.consumes and not _takes_text(_consumed(groups, entry.name)):
        message = (
            f"consumes {entry.consumes[0]}, and source.format = text gives it each line as a str: set source.format = jsonl, or put a "
            "node before it that takes the line and emits the class"
        )
        yield problem("source", message, entry.group, entry.name)


def _consumed(groups: Sequence[_Group], name: str) -> type:
    return next(node.spec.consumes[0] for group in groups for node in group.nodes if node.spec.name == name)


def _takes_text(cls: Any) -> bool:
    """Whether a string may become an instance of `cls`: that only a pydantic model can arrange."""
    if not is_model(cls):
        return False
    validators = cls.__pydantic_decorators__.model_validators.values()
    return bool(cls.__pydantic_root_model__) or any(validator.info.mode != "after" for validator in validators)


def _own_python(config: RuntimeConfig, group: ProcessGroupConfig) -> str | None:
    """The interpreter that the group names; inline there is but this one."""
    return group.python if config.bootstrap.mode == "process_supervisor" else None


def _cores() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
