"""The limit: the same bytes there and back between two bare processes, without any library.

Each end is pinned to a CPU of its own. On one CPU both ends are several times faster or slower, as the scheduler happens to have it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import msgspec
from bench_peers import Function, Peer

_ECHO = """
import os
while True:
    parts = [os.read(0, 1 << 20)]
    while parts[-1] and parts[-1][-1:] != b"\\n":
        parts.append(os.read(0, 1 << 20))
    if not parts[-1]:
        break
    left = memoryview(b"".join(parts))
    while left:
        left = left[os.write(1, left):]
"""


class PingPong(Peer):
    """A line of bytes to a child that gives it back."""

    name = "raw pipe ping-pong"

    def __init__(self, workers: int = 1) -> None:
        super().__init__(workers)
        self._child: subprocess.Popen[bytes] | None = None
        self._cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

    @property
    def note(self) -> str:
        """Where its ends are."""
        if not self._cpus:
            return "not pinned: this system cannot"
        return "one CPU for both ends: no limit" if len(self._cpus) == 1 else f"pinned to CPUs {self._cpus[0]} and {self._cpus[-1]}"

    async def open(self) -> None:
        self._child = subprocess.Popen([sys.executable, "-I", "-S", "-c", _ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        if self._cpus:
            self._cpus = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(self._child.pid, {self._cpus[-1]})

    async def close(self) -> None:
        assert self._child is not None and self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.close()
        await asyncio.to_thread(self._child.wait)
        self._child.stdout.close()

    def pin(self) -> None:
        """Bind the calling thread to the first CPU; the child has the last one."""
        if self._cpus:
            os.sched_setaffinity(0, {self._cpus[0]})

    def unpin(self) -> None:
        """Let the calling thread run anywhere."""
        if self._cpus:
            os.sched_setaffinity(0, self._cpus)

    def call(self, function: Function, payload: Any) -> Any:
        """Takes bytes and gives bytes; there is no function on the other side."""
        child = self._child
        assert child is not None and child.stdin is not None and child.stdout is not None
        there, back = child.stdin.fileno(), child.stdout.fileno()
        left = memoryview(payload)
        while left:
            left = left[os.write(there, left) :]
        parts = [os.read(back, 1 << 20)]
        while parts[-1] and not parts[-1].endswith(b"\n"):
            parts.append(os.read(back, 1 << 20))
        return b"".join(parts)


def line_of(payload: Any) -> bytes:
    """A payload as the bytes that a JSON line has for it."""
    return msgspec.json.encode(payload) + b"\n"


def same_bytes(payload: bytes) -> bytes:
    """What the echo does."""
    return payload
