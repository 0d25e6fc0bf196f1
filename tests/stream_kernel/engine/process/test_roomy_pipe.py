"""Pipes that grow when they have been full, once, and not too many of them."""

from __future__ import annotations

import fcntl
import gc
import os
import sys
from collections.abc import Iterator

import pytest

from stream_kernel.engine.process import roomy_pipe
from stream_kernel.engine.process.child import Child
from stream_kernel.engine.process.roomy_pipe import RoomyPipe

pytestmark = pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="only Linux has pipes of any size")
USUAL, LARGE = 1 << 16, 1 << 18


@pytest.fixture(autouse=True)
def nothing_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests of this process have left."""
    gc.collect()
    monkeypatch.setattr(roomy_pipe, "_MOST", len(RoomyPipe._grown) + 2)


@pytest.fixture
def fds() -> Iterator[list[int]]:
    """The write ends of three pipes."""
    pipes = [os.pipe() for _ in range(3)]
    yield [pipe[1] for pipe in pipes]
    for pipe in pipes:
        os.close(pipe[0])
        os.close(pipe[1])


def size(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)


def test_a_pipe_grows_once(fds: list[int]) -> None:
    pipe = RoomyPipe(fds[0])
    assert size(fds[0]) == USUAL
    pipe.was_full()
    assert size(fds[0]) == LARGE
    fcntl.fcntl(fds[0], fcntl.F_SETPIPE_SZ, USUAL)
    pipe.was_full()
    assert size(fds[0]) == USUAL


def test_so_many_pipes_grow_and_no_more_until_one_has_gone(fds: list[int]) -> None:
    pipes = [RoomyPipe(fd) for fd in fds]
    for pipe in pipes:
        pipe.was_full()
    assert [size(fd) for fd in fds] == [LARGE, LARGE, USUAL]
    del pipes[0], pipe
    gc.collect()
    pipes[1].was_full()
    assert size(fds[2]) == LARGE


def test_a_system_that_refuses_is_not_asked_again(fds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(fd: int, command: int, argument: int) -> int:
        asked.append(fd)
        raise PermissionError(1, "the user's pages are used up")

    pipe = RoomyPipe(fds[0])
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "fcntl", refuse)
        pipe.was_full()
        pipe.was_full()
    assert (asked, size(fds[0])) == ([fds[0]], USUAL)


def test_where_pipes_have_one_size_nothing_is_asked(fds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roomy_pipe, "_SET_SIZE", None)
    RoomyPipe(fds[0]).was_full()
    assert size(fds[0]) == USUAL


@pytest.mark.parametrize("count", [USUAL - 1, USUAL])
async def test_the_pipes_of_a_worker_grow_when_they_are_full(count: int) -> None:
    code = f"import os; os.write(1, b'x' * {count}); os.read(0, 1)"
    child = await Child.spawn(lambda lifeline, black_box: [sys.executable, "-S", "-c", code], {}, group="g", worker_id="g#0")
    try:
        os.set_blocking(child._stdout, True)
        data = child.read()
        assert data is not None and len(data) == count
        assert size(child._stdout) == (LARGE if count == USUAL else USUAL)
        assert size(child._stdin) == USUAL
        assert child.write(bytes(LARGE)) == USUAL
        assert size(child._stdin) == LARGE
    finally:
        child.kill_tree()
        await child.reap(20)
        child.close()
