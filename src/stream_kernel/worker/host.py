"""The worker's life: hello, bootstrap, ready, commands one at a time, stop.

A blocking loop. Nodes that are async get one event loop for the life of the worker; where there is none, no event loop exists.
"""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from stream_kernel._version import __version__
from stream_kernel.errors import ProtocolViolation, WorkerBootstrapError
from stream_kernel.nodes.registry import BuiltNode, enter_contexts
from stream_kernel.nodes.runner import CallScope, GroupRunner
from stream_kernel.protocol.codec import Codec
from stream_kernel.protocol.columns import inputs_from_columns
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
    StartWork,
    Stop,
    Stopped,
)
from stream_kernel.protocol.session import Role, Session
from stream_kernel.routing.items import ItemFailure
from stream_kernel.routing.router import Router
from stream_kernel.worker.black_box import BlackBox
from stream_kernel.worker.boot import import_nodes
from stream_kernel.worker.reply import ReplyBuilder
from stream_kernel.worker.stdio import Wire

if TYPE_CHECKING:
    from stream_kernel.worker.faultpoints import FaultPoints

__all__ = ["Host", "serve"]

R = TypeVar("R")
_CANCEL_POLL_SECONDS = 0.005


class Host:
    """One worker process, from hello to stopped."""

    def __init__(self, wire: Wire, max_frame_bytes: int, black_box: BlackBox) -> None:
        self._wire = wire
        self._black_box = black_box
        self._session = Session(Role.WORKER, max_frame_bytes)
        self._inbox: deque[FromWorker | FromParent] = deque()
        self._cancelled: set[str] = set()
        self._commands = 0
        self._sent = math.inf
        self._sent_times: deque[float] = deque()
        self._faults: FaultPoints | None = None
        self._runner: GroupRunner | None = None
        self._codec: Codec | None = None
        self._nodes: list[BuiltNode] = []
        self._order: Bootstrap | None = None
        self._contexts = AsyncExitStack()
        self._loop: Any = None

    def run(self) -> int:
        """Serve until the parent says stop or hangs up; returns the exit code."""
        self._say(Hello(protocols=[PROTOCOL_VERSION], pid=os.getpid(), sdk_version=__version__, language="python"))
        code = 0
        for message in self._messages():
            if isinstance(message, Stop):
                self._reach("stop")
                break
            if isinstance(message, Bootstrap):
                code = self._boot(message)
                if code:
                    return code
            elif isinstance(message, ExecuteBoundary):
                self._run_command(message)
            else:
                self._note(message)
        else:
            self._close()
            return 0
        self._close()
        self._say(Stopped())
        return code

    def _messages(self) -> Iterator[FromWorker | FromParent]:
        while True:
            while self._inbox:
                yield self._inbox.popleft()
            data = self._wire.read()
            if not data:
                return
            self._receive(data)

    def _receive(self, data: bytes, *, at_work: bool = False) -> None:
        """Put what was read in the inbox. A cancel counts at once, whatever waits before it; so does a ping during a command."""
        now = time.monotonic()
        for message in self._session.receive(data):
            if isinstance(message, Cancel) or (at_work and isinstance(message, Ping)):
                self._note(message)
                continue
            if isinstance(message, ExecuteBoundary):
                # One that was sent while there was another may be read much later than it came.
                self._sent = now if message.after_ms is None else min(now, self._sent + message.after_ms / 1000)
                self._sent_times.append(self._sent)
            self._inbox.append(message)

    def _note(self, message: FromWorker | FromParent) -> None:
        """What needs no node."""
        if isinstance(message, Ping):
            self._say(Pong(token=message.token))
        elif isinstance(message, StartWork):
            self._start_work(message)
        elif isinstance(message, Cancel) and message.correlation_id in self._session.outstanding:
            self._cancelled.add(message.correlation_id)

    def _say(self, message: FromWorker | FromParent) -> None:
        self._wire.write(self._session.send(message))

    def _reach(self, point: str) -> None:
        if self._faults is not None:
            self._faults.reach(point)

    # -- boot

    def _boot(self, order: Bootstrap) -> int:
        self._order = order
        group = order.process_group
        try:
            if order.faults:
                from stream_kernel.worker.faultpoints import FaultPoints

                self._faults = FaultPoints(group, order.faults, self._wire)
            self._reach("boot")
            self._nodes = import_nodes(order)
            declared = {node.spec.name: (*node.spec.consumes, *node.spec.emits) for node in self._nodes}
            self._codec = Codec.of_nodes(group, declared, max_bytes=order.limits.max_frame_bytes)
            if any(node.is_async or hasattr(type(node.call), "__aenter__") for node in self._nodes):
                self._start_loop()
            self._drive(enter_contexts(group, self._nodes, self._contexts))
        except WorkerBootstrapError as error:
            problem = error
        else:
            self._reach("ready")
            self._say(Ready(nodes=[node.route for node in self._nodes]))
            return 0
        if problem.detail:
            sys.stderr.write(problem.detail)
        self._say(BootstrapError(category="bootstrap", message=str(problem), detail=problem.detail or ""))
        return 3

    def _start_loop(self) -> None:
        import asyncio

        self._loop = asyncio.Runner()

    def _start_work(self, message: StartWork) -> None:
        assert self._order is not None and self._codec is not None
        self._wire.spin_seconds = self._order.limits.spin_microseconds / 1e6  # who boots waits long, and need not hurry
        runner = self._runner = GroupRunner(
            group=self._order.process_group,
            worker_index=self._order.worker_index,
            nodes=self._nodes,
            router=Router(message.routes),
            carrier=self._codec,
            max_hops=self._order.limits.max_hops,
        )
        runner.look_for_cancels_every(_CANCEL_POLL_SECONDS)
        # What a node gives in a forked copy of this process goes to nobody.
        os.register_at_fork(after_in_child=lambda: runner.watch_returns(self._wire.check_owner))
        note = self._black_box.notes_of([node.spec.name for node in self._nodes])
        if self._faults is None:
            runner.watch_progress(note)
        else:
            runner.watch_progress(self._faults.around(note))
            runner.watch_returns(self._faults.after_node)

    def _drive(self, work: Coroutine[Any, Any, R]) -> R:
        if self._loop is not None:
            return self._drive_on_loop(work)
        try:
            work.send(None)
        except StopIteration as end:
            value: R = end.value
            return value
        work.close()
        raise RuntimeError("a node that is not declared async waited for an event loop")

    def _drive_on_loop(self, work: Coroutine[Any, Any, R]) -> R:
        loop = self._loop.get_loop()
        task = loop.create_task(work)
        while True:
            try:
                result: R = loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt):
                # From a task that the node awaits: asyncio lets these out of its loop, and hands them to who awaits as well.
                if task.done():
                    raise
            else:
                return result

    # -- commands

    def _run_command(self, command: ExecuteBoundary) -> None:
        self._reach("read")
        self._commands += 1
        self._black_box.begin(self._commands)
        deadline = self._sent_times.popleft() + command.remaining_ms / 1000
        if command.limit_ms is not None:
            deadline = min(deadline, time.monotonic() + command.limit_ms / 1000)
        try:
            self._drive(self._execute(command, deadline))
        except (ProtocolViolation, OSError):
            raise
        except BaseException as error:  # noqa: BLE001  what user code did to the loop, or a reply that cannot be sent
            traceback.print_exc()
            if command.correlation_id in self._session.outstanding:
                reply = ReplyBuilder(command.correlation_id, 0, self._reply)
                reason = f"the command could not be finished ({type(error).__name__})"
                self._reply(reply.error(ItemFailure(0, "execution", reason)))
        finally:
            self._cancelled.discard(command.correlation_id)

    def _reply(self, message: ExecuteBoundaryResult | ExecuteBoundaryError) -> None:
        frame = self._session.send(message)
        if self._faults is None:
            self._wire.write(frame)
        else:
            self._faults.write_reply(frame)

    async def _execute(self, command: ExecuteBoundary, deadline: float) -> None:
        assert self._runner is not None and self._order is not None
        reply = ReplyBuilder(command.correlation_id, self._order.limits.max_frame_bytes, self._reply)
        failure = await self._runner.run_batch(
            inputs_from_columns(command.inputs),
            CallScope(command.run_id, command.scenario_id, deadline),
            stop_at_failure=command.on_error == "raise",
            take=reply.add,
            take_one=reply.add_one,
            is_cancelled=lambda: self._is_cancelled(command.correlation_id),
        )
        self._reply(reply.last(self._runner.timing) if failure is None else reply.error(failure))

    def _is_cancelled(self, correlation_id: str) -> bool:
        """Look for a cancel that came meanwhile. It costs a system call or two: the runner asks now and then only."""
        self._wire.check_owner()
        while self._wire.readable():
            data = self._wire.read()
            if not data:
                break  # the parent hung up: the main loop sees it after this command
            self._receive(data, at_work=True)
        return correlation_id in self._cancelled

    # -- end

    def _close(self) -> None:
        """Leave the nodes' contexts. What they raise is logged: it must not keep the worker alive."""
        try:
            self._drive(self._contexts.aclose())
            if self._loop is not None:
                self._loop.close()
        except BaseException:  # noqa: BLE001  user code
            traceback.print_exc()


def serve(wire: Wire, max_frame_bytes: int, black_box: BlackBox) -> int:
    """Run a worker over `wire`; returns its exit code. A parent that breaks the protocol or hangs up ends it."""
    try:
        return Host(wire, max_frame_bytes, black_box).run()
    except ProtocolViolation as error:
        sys.stderr.write(f"stream_kernel worker: the parent broke the protocol: {error}\n")
        return 4
    except OSError as error:
        sys.stderr.write(f"stream_kernel worker: the wire broke: {error.strerror}\n")
        return 5
