"""A fault at every point of a worker's work: what its own caller hears, and that nobody else hears anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from fixture_types import MakeConfig, MakeFifo
from processes import until_generation, until_ready
from stream_kernel import BoundaryTimeoutError, BoundaryTransportError, MultiprocessBootstrapSupervisor, WorkerBootstrapError
from stream_kernel.engine.process.fault_plan import PlannedFault
from stream_kernel.testing import chaos
from waiting import until

InThread = Callable[..., Future[Any]]

BEFORE_THE_REPLY = ["read", "before_node", "in_node", "after_node", "before_write", "mid_write"]
NAMED_FROM = BEFORE_THE_REPLY.index("in_node")
"""From here on the breadcrumb names the node."""


def fault(action: str, point: str, **fields: Any) -> PlannedFault:
    if point == "mid_write":
        fields["after_bytes"] = 40
    given: dict[str, Any] = {action: point, **fields}
    return chaos(**given)


@pytest.fixture
def beside(faulty: MakeConfig, make_fifo: MakeFifo, in_thread: InThread) -> Callable[..., Any]:
    """A supervisor whose worker 1 of group `g` has the faults, while worker 0 and the only one of group `other` are at work.

    What they were given has to come out right, from the same processes, after all that happens in the block.
    """

    @contextmanager
    def open_beside(*faults: PlannedFault, **group: Any) -> Iterator[MultiprocessBootstrapSupervisor]:
        groups = {"g": {"nodes": ["hold", "echo"], "workers": 2, **group}, "other": ["journaled"]}
        with MultiprocessBootstrapSupervisor(faulty(groups), chaos=faults) as supervisor:
            release = make_fifo("release"), make_fifo("release-other")
            calls, pids = [], []
            for index, node in enumerate(("hold", "journaled")):
                started = make_fifo(f"started-{index}")
                calls.append(in_thread(supervisor.call, node, {"started": started.path, "release": release[index].path}))
                pids.append(int(started.wait()))
            yield supervisor
            for index, call in enumerate(calls):
                assert not call.done()
                release[index].release()
                assert call.result(20)["pid"] == pids[index]
            until_ready(supervisor)
            groups_now = {each.name: each for each in supervisor.snapshot().groups}
            assert [worker.restarts for worker in groups_now["other"].workers] == [0]
            assert groups_now["g"].workers[0].restarts == 0 and groups_now["g"].workers[1].generation <= 2

    return open_beside


@pytest.mark.fault("FAULT-02")
@pytest.mark.parametrize("point", BEFORE_THE_REPLY)
def test_a_worker_killed_before_its_reply_is_whole_costs_one_call(beside: Callable[..., Any], point: str) -> None:
    with beside(fault("kill", point, group="g", worker_index=1)) as supervisor:
        with pytest.raises(BoundaryTransportError, match=r"^remote handoff transport failed for group 'g'$") as caught:
            supervisor.call("echo", 1, timeout_seconds=20)
        error = caught.value
        assert (error.category, error.delivery, error.group) == ("transport", "maybe_executed", "g")
        end = error.report.exit
        assert end is not None
        assert (end.worker_id, end.generation, end.signal, end.exit_code) == ("g#1", 1, "SIGKILL", None)
        named = BEFORE_THE_REPLY.index(point) >= NAMED_FROM
        assert (end.node, end.input_index) == (("echo", 0) if named else (None, None))
        assert error.report.node == ("echo" if named else None)
        assert [(command.worker_id, command.pid, command.delivery) for command in error.report.commands] == [
            ("g#1", end.pid, "maybe_executed")
        ]
        assert supervisor.call("echo", 2, timeout_seconds=20) == {"value": 2}
        assert supervisor.snapshot().groups[0].workers[1].generation == 2


@pytest.mark.fault("FAULT-03")
@pytest.mark.parametrize("action", ["kill", "exit", "segv"])
def test_a_worker_that_ends_after_its_whole_reply_costs_no_call(beside: Callable[..., Any], action: str) -> None:
    more = {"code": 0} if action == "exit" else {}
    with beside(fault(action, "after_write", group="g", worker_index=1, **more)) as supervisor:
        assert supervisor.call("echo", 1, timeout_seconds=20) == {"value": 1}
        until(lambda: supervisor.snapshot().groups[0].workers[1].generation == 2)
        assert supervisor.call("echo", 2, timeout_seconds=20) == {"value": 2}


@pytest.mark.fault("FAULT-09")
@pytest.mark.parametrize("point", ["boot", "ready"])
def test_a_worker_killed_while_it_boots_is_tried_once_more(faulty: MakeConfig, point: str) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["echo"], "other": ["many"]}), chaos=[fault("kill", point, group="g")]) as supervisor:
        assert supervisor.call("echo", 1) == {"value": 1}
        assert [group.workers[0].generation for group in supervisor.snapshot().groups] == [2, 1]


@pytest.mark.fault("FAULT-09")
@pytest.mark.parametrize("point", ["boot", "ready"])
def test_workers_that_are_killed_whenever_they_boot_are_a_boot_error(faulty: MakeConfig, point: str) -> None:
    supervisor = MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}), chaos=[fault("kill", point, generation=None)])
    with pytest.raises(WorkerBootstrapError, match=r"'g'.*SIGKILL"), supervisor:
        pass
    assert [event.kind for event in supervisor.lifecycle_events()].count("worker_spawned") == 2


@pytest.mark.fault("FAULT-27")
def test_a_worker_killed_while_it_stops_costs_nothing_but_its_word(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}), chaos=[fault("kill", "stop")]) as supervisor:
        assert supervisor.call("echo", 1) == {"value": 1}
    (end,) = [event for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"]
    assert end.mode == "forced" and end.exit is not None and end.exit.signal == "SIGKILL"


@pytest.mark.fault("FAULT-04")
@pytest.mark.parametrize("point", ["read", "in_node", "mid_write"])
def test_the_report_names_exit_code_or_signal_wherever_it_happens(beside: Callable[..., Any], point: str) -> None:
    with beside(fault("exit", point, code=3, group="g", worker_index=1)) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("echo", 1, timeout_seconds=20)
        assert (caught.value.report.exit_code, caught.value.report.signal) == (3, None)
        assert "exit code 3" in str(caught.value.report)


@pytest.mark.fault("FAULT-12")
@pytest.mark.parametrize(
    ("action", "point"),
    [("stop", "read"), ("stop", "in_node"), ("stop", "before_write"), ("hang_python", "read"), ("hang_c", "after_node")],
)
def test_a_worker_that_stands_still_costs_its_caller_the_deadline(beside: Callable[..., Any], action: str, point: str) -> None:
    with beside(fault(action, point, group="g", worker_index=1)) as supervisor:
        with pytest.raises(BoundaryTimeoutError, match=r"^remote handoff timed out for group 'g'$") as caught:
            supervisor.call("echo", 1, timeout_seconds=0.3)
        assert caught.value.delivery == "maybe_executed"
        assert supervisor.call("echo", 2, timeout_seconds=20) == {"value": 2}
        assert supervisor.snapshot().groups[0].workers[1].generation == 2


@pytest.mark.fault("FAULT-12")
def test_a_worker_that_stands_still_in_the_middle_of_its_reply_costs_its_caller_the_deadline(beside: Callable[..., Any]) -> None:
    with beside(fault("stop", "mid_write", group="g", worker_index=1)) as supervisor:
        with pytest.raises(BoundaryTimeoutError) as caught:
            supervisor.call("echo", 1, timeout_seconds=0.3)
        assert caught.value.delivery == "maybe_executed"
        assert supervisor.call("echo", 2, timeout_seconds=20) == {"value": 2}


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize("point", ["read", "in_node", "before_write"])
def test_garbage_before_a_reply_is_a_transport_failure(beside: Callable[..., Any], point: str) -> None:
    with beside(fault("garbage", point, group="g", worker_index=1)) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("echo", 1, timeout_seconds=20)
        assert caught.value.delivery == "maybe_executed"
        assert "protocol violation" in (caught.value.report.reason or "")
        assert supervisor.call("echo", 2, timeout_seconds=20) == {"value": 2}


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize(("action", "point"), [("garbage", "after_write"), ("duplicate", "before_write"), ("duplicate", "after_write")])
def test_what_follows_a_whole_reply_costs_the_worker_and_not_the_call(faulty: MakeConfig, action: str, point: str) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}), chaos=[fault(action, point)]) as supervisor:
        assert supervisor.call("echo", 1, timeout_seconds=20) == {"value": 1}
        until_generation(supervisor, 2)
        (failed,) = [event for event in supervisor.lifecycle_events() if event.kind == "worker_failed"]
        assert "protocol violation" in (failed.reason or "")
        assert supervisor.call("echo", 2, timeout_seconds=20) == {"value": 2}


@pytest.mark.fault("FAULT-22")
@pytest.mark.parametrize("action", ["close_out", "close_in"])
@pytest.mark.parametrize("point", ["read", "in_node"])
def test_a_worker_that_closes_an_end_of_its_wire_is_replaced(beside: Callable[..., Any], action: str, point: str) -> None:
    with beside(
        fault(action, point, group="g", worker_index=1), fault("hang_python", "after_node", group="g", worker_index=1)
    ) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("echo", 1, timeout_seconds=20)
        assert caught.value.delivery == "maybe_executed"
        assert "was closed" in (caught.value.report.reason or "")
        assert supervisor.call("echo", 2, timeout_seconds=20) == {"value": 2}


@pytest.mark.fault("FAULT-02")
def test_without_an_order_for_it_a_worker_listens_to_no_fault(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}), chaos=[fault("kill", "in_node", group="other")]) as supervisor:
        assert [supervisor.call("echo", n) for n in range(3)] == [{"value": n} for n in range(3)]
        assert supervisor.snapshot().groups[0].workers[0].restarts == 0


@pytest.mark.fault("FAULT-01")
def test_every_point_passed_by_a_healthy_worker_is_held_and_let_go(faulty: MakeConfig, make_fifo: MakeFifo, in_thread: InThread) -> None:
    for point in ("read", "in_node", "before_write"):
        fifo = make_fifo(f"held-{point}")
        with MultiprocessBootstrapSupervisor(faulty({"g": ["echo"]}), chaos=[fault("hold", point, fifo=fifo.path)]) as supervisor:
            call = in_thread(supervisor.call, "echo", point, timeout_seconds=20)
            fifo.release()
            assert call.result(20) == {"value": point}


@pytest.mark.fault("FAULT-04")
def test_a_segmentation_fault_leaves_its_signal_and_its_stacks_in_the_report(beside: Callable[..., Any]) -> None:
    with beside(fault("segv", "in_node", group="g", worker_index=1)) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("echo", 1, timeout_seconds=20)
        report = caught.value.report
        assert report.signal == "SIGSEGV"
        assert (
            report.stack is not None
            and report.stack.startswith("Fatal Python error: Segmentation fault")
            and " in string_at\n" in report.stack
        )
