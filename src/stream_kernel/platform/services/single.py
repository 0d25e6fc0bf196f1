"""Calls for one payload and for a stream of payloads, in terms of the full form: how inputs are made and outputs unwrapped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from stream_kernel.engine.settlement import Finished
from stream_kernel.errors import BoundaryError, BoundaryInputError, boundary_error
from stream_kernel.reports import Category, FailureReport
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.envelope import TerminalEvent

__all__ = ["Cancellable", "batched", "in_order", "one_payload", "outputs_by_input", "payload_of"]

T = TypeVar("T")
_CATEGORY_OF_STATUS: dict[str, Category] = {"timeout": "timeout", "error": "execution", "cancelled": "execution"}


class Cancellable(Protocol):
    """A task, or a future of another thread."""

    def cancel(self) -> bool: ...


H = TypeVar("H", bound=Cancellable)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items."""
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, not {size}")
    batch: list[T] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
    except Exception:
        if batch:
            yield batch  # what was taken before the source failed
        raise
    if batch:
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


def outputs_by_input(finished: Sequence[Finished], count: int) -> list[list[Finished]]:
    """The outputs of each of the `count` inputs of a call."""
    grouped: list[list[Finished]] = [[] for _ in range(count)]
    for one in finished:
        grouped[one.root].append(one)
    return grouped


def one_payload(outputs: Sequence[Finished], given: BoundaryDispatchInput) -> Any:
    """The payload of the one output; a terminal event is unwrapped. Raises the output's error, or that there is not exactly one."""
    for one in outputs:
        if one.error is not None:
            raise one.error
    if len(outputs) != 1:
        raise _failure(
            given.dispatch_group,
            given.target,
            given.trace_id,
            "execution",
            f"node '{given.target}' gave {len(outputs) or 'no'} outputs where exactly one is expected: use execute_boundary",
        )
    return payload_of(outputs[0])


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
    raise _failure(output.group, output.node, output.envelope.trace_id, category, None, detail=payload.error, status=payload.status)


def _failure(
    group: str | None,
    node: str | None,
    trace_id: str | None,
    category: Category,
    message: str | None,
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
            reason=message or f"the node ended the chain with the status '{status}'", node=node, input_index=0, detail=detail
        ),
    )
