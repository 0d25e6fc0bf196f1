"""What a slot needs of a worker process. `Child` is the real one; tests put another in its place (`stream_kernel.testing.FakeChild`)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from stream_kernel.protocol.breadcrumb import Progress
from stream_kernel.reports import OutOfMemory

__all__ = ["ExitStatus", "Launch", "WorkerProcess", "signal_name"]


def signal_name(number: int) -> str:
    """As `SIGKILL`, or `SIGRTMIN+10`."""
    try:
        return signal.Signals(number).name
    except ValueError:  # Python names the first and the last one of the real-time signals
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


class ExitStatus(msgspec.Struct, frozen=True):
    """How a process ended: one of both, or neither when that is not known: it could not be reaped, or not by us."""

    exit_code: int | None = None
    signal: str | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {self.signal}"
        return "its exit status is not known" if self.exit_code is None else f"exit code {self.exit_code}"


class WorkerProcess(Protocol):
    """One process with its pipes, all used on one event loop. Nothing here blocks."""

    pid: int

    def watch(self, *, on_readable: Callable[[], object], on_hang_up: Callable[[], None], on_exit: Callable[[], None]) -> None:
        """Start to call back: its stdout can be read; it has closed its stdin; it has ended, whoever still holds its pipes."""

    def watch_writable(self, on_writable: Callable[[], None] | None) -> None:
        """Call back while its stdin takes bytes; None: no more."""

    def unwatch_stdout(self) -> None:
        """No more `on_readable`."""

    def unwatch_stdin(self) -> None:
        """No more `on_hang_up` and `on_writable`."""

    def read(self) -> bytes | None:
        """What its stdout holds now, at most a chunk; None: nothing; empty: its end, or an error, which is the same."""

    def write(self, data: bytes | bytearray) -> int:
        """How many bytes its stdin took, 0 when it is full. Raises `OSError` when nobody reads it any more."""

    def close_stdin(self) -> None:
        """Let it read the end of its stdin; what is written from now on raises `OSError`."""

    def terminate_tree(self) -> None:
        """SIGTERM to its process tree."""

    def kill_tree(self) -> None:
        """SIGKILL to its process tree."""

    async def reap(self, timeout_seconds: float) -> ExitStatus:
        """Wait, for a bounded time, until it is gone."""

    def close(self) -> None:
        """After `reap`: kill what is left of the tree, take what is left on stderr, release all descriptors."""

    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines of its stderr, oldest first, escaped."""

    def progress(self) -> Progress | None:
        """What it noted last of the command at work; also after its death, until `close`."""

    def begun(self) -> float | None:
        """When it began that command, in seconds of `time.monotonic()`; also after its death, until `close`."""

    def freeze(self) -> None:
        """Stop it where it is, not what it has started; returns before it has stopped."""

    def thaw(self) -> None:
        """Let it go on."""

    def end_with_stacks(self) -> None:
        """Have it write its Python stacks, as far as it can, and end by that, also when it is frozen; returns at once."""

    def stacks(self) -> str:
        """The Python stacks that it has written at its end, of its own accord (a crash) or asked to; also after its death."""

    def resident_bytes(self) -> int | None:
        """The memory that it holds now; None where that cannot be seen."""

    def peak_rss_bytes(self) -> int | None:
        """The most memory that it held, as far as it was seen; also after `reap`."""

    def is_peak_exact(self) -> bool:
        """After `reap`: whether it never held more than that."""

    def out_of_memory(self, status: ExitStatus) -> OutOfMemory:
        """After `reap`, of an end that we did not bring about: whether it was killed for want of memory."""


class Launch(Protocol):
    """Starts a worker process."""

    async def __call__(
        self, arguments: Callable[[int, int], Sequence[str]], environment: Mapping[str, str], *, group: str, worker_id: str
    ) -> WorkerProcess:
        """`arguments` is given the numbers of the lifeline and of the black box. Raises `OSError`; leaks no descriptor."""
