"""A class has the same tag in every process."""

from __future__ import annotations

from stream_kernel.routing.tags import MAIN_ALIAS, type_tag


class Outer:
    class Inner:
        pass


def test_a_tag_is_module_and_qualified_name() -> None:
    assert type_tag(Outer.Inner) == f"{__name__}:Outer.Inner"


def test_classes_of_the_started_script_have_one_tag_under_both_of_its_names() -> None:
    for module in ("__main__", MAIN_ALIAS):
        assert type_tag(type("Message", (), {"__module__": module})) == "__main__:Message"
