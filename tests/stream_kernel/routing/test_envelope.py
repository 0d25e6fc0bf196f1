"""The values of the public API are frozen and checked where they are made."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from naming import named
from stream_kernel import BoundaryDispatchInput, BoundaryFailure, Envelope, RoutingResult, TerminalEvent
from stream_kernel.platform.services.reply_waiter import TerminalEvent as TerminalEventOfThePlan

FAILURE = BoundaryFailure("execution", "executed", "g", "n", "m")


def test_values_are_built_by_position_and_by_keyword() -> None:
    assert Envelope(1, "t", "n", "r", {"a": 1}, "m:C") == Envelope(
        payload=1, trace_id="t", target="n", reply_to="r", meta={"a": 1}, type="m:C"
    )
    assert Envelope(None) == Envelope(payload=None, trace_id=None, target=None, reply_to=None, meta={}, type=None)
    assert TerminalEvent("error", 1, "e", FAILURE) == TerminalEvent(status="error", payload=1, error="e", failure=FAILURE)
    assert BoundaryFailure(category="execution", delivery="executed", group="g", node="n", message="m") == FAILURE
    assert RoutingResult([], [], [Envelope(1)]).terminal_outputs == [Envelope(1)]


def test_two_values_share_no_default() -> None:
    assert Envelope(1).meta is not Envelope(1).meta
    assert RoutingResult().terminal_outputs is not RoutingResult().terminal_outputs


@pytest.mark.parametrize(
    ("value", "field"),
    [(Envelope(1), "payload"), (TerminalEvent("success"), "status"), (FAILURE, "message"), (RoutingResult(), "terminal_outputs")],
    ids=named,
)
def test_values_are_frozen(value: Any, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, field, "other")


@pytest.mark.parametrize("field", ["trace_id", "target", "reply_to", "type"])
def test_a_text_of_an_envelope_is_a_string_or_none(field: str) -> None:
    fields: dict[str, Any] = {field: 5}
    with pytest.raises(TypeError, match=f"Envelope.{field} must be a string or None, not int"):
        Envelope(1, **fields)


def test_meta_is_a_dict() -> None:
    with pytest.raises(TypeError, match=r"Envelope\.meta must be a dict, not list"):
        Envelope(1, meta=[])  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["success", "error", "cancelled", "timeout"])
def test_an_event_has_one_of_four_states(status: Any) -> None:
    assert TerminalEvent(status).status == status


def test_anything_else_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"TerminalEvent\.status must be one of"):
        TerminalEvent("done")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"TerminalEvent\.error must be a string or None, not ValueError"):
        TerminalEvent("error", error=ValueError())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"TerminalEvent\.failure must be a BoundaryFailure, not str"):
        TerminalEvent("error", failure="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"BoundaryFailure\.category must be one of"):
        BoundaryFailure("other", "executed", "g", "n", "m")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"BoundaryFailure\.delivery must be one of"):
        BoundaryFailure("transport", "perhaps", "g", "n", "m")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"BoundaryFailure\.node must be a string or None"):
        BoundaryFailure("transport", "executed", "g", 5, "m")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"BoundaryFailure\.message must be a string, not int"):
        BoundaryFailure("transport", "executed", "g", "n", 5)  # type: ignore[arg-type]


class Text(str):
    __slots__ = ()


class Name(enum.StrEnum):
    PRICE = "price"


@pytest.mark.parametrize("given", [Text("price"), Name.PRICE], ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        lambda given: Envelope(1, given, given, given, {}, given),
        lambda given: BoundaryDispatchInput(1, given, given, given, given, given),
        lambda given: TerminalEvent("error", error=given),
        lambda given: BoundaryFailure("execution", "executed", given, given, given),
    ],
    ids=["envelope", "input", "event", "failure"],
)
def test_an_instance_of_a_class_of_strings_becomes_a_string(make: Callable[[str], msgspec.Struct], given: str) -> None:
    texts = [text for text in msgspec.structs.astuple(make(given)) if text == "price"]
    assert texts and {type(text) for text in texts} == {str}


@pytest.mark.parametrize("field", ["local_deliveries", "boundary_deliveries", "terminal_outputs"])
def test_a_result_holds_lists(field: str) -> None:
    fields: dict[str, Any] = {field: ()}
    with pytest.raises(TypeError, match=f"RoutingResult.{field} must be a list"):
        RoutingResult(**fields)


def test_the_event_has_its_second_home() -> None:
    assert TerminalEventOfThePlan is TerminalEvent
    assert not dataclasses.is_dataclass(TerminalEvent)
