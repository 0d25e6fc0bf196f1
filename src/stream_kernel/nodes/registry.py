"""From module names to nodes that are ready to run; every failure says group, module, node and cause."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec

from stream_kernel.errors import ConfigurationError, WorkerBootstrapError
from stream_kernel.nodes.decorator import NodeSpec, spec_of
from stream_kernel.nodes.failure import exception_name
from stream_kernel.routing.router import NodeRoute

__all__ = ["BuiltNode", "build_nodes", "cause_of", "enter_contexts"]


class BuiltNode(msgspec.Struct, frozen=True):
    """A node of this process, built and callable."""

    spec: NodeSpec
    route: NodeRoute
    call: Callable[..., Any]
    is_async: bool


def build_nodes(*, group: str, modules: Sequence[str], names: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> list[BuiltNode]:
    """Import `modules` and build the nodes `names`, in that order. Raises `WorkerBootstrapError`."""
    found: dict[str, tuple[object, NodeSpec]] = {}
    for module in modules:
        for candidate, spec in _marked(_import(group, module)):
            known = found.setdefault(spec.name, (candidate, spec))
            if known[0] is not candidate:
                raise WorkerBootstrapError(
                    f"group '{group}': two nodes are named '{spec.name}', the second in module '{module}'", group=group
                )
    missing = [name for name in names if name not in found]
    if missing:
        raise WorkerBootstrapError(
            f"group '{group}': node '{missing[0]}' is defined in none of its modules ({', '.join(modules)}), which define: "
            f"{', '.join(sorted(found)) or 'no node'}",
            group=group,
        )
    return [_build(group, *found[name], settings.get(name, {})) for name in names]


def _import(group: str, name: str) -> ModuleType:
    try:
        # The started script is imported under another name in a worker (see worker/main_module.py).
        return sys.modules["__main__"] if name == "__main__" else import_module(name)
    except BaseException as error:  # noqa: BLE001  user code runs here, and may raise anything, SystemExit included
        problem = WorkerBootstrapError(
            f"group '{group}': module '{name}' cannot be imported: {cause_of(error, importing=True)}", group=group, detail=_text(error)
        )
    raise problem


def _marked(module: ModuleType) -> Iterable[tuple[object, NodeSpec]]:
    for value in list(vars(module).values()):
        spec = spec_of(value)
        if spec is not None:
            yield value, spec


def _build(group: str, target: Any, spec: NodeSpec, settings: Mapping[str, Any]) -> BuiltNode:
    where = f"group '{group}': node '{spec.name}' of module '{target.__module__}'"
    call = target
    if isinstance(target, type):
        try:
            call = target(**settings)
        except BaseException as error:  # noqa: BLE001  a constructor is user code
            problem = WorkerBootstrapError(
                f"{where} could not be built with its settings [nodes.{spec.name}]: {cause_of(error)}", group=group, detail=_text(error)
            )
        else:
            return _callable(group, call, spec)
        raise problem
    if settings:
        raise WorkerBootstrapError(f"{where} is a function and takes no settings: remove [nodes.{spec.name}]", group=group)
    return _callable(group, call, spec)


def _callable(group: str, call: Any, spec: NodeSpec) -> BuiltNode:
    try:
        inspect.signature(call).bind(None, None)
    except (TypeError, ValueError):
        pass
    else:
        function = call if inspect.isroutine(call) else type(call).__call__
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        return BuiltNode(spec, spec.route(group), call, is_async)
    raise WorkerBootstrapError(f"group '{group}': node '{spec.name}' must be callable as node(message, ctx)", group=group)


async def enter_contexts(group: str, nodes: Sequence[BuiltNode], stack: AsyncExitStack) -> None:
    """Enter the class nodes that are context managers: they load and warm up there. Raises `WorkerBootstrapError`."""
    for node in nodes:
        instance: Any = node.call
        try:
            if hasattr(type(instance), "__aenter__"):
                await stack.enter_async_context(instance)
            elif hasattr(type(instance), "__enter__"):
                stack.enter_context(instance)
        except BaseException as error:  # noqa: BLE001  user code
            problem = WorkerBootstrapError(
                f"group '{group}': node '{node.spec.name}' could not be entered: {cause_of(error)}", group=group, detail=_text(error)
            )
        else:
            continue
        raise problem


def cause_of(error: BaseException, *, importing: bool = False) -> str:
    """A cause that may be shown: the type, and the text only where it comes from the import system (`importing`) or from us."""
    name = exception_name(error)
    if isinstance(error, SyntaxError):
        return f"{name} in {error.filename}, line {error.lineno}"
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return f"{name}: No module named '{error.name}'"
    if isinstance(error, ConfigurationError) or (importing and isinstance(error, ImportError)):
        return f"{name}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{name} in {frames[-1].filename}, line {frames[-1].lineno}" if frames else name


def _text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
