"""What only the inline engines do: copies instead of bytes, deadlines that can cancel async nodes only, ends without force."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from fixture_types import MakeConfig
from message_nodes import Order
from stream_kernel import AsyncBoundarySupervisor, BoundaryExecutionError, BoundaryTimeoutError, BoundaryTransportError
from stream_kernel.engine.inline import CopyCodec
from stream_kernel.errors import PayloadError
from stream_kernel.protocol.codec import Codec

BOTH = ["kernel_nodes", "message_nodes"]


@pytest.fixture(params=["inline", "inline_wire"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def codec() -> CopyCodec:
    return CopyCodec(Codec([Order], max_bytes=1 << 20))


def test_a_copied_payload_shares_nothing_with_what_was_given_or_is_taken() -> None:
    given = {"deep": [1]}
    sent = codec().pack(given)
    given["deep"].append(2)
    first = codec().unpack(sent)
    first["deep"].append(3)
    assert codec().unpack(sent) == {"deep": [1]}


def test_a_copied_message_keeps_its_class_and_its_tag() -> None:
    sent = codec().pack(Order(1))
    assert (sent.tag, codec().unpack(sent)) == ("message_nodes:Order", Order(1))
    assert codec().knows("message_nodes:Order") and not codec().knows("message_nodes:Quote")
    assert codec().plain(sent)["price"] == "1.50"
    assert codec().unpack(codec().pack({"n": 2}), "message_nodes:Order") == Order(2)


def test_what_cannot_be_copied_is_refused() -> None:
    with pytest.raises(PayloadError, match="cannot be copied"):
        codec().pack({"generator": (n for n in [1])})


async def test_nodes_run_in_this_process(make_config: MakeConfig, mode: str) -> None:
    async with AsyncBoundarySupervisor(make_config({"g": ["whoami"]}, mode=mode)) as supervisor:
        assert (await supervisor.call("whoami", {}))["pid"] == os.getpid()
        assert supervisor.snapshot().groups[0].workers[0].pid == os.getpid()


async def test_a_group_runs_one_command_at_a_time_and_groups_run_beside_each_other(make_config: MakeConfig, mode: str) -> None:
    config = make_config({"g": ["waiter", "echo"], "h": ["async_echo"]}, modules=BOTH, mode=mode)
    async with AsyncBoundarySupervisor(config) as supervisor:
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(supervisor.call("waiter", 1))
        queued = loop.create_task(supervisor.call("echo", 2))
        assert await supervisor.call("async_echo", 3) == {"value": 3}
        group = supervisor.snapshot().groups[0]
        assert (group.queued, group.workers[0].in_flight, queued.done()) == (1, 1, False)
        waiting.cancel()
        assert await queued == {"value": 2}
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_deadline_cancels_an_async_node_and_turns_away_what_is_queued(make_config: MakeConfig, mode: str) -> None:
    async with AsyncBoundarySupervisor(make_config({"g": ["waiter", "echo"]}, modules=BOTH, mode=mode)) as supervisor:
        loop = asyncio.get_running_loop()
        limits = {"waiter": 0.3, "echo": 0.1}
        calls = [loop.create_task(supervisor.call(target, 1, timeout_seconds=seconds)) for target, seconds in limits.items()]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        deliveries = [error.delivery for error in errors if isinstance(error, BoundaryTimeoutError)]
        assert deliveries == ["maybe_executed", "not_executed"]
        assert await supervisor.call("echo", 1) == {"value": 1}


async def test_force_ends_what_is_at_work_and_what_is_queued(make_config: MakeConfig, mode: str) -> None:
    async with AsyncBoundarySupervisor(make_config({"g": ["waiter", "echo"]}, modules=BOTH, mode=mode)) as supervisor:
        loop = asyncio.get_running_loop()
        calls = [loop.create_task(supervisor.call(target, 1)) for target in ("waiter", "echo")]
        while supervisor.snapshot().groups[0].workers[0].in_flight == 0:
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await supervisor.stop_groups(graceful_timeout_seconds=0.05)
        assert not any(call.done() for call in calls)
        await supervisor.force_terminate_groups()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [error.delivery for error in errors if isinstance(error, BoundaryTransportError)] == ["maybe_executed", "not_executed"]
        assert supervisor.snapshot().groups[0].state == "stopped"


async def test_a_node_that_cannot_be_left_in_order_is_logged_and_holds_nothing_up(
    make_config: MakeConfig, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config({"g": ["sticky"], "h": ["echo"]}, modules=BOTH, mode=mode)
    async with AsyncBoundarySupervisor(config) as supervisor:
        assert await supervisor.call("sticky", 1) == 1
    assert [group.state for group in supervisor.snapshot().groups] == ["stopped", "stopped"]
    assert "could not be left in order" in caplog.text


@pytest.mark.parametrize(
    ("target", "payload", "where"),
    [("fail_if_asked", {"fail": True}, "fail_if_asked"), ("keeper", {"n": 1, "fail": True}, "keeper"), ("raiser", "SystemExit", "raiser")],
)
async def test_what_a_node_raises_is_shown_with_its_frames_before_the_call_fails(
    make_config: MakeConfig, mode: str, target: str, payload: Any, where: str
) -> None:
    shown: list[tuple[str, Any]] = []
    calls: list[asyncio.Task[Any]] = []

    def show(error: BaseException) -> None:
        assert not calls[0].done()
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        assert trace is not None
        shown.append((trace.tb_frame.f_code.co_name, trace.tb_frame.f_locals["message"]))

    config = make_config({"g": ["fail_if_asked", "keeper", "raiser"]}, modules=BOTH, mode=mode)
    async with AsyncBoundarySupervisor(config, on_node_exception=show) as supervisor:
        calls.append(asyncio.get_running_loop().create_task(supervisor.call(target, payload)))
        with pytest.raises(BoundaryExecutionError):
            await calls[0]
    assert shown == [(where, payload)]


async def test_what_no_node_raised_is_not_shown(make_config: MakeConfig, mode: str) -> None:
    shown: list[BaseException] = []
    config = make_config({"g": ["waiter", "fan", "echo"]}, modules=BOTH, mode=mode)
    async with AsyncBoundarySupervisor(config, on_node_exception=shown.append) as supervisor:
        with pytest.raises(BoundaryTimeoutError):
            await supervisor.call("waiter", 1, timeout_seconds=0.05)
        with pytest.raises(BoundaryExecutionError):
            await supervisor.call("fan", [[1, "nobody"]])
        assert await supervisor.call("echo", 1) == {"value": 1}
    assert shown == []
