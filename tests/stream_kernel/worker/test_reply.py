"""Replies of one command: whole, in parts, or an error."""

from __future__ import annotations

from msgspec import Raw

from stream_kernel.protocol.columns import outputs_from_columns
from stream_kernel.protocol.messages import ExecuteBoundaryResult
from stream_kernel.reports import NodeTiming
from stream_kernel.routing.items import Emission, ItemFailure, Way
from stream_kernel.routing.packed import Packed
from stream_kernel.worker.reply import ReplyBuilder


def emission(index: int, size: int = 1, *, terminal: bool = True) -> Emission:
    return Emission(index, "echo", Packed(Raw(b'"%s"' % (b"x" * size)), None, size + 2), terminal)


def packed(size: int = 1) -> Packed:
    return emission(0, size).packed


class Sending:
    """A builder, and the replies that it gives."""

    def __init__(self, limit: int) -> None:
        self.parts: list[ExecuteBoundaryResult] = []
        self.builder = ReplyBuilder("c-1", limit, self.parts.append)

    def all(self) -> list[ExecuteBoundaryResult]:
        """The parts that were sent, and the last."""
        return [*self.parts, self.builder.last()]


def indexes(reply: ExecuteBoundaryResult) -> list[int]:
    columns = ((reply.terminal_outputs, True), (reply.outputs, False))
    return [row.index for each, terminal in columns for row in outputs_from_columns(each, terminal=terminal)]


def test_what_fits_is_one_reply() -> None:
    sending = Sending(10_000)
    sending.builder.add([emission(0), emission(0)])
    sending.builder.add(ItemFailure(1, "execution", "it raised"))
    sending.builder.add_one(2, packed(), Way("echo", None, terminal=True), 1)
    (last,) = sending.all()
    assert (last.correlation_id, last.more, indexes(last)) == ("c-1", False, [0, 0, 1, 2])


def test_what_goes_on_is_told_apart_from_what_is_terminal() -> None:
    sending = Sending(10_000)
    sending.builder.add([emission(0), emission(0, terminal=False)])
    (last,) = sending.all()
    assert len(outputs_from_columns(last.terminal_outputs, terminal=True)) == 1
    assert len(outputs_from_columns(last.outputs, terminal=False)) == 1


def test_what_is_taken_alone_goes_where_its_way_leads_with_its_target() -> None:
    sending = Sending(10_000)
    sending.builder.add_one(0, packed(), Way("echo", None, terminal=False, target="next"), 1)
    sending.builder.add_one(1, packed(), Way("echo", None, terminal=True), 1)
    sending.builder.add_one(2, packed(), Way("echo", None, terminal=False), 2)
    (last,) = sending.all()
    onward = [row for row in outputs_from_columns(last.outputs, terminal=False) if isinstance(row, Emission)]
    assert [(row.index, row.target, row.steps) for row in onward] == [(0, "next", 1), (2, None, 2)]
    assert [row.index for row in outputs_from_columns(last.terminal_outputs, terminal=True)] == [1]


def test_the_limit_counts_the_target_of_what_is_taken_alone() -> None:
    alone, several = Sending(1000), Sending(1000)
    for index in range(2):
        alone.builder.add_one(index, packed(300), Way("echo", None, terminal=False, target="t" * 40), 1)
        several.builder.add([Emission(index, "echo", packed(300), terminal=False, target="t" * 40)])
    assert [reply.more for reply in alone.all()] == [reply.more for reply in several.all()] == [True, False]


def test_what_does_not_fit_comes_in_parts_and_nothing_twice() -> None:
    several, alone = Sending(1000), Sending(1000)
    for index in range(5):
        several.builder.add([emission(index, 600)])
        alone.builder.add_one(index, packed(600), Way("echo", None, terminal=True), 1)
    for sending in (several, alone):
        replies = sending.all()
        assert [reply.more for reply in replies] == [True] * 4 + [False]
        assert [index for reply in replies for index in indexes(reply)] == list(range(5))


def test_one_output_over_the_limit_still_goes_alone() -> None:
    sending = Sending(100)
    sending.builder.add([emission(0, 500)])
    assert [indexes(reply) for reply in sending.all()] == [[0]]


def test_an_item_without_outputs_leaves_no_trace() -> None:
    sending = Sending(100)
    sending.builder.add([])
    (last,) = sending.all()
    assert (last.terminal_outputs, last.outputs) == (None, None)


def test_an_error_carries_what_the_failure_knows() -> None:
    builder = Sending(100).builder
    failure = ItemFailure(3, "input", "does not fit", "score", False, "ValueError", "the traceback")
    error = builder.error(failure)
    assert error.failure() == failure
    assert error.message == "remote handoff failed"
    assert builder.error(ItemFailure(0, "transport", "cancelled")).category == "transport"


def test_the_last_part_alone_says_how_long_the_nodes_ran() -> None:
    timing = (NodeTiming("echo", 2, 1.5), NodeTiming("many", 1, 0.25))
    sending = Sending(100)
    sending.builder.add([emission(0, 90), emission(1, 90)])
    (part,) = sending.parts
    assert (part.timing, sending.builder.last(timing).timing) == ((), timing)
