"""What one output of a call comes to."""

from __future__ import annotations

from typing import Any

import pytest

from stream_kernel import BoundaryExecutionError, BoundaryTimeoutError, Envelope, TerminalEvent
from stream_kernel.engine.settlement import Finished
from stream_kernel.errors import boundary_error
from stream_kernel.platform.services.single import outputs_by_input, payload_of


def output(payload: Any, root: int = 0) -> Finished:
    return Finished(root, Envelope(payload, "t"), group="g", node="score")


@pytest.mark.parametrize("payload", [None, 0, "text", {"status": "error"}, [TerminalEvent("error")]])
def test_a_payload_is_what_it_is(payload: Any) -> None:
    assert payload_of(output(payload)) is payload


@pytest.mark.parametrize("payload", [None, 0, {"v": 1}])
def test_an_event_that_ends_well_is_its_payload(payload: Any) -> None:
    assert payload_of(output(TerminalEvent("success", payload))) == payload


def test_the_error_of_an_output_is_raised_as_it_is() -> None:
    error = boundary_error("transport", group="g", delivery="maybe_executed")
    with pytest.raises(ConnectionError) as failed:
        payload_of(Finished(0, Envelope(TerminalEvent("success", 1)), error))
    assert failed.value is error


@pytest.mark.parametrize("status", ["error", "cancelled", "timeout"])
def test_an_event_that_ends_badly_is_raised_with_its_error_in_the_report_alone(status: Any) -> None:
    with pytest.raises((BoundaryExecutionError, BoundaryTimeoutError)) as failed:
        payload_of(output(TerminalEvent(status, {"v": 1}, "card 4711 refused"), root=3))
    error = failed.value
    assert isinstance(error, TimeoutError) is (status == "timeout")
    assert (error.delivery, error.group, error.trace_ids, error.report.node) == ("executed", "g", ("t",), "score")
    assert error.report.input_index == 3
    assert error.report.reason == f"the node ended the chain with the status '{status}'"
    assert error.report.detail == "card 4711 refused" and "4711" not in str(error)


def test_what_has_no_trace_id_names_none() -> None:
    with pytest.raises(BoundaryExecutionError) as failed:
        payload_of(Finished(0, Envelope(TerminalEvent("error"))))
    assert failed.value.trace_ids == () and failed.value.report.detail is None


def test_outputs_are_those_of_their_inputs() -> None:
    first, second, third = output("a", 2), output("b", 0), output("c", 2)
    assert outputs_by_input([first, second, third], 4) == [[second], [], [first, third], []]
    assert outputs_by_input([first, third], 2, first=1) == [[], [first, third]]
