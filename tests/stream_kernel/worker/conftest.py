"""A real worker process, spoken to without a supervisor."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from processes import state_of, work_of
from stream_kernel.protocol.breadcrumb import BLACK_BOX_SIZE, STACKS_OFFSET, STACKS_SIGNAL, Progress, unpack_progress
from stream_kernel.protocol.messages import Bootstrap, FromParent, FromWorker, Limits
from stream_kernel.protocol.session import Role, Session
from waiting import until


class RawWorker:
    """`python -P -m stream_kernel.worker`, its wire, its lifeline and its black box in the hands of a test."""

    def __init__(self) -> None:
        """Start it."""
        self.session = Session(Role.PARENT, 1 << 16)
        read_fd, self.lifeline = os.pipe()
        self.black_box = os.memfd_create("black box")
        os.truncate(self.black_box, BLACK_BOX_SIZE)
        command = [sys.executable, "-P", "-m", "stream_kernel.worker", "--lifeline", str(read_fd), "--max-frame-bytes", str(1 << 16)]
        command += ["--black-box", str(self.black_box)]
        pipe = subprocess.PIPE
        inherited = (read_fd, self.black_box)
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=inherited, bufsize=0)
        os.close(read_fd)
        self._received: list[FromWorker | FromParent] = []

    def tell(self, *messages: FromParent) -> None:
        self.tell_bytes(b"".join(self.session.send(message) for message in messages))

    def tell_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def hear(self) -> FromWorker | FromParent | None:
        """The next message; None at the end."""
        assert self.process.stdout is not None
        while not self._received:
            data = self.process.stdout.read(1 << 16)
            if not data:
                return None
            self._received += self.session.receive(data)
        return self._received.pop(0)

    def words(self) -> tuple[Progress | None, int]:
        """What the black box says: what is at work, and when its command began, in nanoseconds."""
        progress, began = struct.unpack("=QQ", os.pread(self.black_box, 16, 0))
        return unpack_progress(progress), began

    def stacks(self) -> str:
        """What it has written of its stacks."""
        return os.pread(self.black_box, 1 << 16, STACKS_OFFSET).decode()

    def hangs(self, state: str) -> None:
        """Wait until its node has begun and for a while has done nothing new: slept in the kernel (`S`), or computed (`R`)."""
        until(lambda: self.words()[0] is not None)
        since, before = time.monotonic(), work_of(self.process.pid)

        def stands() -> bool:
            nonlocal since, before
            now = work_of(self.process.pid)
            if now.switches != before.switches or state_of(self.process.pid) != state:
                since, before = time.monotonic(), now
            return now.cpu_seconds > before.cpu_seconds + 0.1 if state == "R" else time.monotonic() > since + 0.1

        until(stands)

    def ends_with_stacks(self) -> str:
        """What it writes when its parent has it end."""
        os.kill(self.process.pid, STACKS_SIGNAL)
        assert self.ends()[0] == -STACKS_SIGNAL
        return self.stacks()

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ends(self) -> tuple[int, str]:
        """Exit code and stderr."""
        assert self.process.stderr is not None
        stderr = self.process.stderr.read().decode()
        return self.process.wait(20), stderr

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        os.close(self.lifeline)
        os.close(self.black_box)


@pytest.fixture
def worker() -> Iterator[RawWorker]:
    """A worker that has been told nothing yet."""
    one = RawWorker()
    yield one
    one.close()


@pytest.fixture
def make_bootstrap() -> Callable[..., Bootstrap]:
    """Build the order to boot with some nodes."""

    def make(*nodes: str, modules: tuple[str, ...] = ("kernel_nodes", "fault_nodes", "watched_nodes"), **fields: Any) -> Bootstrap:
        values: dict[str, Any] = {
            "worker_id": "g#0",
            "worker_index": 0,
            "generation": 1,
            "process_group": "g",
            "scenario_id": "s",
            "discovery_modules": list(modules),
            "nodes": list(nodes),
            "settings": {},
            "import_path": [path for path in sys.path if path],
            "limits": Limits(1 << 16, 64),
        }
        return Bootstrap(**{**values, **fields})

    return make
