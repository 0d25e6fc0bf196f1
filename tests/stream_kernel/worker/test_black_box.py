"""What a worker leaves in shared memory while it works."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream_kernel.protocol.breadcrumb import BLACK_BOX_SIZE, Progress, unpack_progress
from stream_kernel.protocol.messages import Bootstrap
from worker_talk import command, started

PROLOGUE = """
import os, sys
from stream_kernel.worker.black_box import BlackBox
fd = int(sys.argv[1])
box = BlackBox(fd)
note = box.notes_of(["first", "second"])
"""


class Page:
    """The file that a parent makes, and what it reads from it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("page")
        os.truncate(self.fd, BLACK_BOX_SIZE)

    def after(self, program: str) -> Progress | None:
        """What is noted when a process that holds the page has run `program`, in which `box` is its black box."""
        command = [sys.executable, "-c", PROLOGUE + program, str(self.fd)]
        ended = subprocess.run(command, check=False, pass_fds=(self.fd,), capture_output=True, text=True, timeout=20)
        assert (ended.returncode, ended.stderr) == (0, "")
        return unpack_progress(self.words()[0])

    def words(self) -> tuple[int, int]:
        first, second = struct.unpack("=QQ", os.pread(self.fd, 16, 0))
        return first, second


@pytest.fixture
def page() -> Iterator[Page]:
    one = Page()
    yield one
    os.close(one.fd)


def test_a_note_names_command_input_and_node(page: Page) -> None:
    assert page.after("box.begin(7); note(3, 'second')") == Progress(7, 3, 1)
    assert page.after("box.begin(7); note(2**24 - 1, 'first')") == Progress(7, 2**24 - 1, 0)


def test_a_command_that_begins_is_timed_and_takes_the_old_note_away(page: Page) -> None:
    before = time.monotonic_ns()
    assert page.after("box.begin(1); note(0, 'second'); box.begin(2)") is None
    assert before < page.words()[1] < time.monotonic_ns()


def test_the_number_of_a_command_may_wrap_around(page: Page) -> None:
    progress = page.after("box.begin(2**28 + 5); note(1, 'first')")
    assert progress is not None and progress.is_of(2**28 + 5)


def test_a_batch_beyond_the_breadcrumb_speaks_of_no_command_that_is_asked_for(page: Page) -> None:
    progress = page.after("box.begin(7); note(2**24, 'first')")
    assert progress is not None and not progress.is_of(7)


def test_of_more_nodes_than_a_note_can_tell_apart_nothing_is_noted(page: Page) -> None:
    several = "names = [str(place) for place in range({})]; note = box.notes_of(names); box.begin(1); note(0, names[-1])"
    assert page.after(several.format(4096)) == Progress(1, 0, 4095)
    assert page.after(several.format(4097)) is None


def test_it_is_not_inherited_any_further(page: Page) -> None:
    page.after("assert not os.get_inheritable(fd)")


FORKED = """
import signal
from stream_kernel.protocol.breadcrumb import STACKS_SIGNAL
box.keep_stacks()
box.begin(1)
note(4, "first")
copy = os.fork()
if copy == 0:
    box.begin(9)
    note(0, "second")
    assert not os.path.exists(f"/proc/self/fd/{fd}")
    assert "/memfd" not in "".join(os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd"))
    assert "/memfd" not in open("/proc/self/maps").read()
    os.kill(os.getpid(), STACKS_SIGNAL)
assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == -STACKS_SIGNAL
"""


def test_a_forked_copy_writes_into_memory_of_its_own_and_writes_no_stacks(page: Page) -> None:
    assert page.after(FORKED) == Progress(1, 4, 0)
    assert os.fstat(page.fd).st_size == BLACK_BOX_SIZE
    assert page.after(FORKED + "note(5, 'second')") == Progress(1, 5, 1)


@pytest.mark.fault("FAULT-12")
def test_its_stacks_can_be_had_while_c_code_holds_the_interpreter_lock(
    worker: Any, make_bootstrap: Callable[..., Bootstrap], make_fifo: Callable[[str], Any]
) -> None:
    here = make_fifo("here")
    started(worker, make_bootstrap("hold_lock"))
    worker.tell(command("hold_lock", json.dumps({"here": here.path}).encode()))
    worker.hangs("S")
    stacks = worker.ends_with_stacks()
    assert "in wait_beside\n" in stacks and "in open_in_c\n" in stacks and "in hold_lock\n" in stacks


@pytest.mark.fault("FAULT-12")
def test_its_stacks_can_be_had_while_c_code_computes_with_the_interpreter_lock(
    worker: Any, make_bootstrap: Callable[..., Bootstrap]
) -> None:
    started(worker, make_bootstrap("backtrack"))
    worker.tell(command("backtrack", b"{}"))
    worker.hangs("R")
    stacks = worker.ends_with_stacks()
    assert " in match\n" in stacks and "in backtrack\n" in stacks


@pytest.mark.fault("FAULT-04")
def test_a_crash_leaves_its_stacks(worker: Any, make_bootstrap: Callable[..., Bootstrap]) -> None:
    started(worker, make_bootstrap("end"))
    worker.tell(command("end", b'{"how":"segv"}'))
    code, stderr = worker.ends()
    assert code == -signal.SIGSEGV
    assert worker.stacks().startswith("Fatal Python error: Segmentation fault") and "in end\n" in worker.stacks()
    assert "in end\n" not in stderr
    assert worker.words()[0] == Progress(1, 0, 0)
