"""Two sessions back to back: what one says the other hears, cut into any pieces, without pipes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Raw

from stream_kernel.protocol.columns import InputColumns
from stream_kernel.protocol.messages import (
    PROTOCOL_VERSION,
    Bootstrap,
    ExecuteBoundary,
    ExecuteBoundaryResult,
    FromParent,
    FromWorker,
    Hello,
    Limits,
    Ready,
    StartWork,
)
from stream_kernel.protocol.plain import encode_plain
from stream_kernel.protocol.session import Role, Session
from stream_kernel.routing.router import NodeRoute

__all__ = ["BOOTSTRAP", "HELLO", "ProtocolPair", "Split", "command", "every", "result"]

Split = Callable[[bytes], Iterable[bytes]]
"""Cuts a stream into the pieces in which it arrives."""

HELLO = Hello(protocols=[PROTOCOL_VERSION], pid=7, sdk_version="0", language="python")
BOOTSTRAP = Bootstrap(
    worker_id="g-0",
    worker_index=0,
    generation=1,
    process_group="g",
    scenario_id="s",
    discovery_modules=["m"],
    nodes=["n"],
    settings={},
    import_path=[],
    limits=Limits(1024, 64),
)


def command(correlation_id: str, *payloads: Any) -> ExecuteBoundary:
    """A command for node `n`: one input a payload of plain JSON; without any, one input with the payload 1."""
    return ExecuteBoundary(
        correlation_id=correlation_id,
        run_id="r",
        scenario_id="s",
        remaining_ms=1000.0,
        on_error="raise",
        inputs=InputColumns(payload=[Raw(encode_plain(payload)) for payload in payloads or (1,)], target="n"),
    )


def result(correlation_id: str, *, more: bool = False) -> ExecuteBoundaryResult:
    """An empty reply, or a part of one."""
    return ExecuteBoundaryResult(correlation_id=correlation_id, more=more)


def every(count: int) -> Split:
    """Cut into pieces of `count` bytes."""
    return lambda data: (data[at : at + count] for at in range(0, len(data), count))


class ProtocolPair:
    """A parent's and a worker's session that hear each other.

    :param max_frame_bytes: the limit of one payload, the same on both sides.
    :param split: how what is said arrives: `every(1)` byte by byte; by default as one piece.
    """

    def __init__(self, *, max_frame_bytes: int = 4096, split: Split = lambda data: [data]) -> None:
        self.parent = Session(Role.PARENT, max_frame_bytes)
        self.worker = Session(Role.WORKER, max_frame_bytes)
        self.split = split

    def parent_says(self, *messages: FromParent) -> list[FromWorker | FromParent]:
        """Send from the parent; gives what the worker took. Raises `ProtocolViolation` and `PayloadError`."""
        return self._carry(self.parent, self.worker, messages)

    def worker_says(self, *messages: FromWorker) -> list[FromWorker | FromParent]:
        """Send from the worker; gives what the parent took. Raises `ProtocolViolation` and `PayloadError`."""
        return self._carry(self.worker, self.parent, messages)

    def open(self, *routes: NodeRoute) -> ProtocolPair:
        """Go to the state in which work is done; `routes` are the nodes that the worker says it has."""
        self.worker_says(HELLO)
        self.parent_says(BOOTSTRAP)
        self.worker_says(Ready(nodes=list(routes)))
        self.parent_says(StartWork(routes=list(routes)))
        return self

    def _carry(self, speaker: Session, hearer: Session, messages: tuple[FromWorker | FromParent, ...]) -> list[FromWorker | FromParent]:
        stream = b"".join(speaker.send(message) for message in messages)
        return [message for piece in self.split(stream) for message in hearer.receive(piece)]
