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

__all__ = ["BuiltNode", "build_nodes", "call_refusal", "cause_of", "enter_contexts", "marked_nodes", "settings_refusal"]


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
        for candidate, spec in marked_nodes(_import(group, module)):
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


def marked_nodes(module: ModuleType) -> Iterable[tuple[object, NodeSpec]]:
    """What `@node` marked in `module`; one that has two names there comes twice."""
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
    refusal = settings_refusal(target, spec, settings)
    if refusal is not None:
        raise WorkerBootstrapError(f"{where} {refusal}", group=group)
    return _callable(group, call, spec)


def _callable(group: str, call: Any, spec: NodeSpec) -> BuiltNode:
    if not _takes(call, 2):
        raise WorkerBootstrapError(f"group '{group}': node '{spec.name}' {_NOT_CALLABLE}", group=group)
    function = call if inspect.isroutine(call) else type(call).__call__
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    return BuiltNode(spec, spec.route(group), call, is_async)


def settings_refusal(target: object, spec: NodeSpec, settings: Mapping[str, Any]) -> str | None:
    """Why the node cannot be built with these settings, as far as can be told without building it; None when nothing speaks against it."""
    if not isinstance(target, type):
        return f"is a function and takes no settings: remove [nodes.{spec.name}]" if settings else None
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # not every constructor that is written in C says what it takes
        return None
    try:
        signature.bind(**settings)
    except TypeError as error:
        return f"does not take its settings [nodes.{spec.name}]: {error}"
    return None


def call_refusal(target: object) -> str | None:
    """Why the node cannot be called as nodes are, as far as can be told without building it; None when nothing speaks against it."""
    if not isinstance(target, type):
        return None if _takes(target, 2) else _NOT_CALLABLE
    call = next((vars(base)["__call__"] for base in target.__mro__ if "__call__" in vars(base)), None)
    if call is None or inspect.isfunction(call):
        return None if _takes(call, 3) else _NOT_CALLABLE
    return None  # what a descriptor makes of the call is known once there is an instance


_NOT_CALLABLE = "must be callable as node(message, ctx)"


def _takes(call: Any, arguments: int) -> bool:
    try:
        inspect.signature(call).bind(*[None] * arguments)
    except (TypeError, ValueError):
        return False
    return True


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
