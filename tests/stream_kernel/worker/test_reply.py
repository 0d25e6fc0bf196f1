"""Replies of one command: whole, in parts, or an error."""

from __future__ import annotations

from msgspec import Raw

from stream_kernel.protocol.columns import outputs_from_columns
from stream_kernel.protocol.messages import ExecuteBoundaryResult
from stream_kernel.reports import NodeTiming
from stream_kernel.routing.items import Emission, ItemFailure
from stream_kernel.routing.packed import Packed
from stream_kernel.worker.reply import ReplyBuilder


def emission(index: int, size: int = 1, *, terminal: bool = True) -> Emission:
    return Emission(index, "echo", Packed(Raw(b'"%s"' % (b"x" * size)), None, size + 2), terminal)


def indexes(reply: ExecuteBoundaryResult) -> list[int]:
    columns = ((reply.terminal_outputs, True), (reply.outputs, False))
    return [row.index for each, terminal in columns for row in outputs_from_columns(each, terminal=terminal)]


def test_what_fits_is_one_reply() -> None:
    builder = ReplyBuilder("c-1", 10_000)
    assert builder.add([emission(0), emission(0)]) == []
    assert builder.add(ItemFailure(1, "execution", "it raised")) == []
    last = builder.last()
    assert (last.correlation_id, last.more, indexes(last)) == ("c-1", False, [0, 0, 1])


def test_what_goes_on_is_told_apart_from_what_is_terminal() -> None:
    builder = ReplyBuilder("c-1", 10_000)
    builder.add([emission(0), emission(0, terminal=False)])
    last = builder.last()
    assert len(outputs_from_columns(last.terminal_outputs, terminal=True)) == 1
    assert len(outputs_from_columns(last.outputs, terminal=False)) == 1


def test_what_does_not_fit_comes_in_parts_and_nothing_twice() -> None:
    builder = ReplyBuilder("c-1", 1000)
    parts = [part for index in range(5) for part in builder.add([emission(index, 600)])]
    replies = [*parts, builder.last()]
    assert [reply.more for reply in replies] == [True] * 4 + [False]
    assert [index for reply in replies for index in indexes(reply)] == list(range(5))


def test_one_output_over_the_limit_still_goes_alone() -> None:
    builder = ReplyBuilder("c-1", 100)
    assert builder.add([emission(0, 500)]) == []
    assert indexes(builder.last()) == [0]


def test_an_item_without_outputs_leaves_no_trace() -> None:
    builder = ReplyBuilder("c-1", 100)
    builder.add([])
    last = builder.last()
    assert (last.terminal_outputs, last.outputs) == (None, None)


def test_an_error_carries_what_the_failure_knows() -> None:
    failure = ItemFailure(3, "input", "does not fit", "score", False, "ValueError", "the traceback")
    error = ReplyBuilder("c-1", 100).error(failure)
    assert error.failure() == failure
    assert error.message == "remote handoff failed"
    assert ReplyBuilder("c-1", 100).error(ItemFailure(0, "transport", "cancelled")).category == "transport"


def test_the_last_part_alone_says_how_long_the_nodes_ran() -> None:
    timing = (NodeTiming("echo", 2, 1.5), NodeTiming("many", 1, 0.25))
    builder = ReplyBuilder("c-1", 100)
    (part,) = builder.add([emission(0, 90), emission(1, 90)])
    assert (part.timing, builder.last(timing).timing) == ((), timing)
