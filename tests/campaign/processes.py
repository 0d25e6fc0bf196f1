"""Processes as the campaign sees them: aimed at by pidfd so that no stranger is hit, and counted by a mark in their environment."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec
from tests.campaign.history import Leftovers

__all__ = ["MARK", "Before", "ProcessStat", "marked", "stat_of", "strike"]

MARK = "CAMPAIGN_MARK"
_SETTLE_SECONDS = 5.0


class ProcessStat(msgspec.Struct, frozen=True):
    """From /proc/PID/stat."""

    state: str
    parent: int
    started: int
    """Clock ticks since the machine was started."""


def stat_of(pid: int) -> ProcessStat | None:
    """What the kernel says of a process; None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return ProcessStat(fields[0], int(fields[1]), int(fields[19]))


def strike(pid: int, number: signal.Signals, started: int | None = None) -> int | None:
    """Send a signal to a living child of this process; returns when it was started, or None when it is not there (any more).

    `started`: hit only the process that was started then, not another one that has got its number.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        # The number cannot pass to another process between this look and the signal: the pidfd stays with the one it was opened for.
        found = stat_of(pid)
        if found is None or found.parent != os.getpid() or found.state in "ZX" or started not in (None, found.started):
            return None
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return None
    finally:
        os.close(pidfd)
    return found.started


def marked(mark: str) -> dict[int, str]:
    """The processes that were started with this mark in their environment, by pid: state and command line."""
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(entry.name)] = command
    return found


class Before:
    """What there was before the campaign, to find what is there after it."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._children = _children()
        self._descriptors = _descriptors()
        self._threads = set(threading.enumerate())
        self._tasks = asyncio.all_tasks()

    async def left(self) -> Leftovers:
        """What is new. Threads that reap and transports that close get five seconds for it."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            left = self._new()
            if not any((left.processes, left.descriptors, left.threads, left.tasks)) or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.02)

    def _new(self) -> Leftovers:
        processes = [f"pid {pid}: {command}" for pid, command in marked(self._mark).items()]
        processes += [f"child {pid}: {stat_of(pid)}" for pid in _children() - self._children]
        return Leftovers(
            processes=processes,
            descriptors=[f"{fd} → {to}" for fd, to in _descriptors().items() if self._descriptors.get(fd) != to],
            threads=[thread.name for thread in threading.enumerate() if thread not in self._threads],
            tasks=[task.get_name() for task in asyncio.all_tasks() - self._tasks if not task.done()],
        )


def _children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, (task / "children").read_text().split()))
    return found


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists the folder
            found[int(entry.name)] = str(entry.readlink())
    return found
