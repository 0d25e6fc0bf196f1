"""`@node` marks and changes nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from naming import named
from stream_kernel import ConfigurationError, NodeContext, node
from stream_kernel.nodes.decorator import spec_of
from stream_kernel.routing.router import NodeRoute
from stream_kernel.routing.tags import type_tag


@dataclasses.dataclass
class Attempt:
    n: int


@dataclasses.dataclass
class Decision:
    ok: bool


def test_a_marked_function_stays_itself_and_knows_its_spec() -> None:
    def score(message: Attempt, ctx: NodeContext) -> Decision:
        return Decision(message.n > 0)

    marked = node(name="score", consumes=[Attempt], emits=(Decision,), sends_to=["next"], stateful=True, idempotent=True)(score)
    assert marked is score and marked(Attempt(1), NodeContext()) == Decision(True)
    spec = spec_of(score)
    assert spec is not None
    assert (spec.name, spec.consumes, spec.emits, spec.sends_to) == ("score", (Attempt,), (Decision,), ("next",))
    assert spec.route("g") == NodeRoute("score", "g", (type_tag(Attempt),), (type_tag(Decision),), ("next",), True, True)


def test_a_subclass_of_a_marked_class_is_no_node() -> None:
    @node(name="counter")
    class Counter:
        def __call__(self, message: Any, ctx: NodeContext) -> int:
            return 1

    class Derived(Counter):
        pass

    assert spec_of(Counter) is not None
    assert spec_of(Derived) is None


@pytest.mark.parametrize("candidate", [1, "x", None, object(), len, int], ids=named)
def test_anything_else_has_no_spec(candidate: object) -> None:
    assert spec_of(candidate) is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"name": ""}, "name must be a non-empty string"),
        ({"name": None}, "name must be a non-empty string"),
        ({"name": "n", "consumes": Attempt}, "@node 'n': consumes must be a list of classes"),
        ({"name": "n", "consumes": "Attempt"}, "consumes must be a list of classes"),
        ({"name": "n", "consumes": {Attempt}}, "consumes must be a list of classes"),
        ({"name": "n", "emits": ["Attempt"]}, "emits must hold classes, not 'Attempt'"),
        ({"name": "n", "consumes": [dict]}, "consumes names dict, but plain JSON needs no entry"),
        ({"name": "n", "emits": [str]}, "emits names str, but plain JSON needs no entry"),
    ],
)
def test_a_wrong_argument_is_refused_where_the_node_is_defined(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        node(**arguments)
    assert problem in str(caught.value)


def test_only_what_can_be_called_can_be_a_node() -> None:
    with pytest.raises(ConfigurationError, match="marks functions and classes, not int"):
        node(name="n")(5)  # type: ignore[type-var]
