"""Grandchildren, forks, and every way to stop: nothing stays behind, and nothing waits for what does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from processes import Liveness, ends, is_alive, until_ready, watched, worker_pids
from stream_kernel import (
    AsyncBoundarySupervisor,
    BoundaryDispatchInput,
    BoundaryTransportError,
    MultiprocessBootstrapSupervisor,
    RuntimeConfig,
)

MakeConfig = Callable[..., RuntimeConfig]
InThread = Callable[..., Future[Any]]


@pytest.mark.fault("FAULT-23")
def test_a_grandchild_that_holds_the_pipes_hides_no_death_and_goes_with_the_worker(
    faulty: MakeConfig, liveness: Liveness, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    release = make_fifo("release")
    with MultiprocessBootstrapSupervisor(faulty({"g": ["adopt", "echo"]})) as supervisor:
        call = in_thread(supervisor.call, "adopt", {"socket": liveness.path, "code": 5, "release": release.path}, timeout_seconds=60)
        liveness.accept()
        assert liveness.is_alive()
        release.release()
        with pytest.raises(BoundaryTransportError) as caught:
            call.result(30)
        assert caught.value.report.exit_code == 5
        assert liveness.ends()
        assert supervisor.call("echo", 1) == {"value": 1}


@pytest.mark.fault("FAULT-23")
def test_a_grandchild_does_not_outlive_an_orderly_stop(faulty: MakeConfig, liveness: Liveness) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["adopt"]})) as supervisor:
        supervisor.call("adopt", {"socket": liveness.path})
        liveness.accept()
        assert liveness.is_alive()
    assert liveness.ends()
    assert [event.mode for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"] == ["graceful"]


@pytest.mark.fault("FAULT-23")
def test_a_forked_child_that_lives_on_goes_with_its_worker(faulty: MakeConfig, tmp_path: Path) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["fork", "whoami"]})) as supervisor:
        (pid,) = worker_pids(supervisor)
        assert supervisor.call("fork", {"child": "lives"}) == {"pid": pid}
        (child,) = (int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        with watched(child) as pidfd:
            assert is_alive(pidfd)
            assert supervisor.call("whoami", None)["pid"] == pid
            assert is_alive(pidfd)
            supervisor.close()
            assert ends(pidfd)


@pytest.mark.fault("FAULT-23")
@pytest.mark.parametrize("gives", ["something", "nothing"])
def test_a_forked_child_that_returns_into_the_worker_runs_nothing_and_answers_nobody(
    faulty: MakeConfig, tmp_path: Path, gives: str
) -> None:
    journal = tmp_path / "journal"
    items = [{"child": "returns", "gives": gives}, *({"plain": True, "journal": str(journal)} for _ in range(5))]
    inputs = [BoundaryDispatchInput(item, "g", "fork") for item in items]
    with MultiprocessBootstrapSupervisor(faulty({"g": ["fork", "echo"]})) as supervisor:
        (pid,) = worker_pids(supervisor)
        result = supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=inputs)
        assert [one.payload for one in result.terminal_outputs] == [{"pid": pid}] * (6 if gives == "something" else 5)
        assert journal.read_text().split() == [str(pid)] * 5
        assert supervisor.call("echo", 1) == {"value": 1}
        assert worker_pids(supervisor) == [pid]


@pytest.mark.fault("FAULT-23")
def test_what_a_forked_child_returns_goes_to_no_other_node(faulty: MakeConfig, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with MultiprocessBootstrapSupervisor(faulty({"g": ["fork_and_emit", "after_fork"]})) as supervisor:
        (pid,) = worker_pids(supervisor)
        given = BoundaryDispatchInput({"journal": str(journal)}, "g", "fork_and_emit")
        supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[given])
        assert journal.read_text().split() == [str(pid)]


@pytest.mark.fault("FAULT-27")
async def test_close_lets_calls_in_flight_finish(faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    supervisor = AsyncBoundarySupervisor(faulty({"g": ["hold", "echo"]}))
    await supervisor.start_groups()
    held = asyncio.create_task(supervisor.call("hold", {"started": started.path, "release": release.path}))
    await asyncio.wrap_future(in_thread(started.wait))
    queued = asyncio.create_task(supervisor.call("echo", "queued"))
    while not supervisor.snapshot().groups[0].queued:
        await asyncio.sleep(0)
    closing = [asyncio.create_task(supervisor.close()) for _ in range(2)]
    while supervisor.snapshot().state != "draining":
        await asyncio.sleep(0)
    with pytest.raises(BoundaryTransportError) as refused:
        await supervisor.call("echo", "too late")
    assert refused.value.delivery == "not_executed"
    await asyncio.wrap_future(in_thread(release.release))
    assert "pid" in await held
    assert await queued == {"value": "queued"}
    await asyncio.gather(*closing)
    await supervisor.close()
    assert [event.mode for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"] == ["graceful"]


@pytest.mark.fault("FAULT-27")
async def test_close_with_a_hung_node_ends_the_call_and_the_worker(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    started = make_fifo("started")
    supervisor = AsyncBoundarySupervisor(faulty({"g": {"nodes": ["busy"], "stop_timeout_seconds": 0.2}}))
    await supervisor.start_groups()
    call = asyncio.create_task(supervisor.call("busy", {"how": "gil", "started": started.path}))
    pid = int(await asyncio.wrap_future(in_thread(started.wait)))
    with watched(pid) as pidfd:
        await supervisor.close()
        assert ends(pidfd, 0)
    with pytest.raises(BoundaryTransportError) as caught:
        await call
    assert caught.value.delivery == "maybe_executed"
    assert [event.mode for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"] == ["forced"]


@pytest.mark.fault("FAULT-27")
async def test_a_cancelled_close_kills_at_once(faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread) -> None:
    started = make_fifo("started")
    supervisor = AsyncBoundarySupervisor(faulty({"g": {"nodes": ["busy"], "stop_timeout_seconds": 600}}))
    await supervisor.start_groups()
    call = asyncio.create_task(supervisor.call("busy", {"how": "sleep", "started": started.path}, timeout_seconds=600))
    pid = int(await asyncio.wrap_future(in_thread(started.wait)))
    closing = asyncio.create_task(supervisor.close())
    while supervisor.snapshot().state != "draining":
        await asyncio.sleep(0)
    closing.cancel()
    with watched(pid) as pidfd:
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert ends(pidfd)
    with pytest.raises(BoundaryTransportError):
        await call
    await supervisor.close()


@pytest.mark.fault("FAULT-27")
@pytest.mark.parametrize("how", ["raise", "hang"])
def test_a_node_that_misbehaves_when_it_is_left_does_not_keep_its_worker(faulty: MakeConfig, how: str) -> None:
    config = faulty({"g": {"nodes": ["bad_exit"], "stop_timeout_seconds": 0.5}}, nodes={"bad_exit": {"how": how}})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        assert supervisor.call("bad_exit", None) == "worked"
    modes = [event.mode for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"]
    assert modes == ["graceful" if how == "raise" else "forced"]


def test_a_thread_that_a_node_leaves_behind_does_not_keep_its_worker(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["threaded"]})) as supervisor:
        assert supervisor.call("threaded", None) == "started"
    assert [event.mode for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"] == ["graceful"]


@pytest.mark.fault("FAULT-28")
async def test_a_start_cancelled_at_any_await_leaves_nothing(faulty: MakeConfig) -> None:
    """What is left would be found by the fixtures of every test."""
    cancelled = 0
    for passes in (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 40):
        supervisor = AsyncBoundarySupervisor(faulty({"g": {"nodes": ["echo"], "workers": 2}}))
        starting = asyncio.create_task(supervisor.__aenter__())
        for _ in range(passes):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        cancelled += 1
        assert all(worker.pid is None for group in supervisor.snapshot().groups for worker in group.workers)
        assert {group.state for group in supervisor.snapshot().groups} == {"stopped"}
    assert cancelled == 12


def test_a_restart_that_is_overtaken_by_close_leaves_nothing(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    started = make_fifo("started")
    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["busy"], "stop_timeout_seconds": 0.3}}))
    with supervisor:
        call = in_thread(supervisor.call, "busy", {"how": "sleep", "started": started.path})
        started.wait()
        restarting = in_thread(supervisor.restart_group, "g")
        deadline = time.monotonic() + 20
        while len([event for event in supervisor.lifecycle_events() if event.kind == "worker_ready"]) < 2:
            assert time.monotonic() < deadline
        supervisor.force_terminate_groups()
        with pytest.raises(BoundaryTransportError):
            call.result(20)
        with pytest.raises(Exception, match="stopped"):
            restarting.result(20)
        assert [worker.pid for worker in supervisor.snapshot().groups[0].workers] == [None]


def test_groups_can_be_started_again_after_force(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["echo"], "h": ["whoami"]})) as supervisor:
        for names in (["g"], ["g", "h"], None):
            supervisor.force_terminate_groups(names)
            supervisor.start_groups(names)
            assert supervisor.wait_ready(20)
            assert supervisor.call("echo", 1) == {"value": 1}
        until_ready(supervisor)
