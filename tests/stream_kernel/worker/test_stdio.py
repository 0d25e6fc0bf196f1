"""The worker's private wire."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from stream_kernel.worker.stdio import Wire

LONG = 60.0
"""Seconds that no test waits."""


@pytest.fixture
def ends() -> Iterator[tuple[int, int, int, int]]:
    """What the worker reads from, what the parent writes to, what the parent reads from, what the worker writes to."""
    inward, outward = os.pipe(), os.pipe()
    yield (*inward, *outward)
    for fd in (*inward, *outward):
        try:
            os.close(fd)
        except OSError:
            continue  # closed by the test


def test_whole_frames_are_written_whatever_the_pipe_takes_at_once(ends: tuple[int, int, int, int]) -> None:
    wire = Wire(ends[0], ends[3])
    frame = os.urandom(1_000_000)
    writing = threading.Thread(target=wire.write, args=(frame,))
    writing.start()
    received = bytearray()
    while len(received) < len(frame):
        received += os.read(ends[2], 1 << 16)
    writing.join(20)
    assert bytes(received) == frame


def test_reading_gives_what_is_there_and_nothing_at_the_end(ends: tuple[int, int, int, int]) -> None:
    wire = Wire(ends[0], ends[3])
    assert not wire.readable()
    os.write(ends[1], b"some bytes")
    assert wire.readable()
    assert wire.read() == b"some bytes"
    os.close(ends[1])
    assert wire.readable()
    assert wire.read() == b""


def test_a_wire_that_polls_lets_other_threads_run_and_takes_what_they_write(
    ends: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(ends[0], ends[3])
    wire.spin_seconds = LONG
    is_polling = threading.Event()
    poller = select.poll()
    poller.register(ends[0], select.POLLIN)

    class Poller:
        def poll(self, timeout: int) -> list[tuple[int, int]]:
            is_polling.set()
            return poller.poll(timeout)

    monkeypatch.setattr(wire, "_poller", Poller())

    def write() -> None:
        assert is_polling.wait(20)
        os.write(ends[1], b"from a thread")

    writing = threading.Thread(target=write)
    writing.start()
    assert wire.read() == b"from a thread"
    writing.join(20)


def test_a_wire_that_polls_sees_the_end_at_once(ends: tuple[int, int, int, int]) -> None:
    wire = Wire(ends[0], ends[3])
    wire.spin_seconds = LONG
    os.close(ends[1])
    assert wire.read() == b""


class Clock:
    """A clock that moves by a millisecond at each look, and what is polled meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.polls = 0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    def poll(self, timeout: int) -> list[tuple[int, int]]:
        assert timeout == 0
        self.polls += 1
        return []

    def register(self, fd: int, events: int) -> None:
        pass


def test_a_wire_polls_for_its_time_and_then_blocks(ends: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    monkeypatch.setattr(select, "poll", lambda: clock)
    wire = Wire(ends[0], ends[3])
    wire.spin_seconds = 0.0045
    os.write(ends[1], b"first second")
    assert os.read(ends[0], 6) == b"first "
    assert (wire.read(), clock.polls) == (b"second", 5)
    os.write(ends[1], b"third")
    assert (wire.read(), clock.polls) == (b"third", 10), "the time counts from each read anew"


def test_a_wire_that_is_not_to_poll_reads_at_once(ends: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(select, "poll", lambda: clock)
    wire = Wire(ends[0], ends[3])
    os.write(ends[1], b"x")
    assert (wire.read(), clock.polls) == (b"x", 0)


def test_a_worker_that_polls_ends_by_sigterm() -> None:
    program = f"from stream_kernel.worker.stdio import Wire; wire = Wire(0, 1); wire.spin_seconds = {LONG}; wire.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as polling:
        polling.terminate()
        assert polling.wait(20) == -signal.SIGTERM


@pytest.mark.parametrize("use", ["read", "write", "check"])
def test_a_forked_copy_ends_when_it_uses_the_wire_and_leaves_it_alone(ends: tuple[int, int, int, int], use: str) -> None:
    wire = Wire(ends[0], ends[3])
    copy = os.fork()
    if copy == 0:
        try:
            {"read": wire.read, "write": lambda: wire.write(b"forged"), "check": wire.check_owner}[use]()
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 0
    wire.write(b"genuine")
    assert os.read(ends[2], 100) == b"genuine"
