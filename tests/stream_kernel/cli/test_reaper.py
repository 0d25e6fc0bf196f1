"""What PID 1 owes: orphans are reaped, the workers' own status is left to those who wait for it, and signals are heard."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from cli import SCRIPT, SECONDS, Cli, encoded, environment
from fixture_types import MakeFifo
from processes import ends, state_of, watched
from stream_kernel.cli.configuration import load_config
from stream_kernel.cli.reaper import Reaper, reaping
from stream_kernel.cli.reporter import make_console, reporter_for
from stream_kernel.cli.run import RunOptions, run_lines
from virtual_clock import START, on_virtual_clock
from waiting import until

NEW_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@contextmanager
def dead_child() -> Iterator[int]:
    """A child of this process that has ended and that nobody has waited for; it is reaped when the block is left, if it is still there."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


def test_a_dead_child_is_reaped_when_it_was_found_dead_twice() -> None:
    reaper = Reaper(tuple)
    with dead_child() as pid:
        assert reaper.scan() == []
        assert state_of(pid) == "Z"
        assert reaper.scan() == [pid]
        assert not Path(f"/proc/{pid}").exists()
        assert reaper.scan() == []


def test_a_child_that_lives_is_left_alone() -> None:
    reaper = Reaper(tuple)
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert [reaper.scan(), reaper.scan()] == [[], []]
        process.communicate(b"\n", timeout=SECONDS)
    assert process.returncode == 0


def test_the_status_of_a_worker_is_left_to_who_waits_for_it() -> None:
    with dead_child() as worker, dead_child() as other:
        reaper = Reaper(lambda: [worker])
        assert [reaper.scan(), reaper.scan()] == [[], [other]]
        assert state_of(worker) == "Z"


def test_a_dead_child_that_its_parent_reaps_meanwhile_is_no_error() -> None:
    reaper = Reaper(tuple)
    with dead_child() as pid:
        reaper.scan()
        os.waitpid(pid, 0)
        assert reaper.scan() == []


@pytest.mark.parametrize(("pid", "looks"), [(1, 3), (4711, 0)])
@on_virtual_clock
async def test_pid_1_looks_every_second_and_any_other_process_never(monkeypatch: pytest.MonkeyPatch, pid: int, looks: int) -> None:
    asked: list[float] = []

    def awaited() -> list[int]:
        asked.append(asyncio.get_running_loop().time() - START)
        return []

    monkeypatch.setattr("os.getpid", lambda: pid)
    async with reaping(awaited):
        await asyncio.sleep(3.5)
    await asyncio.sleep(3600)
    assert asked == [1.0, 2.0, 3.0][:looks]


def test_a_run_leaves_a_worker_alone_that_has_not_taken_its_place_yet(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, make_fifo: MakeFifo
) -> None:
    asked: list[Callable[[], Collection[int]]] = []

    @asynccontextmanager
    async def reaping_by(awaited: Callable[[], Collection[int]]) -> AsyncIterator[None]:
        asked.append(awaited)
        yield

    monkeypatch.setattr("stream_kernel.cli.run.reaping", reaping_by)
    started, release, lines = make_fifo("started"), make_fifo("release"), make_fifo("lines")
    settings = {"slow_start": {"started": started.path, "release": release.path}}
    groups = {"g": {"nodes": ["slow_start"], "max_requests_per_worker": 1}}
    config = load_config(cli.config(groups, source="slow_start", settings=settings))
    options = RunOptions(config=config, input=lines.path, output=str(cli.output))
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(run_lines, options, reporter_for(make_console(stderr=True), is_quiet=True))
        with Path(lines.path).open("w") as given:
            started.wait()
            release.release()
            given.write('{"n":1}\n')
            given.flush()
            started.wait()  # its replacement is on its way
            assert len(cli.workers()) == 2
            assert set(asked[0]()) == set(cli.workers())
            release.release()
        assert running.result(SECONDS)[1] == 0


# -- as PID 1


@pytest.fixture
def namespace() -> tuple[str, ...]:
    """The command that starts another as PID 1 of a new namespace; skips where that is not allowed."""
    try:
        allowed = subprocess.run([*NEW_NAMESPACE, "true"], capture_output=True, timeout=SECONDS, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this system lets nobody make a PID namespace here")
    return NEW_NAMESPACE


@contextmanager
def started(namespace: tuple[str, ...], cli: Cli, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The script as PID 1, and its number as the tests see it. All of the namespace must be gone when the block is left."""
    pipe = subprocess.PIPE
    command = [*namespace, str(SCRIPT), *arguments]
    with subprocess.Popen(command, cwd=cli.folder, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe) as outer:
        try:
            until(lambda: bool(children(outer.pid)))
            yield outer, children(outer.pid)[0]
            outer.wait(SECONDS)
        finally:
            outer.kill()
    assert cli.workers() == []


def children(pid: int) -> list[int]:
    """The children of a process."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()))


def test_as_pid_1_a_run_reaps_the_orphan_of_a_node(namespace: tuple[str, ...], cli: Cli, make_fifo: MakeFifo) -> None:
    announced, release = make_fifo("announced"), make_fifo("release")
    config = cli.config({"g": ["orphan"]}, source="orphan")
    with started(namespace, cli, "run", config, "--summary", "none") as (outer, first):
        assert outer.stdin is not None and outer.stdout is not None
        outer.stdin.write(encoded([{"n": 1, "orphan": {"started": announced.path, "release": release.path}}]))
        outer.stdin.flush()
        announced.wait()
        assert outer.stdout.readline() == b'{"n":1}\n'
        workers = [pid for pid in children(first) if os.getsid(pid) == pid]
        until(lambda: len(children(first)) == 2)  # the worker, and what it has left
        (orphan,) = set(children(first)) - set(workers)
        with watched(orphan) as pidfd:
            release.release()
            assert ends(pidfd)
        until(lambda: children(first) == workers)
        assert not Path(f"/proc/{orphan}").exists()
        outer.stdin.write(encoded([{"n": 2, "orphan": {}}]))
        outer.stdin.close()
        assert outer.stdout.readline() == b'{"n":2}\n'
    assert outer.returncode == 0


@pytest.mark.fault("FAULT-26")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_as_pid_1_a_signal_ends_the_run_in_order(
    namespace: tuple[str, ...], cli: Cli, make_fifo: MakeFifo, number: signal.Signals, code: int
) -> None:
    announced, release = make_fifo("announced"), make_fifo("release")
    config = cli.config({"g": ["work"]}, source="work")
    given = cli.lines([{"n": 1, "work": {"started": announced.path, "release": release.path}}])
    with started(namespace, cli, "run", config, "--input", given, "--output", str(cli.output), "--summary", "none") as (outer, first):
        announced.wait()
        os.kill(first, number)
        assert outer.stderr is not None
        assert outer.stderr.readline().startswith(b"stream-kernel: stopping: 1 line in flight")
        release.release()
        outer.wait(SECONDS)
    assert outer.returncode == code
    assert cli.outputs() == [{"n": 1}]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_as_pid_1_a_signal_is_heard_while_the_command_starts(
    namespace: tuple[str, ...], cli: Cli, number: signal.Signals, code: int
) -> None:
    config = cli.config({"g": ["work"]}, source="work")
    with started(namespace, cli, "run", config) as (outer, first):
        until(lambda: b"pydantic_core" in Path(f"/proc/{first}/maps").read_bytes())
        os.kill(first, number)
        outer.wait(SECONDS)
    assert outer.returncode == code
