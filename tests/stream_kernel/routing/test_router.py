"""Where outputs go, and which groups may still send to which."""

from __future__ import annotations

import pytest

from stream_kernel.routing.router import NodeRoute, Router


def test_a_type_goes_to_all_its_consumers_in_configuration_order() -> None:
    routes = [NodeRoute("b", "g2", ("T", "U")), NodeRoute("a", "g1", ("T",)), NodeRoute("c", "g1")]
    router = Router(routes)
    assert [route.name for route in router.consumers("T")] == ["b", "a"]
    assert [route.name for route in router.consumers("U")] == ["b"]
    assert router.consumers("V") == () == router.consumers(None)


def test_a_node_is_found_by_its_name_only() -> None:
    router = Router([NodeRoute("a", "g")])
    assert router.find("a") == NodeRoute("a", "g")
    assert router.find("b") is None and router.find(None) is None


def test_the_tags_are_all_that_any_node_consumes_or_emits() -> None:
    assert Router([NodeRoute("a", "g", ("T",), ("U",)), NodeRoute("b", "g", (), ("V",))]).tags == {"T", "U", "V"}


def test_a_group_is_stateful_when_one_of_its_nodes_is() -> None:
    assert Router([NodeRoute("a", "g", stateful=True), NodeRoute("b", "g"), NodeRoute("c", "h")]).stateful_groups == {"g"}


def test_upstream_follows_types_and_names_over_any_number_of_hops() -> None:
    router = Router(
        [
            NodeRoute("a", "one", emits=("T",)),
            NodeRoute("b", "two", consumes=("T",), sends_to=("c", "nobody")),
            NodeRoute("c", "three"),
            NodeRoute("d", "four"),
        ]
    )
    assert router.upstream("three") == {"one", "two"}
    assert router.upstream("two") == {"one"}
    assert router.upstream("one") == router.upstream("four") == router.upstream("unknown") == frozenset()


def test_a_cycle_of_groups_ends_and_a_group_is_never_its_own_upstream() -> None:
    router = Router([NodeRoute("a", "one", ("T",), ("U",)), NodeRoute("b", "two", ("U",), ("T",)), NodeRoute("c", "one", ("U",), ("U",))])
    assert router.upstream("one") == {"two"}
    assert router.upstream("two") == {"one"}


@pytest.mark.parametrize(
    ("consumes", "tag", "refusal"),
    [
        ((), None, None),
        (("T",), None, None),
        (("T",), "T", None),
        (("T", "U"), "U", None),
        (("T", "U"), None, "node 'n' consumes several types (T, U): pass an instance of one"),
        (("T",), "V", "node 'n' does not consume V (it consumes T)"),
        ((), "V", "node 'n' does not consume V (it consumes plain JSON only)"),
    ],
)
def test_a_node_says_why_it_cannot_take_a_payload(consumes: tuple[str, ...], tag: str | None, refusal: str | None) -> None:
    assert NodeRoute("n", "g", consumes).refusal(tag) == refusal
