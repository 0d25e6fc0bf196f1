"""Deadlines and cancels: one outcome each, nothing pending after, and a late reply reaches nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from processes import Liveness, ends, is_alive, stop_and_wait, until_ready, watched, worker_pids
from stream_kernel import (
    AsyncBoundarySupervisor,
    BoundaryDispatchInput,
    BoundaryTimeoutError,
    MultiprocessBootstrapSupervisor,
    RuntimeConfig,
)
from waiting import HANG_SECONDS

MakeConfig = Callable[..., RuntimeConfig]
InThread = Callable[..., Future[Any]]


@pytest.mark.fault("FAULT-12")
@pytest.mark.parametrize("how", ["python", "sleep", "gil", "sigterm"])
def test_a_node_that_never_returns_is_a_timeout_and_its_worker_is_replaced(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread, how: str
) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["busy", "whoami"]})) as supervisor:
        started = make_fifo("started")
        call = in_thread(supervisor.call, "busy", {"how": how, "started": started.path}, timeout_seconds=HANG_SECONDS)
        pid = int(started.wait())
        with watched(pid) as pidfd:
            with pytest.raises(BoundaryTimeoutError, match=r"^remote handoff timed out for group 'g'$") as caught:
                call.result()
            assert ends(pidfd)
        assert caught.value.delivery == "maybe_executed"
        assert [command.pid for command in caught.value.report.commands] == [pid]
        assert supervisor.call("whoami", None)["pid"] != pid
        assert supervisor.snapshot().groups[0].workers[0].restarts == 1


@pytest.mark.fault("FAULT-12")
def test_a_node_that_hangs_in_the_kernel_never_goes_on(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    with MultiprocessBootstrapSupervisor(faulty({"g": ["busy"]})) as supervisor:
        started = make_fifo("started")
        message = {"how": "pause", "started": started.path, "journal": str(journal)}
        call = in_thread(supervisor.call, "busy", message, timeout_seconds=HANG_SECONDS)
        with watched(int(started.wait())) as pidfd:
            with pytest.raises(BoundaryTimeoutError) as caught:
                call.result()
            assert ends(pidfd)
    assert len(journal.read_text().splitlines()) == 1, "it was woken by what asked for its stacks"
    report = caught.value.report
    assert (report.node, report.input_index) == ("busy", 0) and report.exit is not None and "in busy" in str(report.stack)


@pytest.mark.fault("FAULT-12")
def test_of_many_threads_the_one_that_runs_the_node_writes_the_stacks(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    stacks: list[str] = []
    with MultiprocessBootstrapSupervisor(faulty({"g": ["busy"]})) as supervisor:
        for n in range(10):
            until_ready(supervisor)
            started = make_fifo(f"started-{n}")
            message = {"how": "python", "threads": 20, "started": started.path}
            call = in_thread(supervisor.call, "busy", message, timeout_seconds=HANG_SECONDS)
            started.wait()
            with pytest.raises(BoundaryTimeoutError) as caught:
                call.result()
            report = caught.value.report
            if report.exit is not None and report.exit.signal == "SIGRTMIN+10":  # on a busy machine SIGKILL can come before all is written
                stacks.append(str(report.stack).split("\n\n")[0])
            if len(stacks) == 3:
                break
    assert len(stacks) == 3 and all(first.startswith("Current thread") and " in busy\n" in first for first in stacks), stacks


@pytest.mark.fault("FAULT-12")
async def test_a_stopped_worker_is_a_timeout_and_is_replaced(faulty: MakeConfig) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": ["whoami"]})) as supervisor:
        pid = supervisor.snapshot().groups[0].workers[0].pid
        assert pid is not None
        stop_and_wait(pid)
        with watched(pid) as pidfd:
            with pytest.raises(BoundaryTimeoutError) as caught:
                await supervisor.call("whoami", None, timeout_seconds=0.3)
            assert caught.value.delivery == "maybe_executed"
            assert ends(pidfd)
        assert (await supervisor.call("whoami", None))["pid"] != pid


@pytest.mark.fault("FAULT-12")
def test_the_processes_that_a_hung_node_has_started_go_with_it(faulty: MakeConfig, liveness: Liveness, in_thread: InThread) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["adopt", "busy"]})) as supervisor:
        supervisor.call("adopt", {"socket": liveness.path})
        liveness.accept()
        assert liveness.is_alive()
        with pytest.raises(BoundaryTimeoutError):
            supervisor.call("busy", {"how": "sleep", "started": "/dev/null"}, timeout_seconds=0.2)
        assert liveness.ends()


def test_deaths_by_deadline_never_fail_a_group(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["busy", "echo"]})) as supervisor:
        for _ in range(7):
            with pytest.raises(BoundaryTimeoutError):
                supervisor.call("busy", {"how": "sleep", "started": "/dev/null"}, timeout_seconds=0.05)
            assert supervisor.call("echo", 1) == {"value": 1}
        assert supervisor.snapshot().groups[0].state == "ready"


@pytest.mark.fault("FAULT-13")
async def test_the_reply_after_a_cancel_is_counted_and_reaches_nobody(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    async with AsyncBoundarySupervisor(faulty({"g": ["hold", "echo"]})) as supervisor:
        call = asyncio.create_task(supervisor.call("hold", {"started": started.path, "release": release.path}))
        await asyncio.wrap_future(in_thread(started.wait))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert supervisor.snapshot().groups[0].workers[0].in_flight == 1
        following = asyncio.create_task(supervisor.call("echo", "mine"))
        await asyncio.wrap_future(in_thread(release.release))
        assert await following == {"value": "mine"}
        (group,) = supervisor.snapshot().groups
        assert (group.late_replies, group.workers[0].in_flight, group.workers[0].restarts) == (1, 0, 0)


@pytest.mark.fault("FAULT-13")
async def test_the_command_of_a_cancelled_call_is_still_bounded_by_its_deadline(
    faulty: MakeConfig, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    started = make_fifo("started")
    async with AsyncBoundarySupervisor(faulty({"g": ["hang", "echo"]})) as supervisor:
        call = asyncio.create_task(supervisor.call("hang", {"started": started.path}, timeout_seconds=1))
        pid = int(await asyncio.wrap_future(in_thread(started.wait)))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with watched(pid) as pidfd:
            assert is_alive(pidfd)
            assert await supervisor.call("echo", "after") == {"value": "after"}
            assert ends(pidfd)


@pytest.mark.fault("FAULT-13")
@pytest.mark.slow
async def test_calls_among_timeouts_get_their_own_answers(faulty: MakeConfig) -> None:
    """Some deadlines pass for certain, some at about the time that the answer comes: no answer ever goes to another call."""
    async with AsyncBoundarySupervisor(faulty({"g": {"nodes": ["echo", "busy"], "workers": 2}})) as supervisor:
        for n in range(1000):
            if n % 50 == 0:
                with pytest.raises(BoundaryTimeoutError):
                    await supervisor.call("busy", {"how": "sleep", "started": "/dev/null"}, timeout_seconds=0.02)
            elif n % 50 < 5:
                with suppress(BoundaryTimeoutError):
                    assert await supervisor.call("echo", n, timeout_seconds=0.0002) == {"value": n}
            assert await supervisor.call("echo", f"after {n}") == {"value": f"after {n}"}


@pytest.mark.fault("FAULT-14")
async def test_a_reply_that_has_arrived_wins_over_a_deadline_of_the_same_moment(
    faulty: MakeConfig, tmp_path: Path, make_fifo: Callable[[str], Any]
) -> None:
    started = make_fifo("started")
    journal = tmp_path / "journal"
    async with AsyncBoundarySupervisor(faulty({"g": ["journaled"]})) as supervisor:
        pid = supervisor.snapshot().groups[0].workers[0].pid
        deadline = asyncio.get_running_loop().time() + 0.4
        call = asyncio.create_task(supervisor.call("journaled", {"journal": str(journal), "started": started.path}, timeout_seconds=0.4))
        for _ in range(5):
            await asyncio.sleep(0)  # the command is on its way
        started.wait()  # from here the loop is blocked until the reply has arrived and the deadline has passed
        assert _until(journal.exists)
        assert _until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S")
        assert _until(lambda: asyncio.get_running_loop().time() > deadline)
        assert (await call)["pid"] == pid
        assert supervisor.snapshot().groups[0].workers[0].restarts == 0


def _until(condition: Callable[[], bool]) -> bool:
    limit = time.monotonic() + 20
    while not condition():
        if time.monotonic() > limit:
            return False
    return True


@pytest.mark.fault("FAULT-15")
async def test_a_deadline_that_passes_in_the_queue_is_a_timeout_that_ran_nowhere(
    faulty: MakeConfig, tmp_path: Path, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    journal = tmp_path / "journal"
    started, release = make_fifo("started"), make_fifo("release")
    async with AsyncBoundarySupervisor(faulty({"g": ["hold", "journaled"]})) as supervisor:
        holding = asyncio.create_task(supervisor.call("hold", {"started": started.path, "release": release.path}))
        await asyncio.wrap_future(in_thread(started.wait))
        with pytest.raises(BoundaryTimeoutError) as caught:
            await supervisor.call("journaled", {"journal": str(journal)}, timeout_seconds=0.1)
        assert caught.value.delivery == "not_executed"
        assert [command.pid for command in caught.value.report.commands] == [None]
        assert supervisor.snapshot().groups[0].queued == 0
        await asyncio.wrap_future(in_thread(release.release))
        await holding
        assert await supervisor.call("journaled", {"n": 2})
        assert not journal.exists()
        assert supervisor.snapshot().groups[0].workers[0].requests == 2


@pytest.mark.fault("FAULT-15")
def test_a_timeout_of_zero_writes_nothing_to_a_worker(faulty: MakeConfig, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with MultiprocessBootstrapSupervisor(faulty({"g": ["journaled"]})) as supervisor:
        with pytest.raises(BoundaryTimeoutError) as caught:
            supervisor.call("journaled", {"journal": str(journal)}, timeout_seconds=0)
        assert caught.value.delivery == "not_executed"
        supervisor.call("journaled", {})
        assert not journal.exists()
        assert supervisor.snapshot().groups[0].workers[0].requests == 1


@pytest.mark.fault("FAULT-16")
async def test_a_call_cancelled_in_the_queue_never_runs(
    faulty: MakeConfig, tmp_path: Path, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    journal = tmp_path / "journal"
    started, release = make_fifo("started"), make_fifo("release")
    async with AsyncBoundarySupervisor(faulty({"g": ["hold", "journaled"]})) as supervisor:
        holding = asyncio.create_task(supervisor.call("hold", {"started": started.path, "release": release.path}))
        await asyncio.wrap_future(in_thread(started.wait))
        queued = asyncio.create_task(supervisor.call("journaled", {"journal": str(journal)}))
        while not supervisor.snapshot().groups[0].queued:
            await asyncio.sleep(0)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        assert supervisor.snapshot().groups[0].queued == 0
        await asyncio.wrap_future(in_thread(release.release))
        await holding
        await supervisor.call("journaled", {})
        assert not journal.exists()
        assert supervisor.snapshot().active_calls == 0


@pytest.mark.fault("FAULT-16")
async def test_a_cancel_in_the_same_pass_as_the_reply_gives_one_outcome(
    faulty: MakeConfig, tmp_path: Path, make_fifo: Callable[[str], Any]
) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": ["journaled", "echo"]})) as supervisor:
        pid = supervisor.snapshot().groups[0].workers[0].pid
        for passes in range(4):
            started, journal = make_fifo(f"started-{passes}"), tmp_path / f"journal-{passes}"
            call = asyncio.create_task(supervisor.call("journaled", {"journal": str(journal), "started": started.path}))
            for _ in range(5):
                await asyncio.sleep(0)
            started.wait()  # the loop is blocked until the reply is in the pipe
            assert _until(journal.exists)
            assert _until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S")
            for _ in range(passes):
                await asyncio.sleep(0)
            was_cancelled = call.cancel()
            outcome = (await asyncio.gather(call, return_exceptions=True))[0]
            assert outcome == {"pid": pid, "n": None} or (was_cancelled and isinstance(outcome, asyncio.CancelledError))
            assert await supervisor.call("echo", passes) == {"value": passes}
            assert supervisor.snapshot().active_calls == 0
        (group,) = supervisor.snapshot().groups
        assert (group.queued, group.workers[0].in_flight, group.workers[0].restarts) == (0, 0, 0)


@pytest.mark.fault("FAULT-16")
def test_a_batch_of_a_cancelled_call_stops_between_two_items(
    faulty: MakeConfig, tmp_path: Path, make_fifo: Callable[[str], Any], in_thread: InThread
) -> None:
    journal = tmp_path / "journal"
    started, release = make_fifo("started"), make_fifo("release")
    first = BoundaryDispatchInput({"started": started.path, "release": release.path}, "g", "journaled")
    later = [BoundaryDispatchInput({"journal": str(journal), "n": n}, "g", "journaled") for n in range(100)]

    async def main() -> None:
        async with AsyncBoundarySupervisor(faulty({"g": ["journaled", "echo"]})) as supervisor:
            call = asyncio.create_task(supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[first, *later]))
            await asyncio.wrap_future(in_thread(started.wait))
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await asyncio.sleep(0.01)  # the worker looks for a cancel every 5 ms at most
            await asyncio.wrap_future(in_thread(release.release))
            await supervisor.call("echo", 1)

    asyncio.run(main())
    assert not journal.exists()


def test_twenty_threads_with_timeouts_among_them_get_their_own_answers(faulty: MakeConfig) -> None:
    failures: list[str] = []
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["echo", "busy"], "workers": 3}})) as supervisor:

        def work(thread: int) -> None:
            for n in range(10):
                if thread == 0 and n % 3 == 0:
                    try:
                        supervisor.call("busy", {"how": "sleep", "started": "/dev/null"}, timeout_seconds=0.1)
                    except BoundaryTimeoutError:
                        continue
                    failures.append("no timeout")
                elif supervisor.call("echo", [thread, n]) != {"value": [thread, n]}:
                    failures.append(f"thread {thread} got another's answer")

        threads = [threading.Thread(target=work, args=(index,)) for index in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        until_ready(supervisor)
        assert len(worker_pids(supervisor)) == 3
    assert failures == []
