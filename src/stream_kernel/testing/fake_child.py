"""A worker process that is none: it speaks the protocol, and answers when and what a test says."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Literal

from msgspec import Raw

from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.breadcrumb import Progress
from stream_kernel.protocol.columns import inputs_from_columns, outputs_to_columns
from stream_kernel.protocol.messages import (
    PROTOCOL_VERSION,
    Bootstrap,
    BootstrapError,
    Cancel,
    ExecuteBoundary,
    ExecuteBoundaryError,
    ExecuteBoundaryResult,
    FromParent,
    FromWorker,
    Hello,
    Ping,
    Pong,
    Ready,
    Stop,
    Stopped,
)
from stream_kernel.protocol.plain import encode_plain
from stream_kernel.protocol.session import Role, Session
from stream_kernel.routing.items import Emission, ItemFailure
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute
from stream_kernel.testing.fake_process import ChildTraits, FakeProcess
from stream_kernel.testing.waiting import WAIT_SECONDS

__all__ = ["FakeChild", "output"]


def output(index: int, payload: Any, *, target: str | None = None, node: str = "n") -> Emission:
    """An output for the input at `index`, plain JSON: terminal, or for the node `target` of another group."""
    data = encode_plain(payload)
    return Emission(index, node, Packed(Raw(data), None, len(data)), terminal=target is None, target=target)


class FakeChild(FakeProcess):
    """One worker process that a test plays.

    `log` has what it was told, in order: `bootstrap`, `start_work`, `execute_boundary ID`, `cancel ID`, `ping`, `stop`, `end of stdin`,
    `freeze`, `thaw`, `stacks`, `terminate`, `kill`, `reap`, `close`.
    """

    def __init__(self, pid: int, group: str, worker_id: str, traits: ChildTraits) -> None:
        super().__init__(pid, group, worker_id, traits)
        self.bootstrap: Bootstrap | None = None
        self.commands: list[ExecuteBoundary] = []
        """All that it has read, answered or not."""
        self.unanswered: deque[ExecuteBoundary] = deque()
        """Those that it has read and not answered, the one at work first."""
        self.cancels: list[str] = []
        """The ids of the commands that it was told to stop."""
        self.violation: ProtocolViolation | None = None
        """How the parent broke the protocol, if it did: the worker ends with exit code 4 then."""
        self._began_at = 0.0
        self._session = Session(Role.WORKER, traits.max_frame_bytes)
        self._is_stopping = False
        self._has_spoken = False

    # -- what the test has it say

    async def next_command(self, timeout_seconds: float = WAIT_SECONDS) -> ExecuteBoundary:
        """Wait until it has a command that it has not answered; gives the oldest. Raises `TimeoutError`."""
        return await self._bell.until(lambda: self.unanswered[0] if self.unanswered else None, f"a command for {self}", timeout_seconds)

    def say(self, message: FromWorker) -> None:
        """Send any message that the protocol allows now. Raises `ProtocolViolation`."""
        self.send_bytes(self._session.send(message))
        self._has_spoken = True

    def hello(self, *protocols: int) -> None:
        """Introduce itself; it speaks these versions of the protocol, by default the right one."""
        self.say(Hello(protocols=list(protocols or (PROTOCOL_VERSION,)), pid=self.pid, sdk_version="0", language="fake"))

    def ready(self) -> None:
        """Say that its nodes are built."""
        assert self.bootstrap is not None, f"{self} has not read its bootstrap message yet"
        known = {route.name: route for route in self.traits.routes}
        self.say(Ready(nodes=[known.get(name) or NodeRoute(name, self.group) for name in self.bootstrap.nodes]))

    def refuse(self, message: str) -> None:
        """Say that it cannot boot, and end."""
        self.say(BootstrapError(category="bootstrap", message=message))
        self.die(exit_code=3)

    def answer(
        self, outputs: Iterable[Emission | ItemFailure] | None = None, *, more: bool = False, first_bytes: int | None = None
    ) -> ExecuteBoundary:
        """Answer the oldest command with `outputs`, by default with its inputs as terminal outputs; gives the command.

        :param more: this is a part of the answer, others follow.
        :param first_bytes: only so many bytes of the frame are written.
        """
        command = self._at_work()
        rows = _echo(command) if outputs is None else list(outputs)
        reply = ExecuteBoundaryResult(
            correlation_id=command.correlation_id,
            terminal_outputs=outputs_to_columns([row for row in rows if isinstance(row, ItemFailure) or row.terminal]),
            outputs=outputs_to_columns([row for row in rows if isinstance(row, Emission) and not row.terminal]),
            executing_ms=self._executing_ms(),
            more=more,
        )
        self.send_bytes(self._session.send(reply)[:first_bytes])
        if not more:
            self._answered()
        return command

    def fail(
        self,
        reason: str = "the node raised",
        *,
        index: int = 0,
        node: str | None = None,
        category: Literal["timeout", "transport", "execution"] = "execution",
        executed: bool = True,
        detail: str | None = None,
    ) -> ExecuteBoundary:
        """Answer the oldest command with a failure of the command as a whole; gives the command."""
        command = self._at_work()
        failure = ExecuteBoundaryError(
            correlation_id=command.correlation_id,
            category=category,
            message="remote handoff failed",
            index=index,
            node=node,
            reason=reason,
            executed=executed,
            detail=detail,
            executing_ms=self._executing_ms(),
        )
        self.say(failure)
        self._answered()
        return command

    def note_progress(self, command: int | None = None, index: int = 0, node: int = 0) -> None:
        """Note that it is at input `index`, in the node at place `node`. Commands count from 1; by default it is the one at work."""
        number = len(self.commands) - len(self.unanswered) + 1 if command is None else command
        self._progress = Progress(number, index, node)

    # -- what it does by itself

    def _started(self) -> None:
        if self.traits.boots and self.is_alive:
            try:
                self.hello()
            except BrokenPipeError:  # a test had it close its stdout before it got so far
                self.die(exit_code=5)

    def _heard(self, data: bytes) -> None:
        try:
            for message in self._session.receive(data):
                self._note(_entry(message))
                self._take(message)
        except ProtocolViolation as violation:
            self.violation = violation
            self.die(exit_code=4)
        except BrokenPipeError:  # what it had to say by itself met a stdout that it has closed
            self.die(exit_code=5)

    def _heard_end(self) -> None:
        if "end of stdin" not in self.traits.ignores:
            self._is_stopping = True
            self._end_if_idle()

    def _take(self, message: FromParent | FromWorker) -> None:
        if isinstance(message, Bootstrap):
            self.bootstrap = message
            if self.traits.boots:
                self.ready()
        elif isinstance(message, ExecuteBoundary):
            self.commands.append(message)
            self.unanswered.append(message)
            if len(self.unanswered) == 1:
                self._begin()
            if self.traits.answers:
                self._loop.call_soon(self._answer_by_itself)
            self._bell.ring()
        elif isinstance(message, Cancel):
            self.cancels.append(message.correlation_id)
        elif isinstance(message, Ping) and "ping" not in self.traits.ignores:
            self.say(Pong(token=message.token))
        elif isinstance(message, Stop) and "stop" not in self.traits.ignores:
            self._is_stopping = True
            self._end_if_idle()

    def _answer_by_itself(self) -> None:
        if self.is_alive and self.unanswered and self._stdout.has_writer:
            self.answer()

    def _at_work(self) -> ExecuteBoundary:
        assert self.unanswered, f"{self} has no command to answer"
        return self.unanswered[0]

    def _begin(self) -> None:
        # What the parent reads is on the machine's clock, whatever clock its loop has; what is told of the time is on the loop's.
        self._begun = time.monotonic()
        self._began_at = self._loop.time()
        self._progress = None

    def _executing_ms(self) -> float:
        return (self._loop.time() - self._began_at) * 1000

    def _answered(self) -> None:
        self.unanswered.popleft()
        if self.unanswered:
            self._begin()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._is_stopping and self.is_alive and not self.unanswered:
            if self._stdout.has_writer and self._has_spoken and "stop" in self.log:
                self.say(Stopped())
            self.die(exit_code=0)


def _echo(command: ExecuteBoundary) -> list[Emission]:
    return [Emission(index, item.target, item.packed, terminal=True) for index, item in enumerate(inputs_from_columns(command.inputs))]


def _entry(message: FromParent | FromWorker) -> str:
    kind = str(message.__struct_config__.tag)
    return f"{kind} {message.correlation_id}" if isinstance(message, (ExecuteBoundary, Cancel)) else kind
