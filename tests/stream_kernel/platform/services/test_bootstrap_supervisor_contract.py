"""The life of the synchronous supervisors: start, readiness, cardinality, stop, events, and misuse."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fixture_types import Fifo, MakeConfig, MakeFifo
from stream_kernel import (
    BoundaryDispatchInput,
    BoundaryTransportError,
    ConfigurationError,
    LocalBootstrapSupervisor,
    MultiprocessBootstrapSupervisor,
    UsageError,
    WorkerBootstrapError,
    create_supervisor,
)
from stream_kernel.engine.base import GroupSnapshot, WorkerSnapshot
from stream_kernel.observability.events import LifecycleEvent
from waiting import until

BOTH = ["kernel_nodes", "message_nodes"]


def worker_pids(supervisor: MultiprocessBootstrapSupervisor) -> list[int]:
    return [worker.pid for group in supervisor.snapshot().groups for worker in group.workers if worker.pid is not None]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def states(supervisor: MultiprocessBootstrapSupervisor) -> list[str]:
    return [group.state for group in supervisor.snapshot().groups]


def modes(supervisor: MultiprocessBootstrapSupervisor) -> list[str | None]:
    return [event.mode for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"]


class Held:
    """A call that a worker works on until it is released."""

    def __init__(
        self, threads: ThreadPoolExecutor, supervisor: MultiprocessBootstrapSupervisor, make_fifo: MakeFifo, target: str = "hold"
    ) -> None:
        started: Fifo = make_fifo(f"started_{target}")
        self._release: Fifo = make_fifo(f"release_{target}")
        payload = {"started": started.path, "release": self._release.path}
        self.call: Future[Any] = threads.submit(supervisor.call, target, payload)
        self.pid = int(started.wait())

    def release(self) -> None:
        self._release.release()


# -- start and readiness


def test_groups_are_started_step_by_step(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    boot = make_fifo("boot")
    config = make_config({"a": ["echo"], "b": ["late"]}, modules=BOTH, nodes={"late": {"boot": boot.path}})
    supervisor = MultiprocessBootstrapSupervisor(config)
    try:
        assert states(supervisor) == ["stopped", "stopped"]
        assert supervisor.wait_ready(0) is False
        supervisor.start_groups(["a"])
        assert len(worker_pids(supervisor)) == 1
        supervisor.start_groups(["b"])
        until(lambda: states(supervisor) == ["ready", "starting"])
        # One group that is not ready keeps the gate shut for all.
        assert supervisor.wait_ready(0.05) is False
        boot.release()
        assert supervisor.wait_ready(30) is True
        assert supervisor.call("late", 1) == "here" and supervisor.call("echo", 1) == {"value": 1}
        supervisor.stop_groups(graceful_timeout_seconds=30, drain_inflight=True)
        assert states(supervisor) == ["stopped", "stopped"]
    finally:
        supervisor.close()


def test_a_call_before_the_gate_waits_within_its_deadline(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    boot = make_fifo("boot")
    config = make_config({"a": ["echo"], "b": ["late"]}, modules=BOTH, nodes={"late": {"boot": boot.path}})
    supervisor = MultiprocessBootstrapSupervisor(config)
    with ThreadPoolExecutor(1) as threads:
        supervisor.start_groups()
        with pytest.raises(TimeoutError, match="remote handoff timed out for group 'a'") as failed:
            supervisor.call("echo", 1, timeout_seconds=0.05)
        assert getattr(failed.value, "delivery", None) == "not_executed"
        call = threads.submit(supervisor.call, "echo", 2)
        boot.release()
        assert call.result(30) == {"value": 2}
        supervisor.close()


def test_a_worker_that_cannot_boot_twice_in_a_row_fails_the_start(make_config: MakeConfig) -> None:
    supervisor = MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]}, modules=["no_such_module"]))
    try:
        supervisor.start_groups()
        with pytest.raises(WorkerBootstrapError, match=r"group 'g'.*no_such_module") as failed:
            supervisor.wait_ready(30)
        assert failed.value.group == "g"
        assert states(supervisor) == ["failed"]
        assert [event.kind for event in supervisor.lifecycle_events()].count("worker_spawned") == 2
        with pytest.raises(BoundaryTransportError) as refused:
            supervisor.call("echo", 1)
        assert refused.value.delivery == "not_executed"
    finally:
        supervisor.close()


def test_an_interpreter_that_does_not_exist_fails_the_start(make_config: MakeConfig) -> None:
    supervisor = MultiprocessBootstrapSupervisor(make_config({"g": {"nodes": ["echo"], "python": "/no/such/python"}}))
    try:
        with pytest.raises(WorkerBootstrapError, match=r"group 'g'.*/no/such/python"):
            supervisor.start_groups()
    finally:
        supervisor.close()


def test_a_start_that_fails_in_the_with_statement_leaves_nothing(make_config: MakeConfig) -> None:
    config = make_config({"good": {"nodes": ["echo"], "workers": 2}, "bad": ["nobody"]})
    with pytest.raises(WorkerBootstrapError), MultiprocessBootstrapSupervisor(config):
        pytest.fail("the block must not be entered")


def test_a_worker_that_is_not_ready_in_its_time_is_a_boot_error_that_names_the_key(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    boot = make_fifo("boot")
    group = {"nodes": ["late"], "start_timeout_seconds": 1.0}
    supervisor = MultiprocessBootstrapSupervisor(make_config({"g": group}, modules=BOTH, nodes={"late": {"boot": boot.path}}))
    try:
        supervisor.start_groups()
        with pytest.raises(WorkerBootstrapError, match="start_timeout_seconds"):
            supervisor.wait_ready(30)
    finally:
        supervisor.close()


def test_unknown_groups_are_a_configuration_error(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as supervisor:
        for ask in (supervisor.force_terminate_groups, supervisor.start_groups):
            with pytest.raises(ConfigurationError, match="there is no group 'other'"):
                ask(["other"])
        with pytest.raises(ConfigurationError, match="there is no group 'other'"):
            supervisor.restart_group("other")
        assert supervisor.call("echo", 1) == {"value": 1}


# -- cardinality


def test_a_group_has_as_many_worker_processes_as_it_says(make_config: MakeConfig) -> None:
    config = make_config({"a": {"nodes": ["whoami"], "workers": 3}, "b": ["echo"]})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        found = worker_pids(supervisor)
        assert len(set(found)) == 4 and os.getpid() not in found and all(map(is_there, found))
        told = [supervisor.call("whoami", {}) for _ in range(3)]
        assert sorted(each["worker_index"] for each in told) == [0, 1, 2]
        assert {each["pid"] for each in told} == set(found[:3])
    assert not any(map(is_there, found))


def test_a_stateful_group_with_two_workers_is_refused_at_start(make_config: MakeConfig) -> None:
    config = make_config({"g": {"nodes": ["counter"], "workers": 2}})
    with pytest.raises(WorkerBootstrapError, match=r"node 'counter' is stateful.*one worker, not 2"), create_supervisor(config):
        pytest.fail("the block must not be entered")


def test_each_worker_gets_its_own_environment(make_config: MakeConfig) -> None:
    group = {"nodes": ["environment"], "workers": 2, "env": {"SLOT": "gpu-{worker_index}"}}
    with MultiprocessBootstrapSupervisor(make_config({"g": group}, modules=BOTH)) as supervisor:
        assert [supervisor.call("environment", "SLOT") for _ in range(2)] == ["gpu-0", "gpu-1"]


# -- stop


def test_leaving_the_block_drains_and_stops_gracefully(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    config = make_config({"g": {"nodes": ["hold"], "stop_timeout_seconds": 60}})
    with ThreadPoolExecutor(2) as threads:
        supervisor = MultiprocessBootstrapSupervisor(config).__enter__()
        held = Held(threads, supervisor, make_fifo)
        leaving = threads.submit(supervisor.__exit__, None, None, None)
        held.release()
        assert held.call.result(30) == {"pid": held.pid}
        leaving.result(30)
    assert modes(supervisor) == ["graceful"] and not is_there(held.pid)


def test_leaving_the_block_kills_what_outlives_the_grace(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    config = make_config({"g": {"nodes": ["hold"], "stop_timeout_seconds": 0.2}})
    with ThreadPoolExecutor(1) as threads:
        with MultiprocessBootstrapSupervisor(config) as supervisor:
            held = Held(threads, supervisor, make_fifo)
        with pytest.raises(BoundaryTransportError) as failed:
            held.call.result(30)
    assert failed.value.delivery == "maybe_executed"
    assert modes(supervisor) == ["forced"] and not is_there(held.pid)


def test_an_error_in_the_block_comes_out_and_the_workers_are_stopped(make_config: MakeConfig) -> None:
    found: list[int] = []

    def fail() -> None:
        with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as supervisor:
            found.extend(worker_pids(supervisor))
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fail()
    assert found and not any(map(is_there, found))


def test_a_drain_lets_admitted_calls_finish_and_refuses_new_ones(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    config = make_config({"a": ["hold_and_pass"], "b": ["relay_a"]}, modules=BOTH)
    with MultiprocessBootstrapSupervisor(config) as supervisor, ThreadPoolExecutor(3) as threads:
        held = Held(threads, supervisor, make_fifo, "hold_and_pass")
        # It waits in the queue behind the held one: admitted too.
        queued = threads.submit(supervisor.call, "hold_and_pass", {})
        until(lambda: supervisor.snapshot().groups[0].queued == 1)
        stop = threads.submit(supervisor.stop_groups, graceful_timeout_seconds=60, drain_inflight=True)
        until(lambda: supervisor.snapshot().state == "draining")
        with pytest.raises(BoundaryTransportError) as refused:
            supervisor.call("relay_a", {"path": []})
        assert (refused.value.delivery, refused.value.report.reason) == ("not_executed", "the supervisor is draining")
        assert not stop.done()
        held.release()
        # Their further hops belong to them.
        assert [call.result(30)["seen"] for call in (held.call, queued)] == [["relay_a"], ["relay_a"]]
        stop.result(30)
        assert states(supervisor) == ["stopped", "stopped"] and modes(supervisor) == ["graceful", "graceful"]


def test_a_stop_without_drain_fails_what_is_at_work_queued_and_yet_to_come(
    make_config: MakeConfig, make_fifo: MakeFifo, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    config = make_config({"a": ["hold"], "b": ["relay_b"], "c": ["relay_a"]}, modules=BOTH)
    with MultiprocessBootstrapSupervisor(config) as supervisor, ThreadPoolExecutor(4) as threads:
        held = Held(threads, supervisor, make_fifo)
        queued = threads.submit(supervisor.call, "hold", {})
        # One input waits behind the held call; the other has answered, and its next hop waits for it.
        hopping = threads.submit(
            supervisor.execute_boundary,
            run_id="r",
            scenario_id="s",
            on_error="collect",
            inputs=[
                BoundaryDispatchInput({}, "a", "hold"),
                BoundaryDispatchInput({"path": ["relay_a"], "journal": str(journal)}, "b", "relay_b"),
            ],
        )
        until(lambda: supervisor.snapshot().groups[0].queued == 2 and supervisor.snapshot().groups[1].workers[0].requests == 1)
        stop = threads.submit(supervisor.stop_groups, graceful_timeout_seconds=60, drain_inflight=False)
        for call, delivery in ((held.call, "maybe_executed"), (queued, "not_executed")):
            with pytest.raises(BoundaryTransportError) as failed:
                call.result(30)
            assert failed.value.delivery == delivery
        events = [output.payload.failure for output in hopping.result(30).terminal_outputs]
        assert [(each.category, each.delivery, each.group) for each in events] == [
            ("transport", "not_executed", "a"),
            ("transport", "not_executed", "c"),
        ]
        held.release()
        stop.result(30)
    assert journal.read_text() == "relay_b\n"


def test_a_stop_that_times_out_has_killed_nothing(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    config = make_config({"g": {"nodes": ["hold"], "workers": 2}})
    with MultiprocessBootstrapSupervisor(config) as supervisor, ThreadPoolExecutor(1) as threads:
        held = Held(threads, supervisor, make_fifo)
        for drain in (True, False):
            with pytest.raises(TimeoutError):
                supervisor.stop_groups(graceful_timeout_seconds=0.1, drain_inflight=drain)
            assert is_there(held.pid) and "forced" not in modes(supervisor)
        with pytest.raises(UsageError, match="force_terminate_groups"):
            supervisor.start_groups()
        held.release()
        supervisor.stop_groups(graceful_timeout_seconds=30)
        assert states(supervisor) == ["stopped"] and modes(supervisor) == ["graceful", "graceful"]
        assert isinstance(held.call.exception(30), BoundaryTransportError)


def test_groups_terminated_by_force_are_stopped_and_start_again(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    config = make_config({"a": ["hold", "whoami"], "b": ["echo"]})
    with MultiprocessBootstrapSupervisor(config) as supervisor, ThreadPoolExecutor(1) as threads:
        before = worker_pids(supervisor)
        held = Held(threads, supervisor, make_fifo)
        with pytest.raises(TimeoutError):
            supervisor.stop_groups(graceful_timeout_seconds=0.1)
        supervisor.force_terminate_groups()
        with pytest.raises(BoundaryTransportError) as failed:
            held.call.result(30)
        assert failed.value.delivery == "maybe_executed"
        assert states(supervisor) == ["stopped", "stopped"] and set(modes(supervisor)) == {"forced"}
        assert not any(map(is_there, before))
        supervisor.start_groups()
        assert supervisor.wait_ready(30)
        assert supervisor.call("whoami", {})["pid"] not in before
        assert [group.workers[0].generation for group in supervisor.snapshot().groups] == [2, 2]


def test_one_group_can_be_terminated_while_the_others_work_on(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"a": ["whoami"], "b": ["echo"]})) as supervisor:
        supervisor.force_terminate_groups(["a"])
        assert states(supervisor) == ["stopped", "ready"]
        with pytest.raises(BoundaryTransportError) as failed:
            supervisor.call("whoami", {})
        assert (failed.value.delivery, failed.value.group) == ("not_executed", "a")
        assert supervisor.call("echo", 1) == {"value": 1}
        supervisor.start_groups(["a"])
        assert supervisor.wait_ready(30) and supervisor.call("whoami", {})["group"] == "a"


def test_a_restarted_group_has_new_workers_and_keeps_its_queue(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["hold", "whoami"]})) as supervisor, ThreadPoolExecutor(3) as threads:
        held = Held(threads, supervisor, make_fifo)
        queued = threads.submit(supervisor.call, "whoami", {})
        until(lambda: supervisor.snapshot().groups[0].queued == 1)
        restart = threads.submit(supervisor.restart_group, "g")
        assert queued.result(30)["pid"] != held.pid  # the new worker has taken over while the old one finishes
        assert supervisor.snapshot().groups[0].state == "ready"
        held.release()
        assert held.call.result(30) == {"pid": held.pid}
        restart.result(30)
        assert not is_there(held.pid)
        assert supervisor.snapshot().groups[0].workers[0].generation == 2


# -- what can be seen


def test_the_snapshot_shows_groups_and_workers_as_frozen_records(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["hold", "echo"]})) as supervisor, ThreadPoolExecutor(2) as threads:
        supervisor.call("echo", 1)
        held = Held(threads, supervisor, make_fifo)
        queued = threads.submit(supervisor.call, "echo", 2)
        until(lambda: supervisor.snapshot().groups[0].queued == 1)
        snapshot = supervisor.snapshot()
        worker = WorkerSnapshot(worker_id="g#0", pid=held.pid, state="ready", generation=1, in_flight=1, requests=1, restarts=0)
        assert snapshot.groups == (GroupSnapshot(name="g", state="ready", queued=1, workers=(worker,)),)
        assert (snapshot.state, snapshot.active_calls) == ("running", 2)
        with pytest.raises(AttributeError):
            snapshot.groups[0].state = "other"  # type: ignore[misc]
        held.release()
        held.call.result(30)
        queued.result(30)


def test_events_tell_the_life_of_a_worker_to_the_list_and_to_the_sink(make_config: MakeConfig) -> None:
    class Kept:
        def __init__(self) -> None:
            self.events: list[LifecycleEvent] = []

        def emit(self, event: LifecycleEvent) -> None:
            self.events.append(event)

    sink = Kept()
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]}), sink=sink) as supervisor:
        (pid,) = worker_pids(supervisor)
    events = supervisor.lifecycle_events()
    assert [(event.kind, event.mode) for event in events] == [
        ("worker_spawned", None),
        ("worker_ready", None),
        ("worker_stopping", None),
        ("worker_stopped", "graceful"),
    ]
    assert {(event.group, event.worker_id, event.pid, event.generation) for event in events} == {("g", "g#0", pid, 1)}
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert sink.events == events
    with pytest.raises(AttributeError):
        events[0].kind = "worker_ready"  # type: ignore[misc]


# -- who may call


def test_twenty_threads_share_one_supervisor(make_config: MakeConfig) -> None:
    config = make_config({"g": {"nodes": ["echo"], "workers": 2}})

    def talk(thread: int) -> list[Any]:
        return [supervisor.call("echo", [thread, n], trace_id=f"{thread}-{n}") for n in range(25)]

    with MultiprocessBootstrapSupervisor(config) as supervisor, ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(talk, range(20)))
    assert answers == [[{"value": [thread, n]} for n in range(25)] for thread in range(20)]


def test_close_is_idempotent_from_many_threads(make_config: MakeConfig) -> None:
    supervisor = MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})).__enter__()
    with ThreadPoolExecutor(4) as threads:
        for closed in [threads.submit(supervisor.close) for _ in range(4)]:
            closed.result(30)
    supervisor.close()
    assert modes(supervisor) == ["graceful"]


def test_a_supervisor_that_was_never_started_can_be_closed_and_refuses_calls(make_config: MakeConfig) -> None:
    supervisor = MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]}))
    with pytest.raises(BoundaryTransportError) as failed:
        supervisor.call("echo", 1)
    assert failed.value.delivery == "not_executed"
    supervisor.stop_groups(graceful_timeout_seconds=1, drain_inflight=True)
    supervisor.force_terminate_groups()
    supervisor.close()


def test_use_after_close_is_a_transport_failure_and_nothing_runs(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as supervisor:
        supervisor.call("echo", 1)
    given = BoundaryDispatchInput(1, "g", "echo", "t1")

    def stream() -> Any:
        return list(supervisor.map("echo", [1]))

    uses: list[Callable[[], Any]] = [
        lambda: supervisor.call("echo", 1),
        lambda: supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[given]),
        stream,
    ]
    for use in uses:
        with pytest.raises(BoundaryTransportError) as failed:
            use()
        assert (failed.value.delivery, failed.value.report.reason) == ("not_executed", "the supervisor is closed")
    (output,) = supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[given], on_error="collect").terminal_outputs
    assert (output.trace_id, output.payload.failure.delivery) == ("t1", "not_executed")
    assert supervisor.wait_ready(1) is False
    assert (supervisor.snapshot().state, states(supervisor)) == ("closed", ["stopped"])
    refused: list[Callable[[], None]] = [supervisor.start_groups, lambda: supervisor.restart_group("g")]
    for again in refused:
        with pytest.raises(UsageError, match="closed"):
            again()
    supervisor.stop_groups()
    supervisor.force_terminate_groups()


async def test_inside_a_running_loop_the_synchronous_face_refuses_at_once_and_shows_the_other(make_config: MakeConfig) -> None:
    supervisor = MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]}))
    uses: list[Callable[[], Any]] = [
        supervisor.__enter__,
        supervisor.start_groups,
        supervisor.close,
        lambda: supervisor.call("echo", 1),
        lambda: supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[]),
        lambda: list(supervisor.map("echo", [1])),
    ]
    for use in uses:
        with pytest.raises(UsageError, match="await "):
            use()
    assert supervisor.lifecycle_events() == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork_every_use_is_refused_at_once_and_the_workers_stay(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as supervisor:
        uses: list[Callable[[], Any]] = [
            lambda: supervisor.call("echo", 1),
            lambda: list(supervisor.map("echo", [1])),
            supervisor.start_groups,
            lambda: supervisor.wait_ready(1),
            supervisor.stop_groups,
            supervisor.force_terminate_groups,
            supervisor.snapshot,
            supervisor.lifecycle_events,
            supervisor.close,
        ]
        child = os.fork()
        if not child:
            refused = 0
            for use in uses:
                try:
                    use()
                except UsageError:
                    refused += 1
                except BaseException:  # noqa: BLE001  the count tells
                    continue
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == len(uses)
        assert supervisor.call("echo", 1) == {"value": 1}


# -- which class for which mode


def test_a_class_that_is_given_another_modes_configuration_refuses_it(make_config: MakeConfig) -> None:
    for mode in ("inline", "inline_wire"):
        with pytest.raises(ConfigurationError, match="create_supervisor"):
            MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]}, mode=mode))
        with create_supervisor(make_config({"g": ["echo"]}, mode=mode)) as local:
            assert type(local) is LocalBootstrapSupervisor
            assert local.call("echo", 1) == {"value": 1}
    with pytest.raises(ConfigurationError, match="create_supervisor"):
        LocalBootstrapSupervisor(make_config({"g": ["echo"]}))
    assert type(create_supervisor(make_config({"g": ["echo"]}))) is MultiprocessBootstrapSupervisor


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_seconds": -1},
        {"timeout_seconds": float("nan")},
        {"timeout_seconds": float("inf")},
        {"timeout_seconds": "1"},
        {"timeout_seconds": True},
        {"on_error": "ignore"},
        {"run_id": 1},
        {"inputs": [{"payload": 1}]},
        {"inputs": iter([])},
    ],
)
def test_arguments_that_make_no_call_are_refused_at_once(make_config: MakeConfig, wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"run_id": "r", "scenario_id": "s", "inputs": []}
    with create_supervisor(make_config({"g": ["echo"]}, mode="inline")) as supervisor:
        assert supervisor.execute_boundary(**arguments).terminal_outputs == []
        with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
            supervisor.execute_boundary(**{**arguments, **wrong})
