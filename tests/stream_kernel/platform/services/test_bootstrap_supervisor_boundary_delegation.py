"""A batch is handed to the worker group that owns the target, and its terminal outputs come back with their correlation intact."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fixture_types import MakeConfig, MakeFifo
from stream_kernel import (
    BoundaryDispatchInput,
    BoundaryExecutionError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    MultiprocessBootstrapSupervisor,
    RoutingResult,
    TerminalEvent,
)
from stream_kernel.execution.orchestration import lifecycle_orchestration
from stream_kernel.platform.services import reply_waiter
from waiting import until

Input = BoundaryDispatchInput
BOTH = ["kernel_nodes", "message_nodes"]


def run(supervisor: MultiprocessBootstrapSupervisor, *inputs: Input, **more: Any) -> RoutingResult:
    return supervisor.execute_boundary(run_id="r1", scenario_id="s1", inputs=list(inputs), **{"timeout_seconds": 30, **more})


def payloads(result: RoutingResult) -> list[Any]:
    return [output.payload for output in result.terminal_outputs]


def pids(supervisor: MultiprocessBootstrapSupervisor) -> dict[str, list[int | None]]:
    return {group.name: [worker.pid for worker in group.workers] for group in supervisor.snapshot().groups}


def requests(supervisor: MultiprocessBootstrapSupervisor) -> dict[str, list[int]]:
    return {group.name: [worker.requests for worker in group.workers] for group in supervisor.snapshot().groups}


# -- P5PRE-EXEC-01


@pytest.mark.requirement("P5PRE-EXEC-01")
def test_cross_group_work_runs_in_the_target_worker_process_and_returns_its_terminal_output(make_config: MakeConfig) -> None:
    config = make_config({"execution.io": ["relay_a"], "execution.cpu": ["whoami"]}, modules=BOTH)
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        home = pids(supervisor)
        result = run(
            supervisor,
            Input({"v": 1}, "execution.cpu", "whoami"),
            Input({"path": ["whoami"]}, "execution.io", "relay_a"),
        )
    assert [payload["pid"] for payload in payloads(result)] == home["execution.cpu"] * 2
    assert os.getpid() not in home["execution.cpu"] + home["execution.io"] and home["execution.cpu"] != home["execution.io"]
    assert {payload["group"] for payload in payloads(result)} == {"execution.cpu"}
    assert {(payload["run_id"], payload["scenario_id"]) for payload in payloads(result)} == {("r1", "s1")}
    assert result.local_deliveries == result.boundary_deliveries == []


@pytest.mark.requirement("P5PRE-EXEC-01")
def test_a_message_hops_from_group_to_group_and_each_step_runs_at_home(make_config: MakeConfig) -> None:
    config = make_config({"a": ["relay_a"], "b": ["relay_b"], "c": ["whoami"]}, modules=BOTH)
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        (payload,) = payloads(run(supervisor, Input({"path": ["relay_b", "relay_a", "whoami"]}, "a", "relay_a")))
        assert [payload["pid"]] == pids(supervisor)["c"]
        assert requests(supervisor) == {"a": [2], "b": [1], "c": [1]}


# -- P5PRE-EXEC-02


@pytest.mark.requirement("P5PRE-EXEC-02")
@pytest.mark.parametrize(("group", "target"), [(None, "whoami"), ("unknown", "whoami"), ("g", "unknown"), ("g", None), ("h", "whoami")])
def test_a_missing_or_unknown_group_or_target_is_a_transport_failure_and_nothing_runs(
    make_config: MakeConfig, group: str | None, target: str | None
) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["whoami"], "h": ["echo"]})) as supervisor:
        with pytest.raises(BoundaryTransportError) as failed:
            run(supervisor, Input(1, "g", "whoami", "t1"), Input(2, group, target, "t2", "http:2"))
        assert requests(supervisor) == {"g": [0], "h": [0]}
        kept, event = run(
            supervisor, Input(1, "g", "whoami", "t1"), Input(2, group, target, "t2", "http:2"), on_error="collect"
        ).terminal_outputs
    error = failed.value
    assert isinstance(error, ConnectionError)
    assert str(error) == f"remote handoff transport failed for group '{group}'"
    assert (error.category, error.delivery, error.group, error.trace_ids) == ("transport", "not_executed", group, ("t2",))
    assert error.__cause__ is None and error.__context__ is None
    assert kept.payload["trace_id"] == "t1"
    assert (event.trace_id, event.reply_to, event.payload.status) == ("t2", "http:2", "error")
    assert (event.payload.failure.category, event.payload.failure.delivery) == ("transport", "not_executed")


# -- P5PRE-EXEC-03


@pytest.mark.requirement("P5PRE-EXEC-03")
def test_terminal_outputs_keep_trace_id_and_reply_to_through_the_round_trip(make_config: MakeConfig) -> None:
    config = make_config({"a": ["relay_a", "many"], "b": ["whoami", "fail_if_asked"]}, modules=BOTH)
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        result = run(
            supervisor,
            Input(1, "b", "whoami", "t1", "http:1"),
            Input({"path": ["whoami"]}, "a", "relay_a", "t2", "http:2"),
            Input(2, "a", "many", "t3", "http:3"),
            Input({"fail": True}, "b", "fail_if_asked", "t4", "http:4"),
            Input(1, "b", "whoami"),
            on_error="collect",
        )
    correlation = [(output.trace_id, output.reply_to) for output in result.terminal_outputs]
    assert correlation == [("t1", "http:1"), ("t4", "http:4"), (None, None), ("t2", "http:2"), ("t3", "http:3"), ("t3", "http:3")]
    told = [(payload["trace_id"], payload["reply_to"]) for payload in payloads(result) if isinstance(payload, dict)]
    assert told == [("t1", "http:1"), (None, None), ("t2", "http:2")]


@pytest.mark.requirement("P5PRE-EXEC-03")
def test_correlation_is_text_of_any_kind_and_comes_back_to_the_letter(make_config: MakeConfig) -> None:
    odd = ["", " ", "ü€𝄞", "a\nb\r\n\u2028", '"\\', "x" * 5000]
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as supervisor:
        result = run(supervisor, *(Input(n, "g", "echo", text, text[::-1]) for n, text in enumerate(odd)))
    assert [(output.trace_id, output.reply_to) for output in result.terminal_outputs] == [(text, text[::-1]) for text in odd]


# -- which worker, how many commands


def test_calls_go_round_the_workers_in_turn(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": {"nodes": ["whoami"], "workers": 3}})) as supervisor:
        seen = [supervisor.call("whoami", {})["pid"] for _ in range(9)]
        assert requests(supervisor) == {"g": [3, 3, 3]}
    assert len(set(seen[:3])) == 3 and seen == seen[:3] * 3


def test_a_call_makes_one_command_for_each_group_however_its_inputs_are_mixed(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"a": ["whoami"], "b": ["echo"]})) as supervisor:
        result = run(supervisor, *(Input(n, *(("a", "whoami") if n % 2 else ("b", "echo")), f"t{n}") for n in range(10)))
        assert requests(supervisor) == {"a": [1], "b": [1]}
    # Groups in order of first appearance, inputs of a group in their order.
    assert [output.trace_id for output in result.terminal_outputs] == ["t0", "t2", "t4", "t6", "t8", "t1", "t3", "t5", "t7", "t9"]


def test_groups_of_one_call_work_at_the_same_time_and_outputs_keep_their_order(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    started, released = [make_fifo("started_a"), make_fifo("started_b")], [make_fifo("release_a"), make_fifo("release_b")]
    inputs = [
        Input({"started": started[0].path, "release": released[0].path}, "a", "hold", "first"),
        Input({"started": started[1].path, "release": released[1].path}, "b", "hold_too", "second"),
    ]
    config = make_config({"a": ["hold"], "b": ["hold_too"]}, modules=BOTH)
    with MultiprocessBootstrapSupervisor(config) as supervisor, ThreadPoolExecutor(1) as threads:
        call = threads.submit(run, supervisor, *inputs)
        # Neither can end before it is released, so both are at work here. The second group ends first.
        holders = [fifo.wait() for fifo in started]
        released[1].release()
        until(lambda: requests(supervisor)["b"] == [1])
        released[0].release()
        result = call.result(30)
        assert [[int(pid)] for pid in holders] == list(pids(supervisor).values())
    assert [output.trace_id for output in result.terminal_outputs] == ["first", "second"]


def test_a_slow_worker_does_not_hold_up_the_others(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    started, released = make_fifo("started"), make_fifo("release")
    config = make_config({"g": {"nodes": ["hold", "echo"], "workers": 2}})
    with MultiprocessBootstrapSupervisor(config) as supervisor, ThreadPoolExecutor(1) as threads:
        held = threads.submit(supervisor.call, "hold", {"started": started.path, "release": released.path})
        started.wait()
        assert [supervisor.call("echo", n)["value"] for n in range(10)] == list(range(10))
        assert not held.done()
        released.release()
        held.result(30)


# -- batches and sizes


def test_a_failing_input_of_a_collected_batch_costs_only_itself(make_config: MakeConfig, tmp_path: Path) -> None:
    log = tmp_path / "log"
    inputs = [Input({"n": n, "log": str(log), "fail": n == 40}, "g", "fail_if_asked", f"t{n}") for n in range(100)]
    with MultiprocessBootstrapSupervisor(make_config({"g": ["fail_if_asked"]})) as supervisor:
        result = run(supervisor, *inputs, on_error="collect")
        assert requests(supervisor) == {"g": [1]}
    assert [output.trace_id for output in result.terminal_outputs] == [f"t{n}" for n in range(100)]
    given = payloads(result)
    failed = given.pop(40)
    assert given == [{"n": n} for n in range(100) if n != 40]
    assert isinstance(failed, TerminalEvent) and failed.failure is not None
    assert (failed.status, failed.failure.category, failed.failure.delivery, failed.failure.node) == (
        "error",
        "execution",
        "executed",
        "fail_if_asked",
    )
    assert [int(line) for line in log.read_text().split()] == [n for n in range(100) if n != 40]


def test_under_raise_a_batch_stops_at_its_first_failing_input(make_config: MakeConfig, tmp_path: Path) -> None:
    log = tmp_path / "log"
    inputs = [Input({"n": n, "log": str(log), "fail": n == 40}, "g", "fail_if_asked", f"t{n}") for n in range(100)]
    with (
        MultiprocessBootstrapSupervisor(make_config({"g": ["fail_if_asked"]})) as supervisor,
        pytest.raises(BoundaryExecutionError) as failed,
    ):
        run(supervisor, *inputs)
    assert (failed.value.report.input_index, failed.value.trace_ids, failed.value.delivery) == (40, ("t40",), "executed")
    assert [int(line) for line in log.read_text().split()] == list(range(40))


def test_a_payload_of_five_mebibytes_makes_the_round_trip(make_config: MakeConfig) -> None:
    large = "ä" * (5 << 19)
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as supervisor:
        assert supervisor.call("echo", large) == {"value": large}


def test_a_batch_larger_than_a_frame_goes_as_several_commands_in_order(make_config: MakeConfig) -> None:
    config = make_config({"g": {"nodes": ["echo"], "workers": 2}}, execution_ipc={"max_frame_bytes": 100_000})
    large = ["x" * 40_000 + str(n) for n in range(20)]
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        result = run(supervisor, *(Input(text, "g", "echo") for text in large))
        assert sum(requests(supervisor)["g"]) == 10
    assert [payload["value"] for payload in payloads(result)] == large


@pytest.mark.slow
def test_a_hundred_thousand_small_inputs_make_the_round_trip(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as supervisor:
        result = run(supervisor, *(Input(n, "g", "echo", str(n)) for n in range(100_000)), timeout_seconds=100)
    assert payloads(result) == [{"value": n} for n in range(100_000)]
    assert [output.trace_id for output in result.terminal_outputs] == [str(n) for n in range(100_000)]


# -- after a failure


@pytest.mark.slow
def test_a_thousand_calls_after_a_timeout_each_get_their_own_answer(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["hang", "echo"]})) as supervisor:
        with pytest.raises(BoundaryTimeoutError) as failed:
            supervisor.call("hang", {}, timeout_seconds=0.2)
        assert (str(failed.value), failed.value.delivery) == ("remote handoff timed out for group 'g'", "maybe_executed")
        for n in range(1000):
            (output,) = run(supervisor, Input(n, "g", "echo", f"t{n}")).terminal_outputs
            assert (output.payload, output.trace_id) == ({"value": n}, f"t{n}")


def test_a_killed_worker_fails_one_call_only(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    started, released = [make_fifo("started_0"), make_fifo("started_1")], [make_fifo("release_0"), make_fifo("release_1")]
    config = make_config({"g": {"nodes": ["hold", "whoami"], "workers": 2}})
    with MultiprocessBootstrapSupervisor(config) as supervisor, ThreadPoolExecutor(2) as threads:
        calls = [
            threads.submit(supervisor.call, "hold", {"started": begin.path, "release": end.path}, trace_id=begin.path)
            for begin, end in zip(started, released, strict=True)
        ]
        victim, survivor = (int(fifo.wait()) for fifo in started)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(BoundaryTransportError) as failed:
            calls[0].result(30)
        released[1].release()
        assert calls[1].result(30) == {"pid": survivor}
        after = Counter(supervisor.call("whoami", {})["pid"] for _ in range(4))
        assert survivor in after and victim not in after
    error = failed.value
    assert str(error) == "remote handoff transport failed for group 'g'"
    assert (error.delivery, error.report.signal, error.trace_ids) == ("maybe_executed", "SIGKILL", (started[0].path,))
    assert [(command.outcome, command.pid) for command in error.report.commands] == [("transport", victim)]


# -- names of the plan


def test_the_values_are_found_under_the_names_of_the_plan() -> None:
    assert lifecycle_orchestration.BoundaryDispatchInput is BoundaryDispatchInput
    assert reply_waiter.TerminalEvent is TerminalEvent
