"""Too little of something: memory in a node, descriptors or processes for a replacement, patience with a group that dies all the time."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from engine_on_fakes import EngineOnFakes
from fixture_types import MakeConfig
from processes import kill_and_wait, worker_pids
from stream_kernel import BoundaryExecutionError, BoundaryTransportError, MultiprocessBootstrapSupervisor
from stream_kernel.engine.base import Answer, Loss
from stream_kernel.observability.events import LifecycleEvent
from virtual_clock import on_virtual_clock
from waiting import until

InThread = Callable[..., Future[Any]]


@pytest.mark.fault("FAULT-06")
@pytest.mark.parametrize("how", ["at once", "bit by bit"])
def test_a_node_that_gets_no_memory_fails_its_call_and_its_worker_lives_on(faulty: MakeConfig, how: str) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["hoarder", "echo"]})) as supervisor:
        (pid,) = worker_pids(supervisor)
        with pytest.raises(BoundaryExecutionError) as caught:
            supervisor.call("hoarder", {"how": how, "limit_mib": 60}, timeout_seconds=100)
        error = caught.value
        assert (error.category, error.delivery, error.report.node) == ("execution", "executed", "hoarder")
        assert error.report.exception_type == "MemoryError"
        assert supervisor.call("echo", 1, timeout_seconds=20) == {"value": 1}
        assert worker_pids(supervisor) == [pid]


@pytest.mark.fault("FAULT-06")
def test_where_no_memory_is_left_to_tell_of_it_the_worker_may_die_and_the_next_call_is_answered(faulty: MakeConfig) -> None:
    """The C code of the encoder may end the process then."""
    config = faulty({"g": ["hoarder", "echo"]}, execution_ipc={"max_frame_bytes": 1 << 30})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        with pytest.raises((BoundaryExecutionError, BoundaryTransportError)) as caught:
            supervisor.call("hoarder", {"how": "in the output", "limit_mib": 60, "rows": 200_000}, timeout_seconds=100)
        error = caught.value
        assert error.delivery == ("executed" if isinstance(error, BoundaryExecutionError) else "maybe_executed")
        # It may run out in the node, in the encoder of its output, or when the reply is put together: then no node is to blame.
        assert error.report.node == "hoarder" or error.report.reason == "the command could not be finished (MemoryError)"
        assert supervisor.call("echo", 1, timeout_seconds=20) == {"value": 1}


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """This process cannot open anything in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with suppress(OSError):
            while True:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.fault("FAULT-10")
def test_no_descriptors_left_for_a_replacement_is_a_transport_failure_and_leaks_none(faulty: MakeConfig) -> None:
    keys = {"nodes": ["echo"], "restart": {"intensity": 2, "backoff_seconds": [0.01, 0.01]}}
    with MultiprocessBootstrapSupervisor(faulty({"g": keys, "other": ["whoami"]})) as supervisor:
        (pid,) = worker_pids(supervisor, "g")
        before = descriptors()
        pidfd = os.pidfd_open(pid)
        with no_descriptors_left():
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            until(lambda: supervisor.snapshot().groups[0].state == "failed")
            with pytest.raises(BoundaryTransportError) as caught:
                supervisor.call("echo", 1, timeout_seconds=20)
            assert caught.value.delivery == "not_executed"
            assert supervisor.call("whoami", 2)["group"] == "other"
        os.close(pidfd)
        until(lambda: descriptors() <= before)
        supervisor.restart_group("g")
        assert supervisor.call("echo", 2) == {"value": 2}
        until(lambda: descriptors() == before)  # a look at what the worker holds may be under way


@pytest.mark.fault("FAULT-10")
@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), BlockingIOError(11, "Resource temporarily unavailable")])
@on_virtual_clock
async def test_a_want_of_descriptors_or_processes_that_passes_costs_no_waiting_call(error: OSError) -> None:
    async with EngineOnFakes() as fakes:
        fakes.launch.failures += [error] * 3
        fakes.latest.die(signal="SIGKILL")
        ticket = fakes.submit("waits", seconds=60)
        await fakes.sink.wait_for("worker_ready", generation=5)
        await fakes.latest.next_command()
        fakes.latest.answer()
        assert isinstance(await ticket.future, Answer)


@pytest.mark.fault("FAULT-10")
@on_virtual_clock
async def test_a_want_of_processes_that_lasts_fails_the_group_and_what_waits_ran_nowhere() -> None:
    async with EngineOnFakes() as fakes:
        fakes.launch.failures += [BlockingIOError(11, "Resource temporarily unavailable")] * 100
        fakes.latest.die(signal="SIGKILL")
        outcome = await fakes.submit("waits", seconds=600).future
        assert isinstance(outcome, Loss)
        assert (outcome.category, outcome.report.delivery) == ("transport", "not_executed")
        assert fakes.group().state == "failed" and len(fakes.launch.failures) > 90
        fakes.launch.failures.clear()
        await fakes.engine.restart("g")
        assert fakes.group().state == "ready"


class Assassin:
    """Kills each worker of the group `bad` as soon as it is ready, while `armed`."""

    def __init__(self) -> None:
        self.armed = False
        self.killed = 0

    def emit(self, event: LifecycleEvent) -> None:
        if self.armed and event.kind == "worker_ready" and event.group == "bad" and event.pid is not None:
            self.killed += 1
            os.kill(event.pid, signal.SIGKILL)


@pytest.mark.fault("FAULT-11")
def test_a_crash_loop_of_idle_workers_ends_after_its_intensity_without_a_spin_and_others_do_not_notice(faulty: MakeConfig) -> None:
    assassin = Assassin()
    restart = {"intensity": 4, "period_seconds": 60, "backoff_seconds": [0.4, 0.8]}
    groups = {"bad": {"nodes": ["echo"], "restart": restart}, "good": ["whoami"]}
    with MultiprocessBootstrapSupervisor(faulty(groups), sink=assassin) as supervisor:
        good = worker_pids(supervisor, "good")
        assassin.armed = True
        began, cpu = time.monotonic(), time.process_time()
        kill_and_wait(worker_pids(supervisor, "bad")[0])
        until(lambda: supervisor.snapshot().groups[0].state == "failed")
        # Every poll of the test itself takes processor time, so the bound is wide; a loop that spins uses all of it.
        assert time.process_time() - cpu < 0.6 * (time.monotonic() - began)
        assert assassin.killed == 4
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("echo", 1, timeout_seconds=20)
        assert caught.value.delivery == "not_executed" and "died too often" in (caught.value.report.reason or "")
        assert supervisor.call("whoami", None)["pid"] == good[0]
        began, cpu = time.monotonic(), time.process_time()
        time.sleep(0.5)  # nothing is to happen now, and so nothing may cost anything
        assert time.process_time() - cpu < 0.1
        assert assassin.killed == 4
        assassin.armed = False
        supervisor.restart_group("bad")
        assert supervisor.call("echo", 2) == {"value": 2}
        assert worker_pids(supervisor, "good") == good


@pytest.mark.fault("FAULT-11")
def test_a_failed_group_fails_its_calls_at_once_and_in_the_queue_too(faulty: MakeConfig, in_thread: InThread) -> None:
    assassin = Assassin()
    restart = {"intensity": 1, "backoff_seconds": [0.01, 0.01]}
    with MultiprocessBootstrapSupervisor(faulty({"bad": {"nodes": ["echo"], "restart": restart}}), sink=assassin) as supervisor:
        assassin.armed = True
        kill_and_wait(worker_pids(supervisor)[0])
        waiting = in_thread(supervisor.call, "echo", 1, timeout_seconds=600)
        with pytest.raises(BoundaryTransportError):
            waiting.result(30)
        until(lambda: supervisor.snapshot().groups[0].state == "failed")
        took = []
        for _ in range(20):
            began = time.perf_counter()
            with pytest.raises(BoundaryTransportError):
                supervisor.call("echo", 1, timeout_seconds=600)
            took.append(time.perf_counter() - began)
        assert min(took) < 0.05
