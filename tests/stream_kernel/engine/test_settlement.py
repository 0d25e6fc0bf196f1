"""What a caller sees of outputs and failures: decoded payloads, terminal events, clean errors."""

from __future__ import annotations

import msgspec
import pytest

from fake_engine import packed
from message_nodes import Order
from stream_kernel import BoundaryFailure, Envelope, TerminalEvent
from stream_kernel.engine.settlement import Failure, Finished, Output, Step, finish
from stream_kernel.protocol.codec import Codec
from stream_kernel.reports import Category, CommandReport, FailureReport
from stream_kernel.routing.items import Emission, InputItem
from stream_kernel.routing.packed import Packed

KNOWN = Codec([Order], max_bytes=1 << 20)
UNKNOWN = Codec(max_bytes=1 << 20)
ITEM = InputItem(packed(0), "a", "t", "r", packed({"k": 1}))


def settle(emission: Emission, codec: Codec = KNOWN) -> Finished:
    (finished,) = finish([Output((0, 0, 0, ()), Step((0, 0, 0, ()), 0, "A", ITEM), emission)], codec)
    return finished


def test_an_output_inherits_what_it_does_not_set() -> None:
    inherited = settle(Emission(0, "a", packed({"v": 1}), True))
    assert inherited.envelope == Envelope({"v": 1}, "t", None, "r", {"k": 1}) and inherited.error is None
    own = settle(Emission(0, "a", packed(1), True, None, "own", "", packed({"m": 2})))
    assert own.envelope == Envelope(1, "own", None, "", {"m": 2})


def test_a_typed_output_is_decoded_where_its_class_is_known_and_plain_elsewhere() -> None:
    sent = KNOWN.pack(Order(3))
    decoded, plain = settle(Emission(0, "a", sent, True)).envelope, settle(Emission(0, "a", sent, True), UNKNOWN).envelope
    assert decoded.payload == Order(3) and decoded.type == plain.type == "message_nodes:Order"
    assert plain.payload["n"] == 3 and plain.payload["price"] == "1.50"


def test_a_terminal_event_comes_back_whole() -> None:
    failure = BoundaryFailure("execution", "executed", "G", "n", "m")
    event = settle(Emission(0, "a", KNOWN.pack(Order(3)), True, status="error", error="no", failure=failure)).envelope.payload
    assert event == TerminalEvent("error", Order(3), "no", failure)


def test_an_output_that_cannot_be_decoded_here_is_an_execution_error_of_its_node() -> None:
    broken = settle(Emission(0, "a", Packed(msgspec.Raw(b'{"n": "text"}'), "message_nodes:Order", 13), True))
    assert broken.error is not None and str(broken.error) == "remote handoff failed for group 'A'"
    assert (broken.error.category, broken.error.delivery, broken.error.report.node) == ("execution", "executed", "a")
    assert isinstance(broken.envelope.payload, TerminalEvent) and broken.envelope.trace_id == "t"


@pytest.mark.parametrize(
    ("category", "status", "sentence"),
    [
        ("transport", "error", "remote handoff transport failed for group 'A'"),
        ("timeout", "timeout", "remote handoff timed out for group 'A'"),
        ("execution", "error", "remote handoff failed for group 'A'"),
    ],
)
def test_a_failure_becomes_an_envelope_with_its_event_and_its_error(category: Category, status: str, sentence: str) -> None:
    report = FailureReport(reason="why", detail="secret", commands=(_command(),))
    failed = Failure((0, 0, 0, ()), 4, category, "maybe_executed", "A", "t", "r", "n", None, "c1", report)
    (finished,) = finish([failed], KNOWN)
    event = TerminalEvent("timeout" if status == "timeout" else "error", None, sentence, _failure(category, sentence))
    assert finished.root == 4
    assert finished.envelope == Envelope(event, "t", None, "r")
    error = finished.error
    assert error is not None and str(error) == sentence
    assert (error.category, error.delivery, error.group, error.trace_ids) == (category, "maybe_executed", "A", ("t",))
    assert (error.correlation_id, error.report) == ("c1", report)


def _command() -> CommandReport:
    return CommandReport(correlation_id="c1", group="A", inputs=1, delivery="maybe_executed", outcome="transport")


def _failure(category: Category, sentence: str) -> BoundaryFailure:
    return BoundaryFailure(category, "maybe_executed", "A", "n", sentence)
