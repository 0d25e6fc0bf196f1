"""A process and its descriptors: whatever happens, it is seen to end and nothing of it is left."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from processes import Liveness, ends, watched
from stream_kernel.engine.process.child import Child, ExitStatus


async def spawned(*arguments: str) -> Child:
    return await Child.spawn(lambda lifeline: list(arguments), dict(os.environ))


async def ended(child: Child) -> ExitStatus:
    over = asyncio.Event()
    child.watch_exit(over.set)
    async with asyncio.timeout(20):
        await over.wait()
    try:
        return await child.reap()
    finally:
        child.close()


def python(code: str) -> Sequence[str]:
    return (sys.executable, "-S", "-c", code)


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("pass", ExitStatus(exit_code=0), "exit code 0"),
        ("raise SystemExit(9)", ExitStatus(exit_code=9), "exit code 9"),
        ("import os; os.kill(os.getpid(), 15)", ExitStatus(signal="SIGTERM"), "killed by SIGTERM"),
        ("import os; os.kill(os.getpid(), 40)", ExitStatus(signal="signal 40"), "killed by signal 40"),
    ],
)
async def test_the_way_it_ended_is_told(code: str, status: ExitStatus, text: str) -> None:
    seen = await ended(await spawned(*python(code)))
    assert seen == status
    assert str(seen) == text


async def test_its_pipes_are_ours_and_do_not_block() -> None:
    child = await spawned("cat")
    with pytest.raises(BlockingIOError):
        os.read(child.stdout, 1)
    os.write(child.stdin, b"there and back")
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(child.stdout, readable.set)
    async with asyncio.timeout(20):
        await readable.wait()
    loop.remove_reader(child.stdout)
    assert os.read(child.stdout, 100) == b"there and back"
    child.kill_tree()
    assert await ended(child) == ExitStatus(signal="SIGKILL")


async def test_it_leads_a_session_of_its_own_and_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    liveness = Liveness(tmp_path / "socket")
    connect = f"import socket,time\ns=socket.socket(socket.AF_UNIX)\ns.connect({liveness.path!r})\ntime.sleep(600)"
    child = await spawned(*python(f"import subprocess,sys\nsubprocess.run([sys.executable,'-S','-c',{connect!r}])"))
    await asyncio.get_running_loop().run_in_executor(None, liveness.accept)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert os.getsid(child.pid) == child.pid and liveness.is_alive()
    child.kill_tree()
    await ended(child)
    assert liveness.ends()
    liveness.close()


async def test_the_descriptors_go_once_and_a_second_close_harms_nobody() -> None:
    child = await spawned("cat")
    held = (child.stdin, child.stdout, child.stderr)
    child.kill_tree()
    await ended(child)
    reused = [os.open(os.devnull, os.O_RDONLY) for _ in range(6)]
    assert set(held) <= set(reused)
    child.close()
    child.kill_tree()
    for fd in reused:
        os.close(fd)  # would fail had the second close taken it


async def test_a_program_that_is_not_there_raises_and_leaks_nothing() -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        await spawned("/no/such/program")
    assert os.listdir("/proc/self/fd") == before


async def test_a_dropped_child_is_killed() -> None:
    child = await spawned("cat")
    with watched(child.pid) as pidfd:
        del child
        gc.collect()
        assert ends(pidfd)
        await asyncio.sleep(0.01)


async def test_without_pidfds_its_end_is_seen_too(monkeypatch: pytest.MonkeyPatch) -> None:
    child = await spawned("cat")
    monkeypatch.delattr(os, "pidfd_open")
    child.kill_tree()
    assert await ended(child) == ExitStatus(signal="SIGKILL")
