"""Processes as tests see them: pidfds instead of sleeps, and sockets that tell whether somebody still lives."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from stream_kernel import MultiprocessBootstrapSupervisor

WAIT_SECONDS = 20.0
"""What no wait of a test exceeds."""


@contextmanager
def watched(pid: int) -> Iterator[int]:
    """A pidfd of `pid`."""
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def ends(pidfd: int, seconds: float = WAIT_SECONDS) -> bool:
    """Whether the process ends within `seconds`."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def is_alive(pidfd: int) -> bool:
    return not ends(pidfd, 0)


def kill_and_wait(pid: int) -> None:
    """SIGKILL, and wait until the process is dead."""
    with watched(pid) as pidfd:
        os.kill(pid, signal.SIGKILL)
        assert ends(pidfd)


def stop_and_wait(pid: int) -> None:
    """SIGSTOP to a child of this process, and wait until it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def state_of(pid: int) -> str:
    """The one letter of /proc/PID/stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Work(NamedTuple):
    """How long the first thread of a process has computed, and how often it went to sleep."""

    cpu_seconds: float
    switches: int


def work_of(pid: int) -> Work:
    computed = int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return Work(computed / 1e9, int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]))


def worker_pids(supervisor: MultiprocessBootstrapSupervisor, group: str | None = None) -> list[int]:
    snapshot = supervisor.snapshot()
    return [worker.pid for each in snapshot.groups if group in (None, each.name) for worker in each.workers if worker.pid is not None]


def until_ready(supervisor: MultiprocessBootstrapSupervisor) -> None:
    """Wait until every worker of every group is ready (a replacement is announced by no event that a caller could wait for)."""
    deadline = time.monotonic() + WAIT_SECONDS
    while any(worker.state != "ready" for group in supervisor.snapshot().groups for worker in group.workers):
        assert time.monotonic() < deadline, supervisor.snapshot()
        time.sleep(0.005)


def until_generation(supervisor: MultiprocessBootstrapSupervisor, generation: int) -> None:
    """Wait until the first worker of the first group is in this incarnation, and ready."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (worker := supervisor.snapshot().groups[0].workers[0]).generation != generation or worker.state != "ready":
        assert time.monotonic() < deadline, supervisor.snapshot()
        time.sleep(0.005)


class Liveness:
    """A socket that a descendant connects to: it lives for as long as the connection does."""

    def __init__(self, path: Path) -> None:
        """Listen on `path`."""
        self.path = str(path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._listener.settimeout(WAIT_SECONDS)
        self._connections: list[socket.socket] = []

    def accept(self) -> None:
        """Wait for one descendant to connect."""
        connection, _ = self._listener.accept()
        self._connections.append(connection)

    def is_alive(self) -> bool:
        """Whether the descendant that connected last is alive now."""
        return not self._ended(0)

    def ends(self, seconds: float = WAIT_SECONDS) -> bool:
        """Whether it ends within `seconds`."""
        return self._ended(seconds)

    def _ended(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._connections[-1], select.POLLIN)
        return bool(poller.poll(seconds * 1000)) and self._connections[-1].recv(1) == b""

    def close(self) -> None:
        for each in (self._listener, *self._connections):
            each.close()
