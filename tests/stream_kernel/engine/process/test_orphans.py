"""Workers that nobody watches any more are killed and reaped from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from processes import Liveness, ends, kill_and_wait, watched
from stream_kernel.engine.process.orphans import end_orphans, end_orphans_soon
from waiting import until


@pytest.fixture
def spawn() -> Iterator[Callable[..., int]]:
    """Start a process that leads a group of its own, and give its number; what is left at the end is killed and reaped."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> int:
        started.append(subprocess.Popen(arguments or ("sleep", "600"), start_new_session=True))
        return started[-1].pid

    yield start
    for process in started:
        if Path(f"/proc/{process.pid}").exists():
            process.kill()
        process.wait()


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_they_are_killed_with_what_they_started_and_reaped(spawn: Callable[..., int], tmp_path: Path) -> None:
    liveness = Liveness(tmp_path / "socket")
    connect = f"import os,socket,time; os.fork(); s=socket.socket(socket.AF_UNIX); s.connect({liveness.path!r}); time.sleep(600)"
    pids = [spawn(sys.executable, "-S", "-c", connect), spawn()]
    liveness.accept()
    liveness.accept()
    end_orphans(pids)
    assert not any(map(is_there, pids))
    assert liveness.ends()
    liveness.close()


def test_the_dead_are_reaped_too(spawn: Callable[..., int]) -> None:
    pid = spawn()
    kill_and_wait(pid)
    assert is_there(pid)
    end_orphans([pid])
    assert not is_there(pid)


def test_who_waits_for_one_of_them_already_gets_its_status_first(spawn: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    awaited, forgotten = spawn(), spawn()
    for pid in (awaited, forgotten):
        kill_and_wait(pid)
    now, told = 0.0, 0

    def pass_time(seconds: float) -> None:
        nonlocal now, told
        now += seconds
        if not told and now > 0.09:
            told = os.waitpid(awaited, 0)[1]

    monkeypatch.setattr("stream_kernel.engine.process.orphans.time", SimpleNamespace(monotonic=lambda: now, sleep=pass_time))
    end_orphans([awaited, forgotten])
    assert os.WTERMSIG(told) == signal.SIGKILL
    assert 0.1 < now < 0.2 and not is_there(forgotten)


def test_where_nothing_may_block_they_are_killed_at_once_and_a_thread_reaps_them(spawn: Callable[..., int]) -> None:
    pid = spawn()
    with watched(pid) as pidfd:
        end_orphans_soon([pid])
        assert ends(pidfd)
    until(lambda: not is_there(pid))


def test_at_the_end_of_the_interpreter_they_are_killed_though_no_thread_starts(
    spawn: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pid = spawn()
    with watched(pid) as pidfd:
        end_orphans_soon([pid])
        assert ends(pidfd)


def test_what_is_not_our_child_is_left_alone(spawn: Callable[..., int], tmp_path: Path) -> None:
    told = tmp_path / "pid"
    tell = f"pathlib.Path({str(told)!r}).write_text(f'{{os.getpid()}}.')"
    stranger = f"import os,pathlib,time\nif os.fork(): os._exit(0)\nos.setsid(); {tell}; time.sleep(600)"
    spawn(sys.executable, "-S", "-c", stranger)
    until(lambda: told.exists() and told.read_text().endswith("."))
    pid = int(told.read_text().rstrip("."))
    with watched(pid) as pidfd:
        end_orphans([pid])
        end_orphans_soon([pid])
        assert not ends(pidfd, 0.2)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert ends(pidfd)


def test_what_was_reaped_already_needs_no_thread(spawn: Callable[..., int]) -> None:
    pid = spawn()
    kill_and_wait(pid)
    os.waitpid(pid, 0)
    before = threading.enumerate()
    end_orphans_soon([pid])
    assert threading.enumerate() == before
