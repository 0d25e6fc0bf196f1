"""Workers that cannot start: one clear error that names group, module and cause, and no endless respawn."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processes import kill_and_wait, worker_pids
from stream_kernel import BoundaryTransportError, MultiprocessBootstrapSupervisor, RuntimeConfig, WorkerBootstrapError
from stream_kernel.errors import UsageError

MakeConfig = Callable[..., RuntimeConfig]


def boot_error(config: RuntimeConfig) -> WorkerBootstrapError:
    """What starting with `config` raises; nothing of it may be left, and no worker may have been tried more than twice."""
    supervisor = MultiprocessBootstrapSupervisor(config)
    with pytest.raises(WorkerBootstrapError) as caught, supervisor:
        pass
    spawned = [event.worker_id for event in supervisor.lifecycle_events() if event.kind == "worker_spawned"]
    assert all(spawned.count(worker) <= 2 for worker in spawned)
    return caught.value


@pytest.mark.fault("FAULT-09")
@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"nodes": ["echo"], "discovery_modules": ["no_such_module_anywhere"]}, ["'g'", "no_such_module_anywhere"]),
        ({"nodes": ["no_such_node"]}, ["'g'", "no_such_node", "kernel_nodes"]),
        ({"nodes": ["bad_constructor"]}, ["'g'", "bad_constructor", "OwnError"]),
    ],
)
def test_what_cannot_be_imported_or_built_is_named(faulty: MakeConfig, group: dict[str, Any], words: list[str]) -> None:
    error = boot_error(faulty({"g": group, "fine": ["many"]}))
    assert all(word in str(error) for word in words), str(error)
    assert error.group == "g"
    assert "hunter2" not in str(error)


@pytest.mark.fault("FAULT-09")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os; os._exit(9)", ["'g'", "exit code 9"]),
        ("import os; os.kill(os.getpid(), 9)", ["'g'", "SIGKILL"]),
        ("raise SystemExit(1)", ["'g'", "dying", "SystemExit"]),
        ("1 / 0", ["'g'", "dying", "ZeroDivisionError"]),
    ],
)
def test_a_module_that_ends_the_worker_is_a_boot_error(
    faulty: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: list[str]
) -> None:
    (tmp_path / "dying.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    error = boot_error(faulty({"g": {"nodes": ["echo"], "discovery_modules": ["dying"]}}))
    assert all(word in str(error) for word in words), str(error)


@pytest.mark.fault("FAULT-09")
def test_a_module_that_crashes_is_a_boot_error_that_shows_where(
    faulty: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashing.py").write_text("import ctypes\n\nctypes.string_at(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = boot_error(faulty({"g": {"nodes": ["echo"], "discovery_modules": ["crashing"]}}))
    assert "SIGSEGV" in str(error)
    assert re.search(r"Segmentation fault\n(.*\n)*  File \".*crashing.py\", line 3 in <module>\n", error.detail or "")


@pytest.mark.fault("FAULT-09")
def test_a_module_that_never_comes_back_is_a_boot_error_that_names_the_key(
    faulty: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endless.py").write_text("import time\nwhile True: time.sleep(60)\n")
    monkeypatch.syspath_prepend(tmp_path)
    error = boot_error(faulty({"g": {"nodes": ["echo"], "discovery_modules": ["endless"], "start_timeout_seconds": 0.5}}))
    assert "process_groups.start_timeout_seconds" in str(error) and "'g'" in str(error)


@pytest.mark.fault("FAULT-09")
def test_a_replacement_that_cannot_boot_fails_its_group_after_some_tries(faulty: MakeConfig, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    alive.touch()
    config = faulty({"g": ["second_life"], "other": ["echo"]}, nodes={"second_life": {"alive": str(alive)}})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        pid = supervisor.call("second_life", None)
        alive.unlink()
        kill_and_wait(pid)
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("second_life", None)
        assert caught.value.delivery == "not_executed"
        spawned = [event for event in supervisor.lifecycle_events() if event.kind == "worker_spawned" and event.group == "g"]
        assert 2 <= len(spawned) <= 7
        assert supervisor.call("echo", 1) == {"value": 1}
        alive.touch()
        supervisor.restart_group("g")
        assert supervisor.call("second_life", None) == worker_pids(supervisor, "g")[0]


@pytest.mark.fault("FAULT-10")
def test_a_missing_interpreter_is_a_boot_error(faulty: MakeConfig) -> None:
    error = boot_error(faulty({"g": {"nodes": ["echo"], "python": "/no/such/python"}}))
    assert "'g'" in str(error) and "/no/such/python" in str(error)


@pytest.mark.fault("FAULT-10")
def test_no_descriptors_left_is_a_boot_error_and_leaks_none(faulty: MakeConfig) -> None:
    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}))
    with pytest.raises(UsageError):
        supervisor.restart_group("g")  # opens the supervisor's thread and its event loop
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = sorted(os.listdir("/proc/self/fd"))
    fillers: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        while len(os.listdir("/proc/self/fd")) < 128:  # one of them is that of the listing itself
            fillers.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(3):
            os.close(fillers.pop())
        with pytest.raises(WorkerBootstrapError, match="could not be spawned"):
            supervisor.start_groups()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)
    assert sorted(os.listdir("/proc/self/fd")) == before
    supervisor.close()


@pytest.mark.fault("FAULT-10")
def test_an_interpreter_that_vanishes_later_is_a_transport_failure(faulty: MakeConfig, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    # A link outside its environment finds no packages by itself.
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    config = faulty({"g": {"nodes": ["whoami"], "python": str(python), "env": environment}})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        pid = supervisor.call("whoami", None)["pid"]
        python.unlink()
        kill_and_wait(pid)
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("whoami", None)
        assert caught.value.delivery == "not_executed"
        assert supervisor.snapshot().groups[0].state == "failed"
