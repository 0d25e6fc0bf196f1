"""What becomes of the inputs of a call: steps on their way, outputs and failures at the end, and what the caller sees of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import msgspec

from stream_kernel.engine.base import PayloadCodec
from stream_kernel.errors import BoundaryError, BoundaryInputError, PayloadError, boundary_error, handoff_sentence
from stream_kernel.reports import Category, CommandReport, Delivery, FailureReport
from stream_kernel.routing.envelope import BoundaryFailure, Envelope, TerminalEvent
from stream_kernel.routing.items import Emission, InputItem
from stream_kernel.routing.packed import Packed

__all__ = ["Failure", "Finished", "Output", "Place", "PlainOutputs", "Settled", "Step", "finish"]

Place = tuple[int, int, int, tuple[int, ...]]
"""Where something stands in the order of a call: rank of the root input's group, position of the root input, hop, and the way it came:
at each hop the number of the output among those of its item, and of the consumer among those of the output."""


class Step(msgspec.Struct, gc=False):
    """One item on its way to a group."""

    place: Place
    root: int
    group: str
    item: InputItem
    weight: int = 0
    """At most so many bytes it has on the wire."""
    emitter: tuple[str, str] | None = None
    """Group and node whose output it is; None for an input of the call."""
    emitted: int = 0
    """How many of its outputs have been placed."""
    losses: int = 0
    """How often it was lost with a worker."""
    attempts: int = 0
    """How often it was lost with a worker, and may have been at work."""
    deaths: int = 0
    """How many workers died with it at work, for certain."""
    may_have_run: bool = False
    """It was lost before, and node code may have run for it then."""
    lost_before: Failure | None = None
    """What it would have come to when it was lost last, had it not been there to be run again."""


class Output(msgspec.Struct, gc=False):
    """A terminal output: what a group emitted for a step."""

    place: Place
    step: Step
    emission: Emission


class Failure(msgspec.Struct, gc=False):
    """A step, or an input before it became one, that failed."""

    place: Place
    root: int
    category: Category
    delivery: Delivery
    group: str | None
    trace_id: str | None = None
    reply_to: str | None = None
    node: str | None = None
    message: str | None = None
    correlation_id: str | None = None
    report: FailureReport = FailureReport()
    is_overloaded: bool = False
    """The queue was full, and the group refuses instead of waiting."""
    follows: bool = False
    """It is an output of another node: whatever its own delivery, work has been done for the input that it comes from."""

    @property
    def sentence(self) -> str:
        return self.message or handoff_sentence(self.category, self.group)

    def error(
        self, delivery: Delivery, trace_ids: tuple[str, ...], commands: tuple[CommandReport, ...]
    ) -> BoundaryError | BoundaryInputError:
        """This failure as an exception."""
        return boundary_error(
            self.category,
            group=self.group,
            delivery=delivery,
            message=self.message,
            trace_ids=trace_ids,
            correlation_id=self.correlation_id,
            report=msgspec.structs.replace(self.report, commands=commands),
            is_overloaded=self.is_overloaded,
        )


class PlainOutputs(msgspec.Struct, frozen=True):
    """The terminal outputs of the inputs `first`, `first + 1`, … of a call, in order, as columns: nothing else has become of any of them.

    `index` is the place of each one's input, from 0. Both others are columns of the inputs.
    """

    first: int
    index: list[int]
    payloads: list[msgspec.Raw]
    tag: str | None
    group: str
    node: str
    trace_id: str | list[str | None] | None
    reply_to: str | list[str | None] | None

    def finish(self, codec: PayloadCodec) -> list[Finished] | None:
        """Decode them all in one go; None when one of them cannot be."""
        payloads = codec.unpack_all(self.payloads, self.tag)
        if payloads is None:
            return None
        return [
            Finished(self.first + place, Envelope(payload, trace_id, None, reply_to, {}, self.tag), None, self.group, self.node)
            for place, payload, trace_id, reply_to in zip(
                self.index, payloads, self._of_each(self.trace_id), self._of_each(self.reply_to), strict=False
            )
        ]

    def one_by_one(self) -> list[Output]:
        """The same, each with what it came from."""
        outputs = []
        texts = zip(self.index, self.payloads, self._of_each(self.trace_id), self._of_each(self.reply_to), strict=False)
        for number, (place, payload, trace_id, reply_to) in enumerate(texts):
            packed = Packed(payload, self.tag, len(payload))
            step = Step((0, self.first + place, 0, ()), self.first + place, self.group, InputItem(packed, "", trace_id, reply_to))
            outputs.append(Output((0, self.first + place, 0, (number,)), step, Emission(place, self.node, packed, terminal=True)))
        return outputs

    def _of_each(self, column: str | list[str | None] | None) -> Iterable[str | None]:
        return [column[place] for place in self.index] if isinstance(column, list) else repeat(column)


Settled = list[Output | Failure]
"""What a call came to, in order."""


class Finished(msgspec.Struct):
    """One output of a call, in its order. `error` is what a failed one would have raised."""

    root: int
    envelope: Envelope
    error: BoundaryError | BoundaryInputError | None = None
    group: str | None = None
    """Whose output it is; of a failure, see `error`."""
    node: str | None = None


def finish(settled: Settled | PlainOutputs, codec: PayloadCodec) -> list[Finished]:
    """Decode what a call gave. Failures become envelopes with a terminal event, as `collect` promises."""
    if isinstance(settled, PlainOutputs):
        finished = settled.finish(codec)
        return [_finish_output(one, codec) for one in settled.one_by_one()] if finished is None else finished
    return [_finish_failure(one) if isinstance(one, Failure) else _finish_output(one, codec) for one in settled]


def _finish_failure(failure: Failure) -> Finished:
    why = BoundaryFailure(
        failure.category, failure.delivery, failure.group, failure.node, failure.sentence, is_poison=failure.report.is_poison
    )
    event = TerminalEvent(status="timeout" if failure.category == "timeout" else "error", error=failure.sentence, failure=why)
    traces = () if failure.trace_id is None else (failure.trace_id,)
    delivery: Delivery = "executed" if failure.follows and failure.delivery == "not_executed" else failure.delivery
    error = failure.error(delivery, traces, failure.report.commands)
    return Finished(failure.root, Envelope(event, failure.trace_id, None, failure.reply_to), error)


def _finish_output(output: Output, codec: PayloadCodec) -> Finished:
    emission, step = output.emission, output.step
    packed, item = emission.packed, step.item
    trace_id = item.trace_id if emission.trace_id is None else emission.trace_id
    reply_to = item.reply_to if emission.reply_to is None else emission.reply_to
    meta = emission.meta or item.meta
    try:
        payload: Any = codec.unpack(packed) if packed.tag is None or codec.knows(packed.tag) else codec.plain(packed)
        decoded_meta = {} if meta is None else codec.plain(meta)
    except PayloadError as error:
        reason = f"output of node '{emission.node}' cannot be decoded here: {error}"
    else:
        if emission.status is not None:
            payload = TerminalEvent(emission.status, payload, emission.error, emission.failure)
        return Finished(step.root, Envelope(payload, trace_id, None, reply_to, decoded_meta, packed.tag), None, step.group, emission.node)
    return _finish_failure(
        Failure(
            place=output.place,
            root=step.root,
            category="execution",
            delivery="executed",
            group=step.group,
            trace_id=trace_id,
            reply_to=reply_to,
            node=emission.node,
            report=FailureReport(reason=reason, node=emission.node, input_index=step.root),
        )
    )
