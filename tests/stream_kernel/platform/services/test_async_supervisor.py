"""The asynchronous supervisor in the caller's own event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from fixture_types import Fifo, MakeConfig, MakeFifo
from processes import ends, watched
from stream_kernel import (
    AsyncBoundarySupervisor,
    BoundaryDispatchInput,
    BoundaryExecutionError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    ConfigurationError,
    UsageError,
)
from stream_kernel.testing import FakeLaunch
from waiting import in_thread, until

T = TypeVar("T")
BOTH = ["kernel_nodes", "message_nodes"]


def begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    return asyncio.get_running_loop().create_task(work)


def drop(held: list[AsyncBoundarySupervisor]) -> None:
    """Let go of what only this list has."""
    held.clear()
    gc.collect()


def collect_what_waited() -> None:
    """Collect what belonged to a closed event loop, when the threads of asyncio that waited for its processes have let go of it."""
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio-waitpid")])
    gc.collect()


def pidfds() -> set[int]:
    return {int(each.name) for each in Path("/proc/self/fd").iterdir() if each.is_symlink() and "pidfd" in str(each.readlink())}


def close_those_of_asyncio(before: set[int], workers: int) -> None:
    """From Python 3.12 on asyncio leaves a pidfd open for each process of an event loop that was closed too early; we leave none."""
    left = pidfds() - before
    assert len(left) == (workers if sys.version_info >= (3, 12) else 0)
    for fd in left:
        os.close(fd)


def active(supervisor: AsyncBoundarySupervisor) -> tuple[int, int]:
    groups = supervisor.snapshot().groups
    return supervisor.snapshot().active_calls, sum(group.queued for group in groups)


async def until_nothing_is_at_work(supervisor: AsyncBoundarySupervisor) -> None:
    async with asyncio.timeout(30):
        while active(supervisor) != (0, 0):
            await asyncio.sleep(0.002)


def held(make_fifo: MakeFifo) -> tuple[dict[str, str], Fifo, Fifo]:
    started, release = make_fifo("started"), make_fifo("release")
    return {"started": started.path, "release": release.path}, started, release


async def test_it_runs_in_the_callers_loop_and_starts_no_thread_of_its_own(make_config: MakeConfig) -> None:
    async with AsyncBoundarySupervisor(make_config({"g": ["echo"]})) as supervisor:
        assert await supervisor.call("echo", {"v": 1}, timeout_seconds=30) == {"value": {"v": 1}}
        given = BoundaryDispatchInput(2, "g", "echo", "t", "r")
        (output,) = (await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[given])).terminal_outputs
        assert (output.payload, output.trace_id, output.reply_to) == ({"value": 2}, "t", "r")
        assert "stream_kernel supervisor" not in [thread.name for thread in threading.enumerate()]
        assert (supervisor.snapshot().state, active(supervisor)) == ("running", (0, 0))
    assert supervisor.snapshot().state == "closed"


async def test_the_loop_stays_free_while_a_worker_works(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    payload, started, release = held(make_fifo)
    async with AsyncBoundarySupervisor(make_config({"g": ["hold"], "h": ["echo"]})) as supervisor:
        call = begin(supervisor.call("hold", payload))
        pid = int(await in_thread(started.wait))
        assert await supervisor.call("echo", 1) == {"value": 1}
        assert not call.done()
        await in_thread(release.release)
        assert await call == {"pid": pid}


async def test_a_map_is_an_async_iterator_in_order(make_config: MakeConfig) -> None:
    async with AsyncBoundarySupervisor(make_config({"g": {"nodes": ["echo"], "workers": 2}})) as supervisor:
        outputs = [output async for output in supervisor.map("echo", range(100), batch_size=9)]
    assert outputs == [{"value": n} for n in range(100)]


async def test_a_failure_of_a_map_names_its_place_among_all_payloads(make_config: MakeConfig) -> None:
    async with AsyncBoundarySupervisor(make_config({"g": ["fail_if_asked"]}, mode="inline")) as supervisor:
        with pytest.raises(BoundaryExecutionError) as failed:
            async for _ in supervisor.map("fail_if_asked", ({"n": n, "fail": n == 7} for n in range(9)), batch_size=3):
                pass
    assert failed.value.report.input_index == 7


async def test_a_map_that_waits_at_the_gate_until_its_deadline_has_timed_out(make_config: MakeConfig) -> None:
    supervisor = AsyncBoundarySupervisor(make_config({"a": ["echo"], "b": ["many"]}, mode="inline"))
    try:
        await supervisor.start_groups(["a"])
        with pytest.raises(BoundaryTimeoutError) as failed:
            async for _ in supervisor.map("echo", range(3), timeout_seconds=0.05):
                pass
        assert failed.value.report.reason == "the deadline passed before all groups were ready"
    finally:
        await supervisor.close()


async def test_a_map_keeps_its_order_at_a_stateful_group_though_a_batch_is_overtaken(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    config = make_config({"a": {"nodes": ["hold_and_pass", "relay_a"], "workers": 2}, "b": ["ledger"]}, modules=BOTH)
    payload, started, release = held(make_fifo)
    payloads = [{"path": ["ledger"], "fields": {"relay_a": {"trace_id": str(n)}}, **(payload if n == 1 else {})} for n in range(1, 6)]

    async def mapped() -> list[Any]:
        return [output async for output in supervisor.map("hold_and_pass", payloads, batch_size=1)]

    async with AsyncBoundarySupervisor(config) as supervisor:
        outputs = begin(mapped())
        await in_thread(started.wait)
        async with asyncio.timeout(30):
            while sum(worker.requests for worker in supervisor.snapshot().groups[0].workers) < 2:
                await asyncio.sleep(0.002)
        await in_thread(release.release)
        assert await outputs == ["1", "1 2", "1 2 3", "1 2 3 4", "1 2 3 4 5"]


@pytest.mark.parametrize("how", ["break", "aclose", "cancel"])
async def test_a_map_that_is_left_early_leaves_nothing_at_work(make_config: MakeConfig, how: str) -> None:
    taken: list[int] = []

    def payloads() -> Any:
        for n in range(10_000):
            taken.append(n)
            yield n

    async def some() -> None:
        if how == "aclose":
            async with aclosing(cast(AsyncGenerator[Any, None], supervisor.map("echo", payloads(), batch_size=5))) as outputs:
                async for output in outputs:
                    if output == {"value": 7}:
                        return
        async for output in supervisor.map("echo", payloads(), batch_size=5):
            if output == {"value": 7}:
                if how == "break":
                    break
                await asyncio.get_running_loop().create_future()

    async with AsyncBoundarySupervisor(make_config({"g": ["echo"]})) as supervisor:
        task = begin(some())
        if how == "cancel":
            while len(taken) < 15:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        await until_nothing_is_at_work(supervisor)
        assert len(taken) <= 20
        assert await supervisor.call("echo", 1) == {"value": 1}


async def test_a_cancelled_call_raises_and_its_late_reply_reaches_nobody(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    payload, started, release = held(make_fifo)
    async with AsyncBoundarySupervisor(make_config({"g": ["hold", "echo"]})) as supervisor:
        call = begin(supervisor.call("hold", payload))
        await in_thread(started.wait)
        queued = begin(supervisor.call("echo", "cancelled"))
        await asyncio.sleep(0)
        assert active(supervisor) == (2, 1)
        for task in (call, queued):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert active(supervisor) == (0, 0)
        following = begin(supervisor.call("echo", "mine"))
        await in_thread(release.release)
        assert await following == {"value": "mine"}
        (group,) = supervisor.snapshot().groups
        # The held command was answered, late; the queued one never left.
        assert (group.late_replies, group.workers[0].requests, group.workers[0].generation) == (1, 2, 1)


async def test_a_call_before_the_gate_waits_for_it(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    boot = make_fifo("boot")
    config = make_config({"g": ["echo"], "h": ["late"]}, modules=BOTH, nodes={"late": {"boot": boot.path}})
    supervisor = AsyncBoundarySupervisor(config)
    await supervisor.start_groups()
    call = begin(supervisor.call("echo", 1))
    assert not await supervisor.wait_ready(0.05)
    assert not call.done()
    await in_thread(boot.release)
    assert await call == {"value": 1}
    await supervisor.close()


async def test_a_call_before_the_gate_fails_when_a_group_cannot_boot(make_config: MakeConfig) -> None:
    supervisor = AsyncBoundarySupervisor(make_config({"g": {"nodes": ["echo"], "discovery_modules": ["no_such_module"]}}))
    await supervisor.start_groups()
    with pytest.raises(BoundaryTransportError) as failed:
        await supervisor.call("echo", 1)
    assert failed.value.delivery == "not_executed" and "no_such_module" in (failed.value.report.reason or "")
    await supervisor.close()


async def test_a_close_from_a_cancelled_task_ends_the_workers_and_stays_cancelled(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    payload, started, _ = held(make_fifo)
    supervisor = AsyncBoundarySupervisor(make_config({"g": {"nodes": ["hold"], "stop_timeout_seconds": 60}}))

    async def work() -> None:
        async with supervisor:
            await supervisor.call("hold", payload)

    task = begin(work())
    await in_thread(started.wait)
    call = begin(supervisor.call("hold", {}))
    task.cancel()  # the call of the block: leaving it now drains, and waits for the worker
    while supervisor.snapshot().state != "draining":
        await asyncio.sleep(0)
    task.cancel()  # nobody waits any more
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(BoundaryTransportError):
        await asyncio.wait_for(call, 30)
    await asyncio.wait_for(supervisor.close(), 30)
    assert [event.mode for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"] == ["forced"]


async def test_a_start_that_is_cancelled_leaves_nothing(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    boot = make_fifo("boot")
    supervisor = AsyncBoundarySupervisor(make_config({"h": ["late"]}, modules=BOTH, nodes={"late": {"boot": boot.path}}))
    task = begin(supervisor.__aenter__())
    while not any(event.kind == "worker_spawned" for event in supervisor.lifecycle_events()):
        await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)
    assert supervisor.snapshot().state == "closed"


async def test_close_is_idempotent_and_shared_by_those_who_wait(make_config: MakeConfig) -> None:
    supervisor = await AsyncBoundarySupervisor(make_config({"g": ["echo"]})).__aenter__()
    await asyncio.gather(*(supervisor.close() for _ in range(3)))
    await supervisor.close()
    assert [event.kind for event in supervisor.lifecycle_events()].count("worker_stopped") == 1
    with pytest.raises(BoundaryTransportError) as failed:
        await supervisor.call("echo", 1)
    assert failed.value.delivery == "not_executed"
    with pytest.raises(UsageError, match="closed"):
        await supervisor.start_groups()


async def test_two_stops_at_once_both_end(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    payload, started, release = held(make_fifo)
    async with AsyncBoundarySupervisor(make_config({"g": ["hold"]})) as supervisor:
        call = begin(supervisor.call("hold", payload))
        await in_thread(started.wait)
        stops = [begin(supervisor.stop_groups(graceful_timeout_seconds=60)) for _ in range(2)]
        await asyncio.sleep(0)
        await in_thread(release.release)
        await asyncio.wait_for(asyncio.gather(call, *stops), 30)
        assert supervisor.snapshot().state == "stopped"


@pytest.mark.parametrize("mode", ["inline", "process_supervisor"])
async def test_another_event_loop_is_refused(make_config: MakeConfig, mode: str) -> None:
    async with AsyncBoundarySupervisor(make_config({"g": ["echo"]}, mode=mode)) as supervisor:

        def elsewhere(work: Any) -> BaseException | None:
            async def run() -> None:
                await work()

            try:
                asyncio.run(run())
            except BaseException as error:  # noqa: BLE001  it is what the test looks at
                return error
            return None

        for work in (lambda: supervisor.call("echo", 1), supervisor.start_groups, supervisor.wait_ready):
            error = await in_thread(elsewhere, work)
            assert isinstance(error, UsageError) and "another event loop" in str(error)
        assert await supervisor.call("echo", 1) == {"value": 1}


def test_inline_nothing_can_be_started_in_the_place_of_workers(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"launch needs bootstrap\.mode = 'process_supervisor': no worker is started"):
        AsyncBoundarySupervisor(make_config({"g": ["echo"]}, mode="inline"), launch=FakeLaunch())


def test_workers_raise_where_no_debugger_of_this_process_looks_in(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"on_node_exception needs bootstrap\.mode = 'inline' or 'inline_wire'"):
        AsyncBoundarySupervisor(make_config({"g": ["echo"]}), on_node_exception=print)


@pytest.mark.parametrize("mode", ["inline", "inline_wire", "process_supervisor"])
async def test_reports_say_which_nodes_ran_how_often_and_how_long(make_config: MakeConfig, mode: str) -> None:
    config = make_config({"a": ["relay_a"], "b": ["fail_if_asked"]}, modules=BOTH, mode=mode)
    async with AsyncBoundarySupervisor(config) as supervisor:
        inputs = [BoundaryDispatchInput({"path": ["fail_if_asked"], "n": n, "fail": n == 2}, "a", "relay_a") for n in range(3)]
        request = supervisor.request(inputs, on_error="collect")
        await supervisor.settle(request)
        assert [(report.group, [(one.node, one.runs) for one in report.nodes]) for report in request.reports] == [
            ("a", [("relay_a", 3)]),
            ("b", [("fail_if_asked", 3)]),
        ]
        for report in request.reports:
            assert report.executing_seconds is not None
            assert 0 <= sum(one.milliseconds for one in report.nodes) / 1000 <= report.executing_seconds + 0.001
        with pytest.raises(BoundaryExecutionError) as failed:
            await supervisor.settle(supervisor.request(inputs))
        # A command that fails as a whole tells nothing of its nodes.
        assert [[(one.node, one.runs) for one in report.nodes] for report in failed.value.report.commands] == [[("relay_a", 3)], []]


async def test_waiting_for_readiness_over_a_second_start_ends_with_the_close(make_config: MakeConfig) -> None:
    supervisor = AsyncBoundarySupervisor(make_config({"g": ["echo"], "h": ["whoami"]}))
    await supervisor.start_groups(["g"])
    waiting = begin(supervisor.wait_ready())
    await asyncio.sleep(0)
    await supervisor.start_groups(["g"])
    await supervisor.close()
    assert not await asyncio.wait_for(waiting, 30)


async def test_what_ends_workers_is_refused_in_another_event_loop(make_config: MakeConfig) -> None:
    async with AsyncBoundarySupervisor(make_config({"g": ["echo"]})) as supervisor:
        endings: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            supervisor.close,
            supervisor.stop_groups,
            supervisor.force_terminate_groups,
            lambda: supervisor.restart_group("g"),
            supervisor.__aenter__,
        ]
        for ending in endings:
            with pytest.raises(UsageError, match="another event loop"):
                await in_thread(lambda ending=ending: asyncio.run(ending()))
        assert await supervisor.call("echo", 1) == {"value": 1}
        assert [worker.generation for worker in supervisor.snapshot().groups[0].workers] == [1]


async def test_ids_of_a_class_of_strings_are_strings_to_a_worker(make_config: MakeConfig) -> None:
    class Text(str):
        __slots__ = ()

    async with AsyncBoundarySupervisor(make_config({"g": ["whoami"]})) as supervisor:
        inputs = [BoundaryDispatchInput(1, "g", "whoami")]
        result = await supervisor.execute_boundary(run_id=Text("r7"), scenario_id=Text("s7"), inputs=inputs)
        assert (result.terminal_outputs[0].payload["run_id"], result.terminal_outputs[0].payload["scenario_id"]) == ("r7", "s7")


@pytest.mark.parametrize("mode", ["inline", "inline_wire", "process_supervisor"])
def test_one_that_was_stopped_starts_again_in_another_event_loop(make_config: MakeConfig, mode: str) -> None:
    supervisor = AsyncBoundarySupervisor(make_config({"g": ["echo"]}, mode=mode))

    async def life(number: int) -> None:
        await supervisor.start_groups()
        assert await supervisor.wait_ready(10)
        assert await supervisor.call("echo", number) == {"value": number}
        await supervisor.stop_groups()

    for number in range(3):
        asyncio.run(life(number))
    asyncio.run(supervisor.close())


@pytest.mark.parametrize("mode", ["inline", "process_supervisor"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_close_after_its_event_loop_was_closed_kills_what_is_left(make_config: MakeConfig, mode: str) -> None:
    before = pidfds()
    supervisor = AsyncBoundarySupervisor(make_config({"g": {"nodes": ["echo"], "workers": 2}}, mode=mode))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(supervisor.__aenter__())
    waiting = loop.create_task(supervisor.wait_ready())
    loop.run_until_complete(waiting)
    pids = [worker.pid for worker in supervisor.snapshot().groups[0].workers if worker.pid not in (None, os.getpid())]
    assert len(pids) == (2 if mode == "process_supervisor" else 0)
    loop.close()

    async def close() -> None:
        with pytest.raises(UsageError, match="another event loop"):
            await supervisor.stop_groups()
        await asyncio.wait_for(supervisor.close(), 10)
        await supervisor.close()
        with pytest.raises(UsageError, match="closed"):
            await supervisor.start_groups()

    asyncio.run(close())
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert supervisor.snapshot().state == "closed"
    assert [group.state for group in supervisor.snapshot().groups] == ["stopped"]
    del loop, waiting
    collect_what_waited()
    close_those_of_asyncio(before, len(pids))


async def test_a_supervisor_that_is_dropped_without_close_warns_and_ends_its_workers(make_config: MakeConfig) -> None:
    supervisor = AsyncBoundarySupervisor(make_config({"g": {"nodes": ["echo"], "workers": 2}, "h": ["whoami"]}))
    before = asyncio.all_tasks()
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    assert await supervisor.call("echo", 1) == {"value": 1}
    pids = [worker.pid for group in supervisor.snapshot().groups for worker in group.workers]
    held = [supervisor]
    del supervisor
    with pytest.warns(ResourceWarning, match=r"dropped without close\(\): the workers of its groups \(g, h\) are killed"):
        drop(held)
    async with asyncio.timeout(30):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.002)
    assert len(pids) == 3
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_a_supervisor_dropped_in_its_start_ends_the_worker_that_is_coming(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    boot = make_fifo("boot")
    supervisor = AsyncBoundarySupervisor(make_config({"h": ["late"]}, modules=BOTH, nodes={"late": {"boot": boot.path}}))
    before = asyncio.all_tasks()
    starting = begin(supervisor.start_groups())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.sleep(0)  # the loop itself knows the task until then
    held = [supervisor]
    del supervisor, starting
    with pytest.warns(ResourceWarning, match="dropped without close"):
        drop(held)
    async with asyncio.timeout(30):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.002)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_supervisor_that_is_dropped_with_its_closed_event_loop_ends_its_workers_though_a_call_is_at_work(
    make_config: MakeConfig, make_fifo: MakeFifo
) -> None:
    payload, started, _ = held(make_fifo)
    before = pidfds()

    def leave() -> int:
        supervisor = AsyncBoundarySupervisor(make_config({"g": ["hold"]}))
        loop = asyncio.new_event_loop()
        loop.run_until_complete(supervisor.__aenter__())
        call = loop.create_task(supervisor.call("hold", payload))
        pid = int(loop.run_until_complete(in_thread(started.wait)))
        loop.close()
        assert not call.done()
        return pid

    with watched(leave()) as pidfd:
        gc.collect()
        assert ends(pidfd)
    collect_what_waited()
    close_those_of_asyncio(before, 1)


@pytest.mark.parametrize("ending", ["close", "stop", "force"])
async def test_a_supervisor_that_is_dropped_after_its_end_says_nothing(
    make_config: MakeConfig, ending: str, recwarn: pytest.WarningsRecorder
) -> None:
    supervisor = await AsyncBoundarySupervisor(make_config({"g": ["echo"]})).__aenter__()
    await {"close": supervisor.close, "stop": supervisor.stop_groups, "force": supervisor.force_terminate_groups}[ending]()
    del supervisor
    gc.collect()
    assert [str(each.message) for each in recwarn if "dropped without close" in str(each.message)] == []


@pytest.mark.parametrize("seconds", [float("nan"), -0.1, float("-inf"), True])
async def test_a_wait_that_is_no_span_of_time_is_refused_whatever_the_state(make_config: MakeConfig, seconds: float) -> None:
    supervisor = AsyncBoundarySupervisor(make_config({"g": ["echo"]}, mode="inline"))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^timeout_seconds must be a number from 0 to inf"):
            await supervisor.wait_ready(seconds)
        with pytest.raises(ValueError, match=r"^graceful_timeout_seconds must be a number from 0 to inf"):
            await supervisor.stop_groups(graceful_timeout_seconds=seconds)
        await supervisor.start_groups()
    assert await supervisor.wait_ready(float("inf"))
    await supervisor.stop_groups(graceful_timeout_seconds=float("inf"))
    await supervisor.close()
