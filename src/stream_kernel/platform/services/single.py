"""Calls for one payload and for a stream of payloads, in terms of the full form: how inputs are made and outputs unwrapped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from stream_kernel.engine.settlement import Finished
from stream_kernel.errors import BoundaryError, BoundaryInputError, boundary_error
from stream_kernel.reports import Category, FailureReport
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.envelope import TerminalEvent

__all__ = ["Batch", "Cancellable", "batched", "in_order", "one_payload", "outputs_by_input", "payload_of"]

T = TypeVar("T")
_CATEGORY_OF_STATUS: dict[str, Category] = {"timeout": "timeout", "error": "execution", "cancelled": "execution"}


class Cancellable(Protocol):
    """A task, or a future of another thread."""

    def cancel(self) -> bool: ...


H = TypeVar("H", bound=Cancellable)


class Batch(msgspec.Struct):
    """Some inputs of a stream, the first of which has this position in it."""

    first: int
    inputs: list[BoundaryDispatchInput]

    def payloads(self, finished: Sequence[Finished]) -> Iterator[Any]:
        """The one output's payload of each input; raises the error of the first that has none."""
        outputs = outputs_by_input(finished, len(self.inputs), self.first)
        for position, given in enumerate(self.inputs):
            yield one_payload(outputs[position], given, self.first + position)


def batched(inputs: Iterable[BoundaryDispatchInput], size: int) -> Iterator[Batch]:
    """Batches of up to `size` inputs."""
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, not {size}")
    batch = Batch(0, [])
    try:
        for given in inputs:
            batch.inputs.append(given)
            if len(batch.inputs) == size:
                yield batch
                batch = Batch(batch.first + size, [])
    except Exception:
        if batch.inputs:
            yield batch  # what was taken before the source failed
        raise
    if batch.inputs:
        yield batch


def in_order(batches: Iterable[T], submit: Callable[[T], H], width: int) -> Generator[tuple[T, H], None, None]:
    """Keep up to `width` batches at work and give each with its handle, in order; what nobody waits for any more is cancelled."""
    window: deque[tuple[T, H]] = deque()
    source = iter(batches)
    failure: Exception | None = None
    try:
        while failure is None:
            try:
                batch = next(source)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001  of the caller's own source: raised below, at its place
                failure = error
            else:
                window.append((batch, submit(batch)))
                if len(window) >= width:
                    yield window.popleft()
        while window:
            yield window.popleft()
        if failure is not None:
            raise failure
    finally:
        for _, handle in window:
            handle.cancel()


def outputs_by_input(finished: Sequence[Finished], count: int, first: int = 0) -> list[list[Finished]]:
    """The outputs of each of the `count` inputs of a call, which are counted from `first`."""
    grouped: list[list[Finished]] = [[] for _ in range(count)]
    for one in finished:
        grouped[one.root - first].append(one)
    return grouped


def one_payload(outputs: Sequence[Finished], given: BoundaryDispatchInput, position: int = 0) -> Any:
    """The payload of the one output of the input `given` at `position`; a terminal event is unwrapped. Raises the output's error, or that
    there is not exactly one.
    """
    if len(outputs) == 1:
        return payload_of(outputs[0])
    for one in outputs:
        if one.error is not None:
            raise one.error
    raise _failure(
        given.dispatch_group,
        given.target,
        given.trace_id,
        "execution",
        f"node '{given.target}' gave {len(outputs) or 'no'} outputs where exactly one is expected: use execute_boundary",
        position,
    )


def payload_of(output: Finished) -> Any:
    """The payload of an output; a terminal event is unwrapped. Raises the output's error."""
    if output.error is not None:
        raise output.error
    payload = output.envelope.payload
    if not isinstance(payload, TerminalEvent):
        return payload
    if payload.status == "success":
        return payload.payload
    category = _CATEGORY_OF_STATUS[payload.status]
    raise _failure(
        output.group, output.node, output.envelope.trace_id, category, None, output.root, detail=payload.error, status=payload.status
    )


def _failure(
    group: str | None,
    node: str | None,
    trace_id: str | None,
    category: Category,
    message: str | None,
    position: int,
    *,
    detail: str | None = None,
    status: str | None = None,
) -> BoundaryError | BoundaryInputError:
    return boundary_error(
        category,
        group=group,
        delivery="executed",
        message=message,
        trace_ids=() if trace_id is None else (trace_id,),
        report=FailureReport(
            reason=message or f"the node ended the chain with the status '{status}'", node=node, input_index=position, detail=detail
        ),
    )
