"""From module names to nodes; every failure names group, module, node and cause."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from stream_kernel import NodeContext, WorkerBootstrapError
from stream_kernel.nodes.decorator import NodeSpec
from stream_kernel.nodes.registry import BuiltNode, build_nodes, call_refusal, cause_of, enter_contexts, marked_nodes, settings_refusal

MODULE = """
from stream_kernel import node

@node(name="function")
def function(message, ctx): return message

@node(name="async_function")
async def async_function(message, ctx): return message

@node(name="async_stream")
async def async_stream(message, ctx): yield message

@node(name="plain_class")
class PlainClass:
    def __init__(self, limit=1): self.limit = limit
    def __call__(self, message, ctx): return self.limit

@node(name="async_class")
class AsyncClass:
    async def __call__(self, message, ctx): return message

@node(name="raising")
class Raising:
    def __init__(self, password="x"): raise SystemExit(password)

@node(name="raising_when_built")
class RaisingWhenBuilt:
    def __init__(self): raise SystemExit
    def __call__(self, message, ctx): return message

@node(name="no_call")
class NoCall: pass

@node(name="one_argument")
def one_argument(message): return message

alias = function
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "registry_nodes.py").write_text(MODULE)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


def build(*names: str, module: str = "registry_nodes", **settings: Any) -> list[BuiltNode]:
    return build_nodes(group="g", modules=[module], names=names, settings=settings)


def refusal(*names: str, module: str = "registry_nodes", **settings: Any) -> WorkerBootstrapError:
    with pytest.raises(WorkerBootstrapError) as caught:
        build(*names, module=module, **settings)
    assert caught.value.group == "g"
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    return caught.value


def test_nodes_are_built_in_the_order_that_was_asked_for(modules: Path) -> None:
    nodes = build("plain_class", "function", plain_class={"limit": 7})
    assert [node.spec.name for node in nodes] == ["plain_class", "function"]
    assert [node.call(3, NodeContext()) for node in nodes] == [7, 3]
    assert [node.route.group for node in nodes] == ["g", "g"]


def test_async_nodes_are_known_as_such(modules: Path) -> None:
    names = ("function", "async_function", "async_stream", "plain_class", "async_class")
    assert [node.is_async for node in build(*names)] == [False, True, True, False, True]


def test_a_module_that_cannot_be_imported_is_named_with_its_cause(modules: Path) -> None:
    assert str(refusal("n", module="nowhere.at_all")).startswith(
        "group 'g': module 'nowhere.at_all' cannot be imported: ModuleNotFoundError: "
    )
    (modules / "registry_exits.py").write_text("raise SystemExit('hunter2')\n")
    error = refusal("n", module="registry_exits")
    assert str(error).startswith("group 'g': module 'registry_exits' cannot be imported: SystemExit in ")
    assert "hunter2" not in str(error) and error.detail is not None and "hunter2" in error.detail
    (modules / "registry_broken.py").write_text("def (\n")
    assert "SyntaxError in" in str(refusal("n", module="registry_broken"))


def test_a_node_that_no_module_defines_is_named_with_those_there_are(modules: Path) -> None:
    text = str(refusal("function", "score"))
    assert text.startswith("group 'g': node 'score' is defined in none of its modules (registry_nodes), which define: async_class,")
    (modules / "registry_empty.py").write_text("")
    assert str(refusal("n", module="registry_empty")).endswith("which define: no node")


def test_two_nodes_of_one_name_are_refused_but_one_node_may_be_seen_twice(modules: Path) -> None:
    (modules / "registry_twice.py").write_text("from registry_nodes import function\n")
    nodes = build_nodes(group="g", modules=["registry_nodes", "registry_twice"], names=["function"], settings={})
    assert len(nodes) == 1
    (modules / "registry_second.py").write_text(MODULE)
    with pytest.raises(WorkerBootstrapError, match="two nodes are named 'function', the second in module 'registry_second'"):
        build_nodes(group="g", modules=["registry_nodes", "registry_second"], names=["function"], settings={})


@pytest.mark.fault("FAULT-34")
def test_a_constructor_that_raises_is_named_without_its_text(modules: Path) -> None:
    error = refusal("raising", raising={"password": "hunter2"})
    assert "node 'raising'" in str(error) and "SystemExit" in str(error) and "[nodes.raising]" in str(error)
    assert "hunter2" not in str(error) and error.detail is not None and "hunter2" in error.detail


def test_settings_that_do_not_fit_say_which_table_to_mend(modules: Path) -> None:
    assert "[nodes.plain_class]" in str(refusal("plain_class", plain_class={"limits": 1}))
    assert "is a function and takes no settings: remove [nodes.function]" in str(refusal("function", function={"a": 1}))


@pytest.mark.parametrize("name", ["no_call", "one_argument"])
def test_a_node_must_take_a_message_and_a_context(modules: Path, name: str) -> None:
    assert "must be callable as node(message, ctx)" in str(refusal(name))


def marked(name: str) -> tuple[object, NodeSpec]:
    return next(found for found in marked_nodes(importlib.import_module("registry_nodes")) if found[1].name == name)


def test_settings_are_checked_without_building_anything(modules: Path) -> None:
    assert settings_refusal(*marked("plain_class"), {"limit": 1}) is None
    assert settings_refusal(*marked("raising"), {"password": "hunter2"}) is None
    assert settings_refusal(*marked("function"), {}) is None
    assert settings_refusal(*marked("function"), {"a": 1}) == "is a function and takes no settings: remove [nodes.function]"
    refusal = settings_refusal(*marked("plain_class"), {"limits": "hunter2"})
    assert refusal == "does not take its settings [nodes.plain_class]: got an unexpected keyword argument 'limits'"


def test_a_constructor_that_does_not_say_what_it_takes_is_not_refused_before_it_is_tried(modules: Path) -> None:
    _, spec = marked("plain_class")
    assert settings_refusal(type, spec, {"anything": 1}) is None


class StaticCall:
    @staticmethod
    def __call__(message: Any, ctx: NodeContext) -> None: ...


def test_the_shape_of_a_node_is_checked_without_building_it(modules: Path) -> None:
    for name in ("function", "async_stream", "plain_class", "raising_when_built"):
        assert call_refusal(marked(name)[0]) is None
    assert call_refusal(StaticCall) is None
    for name in ("no_call", "one_argument"):
        assert call_refusal(marked(name)[0]) == "must be callable as node(message, ctx)"


class Managed:
    def __init__(self, journal: list[str], name: str, fails: bool = False) -> None:
        self._journal, self._name, self._fails = journal, name, fails

    def __call__(self, message: Any, ctx: NodeContext) -> None: ...

    def __enter__(self) -> None:
        if self._fails:
            raise SystemExit("hunter2")
        self._journal.append(f"enter {self._name}")

    def __exit__(self, *_: object) -> None:
        self._journal.append(f"leave {self._name}")


class AsyncManaged(Managed):
    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


def built(call: Any, modules: Path) -> BuiltNode:
    (function,) = build("function")
    return BuiltNode(function.spec, function.route, call, False)


async def test_contexts_are_entered_in_order_and_left_in_reverse(modules: Path) -> None:
    journal: list[str] = []
    nodes = [built(Managed(journal, "a"), modules), built(len, modules), built(AsyncManaged(journal, "b"), modules)]
    async with AsyncExitStack() as stack:
        await enter_contexts("g", nodes, stack)
        assert journal == ["enter a", "enter b"]
    assert journal == ["enter a", "enter b", "leave b", "leave a"]


@pytest.mark.fault("FAULT-34")
async def test_a_context_that_raises_is_a_boot_error_and_those_before_it_are_left(modules: Path) -> None:
    journal: list[str] = []
    nodes = [built(Managed(journal, "a"), modules), built(Managed(journal, "b", fails=True), modules)]
    stack = AsyncExitStack()
    with pytest.raises(WorkerBootstrapError) as caught:
        await enter_contexts("g", nodes, stack)
    await stack.aclose()
    assert "could not be entered: SystemExit" in str(caught.value) and "hunter2" not in str(caught.value)
    assert journal == ["enter a", "leave a"]


def test_a_cause_quotes_only_what_the_import_system_says() -> None:
    assert cause_of(ImportError("no module"), importing=True) == "ImportError: no module"
    assert cause_of(ImportError("cannot connect with hunter2")) == "ImportError"
    assert cause_of(ModuleNotFoundError("hunter2", name="torch")) == "ModuleNotFoundError: No module named 'torch'"
    assert cause_of(ValueError("hunter2")) == "ValueError"
