"""Each line has its outputs or its failures, said in terms of lines."""

from __future__ import annotations

from typing import Any

import pytest

from naming import named
from stream_kernel import Envelope, TerminalEvent
from stream_kernel.engine.settlement import Finished
from stream_kernel.errors import boundary_error
from stream_kernel.execution.orchestration.line_results import LineResult, results_of
from stream_kernel.execution.orchestration.line_source import Line
from stream_kernel.execution.orchestration.run_summary import LineFailure
from stream_kernel.reports import Category, Delivery, FailureReport


def output(root: int, payload: Any) -> Finished:
    return Finished(root, Envelope(payload), group="policy", node="decide")


def failed(root: int, category: Category, delivery: Delivery, message: str | None = None, **report: Any) -> Finished:
    error = boundary_error(category, group="policy", delivery=delivery, message=message, report=FailureReport(node="decide", **report))
    return Finished(root, Envelope(TerminalEvent("error")), error)


def results(lines: list[Line], *finished: Finished) -> list[LineResult]:
    return list(results_of(lines, finished))


def result(*finished: Finished) -> LineResult:
    """Of line 7, the only one."""
    (only,) = results([Line(7, "x")], *finished)
    assert only.line == 7
    return only


def failure(finished: Finished) -> LineFailure:
    """The one failure of line 7."""
    only = result(finished)
    (one,) = only.failures
    assert only.outputs == []
    return one


def test_each_line_has_its_outputs_in_order() -> None:
    lines = [Line(4, "a"), Line(5, "b"), Line(6, "c")]
    assert results(lines, output(0, "a1"), output(0, "a2"), output(2, "c1")) == [
        LineResult(4, [b"a1", b"a2"], []),
        LineResult(5, [], []),
        LineResult(6, [b"c1"], []),
    ]


def test_lines_that_never_were_inputs_do_not_shift_the_others() -> None:
    lines = [Line(1, None, "is not UTF-8"), Line(2, "a"), Line(3, None, "is too long"), Line(4, "b")]
    first, second, third, fourth = results(lines, output(0, 2), output(1, 4))
    assert (second, fourth) == (LineResult(2, [b"2"], []), LineResult(4, [b"4"], []))
    assert first == LineResult(1, [], [refused(1, "line 1 is not UTF-8")], [FailureReport()])
    assert third.failures == [refused(3, "line 3 is too long")]


def refused(line: int, message: str) -> LineFailure:
    return LineFailure(line=line, category="input", delivery="not_executed", group=None, node=None, message=message)


def test_a_line_whose_value_is_null_is_an_input() -> None:
    assert results([Line(1, None)], output(0, None)) == [LineResult(1, [b"null"], [])]


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        ("plain text", b"plain text"),
        ("", b""),
        ("ä\r\u2028", "ä\r\u2028".encode()),
        ('{"a": 1}', b'{"a": 1}'),
        ({"a": "b\nc", "d": [1.5, None, True]}, b'{"a":"b\\nc","d":[1.5,null,true]}'),
        (["text"], b'["text"]'),
        (0, b"0"),
        (TerminalEvent("success", {"v": 1}), b'{"v":1}'),
        (TerminalEvent("success", "text"), b"text"),
    ],
    ids=named,
)
def test_a_text_is_written_as_it_is_and_anything_else_as_json(payload: Any, written: bytes) -> None:
    assert result(output(0, payload)).outputs == [written]


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ("two\nlines", "holds a line break, and an output is one line: give it as JSON"),
        ("\udc80", "has lone surrogates, which UTF-8 cannot carry"),
        ({"a": [{1}]}, "at $.a[0]: is of type set"),
    ],
    ids=["line break", "surrogate", "set"],
)
def test_an_output_that_is_no_line_is_a_failure_of_the_line(payload: Any, problem: str) -> None:
    found = failure(output(0, payload))
    assert (found.line, found.category, found.delivery, found.group, found.node) == (7, "execution", "executed", "policy", "decide")
    assert found.message.startswith("an output of line 7 cannot be written: ") and problem in found.message
    assert found.reason is None


def test_a_line_that_fails_in_part_has_no_outputs_and_all_its_failures() -> None:
    found = result(output(0, 1), failed(0, "transport", "maybe_executed"), output(0, "a\nb"), output(0, 2))
    assert found.outputs == []
    assert [one.category for one in found.failures] == ["transport", "execution"]


@pytest.mark.parametrize(
    ("category", "delivery", "message"),
    [
        ("transport", "maybe_executed", "remote handoff transport failed for group 'policy'"),
        ("timeout", "not_executed", "remote handoff timed out for group 'policy'"),
        ("execution", "executed", "remote handoff failed for group 'policy'"),
    ],
)
def test_a_failure_says_what_the_error_of_a_call_says(category: Category, delivery: Delivery, message: str) -> None:
    assert failure(failed(0, category, delivery, reason="why")) == LineFailure(
        line=7, category=category, delivery=delivery, group="policy", node="decide", message=message, reason="why"
    )


def test_what_the_exception_of_a_node_quotes_stays_out() -> None:
    raised = failure(failed(0, "execution", "executed", reason="node 'decide' raised KeyError", exception_type="KeyError", detail="secret"))
    assert raised.reason == "node 'decide' raised KeyError"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("input 1 for node 'parse' at $.k: is a tuple", "line 9 for node 'parse' at $.k: is a tuple"),
        ("input 1: node 'parse' consumes Order", "line 9: node 'parse' consumes Order"),
    ],
)
def test_an_input_that_is_refused_is_a_line_and_no_position_in_a_call(said: str, message: str) -> None:
    _, second = results([Line(8, "a"), Line(9, "b")], failed(1, "input", "not_executed", said, reason=said))
    (found,) = second.failures
    assert (found.message, found.reason, found.category) == (message, None, "input")


@pytest.mark.parametrize(("status", "category"), [("error", "execution"), ("cancelled", "execution"), ("timeout", "timeout")])
def test_an_event_that_ends_a_chain_badly_is_a_failure_and_says_why(status: Any, category: Category) -> None:
    found = failure(output(0, TerminalEvent(status, error="no funds")))
    assert (found.category, found.delivery, found.group, found.node) == (category, "executed", "policy", "decide")
    assert found.reason == f"the node ended the chain with the status '{status}': no funds"
    assert failure(output(0, TerminalEvent(status))).reason == f"the node ended the chain with the status '{status}'"
