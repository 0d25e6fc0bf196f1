"""From what a call gave to what is written for its lines: a line has all its outputs, or the failures that kept it from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from stream_kernel.engine.settlement import Finished
from stream_kernel.errors import BoundaryError, BoundaryInputError, PayloadError
from stream_kernel.execution.orchestration.line_source import Line
from stream_kernel.execution.orchestration.run_summary import LineFailure
from stream_kernel.platform.services.single import outputs_by_input, payload_of
from stream_kernel.protocol.plain import encode_plain
from stream_kernel.reports import FailureReport
from stream_kernel.routing.text import is_utf8

__all__ = ["LineResult", "results_of"]


class LineResult(msgspec.Struct, frozen=True):
    """What became of one line: encoded outputs, or failures, never both."""

    line: int
    outputs: list[bytes]
    failures: list[LineFailure]
    reports: list[FailureReport] = []
    """Of `failures`, one each."""


def results_of(lines: Sequence[Line], finished: Sequence[Finished]) -> Iterator[LineResult]:
    """The result of each line; those without a problem were the inputs, in their order, of the call that gave `finished`."""
    given = enumerate(outputs_by_input(finished, sum(line.problem is None for line in lines)))
    for line in lines:
        if line.problem is not None:
            yield LineResult(line.number, [], [_refused(line)], [FailureReport()])
        else:
            yield _result(line, *next(given))


def _result(line: Line, index: int, finished: Sequence[Finished]) -> LineResult:
    outputs: list[bytes] = []
    failures: list[LineFailure] = []
    reports: list[FailureReport] = []
    for one in finished:
        try:
            outputs.append(_encoded(payload_of(one)))
        except (BoundaryError, BoundaryInputError) as error:
            failures.append(_failure(line, index, error))
            reports.append(error.report)
        except PayloadError as error:
            failures.append(_unwritable(line, one, error.sentence))
            reports.append(FailureReport(node=one.node))
    return LineResult(line.number, [] if failures else outputs, failures, reports)


def _encoded(payload: object) -> bytes:
    """A text is written as it is, anything else as JSON."""
    if not isinstance(payload, str):
        return encode_plain(payload)
    if "\n" in payload:
        raise PayloadError("holds a line break, and an output is one line: give it as JSON")
    if not is_utf8(payload):
        raise PayloadError("has lone surrogates, which UTF-8 cannot carry")
    return payload.encode()


def _refused(line: Line) -> LineFailure:
    return LineFailure(
        line=line.number, category="input", delivery="not_executed", group=None, node=None, message=f"line {line.number} {line.problem}"
    )


def _failure(line: Line, index: int, error: BoundaryError | BoundaryInputError) -> LineFailure:
    report = error.report
    reason = report.reason if report.exception_type is not None or report.detail is None else f"{report.reason}: {report.detail}"
    message = str(error)
    if error.category == "input":
        # The call speaks of its own inputs; whoever reads this counts lines.
        message = f"line {line.number}{message.removeprefix(f'input {index}')}"
        reason = None
    return LineFailure(
        line=line.number,
        category=error.category,
        delivery=error.delivery,
        group=error.group,
        node=report.node if report.input_index in (None, index) else None,  # of a command, the report names the input at work
        message=message,
        reason=reason,
    )


def _unwritable(line: Line, output: Finished, problem: str) -> LineFailure:
    return LineFailure(
        line=line.number,
        category="execution",
        delivery="executed",
        group=output.group,
        node=output.node,
        message=f"an output of line {line.number} cannot be written: {problem}",
    )
