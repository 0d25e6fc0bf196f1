"""The synchronous facade in places where it cannot work, and in hard ones where it must."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stream_kernel import BoundaryError, BoundaryTransportError, MultiprocessBootstrapSupervisor, RuntimeConfig
from stream_kernel.errors import UsageError
from stream_kernel.observability.events import LifecycleEvent
from stream_kernel.platform.services import bootstrap
from stream_kernel.platform.services.loop_thread import LoopThread, Work
from waiting import until

MakeConfig = Callable[..., RuntimeConfig]
InThread = Callable[..., Future[Any]]


@pytest.mark.fault("FAULT-30")
async def test_in_a_running_event_loop_it_refuses_at_once_and_shows_the_way_out(faulty: MakeConfig) -> None:
    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}))
    for attempt in (
        supervisor.__enter__,
        supervisor.start_groups,
        lambda: supervisor.call("echo", 1),
        lambda: list(supervisor.map("echo", [1])),
        supervisor.close,
    ):
        with pytest.raises(UsageError, match="await"):
            attempt()


@pytest.mark.fault("FAULT-27")
def test_ctrl_c_in_close_kills_and_every_other_caller_hears_of_it(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    started = make_fifo("started")
    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["hang"], "stop_timeout_seconds": 60}}))
    supervisor.__enter__()
    hanging = in_thread(supervisor.call, "hang", {"started": started.path}, timeout_seconds=100)
    started.wait()

    def press() -> None:
        until(lambda: supervisor.snapshot().state == "draining")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    pressing = in_thread(press)
    with pytest.raises(KeyboardInterrupt):
        supervisor.close()
    pressing.result(10)
    with pytest.raises(BoundaryTransportError) as caught:
        hanging.result(10)
    assert caught.value.delivery == "maybe_executed"


@pytest.mark.fault("FAULT-30")
def test_twenty_threads_share_one_supervisor(faulty: MakeConfig, in_thread: InThread) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["echo"], "workers": 3}})) as supervisor:

        def work(thread: int) -> list[Any]:
            return [supervisor.call("echo", [thread, n])["value"] for n in range(20)]

        results = [in_thread(work, thread) for thread in range(20)]
        assert [result.result(60) for result in results] == [[[thread, n] for n in range(20)] for thread in range(20)]


@pytest.mark.fault("FAULT-30")
def test_ctrl_c_in_the_waiting_thread_cancels_the_call_and_the_kernel_goes_on(faulty: MakeConfig, make_fifo: Callable[[str], Any]) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    with MultiprocessBootstrapSupervisor(faulty({"g": ["hold", "echo"]})) as supervisor:

        def press() -> None:
            started.wait()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        pressing = threading.Thread(target=press)
        pressing.start()
        with pytest.raises(KeyboardInterrupt):
            supervisor.call("hold", {"started": started.path, "release": release.path})
        pressing.join()
        until(lambda: supervisor.snapshot().active_calls == 0)
        release.release()
        assert supervisor.call("echo", 1) == {"value": 1}
        (group,) = supervisor.snapshot().groups
        assert (group.late_replies, group.workers[0].restarts, supervisor.snapshot().active_calls) == (1, 0, 0)


@pytest.mark.fault("FAULT-30")
@pytest.mark.parametrize("how", ["call", "map"])
def test_ctrl_c_just_after_a_call_was_handed_over_cancels_it_too(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    message = {"started": started.path, "release": release.path}
    with MultiprocessBootstrapSupervisor(faulty({"g": ["hold", "echo"]})) as supervisor:
        hand_over = Work.hand_over

        def interrupted(work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
            hand_over(work, loop)
            started.wait()
            raise KeyboardInterrupt

        def attempt() -> None:
            supervisor.call("hold", message) if how == "call" else list(supervisor.map("hold", [message]))

        with monkeypatch.context() as patch:
            patch.setattr(Work, "hand_over", interrupted)
            with pytest.raises(KeyboardInterrupt):
                attempt()
        until(lambda: supervisor.snapshot().active_calls == 0)
        release.release()
        assert supervisor.call("echo", 1) == {"value": 1}
        assert supervisor.snapshot().groups[0].late_replies == 1


@pytest.mark.fault("FAULT-30")
def test_those_who_wait_hear_of_it_when_the_loop_is_torn_down(faulty: MakeConfig, make_fifo: Callable[[str], Any]) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": ["hold", "echo"]}))
    supervisor.start_groups()
    assert supervisor.wait_ready()
    with ThreadPoolExecutor(2) as threads:
        at_work = threads.submit(supervisor.call, "hold", {"started": started.path, "release": release.path})
        started.wait()
        queued = threads.submit(supervisor.call, "echo", 1)
        until(lambda: supervisor.snapshot().active_calls == 2)
        thread = supervisor._thread
        assert thread is not None
        thread.end()
        for call in (at_work, queued):
            with pytest.raises(BoundaryTransportError):
                call.result(20)


def interrupted(thread: LoopThread, function: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """In the place of `LoopThread.run`."""
    raise KeyboardInterrupt


@pytest.mark.fault("FAULT-30")
def test_a_close_that_ctrl_c_has_cut_short_can_be_asked_for_again(faulty: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}))
    supervisor.start_groups()
    assert supervisor.wait_ready()
    threads = threading.active_count()

    def give_up(*_: Any) -> None:
        """A second Ctrl-C, while the first one is heard."""
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LoopThread, "run", interrupted)
        patch.setattr(bootstrap, "_abandon", give_up)
        with pytest.raises(KeyboardInterrupt):
            supervisor.close()
    assert supervisor.snapshot().state == "running"
    supervisor.close()
    supervisor.close()
    assert supervisor.snapshot().state == "closed"
    assert [worker.state for group in supervisor.snapshot().groups for worker in group.workers] == ["stopped"]
    assert threading.active_count() < threads


@pytest.mark.fault("FAULT-30")
def test_ctrl_c_in_a_close_ends_the_thread_though_a_worker_does_not_die_of_it(faulty: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}))
    supervisor.start_groups()
    assert supervisor.wait_ready()
    threads = threading.active_count()

    async def never(*_: Any) -> None:
        await asyncio.sleep(3600)

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "_ABANDON_SECONDS", 0.05)
        patch.setattr(supervisor._supervisor, "force_terminate_groups", never)
        patch.setattr(LoopThread, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            supervisor.close()
    until(lambda: threading.active_count() < threads)
    supervisor.close()


@pytest.mark.fault("FAULT-30")
def test_after_a_fork_the_copy_gets_a_clear_error_at_once_and_the_original_works_on(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]})) as supervisor:
        attempts: list[Callable[[], Any]] = [
            lambda: supervisor.call("echo", 1),
            supervisor.start_groups,
            supervisor.snapshot,
            supervisor.lifecycle_events,
            supervisor.close,
        ]
        read_fd, write_fd = os.pipe()
        copy = os.fork()
        if copy == 0:
            try:
                for attempt in attempts:
                    try:
                        attempt()
                    except UsageError as error:
                        os.write(write_fd, b"refused\n" if "fork" in str(error) else b"unclear\n")
            finally:
                os._exit(0)
        os.close(write_fd)
        with os.fdopen(read_fd) as answers:
            assert answers.read().split() == ["refused"] * 5
        os.waitpid(copy, 0)
        assert supervisor.call("echo", 1) == {"value": 1}
        assert supervisor.snapshot().groups[0].workers[0].restarts == 0


@pytest.mark.fault("FAULT-30")
def test_after_close_it_says_so(faulty: MakeConfig) -> None:
    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}))
    with supervisor:
        assert supervisor.call("echo", 1) == {"value": 1}
    supervisor.close()
    with pytest.raises((UsageError, BoundaryTransportError)):
        supervisor.call("echo", 1)
    with pytest.raises(UsageError, match="closed"):
        supervisor.start_groups()
    assert {group.state for group in supervisor.snapshot().groups} == {"stopped"}


@pytest.mark.fault("FAULT-30")
@pytest.mark.slow
def test_calls_that_race_with_close_all_end(faulty: MakeConfig, in_thread: InThread) -> None:
    for _ in range(3):
        supervisor = MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}))
        supervisor.__enter__()
        begun = threading.Barrier(9)

        def call_until_refused(supervisor: MultiprocessBootstrapSupervisor = supervisor, begun: threading.Barrier = begun) -> int:
            begun.wait(20)
            for n in range(1_000_000):
                try:
                    assert supervisor.call("echo", n) == {"value": n}
                except (UsageError, BoundaryTransportError):
                    return n
            return -1

        callers = [in_thread(call_until_refused) for _ in range(8)]
        begun.wait(20)
        supervisor.close()
        assert all(caller.result(20) >= 0 for caller in callers)


@pytest.mark.fault("FAULT-37")
def test_a_sink_that_raises_breaks_nothing_and_is_logged_once(faulty: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    class BrokenSink:
        def emit(self, event: LifecycleEvent) -> None:
            seen.append(event.kind)
            raise OSError("the exporter is away")

    with MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}), sink=BrokenSink()) as supervisor:
        assert supervisor.call("echo", 1) == {"value": 1}
    assert seen == ["worker_spawned", "worker_ready", "worker_stopping", "worker_stopped"]
    assert [record.name for record in caplog.records if record.exc_info] == ["stream_kernel"]


@pytest.mark.fault("FAULT-37")
def test_a_sink_that_raises_keeps_no_death_from_its_caller_and_no_replacement_from_its_place(
    faulty: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    class BrokenSink:
        def emit(self, event: LifecycleEvent) -> None:
            seen.append(event.kind)
            raise OSError("the exporter is away")

    with MultiprocessBootstrapSupervisor(faulty({"g": ["end", "echo"]}), sink=BrokenSink()) as supervisor:
        with pytest.raises(BoundaryTransportError):
            supervisor.call("end", {"how": "exit", "code": 1})
        assert supervisor.call("echo", 1, timeout_seconds=20) == {"value": 1}
    assert seen[2:5] == ["worker_failed", "worker_spawned", "worker_ready"]
    assert len([record for record in caplog.records if record.exc_info]) == 1


@pytest.mark.fault("FAULT-37")
def test_a_log_handler_that_raises_breaks_nothing(faulty: MakeConfig) -> None:
    class BrokenHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            handled.append(record.name)
            raise OSError("the disk is full")

    def outcome() -> Any:
        with MultiprocessBootstrapSupervisor(faulty({"g": ["end", "echo"]})) as supervisor:
            with pytest.raises(BoundaryTransportError):
                supervisor.call("end", {"how": "exit", "code": 1})
            try:
                return supervisor.call("echo", 1, timeout_seconds=5)
            except BoundaryError as error:
                return error.category

    handled: list[str] = []
    handler = BrokenHandler()
    logger = logging.getLogger("stream_kernel")
    logger.addHandler(handler)
    try:
        answer = outcome()
    finally:
        logger.removeHandler(handler)
        gc.collect()  # what is left of a failure is told here, not in another test
    assert "stream_kernel.lifecycle" in handled
    assert answer == {"value": 1}


def test_a_sink_that_asks_the_supervisor_does_not_lock_it(faulty: MakeConfig) -> None:
    states = []

    class CuriousSink:
        def emit(self, event: LifecycleEvent) -> None:
            states.append(supervisor.snapshot().groups[0].state)

    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}), sink=CuriousSink())
    with supervisor:
        assert supervisor.call("echo", 1) == {"value": 1}
    assert states[0] == "starting"


@pytest.mark.fault("FAULT-30")
def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time, _thread, threading\n"
        "from stream_kernel import MultiprocessBootstrapSupervisor, RuntimeConfig\n"
        "config = RuntimeConfig.from_mapping({'discovery_modules': ['never_comes_back'], 'process_groups': "
        "[{'name': 'g', 'nodes': ['x']}]})\n"
        "try:\n"
        "    with MultiprocessBootstrapSupervisor(config):\n"
        "        pass\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', threading.active_count())\n"
    )
    fifo = tmp_path / "importing"
    os.mkfifo(fifo)
    (tmp_path / "never_comes_back.py").write_text(f"open({str(fifo)!r}, 'w').close()\nimport time\nwhile True: time.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as program:
        try:
            with fifo.open():
                pass
            program.send_signal(signal.SIGINT)
            output, _ = program.communicate(timeout=20)
        finally:
            program.kill()
    assert output.split()[0] == "interrupted"
    assert program.returncode == 0


async def test_a_supervisor_of_another_loop_is_refused(faulty: MakeConfig) -> None:
    from stream_kernel import AsyncBoundarySupervisor

    async with AsyncBoundarySupervisor(faulty({"g": ["echo"]})) as supervisor:

        def elsewhere() -> None:
            with pytest.raises(UsageError, match="another event loop"):
                asyncio.run(supervisor.call("echo", 1))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.005)
        assert await supervisor.call("echo", 1) == {"value": 1}
