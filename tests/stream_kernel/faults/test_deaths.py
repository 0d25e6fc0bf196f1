"""Workers that die: one call is told so, its siblings are not touched, a replacement is there at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from processes import ends, kill_and_wait, until_ready, watched, worker_pids
from stream_kernel import (
    AsyncBoundarySupervisor,
    BoundaryDispatchInput,
    BoundaryExecutionError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    MultiprocessBootstrapSupervisor,
    RuntimeConfig,
    WorkerBootstrapError,
)
from waiting import until

MakeConfig = Callable[..., RuntimeConfig]
InThread = Callable[..., Future[Any]]


@pytest.mark.fault("FAULT-01")
def test_a_worker_killed_while_idle_costs_no_call_and_is_replaced(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["whoami"], "workers": 2}})) as supervisor:
        before = set(worker_pids(supervisor))
        victim = min(before)
        kill_and_wait(victim)
        answers = [supervisor.call("whoami", n)["pid"] for n in range(10)]
        assert victim not in answers
        until(lambda: victim not in worker_pids(supervisor))  # who was not asked to work may be missed a moment later
        until_ready(supervisor)
        assert len(set(worker_pids(supervisor)) - before) == 1
        assert [event.reason for event in supervisor.lifecycle_events() if event.kind == "worker_failed"] == ["killed by SIGKILL"]
        assert "worker_restarted" in {event.kind for event in supervisor.lifecycle_events()}


@pytest.mark.fault("FAULT-01")
def test_the_only_worker_killed_while_idle_costs_no_call(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["whoami"]})) as supervisor:
        for _ in range(3):
            (victim,) = worker_pids(supervisor)
            kill_and_wait(victim)
            assert supervisor.call("whoami", None)["pid"] != victim


@pytest.mark.fault("FAULT-02")
def test_a_worker_killed_in_its_node_fails_one_call_only(faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["hold", "whoami"], "workers": 2}})) as supervisor:
        fifos = [make_fifo(name) for name in ("started-1", "started-2", "release")]
        doomed = in_thread(supervisor.call, "hold", {"started": fifos[0].path, "release": fifos[2].path})
        victim = int(fifos[0].wait())
        spared = in_thread(supervisor.call, "hold", {"started": fifos[1].path, "release": fifos[2].path})
        survivor = int(fifos[1].wait())
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(BoundaryTransportError, match=r"^remote handoff transport failed for group 'g'$") as caught:
            doomed.result()
        assert caught.value.delivery == "maybe_executed"
        assert caught.value.report.signal == "SIGKILL"
        assert [command.pid for command in caught.value.report.commands] == [victim]
        fifos[2].release()
        assert spared.result() == {"pid": survivor}
        assert supervisor.call("whoami", None)["pid"] != victim


@pytest.mark.fault("FAULT-03")
async def test_a_reply_that_was_written_whole_is_delivered_although_its_worker_is_dead(faulty: MakeConfig, tmp_path: Path) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": ["journaled"]})) as supervisor:
        (worker,) = supervisor.snapshot().groups[0].workers
        assert worker.pid is not None
        journal = tmp_path / "journal"
        with watched(worker.pid) as pidfd:
            call = asyncio.create_task(supervisor.call("journaled", {"n": 7, "journal": str(journal)}))
            await asyncio.sleep(0)
            while not journal.exists():  # the loop is kept from reading the reply: no await until the worker is dead
                await asyncio.sleep(0)
            # The journal is written before the reply; the worker then blocks in its next read, which /proc shows.
            deadline = time.monotonic() + 20
            while Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
                assert time.monotonic() < deadline
            os.kill(worker.pid, signal.SIGKILL)
            assert ends(pidfd)
            assert await call == {"pid": worker.pid, "n": 7}
        assert await supervisor.call("journaled", {"n": 8}) != {"pid": worker.pid, "n": 8}


@pytest.mark.fault("FAULT-04")
@pytest.mark.parametrize(
    ("message", "exit_code", "signal_name"),
    [
        ({"how": "exit", "code": 0}, 0, None),
        ({"how": "exit", "code": 7}, 7, None),
        ({"how": "abort"}, None, "SIGABRT"),
        ({"how": "segv"}, None, "SIGSEGV"),
        ({"how": "kill"}, None, "SIGKILL"),
    ],
    ids=lambda value: value["how"] if isinstance(value, dict) else None,
)
def test_the_report_tells_how_the_worker_ended_and_its_last_words(
    faulty: MakeConfig, message: dict[str, Any], exit_code: int | None, signal_name: str | None
) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["end", "echo"]})) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("end", message)
        report = caught.value.report
        assert (report.exit_code, report.signal) == (exit_code, signal_name)
        assert "these are my last words" in report.stderr_tail
        assert str(caught.value) == "remote handoff transport failed for group 'g'"
        assert caught.value.delivery == "maybe_executed"
        assert supervisor.call("echo", 1) == {"value": 1}


@pytest.mark.fault("FAULT-05")
def test_whatever_a_node_raises_is_its_failure_and_the_worker_lives_on(faulty: MakeConfig) -> None:
    raised = {"sys.exit": "SystemExit", "ConnectionError": "ConnectionResetError"}
    names = ["sys.exit", "SystemExit", "KeyboardInterrupt", "TimeoutError", "ConnectionError", "GeneratorExit", "CancelledError"]
    names += ["RecursionError", "MemoryError", "OwnError"]
    with MultiprocessBootstrapSupervisor(faulty({"g": ["throw", "whoami"], "a": ["async_throw"]})) as supervisor:
        before = worker_pids(supervisor)
        for node, group in (("throw", "g"), ("async_throw", "a")):
            for name in names:
                with pytest.raises(BoundaryExecutionError) as caught:
                    supervisor.call(node, name)
                error = caught.value
                assert str(error) == f"remote handoff failed for group '{group}'"
                assert (error.delivery, error.report.node) == ("executed", node)
                assert error.report.exception_type == raised.get(name, name)
                assert error.__cause__ is None and error.__context__ is None
        assert worker_pids(supervisor) == before


@pytest.mark.fault("FAULT-08")
def test_two_workers_that_die_together_are_two_failures_and_two_replacements(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["hold", "echo"], "workers": 2}})) as supervisor:
        calls, pids = [], []
        never = make_fifo("never")
        for index in range(2):
            started = make_fifo(f"started-{index}")
            calls.append(in_thread(supervisor.call, "hold", {"started": started.path, "release": never.path}))
            pids.append(int(started.wait()))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(BoundaryTransportError):
                call.result()
        assert supervisor.call("echo", 1) == {"value": 1}
        until_ready(supervisor)
        kinds = [event.kind for event in supervisor.lifecycle_events()]
        assert kinds.count("worker_spawned") == 4
        assert kinds.count("worker_failed") == 2


@pytest.mark.fault("FAULT-11")
def test_a_crash_loop_ends_with_the_group_failed_and_others_at_work(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"bad": ["end"], "good": ["echo"]})) as supervisor:
        for _ in range(6):
            with pytest.raises(BoundaryTransportError) as caught:
                supervisor.call("end", {"how": "exit", "code": 1})
            assert caught.value.delivery == "maybe_executed"
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("end", {"how": "exit", "code": 1})
        assert caught.value.delivery == "not_executed"
        assert "died too often" in (caught.value.report.reason or "")
        assert {group.name: group.state for group in supervisor.snapshot().groups} == {"bad": "failed", "good": "ready"}
        assert worker_pids(supervisor, "bad") == []
        assert supervisor.call("echo", 1) == {"value": 1}
        supervisor.restart_group("bad")
        assert {group.state for group in supervisor.snapshot().groups} == {"ready"}


def test_a_crash_loop_before_all_groups_are_ready_ends_the_wait_for_them(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow_to_import.py"
    gate = make_fifo("gate")
    slow.write_text(f"open({gate.path!r}).close()\nfrom kernel_nodes import many\n")
    groups = {"bad": ["echo"], "slow": {"nodes": ["many"], "discovery_modules": [slow.stem]}}
    monkeypatch.syspath_prepend(tmp_path)
    supervisor = MultiprocessBootstrapSupervisor(faulty(groups))
    try:
        supervisor.start_groups()
        waiting = in_thread(supervisor.wait_ready)
        deadline = time.monotonic() + 60
        while (bad := supervisor.snapshot().groups[0]).state != "failed":
            assert time.monotonic() < deadline
            if bad.workers[0].state == "ready" and bad.workers[0].pid is not None:
                with suppress(ProcessLookupError):  # the one that was killed last, reaped and not buried yet
                    kill_and_wait(bad.workers[0].pid)
            time.sleep(0.002)
        with pytest.raises(WorkerBootstrapError, match=r"'bad'.*died too often"):
            waiting.result(20)
    finally:
        supervisor.force_terminate_groups()
        supervisor.close()


@pytest.mark.fault("FAULT-32")
def test_a_slow_worker_holds_up_nobody_else(faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["hold", "whoami"], "workers": 3}})) as supervisor:
        started, release = make_fifo("started"), make_fifo("release")
        slow = in_thread(supervisor.call, "hold", {"started": started.path, "release": release.path})
        busy = int(started.wait())
        answered = {supervisor.call("whoami", n)["pid"] for n in range(20)}
        assert len(answered) == 2 and busy not in answered
        assert not slow.done()
        release.release()
        assert slow.result() == {"pid": busy}


@pytest.mark.fault("FAULT-38")
@pytest.mark.parametrize("how", ["exit", "hang", "idle"])
def test_a_stateful_worker_that_is_lost_fails_its_group_until_it_is_restarted(faulty: MakeConfig, how: str) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"s": ["keeper"], "g": ["echo"]})) as supervisor:
        assert [supervisor.call("keeper", 5), supervisor.call("keeper", 6)] == [5, 11]
        if how == "idle":
            kill_and_wait(worker_pids(supervisor, "s")[0])
        else:
            with pytest.raises((BoundaryTransportError, BoundaryTimeoutError)) as lost:
                supervisor.call("keeper", {"how": how}, timeout_seconds=20 if how == "exit" else 0.3)
            assert lost.value.delivery == "maybe_executed"
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("keeper", 7)
        assert caught.value.delivery == "not_executed"
        assert "its state with it" in (caught.value.report.reason or "")
        assert supervisor.call("echo", 1) == {"value": 1}
        supervisor.restart_group("s")
        assert supervisor.call("keeper", 7) == 7


@pytest.mark.fault("FAULT-02")
def test_items_of_a_batch_whose_worker_died_are_told_apart_from_other_groups(faulty: MakeConfig) -> None:
    inputs = [
        BoundaryDispatchInput({"how": "exit", "code": 1}, "bad", "end", "t1", "r1"),
        BoundaryDispatchInput(1, "good", "echo", "t2", "r2"),
    ]
    with MultiprocessBootstrapSupervisor(faulty({"bad": ["end"], "good": ["echo"]})) as supervisor:
        result = supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=inputs, on_error="collect")
    failed, answered = result.terminal_outputs
    assert (failed.trace_id, failed.reply_to, failed.payload.failure.category) == ("t1", "r1", "transport")
    assert failed.payload.failure.delivery == "maybe_executed"
    assert (answered.trace_id, answered.payload) == ("t2", {"value": 1})
