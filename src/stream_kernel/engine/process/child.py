"""One worker process and its descriptors: spawn, watch, kill its tree, reap.

The pipes are our own and given to the process as plain descriptors: asyncio's `Process.wait` then does not wait for pipes that a
grandchild may hold (cpython #119710), and the death of the process is seen by its pidfd, not by the end of a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import weakref
from collections.abc import Callable, Mapping, Sequence

import msgspec

__all__ = ["Child", "ExitStatus"]

_REAP_SECONDS = 5.0


class ExitStatus(msgspec.Struct, frozen=True):
    """How a process ended: one of both, or neither when it could not be reaped."""

    exit_code: int | None = None
    signal: str | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {self.signal}"
        return "could not be reaped" if self.exit_code is None else f"exit code {self.exit_code}"


class Child:
    """A running worker process, the leader of a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process, stdin: int, stdout: int, stderr: int, lifeline: int) -> None:
        self._process = process
        self.pid = process.pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._lifeline = lifeline
        self._pidfd: int | None = None
        self._waiter: asyncio.Task[None] | None = None
        # Should the supervisor be dropped without being closed, its workers go with it. At the end of the interpreter the lifeline
        # does that by itself.
        self._release = weakref.finalize(self, _release, os.getpid(), process.pid, (stdin, stdout, stderr, lifeline))
        self._release.atexit = False
        _LIVE.add(self)

    @classmethod
    async def spawn(cls, arguments: Callable[[int], Sequence[str]], environment: Mapping[str, str]) -> Child:
        """Start a process; `arguments` is given the number of the lifeline descriptor. Raises `OSError`; leaks no descriptor."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            child_stdin, stdin = _pipe(theirs, ours)
            stdout, child_stdout = _pipe(ours, theirs)
            stderr, child_stderr = _pipe(ours, theirs)
            child_lifeline, lifeline = _pipe(theirs, ours)
            process = await asyncio.create_subprocess_exec(
                *arguments(child_lifeline),
                stdin=child_stdin,
                stdout=child_stdout,
                stderr=child_stderr,
                pass_fds=(child_lifeline,),
                env=environment,
                start_new_session=True,
            )
            for fd in (stdin, stdout, stderr):
                os.set_blocking(fd, False)
            child = cls(process, stdin, stdout, stderr, lifeline)
            ours.pop_all()
            return child

    def watch_exit(self, on_exit: Callable[[], None]) -> None:
        """Call `on_exit` when the process has ended, whoever still holds its pipes."""
        loop = asyncio.get_running_loop()
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, an old kernel, or it has been reaped already
            self._waiter = loop.create_task(self._wait(on_exit))
        else:
            loop.add_reader(self._pidfd, on_exit)

    async def _wait(self, on_exit: Callable[[], None]) -> None:
        await self._process.wait()
        on_exit()

    def disown(self) -> None:
        """In a forked copy of this process: close the descriptors and leave the worker alone."""
        detached = self._release.detach()
        if detached is not None:
            for fd in (self.stdin, self.stdout, self.stderr, self._lifeline):
                os.close(fd)

    def kill_tree(self) -> None:
        """SIGKILL to the process and to everything in its session's process group."""
        if self._release.alive:
            _kill_group(self.pid)

    async def reap(self) -> ExitStatus:
        """Wait, for a bounded time, until the process is gone."""
        try:
            code = await asyncio.wait_for(self._process.wait(), _REAP_SECONDS)
        except TimeoutError:
            logging.getLogger("stream_kernel").error("worker process %d does not end after SIGKILL; it is left behind", self.pid)
            return ExitStatus()
        if code >= 0:
            return ExitStatus(exit_code=code)
        try:
            return ExitStatus(signal=signal.Signals(-code).name)
        except ValueError:
            return ExitStatus(signal=f"signal {-code}")

    def close(self) -> None:
        """Kill what is left of the tree and release all descriptors."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if self._waiter is not None:
            self._waiter.cancel()
            self._waiter = None
        self._release()


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    reader.callback(os.close, read_fd)
    writer.callback(os.close, write_fd)
    return read_fd, write_fd


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _release(owner: int, pid: int, fds: tuple[int, ...]) -> None:
    if os.getpid() != owner:  # a copy in a forked process, whose descriptors are closed already
        return
    _kill_group(pid)
    for fd in fds:
        os.close(fd)


_LIVE: weakref.WeakSet[Child] = weakref.WeakSet()


def _close_in_forked_child() -> None:
    """A process forked from this one must not hold the lifelines: workers would outlive their parent for as long as it lives."""
    for child in list(_LIVE):
        child.disown()


os.register_at_fork(after_in_child=_close_in_forked_child)
