"""A process that holds a lifeline dies with it, whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import ctypes, os, signal, sys
from stream_kernel.worker.lifeline import hold_lifeline
hold_lifeline(int(sys.argv[1]))
os.write(1, b"holding\\n")
how = sys.argv[2]
if how == "python":
    while True: pass
if how == "gil":
    ctypes.PyDLL(None).sleep(600)
signal.pause()
"""


@pytest.mark.parametrize("how", ["asleep", "python", "gil", "stopped"])
def test_its_end_is_the_end_of_the_process(how: str) -> None:
    read_fd, write_fd = os.pipe()
    command = [sys.executable, "-c", PROGRAM, str(read_fd), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(read_fd,)) as process:
        try:
            os.close(read_fd)
            assert process.stdout is not None and process.stdout.readline() == b"holding\n"
            if how == "stopped":
                process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            assert process.poll() is None
            os.close(write_fd)
            assert process.wait(20) == -signal.SIGKILL
        finally:
            process.kill()


def test_a_lifeline_that_ended_before_it_was_held_ends_the_process_too() -> None:
    read_fd, write_fd = os.pipe()
    os.close(write_fd)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(read_fd), "asleep"], check=False, pass_fds=(read_fd,), capture_output=True, timeout=20
    )
    os.close(read_fd)
    assert ended.stdout == b"" and ended.returncode in (0, -signal.SIGKILL)


def test_a_real_worker_dies_with_its_lifeline(worker: Any) -> None:
    assert worker.hear() is not None
    copy = os.dup(worker.lifeline)
    os.close(worker.lifeline)
    assert worker.process.poll() is None
    os.close(copy)
    try:
        assert worker.process.wait(20) == -signal.SIGKILL
    finally:
        worker.lifeline = os.open(os.devnull, os.O_RDONLY)
