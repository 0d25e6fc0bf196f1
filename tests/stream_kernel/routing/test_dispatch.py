"""An input is checked where it is made; whether its group exists is found out by the call."""

from __future__ import annotations

from typing import Any

import pytest

from stream_kernel import BoundaryDispatchInput
from stream_kernel.execution.orchestration import lifecycle_orchestration


def test_an_input_is_built_by_position_and_by_keyword() -> None:
    by_position = BoundaryDispatchInput(1, "g", "n", "t", "r", "s", 2, {"a": 1})
    assert by_position == BoundaryDispatchInput(
        payload=1, dispatch_group="g", target="n", trace_id="t", reply_to="r", source_group="s", route_hop=2, meta={"a": 1}
    )
    assert BoundaryDispatchInput(None, None, None).meta == {}


@pytest.mark.requirement("P5PRE-EXEC-02")
@pytest.mark.parametrize("group", [None, "", "no such group"])
def test_a_missing_or_unknown_group_is_no_error_of_construction(group: str | None) -> None:
    assert BoundaryDispatchInput(1, group, "n").dispatch_group == group


@pytest.mark.parametrize("field", ["dispatch_group", "target", "trace_id", "reply_to", "source_group"])
def test_a_text_is_a_string_or_none(field: str) -> None:
    fields: dict[str, Any] = {"payload": 1, "dispatch_group": "g", "target": "n", field: b"x"}
    with pytest.raises(TypeError, match=f"BoundaryDispatchInput.{field} must be a string or None, not bytes"):
        BoundaryDispatchInput(**fields)


@pytest.mark.parametrize("hop", ["1", 1.0, True])
def test_a_hop_is_an_integer(hop: Any) -> None:
    with pytest.raises(TypeError, match="route_hop must be an int or None"):
        BoundaryDispatchInput(1, "g", "n", route_hop=hop)


def test_meta_is_a_dict() -> None:
    with pytest.raises(TypeError, match="meta must be a dict, not NoneType"):
        BoundaryDispatchInput(1, "g", "n", meta=None)  # type: ignore[arg-type]


def test_an_input_is_frozen_and_has_its_second_home() -> None:
    value = BoundaryDispatchInput(1, "g", "n")
    with pytest.raises(AttributeError):
        value.target = "other"  # type: ignore[misc]
    assert lifecycle_orchestration.BoundaryDispatchInput is BoundaryDispatchInput
