"""What a worker notes, as its parent reads it."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_kernel.engine.process.black_box import BlackBox
from stream_kernel.protocol.breadcrumb import BLACK_BOX_SIZE, STACKS_OFFSET, Progress, pack_progress


@pytest.fixture(params=["in memory", "in a file"])
def box(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[BlackBox]:
    if request.param == "in a file":
        monkeypatch.delattr(os, "memfd_create")
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = BlackBox()
    yield made
    made.close()
    assert not list(tmp_path.iterdir())


def note(box: BlackBox, progress: int, begun: int) -> None:
    os.pwrite(box.fd, struct.pack("@QQ", progress, begun), 0)


def test_it_has_the_size_that_a_worker_maps_and_only_those_inherit_it_who_are_to(box: BlackBox) -> None:
    assert os.fstat(box.fd).st_size == BLACK_BOX_SIZE
    assert not os.get_inheritable(box.fd)


def test_where_no_file_can_be_made_there_is_none_and_nothing_is_leaked() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLACK_BOX_SIZE - 1, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            BlackBox()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_new_one_says_nothing(box: BlackBox) -> None:
    assert (box.progress(), box.begun(), box.stacks()) == (None, None, "")


def test_it_tells_what_was_noted_last(box: BlackBox) -> None:
    note(box, pack_progress(3, 12, 2), 1_500_000_000)
    assert (box.progress(), box.begun()) == (Progress(3, 12, 2), 1.5)
    note(box, pack_progress(4, 0, 0), 2_000_000_000)
    assert (box.progress(), box.begun()) == (Progress(4, 0, 0), 2.0)


def test_stacks_are_text_whatever_they_hold_and_bounded(box: BlackBox) -> None:
    os.pwrite(box.fd, b'File "x.py" \xff\n', STACKS_OFFSET)
    assert box.stacks() == 'File "x.py" \\xff'
    os.pwrite(box.fd, b"x" * 1_000_000, STACKS_OFFSET)
    assert box.stacks() == "x" * 65_536


def test_the_thread_that_was_at_work_comes_first_whatever_the_order_in_which_they_were_written(box: BlackBox) -> None:
    others = [f"Thread 0x{n} (most recent call first):\n  File 'pool.py'" for n in range(3)]
    current, head, modules = (
        "Current thread 0x9 (most recent call first):\n  File 'n.py'",
        "Fatal Python error: Aborted",
        "Extension modules: x",
    )
    os.pwrite(box.fd, "\n\n".join([head, *others, current, modules]).encode() + b"\n", STACKS_OFFSET)
    assert box.stacks().split("\n\n") == [head, current, *others, modules]


def test_after_its_close_it_tells_what_was_known_then(box: BlackBox) -> None:
    note(box, pack_progress(3, 12, 2), 1_500_000_000)
    os.pwrite(box.fd, b"stack\n", STACKS_OFFSET)
    box.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(box.fd)
    box.close()
    assert (box.progress(), box.begun(), box.stacks()) == (Progress(3, 12, 2), 1.5, "stack")


def test_one_that_its_worker_cut_short_says_nothing(box: BlackBox) -> None:
    note(box, pack_progress(3, 12, 2), 1_500_000_000)
    os.ftruncate(box.fd, 5)
    assert (box.progress(), box.begun(), box.stacks()) == (None, None, "")
