"""The words of the wire, as the contract lists them."""

from __future__ import annotations

import json
import typing

import msgspec
import pytest

from stream_kernel.protocol.messages import ExecuteBoundaryError, FromParent, FromWorker, Ping, Pong, Stop, Stopped
from stream_kernel.testing.protocol_pair import BOOTSTRAP, HELLO, command, result


def kinds(union: object) -> set[str]:
    return {str(member.__struct_config__.tag) for member in typing.get_args(union)}


def test_each_direction_has_the_kinds_of_the_contract() -> None:
    assert kinds(FromWorker) == {
        "hello",
        "ready",
        "bootstrap_error",
        "execute_boundary_result",
        "execute_boundary_error",
        "pong",
        "stopped",
    }
    assert kinds(FromParent) == {"bootstrap", "start_work", "execute_boundary", "cancel", "ping", "stop"}


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (HELLO, {"protocols", "pid", "sdk_version", "language"}),
        (
            BOOTSTRAP,
            {
                "worker_id",
                "worker_index",
                "generation",
                "process_group",
                "scenario_id",
                "discovery_modules",
                "nodes",
                "settings",
                "import_path",
                "limits",
            },
        ),
        (command("1"), {"correlation_id", "run_id", "scenario_id", "remaining_ms", "on_error", "inputs"}),
        (result("1"), {"correlation_id"}),
        (result("1", more=True), {"correlation_id", "more"}),
        (ExecuteBoundaryError(correlation_id="1", category="timeout", message="m"), {"correlation_id", "category", "message"}),
        (Ping(), set()),
        (Pong(token=1), {"token"}),
        (Stop(), set()),
        (Stopped(), set()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_message_on_the_wire_is_its_kind_and_its_fields_without_defaults(message: msgspec.Struct, fields: set[str]) -> None:
    wire = json.loads(msgspec.json.encode(message))
    assert wire.pop("kind") == message.__struct_config__.tag
    assert set(wire) == fields


@pytest.mark.parametrize(
    ("category", "executed", "expected"),
    [("execution", True, "execution"), ("execution", False, "input"), ("transport", False, "transport"), ("timeout", True, "timeout")],
)
def test_a_command_that_failed_before_any_node_ran_was_refused_for_its_input(
    category: typing.Literal["execution", "transport", "timeout"], executed: bool, expected: str
) -> None:
    error = ExecuteBoundaryError(
        correlation_id="1", category=category, message="m", index=3, node="n", reason="r", executed=executed, exception_type="E", detail="d"
    )
    failure = error.failure()
    assert (failure.category, failure.executed) == (expected, executed)
    assert (failure.index, failure.node, failure.reason, failure.exception_type, failure.detail) == (3, "n", "r", "E", "d")
