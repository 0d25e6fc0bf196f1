"""A process that has claimed its wire: who holds it, and where its own input and output go."""

from __future__ import annotations

import os
import subprocess
import sys

from stream_kernel.worker.stdio import Wire

CLAIM = "import os, signal, subprocess, sys\nfrom stream_kernel.worker.stdio import claim_wire\nwire = claim_wire()\n"


def run_after_claim(program: str) -> subprocess.CompletedProcess[bytes]:
    """What a process does after it has claimed its wire, whose far ends are `input` and `stdout` here."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # as it is for a worker
    command = [sys.executable, "-c", CLAIM + program]
    return subprocess.run(command, input=b"a frame\n", env=environment, capture_output=True, timeout=20, check=False)


def test_its_input_is_empty_and_its_output_is_no_frame() -> None:
    done = run_after_claim("print(repr(sys.stdin.read()), flush=True)\nwire.write(wire.read())\n")
    assert (done.stdout, done.stderr) == (b"a frame\n", b"''\n")


def test_what_it_starts_inherits_nothing_of_its_wire() -> None:
    done = run_after_claim(
        "listing = 'import os; print(sorted(int(fd) for fd in os.listdir(chr(47) + \"proc/self/fd\")))'\n"
        "subprocess.run([sys.executable, '-c', listing], close_fds=False, check=True)\n"
    )
    # 3 is the folder that is being listed.
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"[0, 1, 2, 3]\n")


def test_what_the_parent_has_left_open_is_closed_but_for_what_is_meant_for_it() -> None:
    done = run_after_claim(
        "from stream_kernel.worker.stdio import drop_inherited\n"
        "own = os.open(os.devnull, os.O_RDONLY)\n"
        "inherited, meant = (os.dup(own) for _ in range(2))\n"
        "for fd in (inherited, meant):\n    os.set_inheritable(fd, True)\n"
        "drop_inherited({meant})\n"
        "there = {int(fd) for fd in os.listdir('/dev/fd')} - {os.open('/', os.O_RDONLY)}  # the number of the folder was free\n"
        "assert there == {0, 1, 2, own, meant, wire.read_fd, wire.write_fd}, there\n"
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_forked_copy_of_a_forked_copy_closes_nothing_of_its_own() -> None:
    done = run_after_claim(
        "from stream_kernel.worker.black_box import BlackBox\n"
        "box = os.memfd_create('box')\n"
        "os.truncate(box, 4096)\n"
        "BlackBox(box).keep_stacks()\n"
        "if os.fork() == 0:\n"
        "    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]\n"
        "    assert {wire.write_fd, box} & {-1, *files}\n"
        "    if os.fork() == 0:\n"
        "        for fd in files:\n            os.fstat(fd)\n"
        "        os._exit(7)\n"
        "    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "assert os.waitstatus_to_exitcode(os.wait()[1]) == 7\n"
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_it_printed_is_out_when_it_is_killed() -> None:
    done = run_after_claim("print('last words')\nos.kill(os.getpid(), signal.SIGKILL)\n")
    assert (done.returncode, done.stdout, done.stderr) == (-9, b"", b"last words\n")


def test_a_forked_copy_holds_nothing_of_the_wire() -> None:
    inward, outward = os.pipe(), os.pipe()
    wire = Wire(inward[0], outward[1])
    copy = os.fork()
    if copy == 0:
        held = 0
        for fd in (wire.read_fd, wire.write_fd):
            try:
                os.fstat(fd)
                held += 1
            except OSError:
                continue
        os._exit(held)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 0
    finally:
        for fd in (*inward, *outward):
            os.close(fd)
