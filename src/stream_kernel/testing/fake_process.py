"""A process in memory, as its parent sees it: pipes, signals, an end. It happens on the running event loop.

The parent is never called back inside a call of its own: as with real pipes, what there is to tell comes in a later pass of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from stream_kernel.engine.process.worker_process import ExitStatus, signal_name
from stream_kernel.protocol.breadcrumb import STACKS_SIGNAL, Progress
from stream_kernel.reports import OutOfMemory
from stream_kernel.routing.router import NodeRoute
from stream_kernel.testing.fake_pipe import FakePipe
from stream_kernel.testing.waiting import WAIT_SECONDS, Bell

__all__ = ["ChildTraits", "FakeProcess", "Ignored"]

Ignored = Literal["ping", "stop", "end of stdin", "stacks", "terminate", "kill"]
"""What a worker may be deaf to. One that ignores `kill` is stuck in the kernel: it cannot be ended at all."""
_Event = Literal["readable", "hang up", "exit", "writable"]


class ChildTraits(msgspec.Struct, kw_only=True):
    """How a worker behaves where its test says nothing."""

    boots: bool = True
    """It says `hello` when it is watched, and `ready` when it has read its bootstrap message."""
    answers: bool = False
    """It echoes each command, in the pass of the loop after the one in which it was read."""
    ignores: frozenset[Ignored] = frozenset()
    routes: tuple[NodeRoute, ...] = ()
    """What it declares of its nodes; a node that is not among them is one that takes plain JSON."""
    max_frame_bytes: int = 8 << 20
    stdin_bytes: int = 1 << 16
    """How much its stdin holds that it has not read."""
    chunk_bytes: int = 1 << 16
    """How much one read of its stdout gives at most."""
    exit_comes_first: bool = False
    """The parent hears of its end before it hears that there is something to read."""


class FakeProcess:
    """The parent's side of a worker, a `WorkerProcess`, and the levers of the operating system. What it says is up to `FakeChild`."""

    def __init__(self, pid: int, group: str, worker_id: str, traits: ChildTraits) -> None:
        self.pid = pid
        self.group = group
        self.worker_id = worker_id
        self.traits = traits
        self.arguments: Sequence[str] = ()
        self.environment: dict[str, str] = {}
        self.log: list[str] = []
        """What it was told, in order."""
        self.status: ExitStatus | None = None
        """How it ended; None while it lives."""
        self.stderr: list[str] = []
        """The lines that it has written to its stderr."""
        self.stack = ""
        """What it writes when it is asked to end with its stacks."""
        self.rss_bytes: int | None = None
        """What it holds now."""
        self.knows_peak = False
        """Its end tells the most that it held, beyond what was seen."""
        self.memory_kill: OutOfMemory = "no"
        """What is found out about its end."""
        self._most_seen = 0
        self._loop = asyncio.get_running_loop()
        self._stdin = FakePipe(traits.stdin_bytes)
        self._stdout = FakePipe()
        self._callbacks: dict[_Event, Callable[[], object]] = {}
        self._is_telling = False
        self._is_to_read = False
        self._reads = True
        self._is_frozen = False
        self._is_closed = False
        self._last_sent = b""
        self._progress: Progress | None = None
        self._begun: float | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._bell = Bell()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.worker_id} pid {self.pid}: {self.status or 'alive'}>"

    # -- what the test has the system do

    @property
    def is_alive(self) -> bool:
        return self.status is None

    @property
    def is_frozen(self) -> bool:
        """The parent has stopped it: it does nothing, until it is told to go on."""
        return self._is_frozen

    async def told(self, what: str, count: int = 1, timeout_seconds: float = WAIT_SECONDS) -> None:
        """Wait until it has been told `what` (an entry of `log`) so often. Raises `TimeoutError`."""
        await self._bell.until(lambda: self.log.count(what) >= count or None, f"'{what}' for {self}", timeout_seconds)

    def send_bytes(self, data: bytes) -> None:
        """Put any bytes on its stdout, whatever the protocol says of them. Raises `BrokenPipeError` when that is closed."""
        self._last_sent = data
        self._stdout.put(data)
        self._tell_soon()

    def duplicate(self) -> None:
        """Send what was sent last once more."""
        self.send_bytes(self._last_sent)

    def send_garbage(self) -> None:
        """Send a line that is no message."""
        self.send_bytes(b"this is no message\n")

    def close_stdout(self) -> None:
        """Close its stdout, and live on."""
        self._stdout.close_writer()
        self._tell_soon()

    def hang_up(self) -> None:
        """Close its stdin, and live on."""
        self._stdin.close_reader()
        self._tell_soon()

    def stop_reading(self) -> None:
        """Leave what comes in its stdin, until that is full."""
        self._reads = False

    def read_on(self) -> None:
        """Read again."""
        self._reads = True
        self._read_soon()

    def die(self, *, exit_code: int | None = None, signal: str | None = None, pipes_stay_open: bool = False) -> None:
        """End, by an exit code or by a signal of that name. A grandchild may hold its pipes open: then they show no end."""
        assert self.status is None, f"{self} has ended before"
        assert (exit_code is None) != (signal is None), "a process ends by an exit code or by a signal"
        self.status = ExitStatus(exit_code=exit_code, signal=signal)
        if not pipes_stay_open:
            self._stdin.close_reader()
            self._stdout.close_writer()
        self._ended.set_result(None)
        self._tell_soon()
        self._bell.ring()

    # -- the parent's side

    def watch(self, *, on_readable: Callable[[], object], on_hang_up: Callable[[], None], on_exit: Callable[[], None]) -> None:
        assert not self._callbacks, f"{self} is watched already"
        self._callbacks = {"readable": on_readable, "hang up": on_hang_up, "exit": on_exit}
        self._loop.call_soon(self._started)
        self._tell_soon()

    def watch_writable(self, on_writable: Callable[[], None] | None) -> None:
        if on_writable is None:
            self._callbacks.pop("writable", None)
        else:
            self._callbacks["writable"] = on_writable
            self._tell_soon()

    def unwatch_stdout(self) -> None:
        self._callbacks.pop("readable", None)

    def unwatch_stdin(self) -> None:
        self._callbacks.pop("hang up", None)
        self._callbacks.pop("writable", None)

    def read(self) -> bytes | None:
        self._check_open()
        return self._stdout.take(self.traits.chunk_bytes)

    def write(self, data: bytes | bytearray) -> int:
        self._check_open()
        written = self._stdin.put(data)
        self._read_soon()
        return written

    def close_stdin(self) -> None:
        self._check_open()
        self._stdin.close_writer()
        self._read_soon()

    def terminate_tree(self) -> None:
        self._note("terminate")
        self._signal("terminate", "SIGTERM")

    def kill_tree(self) -> None:
        self._note("kill")
        self._signal("kill", "SIGKILL")

    async def reap(self, timeout_seconds: float) -> ExitStatus:
        self._note("reap")
        await asyncio.wait([self._ended], timeout=timeout_seconds)
        return self.status or ExitStatus()

    def close(self) -> None:
        if not self._is_closed:
            self._note("close")
            self._is_closed = True
            self._callbacks.clear()
            self._signal("kill", "SIGKILL")

    def stderr_tail(self) -> tuple[str, ...]:
        return tuple(self.stderr)

    def progress(self) -> Progress | None:
        return self._progress

    def begun(self) -> float | None:
        return self._begun

    def freeze(self) -> None:
        self._note("freeze")
        self._is_frozen = True

    def thaw(self) -> None:
        self._note("thaw")
        self._go_on()

    def end_with_stacks(self) -> None:
        self._note("stacks")
        if "kill" not in self.traits.ignores:
            self._signal("stacks", signal_name(STACKS_SIGNAL))
        self._go_on()

    def stacks(self) -> str:
        return self.stack if "stacks" in self.log and "stacks" not in self.traits.ignores else ""

    def resident_bytes(self) -> int | None:
        if not self.is_alive:
            return None
        self._most_seen = max(self._most_seen, self.rss_bytes or 0)
        return self.rss_bytes

    def peak_rss_bytes(self) -> int | None:
        return max(self._most_seen, self.rss_bytes or 0) or None

    def is_peak_exact(self) -> bool:
        return self.knows_peak and not self.is_alive

    def out_of_memory(self, status: ExitStatus) -> OutOfMemory:
        return self.memory_kill

    # -- how the parent hears of it

    def _is_due(self, event: _Event) -> bool:
        if event == "readable":
            return self._stdout.is_readable
        if event == "hang up":
            return not self._stdin.has_reader
        if event == "writable":
            return not self._stdin.has_reader or self._stdin.room > 0
        return not self.is_alive

    def _tell_soon(self) -> None:
        if not self._is_telling and any(map(self._is_due, self._callbacks)):
            self._is_telling = True
            self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        """One pass over what can be told. What is told and still holds comes again, as from a selector; an end comes once."""
        self._is_telling = False
        order: tuple[_Event, ...] = ("readable", "hang up", "writable", "exit")
        try:
            for event in ("exit", *order[:3]) if self.traits.exit_comes_first else order:
                callback = self._callbacks.get(event)
                if callback is not None and self._is_due(event):
                    if event == "exit":
                        del self._callbacks[event]
                    callback()
        finally:
            self._tell_soon()

    # -- how it hears of the parent

    def _read_soon(self) -> None:
        if not self._is_to_read:
            self._is_to_read = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._is_to_read = False
        while self.is_alive and self._reads and not self._is_frozen and self._stdin.has_reader:
            data = self._stdin.take(1 << 16)
            if data is None:
                break
            if not data:
                if "end of stdin" not in self.log:
                    self._note("end of stdin")
                    self._heard_end()
                break
            self._heard(data)
        self._tell_soon()

    def _go_on(self) -> None:
        self._is_frozen = False
        self._read_soon()

    def _started(self) -> None:
        """It is watched: the process runs."""

    def _heard(self, data: bytes) -> None:
        """It has read this."""

    def _heard_end(self) -> None:
        """It has read all that will ever come."""

    def _note(self, what: str) -> None:
        self.log.append(what)
        self._bell.ring()

    def _signal(self, ignored: Ignored, name: str) -> None:
        if ignored not in self.traits.ignores:
            self._loop.call_soon(self._die_of, name)

    def _die_of(self, name: str) -> None:
        if self.is_alive:
            self.die(signal=name)

    def _check_open(self) -> None:
        assert not self._is_closed, f"{self} is used after its close"
