"""What cannot be sent, framed or formatted costs the call that it belongs to, and nobody else anything."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fixture_types import MakeConfig
from stream_kernel import (
    AsyncBoundarySupervisor,
    BoundaryDispatchInput,
    BoundaryExecutionError,
    BoundaryInputError,
    BoundaryTransportError,
    ConfigurationError,
    MultiprocessBootstrapSupervisor,
    TerminalEvent,
    WorkerBootstrapError,
)
from stream_kernel.testing import RecordingSink

SURROGATE = "bad \udcff name"
MODES = ["process_supervisor", "inline_wire", "inline"]


def given(target: str, payload: Any, **fields: Any) -> BoundaryDispatchInput:
    return BoundaryDispatchInput(payload, "g", target, **fields)


@pytest.mark.fault("FAULT-19")
@pytest.mark.parametrize("field", ["trace_id", "reply_to", "source_group"])
def test_an_id_that_utf_8_cannot_carry_is_refused_and_the_next_call_is_answered(make_config: MakeConfig, field: str) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as supervisor:
        bad = given("echo", 1, **{field: SURROGATE})
        with pytest.raises(BoundaryInputError, match="lone surrogates") as caught:
            supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[bad])
        assert caught.value.delivery == "not_executed"
        outputs = supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[bad, given("echo", 2)], on_error="collect")
        assert isinstance(outputs.terminal_outputs[0].payload, TerminalEvent)
        assert outputs.terminal_outputs[1].payload == {"value": 2}
        assert supervisor.snapshot().groups[0].workers[0].generation == 1


@pytest.mark.parametrize("argument", ["run_id", "scenario_id"])
def test_a_run_that_utf_8_cannot_name_is_refused(make_config: MakeConfig, argument: str) -> None:
    supervisor = MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]}))
    arguments: dict[str, Any] = {"run_id": "r", "scenario_id": "s", argument: SURROGATE}
    with pytest.raises(ValueError, match=f"{argument} must be"):
        supervisor.execute_boundary(inputs=[], **arguments)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), sys.float_info.max, 10**400, -1, True, "1"])
def test_a_timeout_that_no_clock_can_keep_is_refused(make_config: MakeConfig, timeout: Any) -> None:
    supervisor = MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]}))
    with pytest.raises(ValueError, match="timeout_seconds must be a number from 0"):
        supervisor.call("echo", 1, timeout_seconds=timeout)


@pytest.mark.fault("FAULT-05")
@pytest.mark.parametrize("mode", MODES)
async def test_whatever_a_node_raises_or_gives_fails_its_own_call_and_the_worker_lives(make_config: MakeConfig, mode: str) -> None:
    config = make_config({"g": ["raises", "gives"]}, modules=["hostile_nodes"], mode=mode)
    async with AsyncBoundarySupervisor(config) as supervisor:
        for how in ("surrogate", "unprintable", "odd name"):
            with pytest.raises(BoundaryExecutionError) as caught:
                await supervisor.call("raises", how, timeout_seconds=10)
            assert caught.value.report.node == "raises" and caught.value.report.detail
        kinds = ["surrogate trace", "large trace", "large error", "surrogate error", "surrogate failure", "foreign type"]
        for how in (*kinds, *(["large meta"] if mode != "inline" else [])):
            with pytest.raises(BoundaryExecutionError) as caught:
                await supervisor.call("gives", how, timeout_seconds=10)
            assert (caught.value.report.node, caught.value.delivery) == ("gives", "executed")
        assert await supervisor.call("gives", "fine") == 1
        assert supervisor.snapshot().groups[0].workers[0].generation == 1


@pytest.mark.fault("FAULT-05")
@pytest.mark.parametrize("mode", MODES)
async def test_a_node_that_upsets_its_event_loop_gets_an_answer_and_so_does_the_next_call(make_config: MakeConfig, mode: str) -> None:
    config = make_config({"g": ["upsets_its_loop"]}, modules=["hostile_nodes"], mode=mode)
    async with AsyncBoundarySupervisor(config) as supervisor:
        # Inline, the exit of a task of the node would be the exit of this program: that cannot be held off.
        for how in (*(["exit in a task"] if mode == "process_supervisor" else []), "cancels itself"):
            with pytest.raises(BoundaryExecutionError) as caught:
                await supervisor.call("upsets_its_loop", how, timeout_seconds=10)
            raised = "SystemExit" if how == "exit in a task" else "CancelledError"
            assert (caught.value.report.node, caught.value.report.exception_type) == ("upsets_its_loop", raised)
            assert await supervisor.call("upsets_its_loop", "nothing", timeout_seconds=10) == "nothing"
        with suppress(BoundaryExecutionError):  # whether its own call still succeeds is a matter of the event loop
            await supervisor.call("upsets_its_loop", "cancels itself and returns", timeout_seconds=10)
        assert await supervisor.call("upsets_its_loop", "nothing", timeout_seconds=10) == "nothing"
        assert supervisor.snapshot().groups[0].workers[0].generation == 1


@pytest.mark.fault("FAULT-10")
@pytest.mark.parametrize("key", ["env", "python"])
def test_what_no_operating_system_takes_is_an_error_of_the_configuration(make_config: MakeConfig, key: str) -> None:
    values: dict[str, Any] = {"env": {"A=B": "1"}, "python": "py\0thon"}
    with pytest.raises(ConfigurationError, match=rf"process_groups\[0\]\.{key}"):
        make_config({"g": {"nodes": ["echo"], key: values[key]}})


@pytest.mark.fault("FAULT-10")
@pytest.mark.parametrize("what", ["import path", "settings"])
def test_a_worker_that_cannot_be_told_what_to_be_fails_the_start(
    make_config: MakeConfig, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {}
    if what == "import path":
        monkeypatch.syspath_prepend(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    else:
        settings = {"resource": {"journal": "x" * 3_000_000}}
    config = make_config({"g": ["resource"]}, nodes=settings, execution_ipc={"max_frame_bytes": 1024})
    with pytest.raises(WorkerBootstrapError, match="cannot be told its settings"), MultiprocessBootstrapSupervisor(config):
        pass


@pytest.mark.fault("FAULT-34")
def test_a_setting_in_the_text_of_an_import_error_stays_out_of_the_message(make_config: MakeConfig) -> None:
    config = make_config({"g": ["imports_late"]}, modules=["hostile_nodes"], nodes={"imports_late": {"password": "hunter2"}})
    assert "hunter2" not in repr(config)
    with pytest.raises(WorkerBootstrapError, match="node 'imports_late' of module 'hostile_nodes'") as caught:
        MultiprocessBootstrapSupervisor(config).__enter__()
    assert "hunter2" not in str(caught.value)
    assert "hunter2" in (caught.value.detail or "")


@pytest.mark.parametrize("mode", MODES)
async def test_the_order_of_outputs_does_not_depend_on_what_becomes_of_the_siblings(make_config: MakeConfig, mode: str) -> None:
    config = make_config({"g": ["split"], "r": ["relay"], "h": ["gather"]}, modules=["hostile_nodes"], mode=mode)

    async def outputs_of_the_last(supervisor: AsyncBoundarySupervisor, first: dict[str, Any]) -> list[Any]:
        inputs = [given("split", first, trace_id="a"), given("split", {"n": 5}, trace_id="b")]
        result = await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=inputs, on_error="collect")
        return [output.payload for output in result.terminal_outputs if output.trace_id == "b"]

    async with AsyncBoundarySupervisor(config) as supervisor:
        assert await outputs_of_the_last(supervisor, {"n": 1}) == ["plain", 5, "relayed"]
        assert await outputs_of_the_last(supervisor, {"fail": True}) == ["plain", 5, "relayed"]


@pytest.mark.parametrize("mode", MODES)
async def test_an_error_of_map_never_denies_the_work_of_the_first_hop(make_config: MakeConfig, mode: str) -> None:
    config = make_config({"g": ["split"], "r": ["relay"], "h": ["gather"]}, modules=["hostile_nodes"], mode=mode)
    async with AsyncBoundarySupervisor(config) as supervisor:
        await supervisor.force_terminate_groups(["h"])
        with pytest.raises(BoundaryTransportError) as caught:
            await anext(supervisor.map("split", [{"n": 1}]))
        assert caught.value.delivery == "executed"


@pytest.mark.fault("FAULT-27")
async def test_a_restart_that_its_caller_gives_up_goes_on(make_config: MakeConfig) -> None:
    import asyncio

    sink = RecordingSink()
    async with AsyncBoundarySupervisor(make_config({"g": ["echo"]}), sink=sink) as supervisor:
        restarting = asyncio.create_task(supervisor.restart_group("g"))
        await asyncio.sleep(0)
        restarting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await restarting
        await sink.wait_for("worker_restarted", group="g")
        assert await supervisor.call("echo", 1, timeout_seconds=20) == {"value": 1}


@pytest.mark.fault("FAULT-27")
async def test_a_group_that_is_started_while_it_is_terminated_is_started(make_config: MakeConfig) -> None:
    import asyncio

    async with AsyncBoundarySupervisor(make_config({"g": ["echo"], "h": ["many"]})) as supervisor:
        terminating = asyncio.create_task(supervisor.force_terminate_groups(["g"]))
        await asyncio.sleep(0)
        await supervisor.start_groups(["g"])
        await terminating
        assert await supervisor.wait_ready(20)
        assert await supervisor.call("echo", 1, timeout_seconds=20) == {"value": 1}


def test_map_gives_what_was_taken_before_its_source_failed(make_config: MakeConfig) -> None:
    def source() -> Any:
        yield from range(10)
        raise KeyError("the source")

    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]}, mode="process_supervisor")) as supervisor:
        seen: list[int] = []
        with pytest.raises(KeyError, match="the source"):
            seen.extend(output["value"] for output in supervisor.map("echo", source(), batch_size=4))
        assert seen == list(range(10))


@pytest.mark.fault("FAULT-30")
def test_a_forked_copy_may_leave_the_block_by_an_exit(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": ["echo"]})) as supervisor:
        copy = os.fork()
        if copy == 0:
            status = 1
            try:
                supervisor.__exit__(None, None, None)
                status = 5
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 5
        assert supervisor.call("echo", 1) == {"value": 1}
