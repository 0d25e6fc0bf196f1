"""The worker's private wire."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from stream_kernel.worker.stdio import Wire


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
