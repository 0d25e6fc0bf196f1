"""Two sessions back to back: what one says the other hears, in chunks of any size, without pipes."""

from __future__ import annotations

from msgspec import Raw

from stream_kernel.protocol.columns import InputColumns
from stream_kernel.protocol.messages import (
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
from stream_kernel.protocol.session import Role, Session

HELLO = Hello(protocols=[1], pid=7, sdk_version="0", language="python")
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


def command(correlation_id: str) -> ExecuteBoundary:
    """A command with one input."""
    return ExecuteBoundary(
        correlation_id=correlation_id,
        run_id="r",
        scenario_id="s",
        remaining_ms=1000.0,
        on_error="raise",
        inputs=InputColumns(payload=[Raw(b"1")], target="n"),
    )


def result(correlation_id: str, *, more: bool = False) -> ExecuteBoundaryResult:
    """An empty reply, or a part of one."""
    return ExecuteBoundaryResult(correlation_id=correlation_id, more=more)


class ProtocolPair:
    """A parent's and a worker's session that hear each other."""

    def __init__(self, *, max_frame_bytes: int = 4096, chunk: int = 1 << 20) -> None:
        self.parent = Session(Role.PARENT, max_frame_bytes)
        self.worker = Session(Role.WORKER, max_frame_bytes)
        self._chunk = chunk

    def parent_says(self, *messages: FromParent) -> list[FromWorker | FromParent]:
        """Send from the parent; gives what the worker took."""
        return self._carry(self.parent, self.worker, messages)

    def worker_says(self, *messages: FromWorker) -> list[FromWorker | FromParent]:
        """Send from the worker; gives what the parent took."""
        return self._carry(self.worker, self.parent, messages)

    def open(self) -> ProtocolPair:
        """Go to the state in which work is done."""
        self.worker_says(HELLO)
        self.parent_says(BOOTSTRAP)
        self.worker_says(Ready(nodes=[]))
        self.parent_says(StartWork(routes=[]))
        return self

    def _carry(self, speaker: Session, hearer: Session, messages: tuple[FromWorker | FromParent, ...]) -> list[FromWorker | FromParent]:
        data = b"".join(speaker.send(message) for message in messages)
        chunks = (data[at : at + self._chunk] for at in range(0, len(data), self._chunk))
        return [message for chunk in chunks for message in hearer.receive(chunk)]
