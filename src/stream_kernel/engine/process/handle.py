"""A process that we have spawned, by its pid and its pidfd: signals that cannot hit another, its end seen at once, reaped once.

It is not asyncio's: `Process.wait` may wait for pipes that a grandchild holds (cpython #119710), its watchers reap when they like, so
that a pid may be somebody else's when we signal it, and they throw away how much memory the process held.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import weakref
from collections.abc import Callable

from stream_kernel.engine.process.worker_process import ExitStatus

__all__ = ["ProcessHandle"]


class ProcessHandle:
    """A child process that leads a process group of its own. Until it is reaped its number belongs to it, dead or alive."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: ExitStatus | None = None
        """How it ended, once it is reaped."""
        self.max_rss = 0
        """The `ru_maxrss` that it was reaped with."""
        self._pidfd = _pidfd(pid)
        self._is_waited_for = False

    def watch(self, on_end: Callable[[], None]) -> None:
        """Call `on_end`, a method, on the running loop when the process has ended, whoever still holds its pipes. Once is enough."""
        loop = asyncio.get_running_loop()
        if self._pidfd is not None:
            loop.add_reader(self._pidfd, on_end)
        elif not self._is_waited_for:
            method = weakref.WeakMethod(on_end)  # a thread that waits must not keep a child that nobody else wants

            def tell() -> None:
                callback = method()
                if callback is not None:
                    with contextlib.suppress(RuntimeError):  # the loop has been closed
                        loop.call_soon_threadsafe(callback)

            self._start_waiting(tell)

    def unwatch(self) -> None:
        """No more `on_end`."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)

    def signal(self, number: int) -> None:
        """To the process alone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self.status is None:
                os.kill(self.pid, number)

    def signal_tree(self, number: int) -> None:
        """To all of its process group."""
        if self.status is None:
            _signal_group(self.pid, number)

    def reap(self) -> None:
        """Of a process that has ended: kill what is left of its tree and take its status. Does not block."""
        if self.status is None and not self._is_waited_for:
            self.signal_tree(signal.SIGKILL)
            self._wait(os.WNOHANG)

    def release(self) -> None:
        """Kill the tree; reap the process, if need be in a thread, when it has ended; give back the pidfd."""
        self.signal_tree(signal.SIGKILL)
        self.reap()
        if self.status is None and not self._is_waited_for:
            with contextlib.suppress(RuntimeError):  # the interpreter is about to end
                self._start_waiting()
        self.forget()

    def forget(self) -> None:
        """Give back the pidfd and leave the process alone."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _start_waiting(self, then: Callable[[], None] = lambda: None) -> None:
        def wait() -> None:
            self._wait(0)
            _signal_group(self.pid, signal.SIGKILL)  # the number of a group stays its own for as long as it has members
            then()

        self._is_waited_for = True
        threading.Thread(target=wait, name=f"stream_kernel reaps {self.pid}", daemon=True).start()

    def _wait(self, options: int) -> None:
        try:
            pid, status, usage = os.wait4(self.pid, options)
        except ChildProcessError:  # other code of this program waits for whatever child there is, or has them reaped by the system
            self.status = ExitStatus()
            return
        if pid:
            self.max_rss = usage.ru_maxrss
            self.status = _exit_status(os.waitstatus_to_exitcode(status))


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an old kernel, or no descriptor to be had
        return None


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _exit_status(code: int) -> ExitStatus:
    if code >= 0:
        return ExitStatus(exit_code=code)
    try:
        return ExitStatus(signal=signal.Signals(-code).name)
    except ValueError:
        return ExitStatus(signal=f"signal {-code}")
