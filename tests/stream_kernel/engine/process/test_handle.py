"""A process by its pid and pidfd: whom a signal reaches, when it is reaped, and what is known then."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import weakref

import pytest

from processes import ends, is_alive, watched
from stream_kernel.engine.process.handle import ProcessHandle
from stream_kernel.engine.process.worker_process import ExitStatus


def started(code: str = "input()") -> ProcessHandle:
    """A process in a group of its own, which nobody else will reap."""
    process = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    process.returncode = 0
    handle = ProcessHandle(process.pid)
    weakref.finalize(handle, process.stdin.close)
    return handle


class Owner:
    """What a handle calls back."""

    def __init__(self) -> None:
        """Nothing has ended yet."""
        self.ended = asyncio.Event()

    def see_end(self) -> None:
        self.ended.set()

    async def wait(self) -> None:
        async with asyncio.timeout(20):
            await self.ended.wait()


async def test_the_end_of_the_process_is_called_back_and_its_status_is_there_once_it_is_reaped() -> None:
    handle, owner = started("raise SystemExit(4)"), Owner()
    handle.watch(owner.see_end)
    await owner.wait()
    handle.unwatch()
    assert handle.status is None
    handle.reap()
    handle.reap()
    assert handle.status == ExitStatus(exit_code=4)
    assert handle.max_rss > 1000
    handle.release()


async def test_what_is_left_of_the_tree_is_killed_while_its_number_is_still_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    handle, owner = started("pass"), Owner()
    handle.watch(owner.see_end)
    await owner.wait()
    handle.unwatch()
    done: list[str] = []
    killpg, wait4 = os.killpg, os.wait4

    def kill_and_note(pid: int, number: int) -> None:
        done.append(f"signal {number:d}")
        killpg(pid, number)

    def reap_and_note(pid: int, options: int) -> tuple[int, int, object]:
        done.append("reap")
        return wait4(pid, options)

    monkeypatch.setattr(os, "killpg", kill_and_note)
    monkeypatch.setattr(os, "wait4", reap_and_note)
    handle.reap()
    handle.signal_tree(signal.SIGTERM)
    handle.release()
    assert done == ["signal 9", "reap"]


@pytest.mark.parametrize("has_pidfd", [True, False])
async def test_a_signal_after_the_reaping_reaches_nobody(monkeypatch: pytest.MonkeyPatch, has_pidfd: bool) -> None:
    if not has_pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    handle, owner = started("pass"), Owner()
    handle.watch(owner.see_end)
    await owner.wait()
    handle.unwatch()
    handle.reap()
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number))
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append(number))
    handle.signal(signal.SIGTERM)
    handle.signal_tree(signal.SIGKILL)
    handle.release()
    assert not sent


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_a_signal_to_the_process_is_not_for_its_tree(monkeypatch: pytest.MonkeyPatch, has_pidfd: bool) -> None:
    with monkeypatch.context() as patched:
        if not has_pidfd:
            patched.delattr(os, "pidfd_open")
        handle = started()
    with watched(handle.pid) as pidfd, monkeypatch.context() as patched:
        patched.setattr(os, "killpg", lambda pid, number: pytest.fail("the tree was signalled"))
        handle.signal(0)
        assert is_alive(pidfd)
        handle.signal(signal.SIGTERM)
        assert ends(pidfd)
    handle.reap()
    assert handle.status == ExitStatus(signal="SIGTERM")
    handle.release()


def test_reaping_does_not_block_on_one_that_cannot_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = started()
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", lambda pid, number: None)
        handle.reap()
    assert handle.status is None
    handle.release()


def test_a_released_process_is_killed_and_reaped_in_the_background() -> None:
    handle = started()
    with watched(handle.pid) as pidfd:
        handle.release()
        assert ends(pidfd)


def test_a_process_that_is_left_alone_lives_on() -> None:
    handle = started()
    with watched(handle.pid) as pidfd:
        handle.forget()
        handle.forget()
        assert is_alive(pidfd)
        handle.release()
        assert ends(pidfd)


async def test_a_thread_that_waits_for_the_end_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.delattr(os, "pidfd_open")
        handle, owner = started(), Owner()
    handle.watch(owner.see_end)
    dropped = weakref.ref(owner)
    del owner
    gc.collect()
    assert dropped() is None
    with watched(handle.pid) as pidfd:
        handle.release()
        assert ends(pidfd)


async def test_a_thread_that_waits_for_the_end_does_not_mind_that_the_loop_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.delattr(os, "pidfd_open")
        handle, owner = started(), Owner()
    loop = asyncio.new_event_loop()

    async def watch() -> None:
        handle.watch(owner.see_end)

    await asyncio.to_thread(lambda: loop.run_until_complete(watch()))
    loop.close()
    with watched(handle.pid) as pidfd:
        handle.release()
        assert ends(pidfd)
    assert not owner.ended.is_set()
    await asyncio.get_running_loop().shutdown_default_executor()
