"""What is told of a death and of a deadline: where the time went, what was running, how it ended, and no secrets."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fixture_types import MakeConfig, MakeFifo
from processes import stop_and_wait, worker_pids
from stream_kernel import BoundaryDispatchInput, BoundaryTimeoutError, BoundaryTransportError, MultiprocessBootstrapSupervisor
from waiting import HANG_SECONDS, until
from worker_ends import end_of_lost_worker

InThread = Callable[..., Future[Any]]
SECRET = "hunter2"


@pytest.mark.fault("FAULT-12")
@pytest.mark.parametrize("how", ["python", "sleep", "gil"])
def test_the_report_of_a_hang_holds_the_stack_also_while_c_code_holds_the_gil(
    faulty: MakeConfig, make_fifo: MakeFifo, in_thread: InThread, how: str
) -> None:
    started = make_fifo("started")
    with MultiprocessBootstrapSupervisor(faulty({"g": ["busy", "echo"]})) as supervisor:
        assert supervisor.call("echo", 1) == {"value": 1}
        call = in_thread(supervisor.call, "busy", {"how": how, "started": started.path, "secret": SECRET}, timeout_seconds=HANG_SECONDS)
        pid = int(started.wait())
        with pytest.raises(BoundaryTimeoutError) as caught:
            call.result(20)
        report = caught.value.report
        assert report.stack is not None and "in busy" in report.stack and "fault_nodes.py" in report.stack
        assert report.node == "busy" and report.input_index == 0
        end = end_of_lost_worker(supervisor)
        assert report.exit is not None
        assert (report.exit.worker_id, report.exit.generation, report.exit.pid, report.exit.requests) == ("g#0", 1, pid, 1)
        assert (end.worker_id, end.generation, end.pid, end.signal, end.node) == ("g#0", 1, pid, "SIGRTMIN+10", "busy")
        assert end.requests == 1 and end.uptime_seconds >= HANG_SECONDS and end.out_of_memory == "no"
        (command,) = report.commands
        assert command.executing_seconds is not None and 0.3 < command.executing_seconds <= end.uptime_seconds
        shown = str(report)
        assert "executing" in shown and "queued" in shown and "in busy" in shown and "g#0 generation 1" in shown
        assert SECRET not in shown


@pytest.mark.fault("FAULT-12")
def test_the_report_of_a_stopped_worker_says_where_it_stood(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]})) as supervisor:
        # The supervisor's thread has spawned the worker; any thread of this process may wait for it.
        stop_and_wait(worker_pids(supervisor)[0])
        with pytest.raises(BoundaryTimeoutError) as caught:
            supervisor.call("echo", 1, timeout_seconds=0.3)
        report = caught.value.report
        assert report.stack is not None and "/stream_kernel/worker/" in report.stack and "/stream_kernel/worker/" in str(report)
        assert end_of_lost_worker(supervisor).signal == "SIGRTMIN+10"
        assert [command.executing_seconds for command in report.commands] == [None]


@pytest.mark.fault("FAULT-12")
def test_the_report_tells_the_time_in_the_queue_from_the_time_at_work(faulty: MakeConfig, make_fifo: MakeFifo, in_thread: InThread) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    with MultiprocessBootstrapSupervisor(faulty({"g": ["hold", "hang"]})) as supervisor:
        holding = in_thread(supervisor.call, "hold", {"started": started.path, "release": release.path}, timeout_seconds=30)
        started.wait()
        begun = make_fifo("begun")
        before = time.monotonic()
        hanging = in_thread(supervisor.call, "hang", {"started": begun.path}, timeout_seconds=2)
        until(lambda: supervisor.snapshot().groups[0].queued == 1)
        queued_at = time.monotonic()
        until(lambda: time.monotonic() > queued_at + 0.8)
        waited = time.monotonic() - queued_at
        release.release()
        begun.wait()
        assert "pid" in holding.result(20)
        longest_wait = time.monotonic() - before  # the worker goes on before its supervisor has heard that it does
        with pytest.raises(BoundaryTimeoutError) as caught:
            hanging.result(20)
        (command,) = caught.value.report.commands
        assert waited <= command.queued_seconds <= longest_wait
        assert command.executing_seconds is not None
        assert 2 - longest_wait - 0.5 < command.executing_seconds < 2 - waited + 0.5


@pytest.mark.fault("FAULT-04")
def test_a_death_is_told_alike_on_the_error_on_the_event_and_in_the_log(faulty: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "stream_kernel")
    with MultiprocessBootstrapSupervisor(faulty({"g": ["end", "echo"]})) as supervisor:
        for n in range(3):
            supervisor.call("echo", n)
        given = BoundaryDispatchInput({"how": "segv"}, "g", "end", trace_id="t-9")
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[given])
        end = caught.value.report.exit
        assert end is not None
        assert (end.worker_id, end.group, end.generation, end.signal, end.exit_code) == ("g#0", "g", 1, "SIGSEGV", None)
        assert (end.node, end.input_index, end.trace_ids, end.requests, end.out_of_memory) == ("end", 0, ("t-9",), 3, "no")
        assert end.peak_rss_bytes is not None and end.peak_rss_bytes > 1 << 20
        assert "these are my last words" in end.stderr_tail
        (failed,) = [event for event in supervisor.lifecycle_events() if event.kind == "worker_failed"]
        assert failed.exit == end
        shown = str(end)
        for words in ("SIGSEGV", "out of memory: no", "node 'end'", "t-9", "3 commands", "these are my last words"):
            assert words in shown
        assert any(shown in record.getMessage() for record in caplog.records if record.name == "stream_kernel.lifecycle")


@pytest.mark.fault("FAULT-04")
def test_a_sigkill_that_nobody_here_has_sent_is_likely_want_of_memory(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["end"]})) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("end", {"how": "kill"})
        end = caught.value.report.exit
        assert end is not None and end.signal == "SIGKILL"
        assert end.out_of_memory in ("likely", "no")
        assert f"out of memory: {end.out_of_memory}" in str(end)


@pytest.mark.fault("FAULT-24")
def test_a_flood_on_stderr_leaves_fifty_lines_in_the_report(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["stderr_flood", "end"]})) as supervisor:
        supervisor.call("stderr_flood", {"text": "line of the flood\n" * 1000, "times": 100})
        supervisor.call("stderr_flood", {"text": "x" * 1_000_000 + "\n\x1b[2J\x00\n", "times": 1})
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("end", {"how": "exit", "code": 1})
        tail = caught.value.report.stderr_tail
        assert 10 < len(tail) <= 50
        assert sum(map(len, tail)) < 200_000
        assert tail[-1] == "these are my last words"
        assert not any(character in "".join(tail) for character in "\x1b\x00")


@pytest.mark.fault("FAULT-34")
@pytest.mark.parametrize("how", ["death", "hang", "poison"])
def test_no_report_of_an_end_holds_payloads_or_settings(
    faulty: MakeConfig, caplog: pytest.LogCaptureFixture, tmp_path: Path, how: str
) -> None:
    caplog.set_level("INFO")
    alive = tmp_path / SECRET
    alive.touch()
    nodes, keys = ["fragile"], {"retries": 2} if how == "poison" else {}
    config = faulty({"g": {"nodes": nodes, **keys}, "other": ["second_life"]}, nodes={"second_life": {"alive": str(alive)}})
    message = {"how": "hang" if how == "hang" else "die", "password": SECRET, SECRET: 1}
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        with pytest.raises((BoundaryTransportError, BoundaryTimeoutError)) as caught:
            supervisor.call("fragile", message, timeout_seconds=HANG_SECONDS if how == "hang" else 30)
        error = caught.value
        assert error.report.is_poison == (how == "poison") and (error.report.stack is not None) == (how == "hang")
        end = end_of_lost_worker(supervisor)
        assert end.node == "fragile"
        told = [repr(error), str(error.report), repr(error.report), str(end), *map(repr, supervisor.lifecycle_events())]
        assert error.__cause__ is None and error.__context__ is None
    assert SECRET not in "\n".join(told) + caplog.text
