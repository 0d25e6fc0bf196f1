"""What tests say to a worker over its wire, and what they make of its answers."""

from __future__ import annotations

import json
from typing import Any

from msgspec import Raw

from stream_kernel.protocol.columns import inputs_to_columns, outputs_from_columns
from stream_kernel.protocol.messages import Bootstrap, ExecuteBoundary, ExecuteBoundaryResult, Hello, Ready, StartWork
from stream_kernel.routing.items import Emission, InputItem, ItemFailure
from stream_kernel.routing.packed import Packed

__all__ = ["command", "plain", "rows", "started"]


def command(
    target: str,
    *payloads: bytes,
    on_error: str = "collect",
    correlation_id: str = "c-1",
    after_ms: float | None = None,
    limit_ms: float | None = None,
) -> ExecuteBoundary:
    """A command for one node, with 20 s left."""
    items = [InputItem(Packed(Raw(payload), None, len(payload)), target) for payload in payloads]
    return ExecuteBoundary(
        correlation_id=correlation_id,
        run_id="r",
        scenario_id="s",
        remaining_ms=20_000,
        on_error=on_error,  # type: ignore[arg-type]
        inputs=inputs_to_columns(items),
        after_ms=after_ms,
        limit_ms=limit_ms,
    )


def rows(reply: object) -> list[Emission | ItemFailure]:
    """The terminal rows of a reply."""
    assert isinstance(reply, ExecuteBoundaryResult), reply
    return outputs_from_columns(reply.terminal_outputs, terminal=True)


def plain(reply: object) -> list[Any]:
    """The terminal outputs of a reply that holds nothing else."""
    found = []
    for row in rows(reply):
        assert isinstance(row, Emission), row
        found.append(json.loads(bytes(row.packed.data)))
    return found


def started(worker: Any, order: Bootstrap) -> None:
    """Bring a worker from its start to where it takes commands."""
    worker.tell(order)
    assert isinstance(worker.hear(), Hello)
    ready = worker.hear()
    assert isinstance(ready, Ready), ready
    worker.tell(StartWork(routes=ready.nodes))
