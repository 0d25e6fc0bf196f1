"""On uvloop, which web servers bring along: workers are started, lost, replaced, hung and ended as on asyncio's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from processes import ends, kill_and_wait, watched
from stream_kernel import AsyncBoundarySupervisor, BoundaryTimeoutError, BoundaryTransportError, RuntimeConfig
from stream_kernel.testing import RecordingSink, chaos

uvloop = pytest.importorskip("uvloop")
uvloop.new_event_loop().close()  # it makes the pipe that it keeps for as long as the process lives
MakeConfig = Callable[..., RuntimeConfig]


async def lose_and_hang(config: RuntimeConfig) -> None:
    sink = RecordingSink()
    async with AsyncBoundarySupervisor(config, sink=sink) as supervisor:
        first = await sink.wait_for("worker_ready", generation=1)
        assert await supervisor.call("echo", 1) == {"value": 1}
        kill_and_wait(first.pid or 0)
        with pytest.raises(BoundaryTransportError) as lost:
            await supervisor.call("end", {"how": "segv"})
        assert (lost.value.delivery, lost.value.report.signal) == ("maybe_executed", "SIGSEGV")
        third = await sink.wait_for("worker_ready", generation=3)
        with watched(third.pid or 0) as pidfd:
            with pytest.raises(BoundaryTimeoutError) as hung:
                await supervisor.call("busy", {"how": "gil"}, timeout_seconds=0.3)
            assert ends(pidfd)
        assert "in busy" in str(hung.value.report.stack)
        assert await supervisor.call("echo", 2) == {"value": 2}
    assert [event.generation for event in sink.find("worker_failed")] == [1, 2, 3]
    assert [event.generation for event in sink.find("worker_stopped")] == [4]


def on_uvloop(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


@pytest.mark.fault("FAULT-01")
def test_workers_live_and_die_the_same(faulty: MakeConfig) -> None:
    on_uvloop(lose_and_hang(faulty({"g": {"nodes": ["echo", "end", "busy"], "restart": {"backoff_seconds": [0.01, 0.01]}}})))


async def close_stdout(config: RuntimeConfig) -> None:
    async with AsyncBoundarySupervisor(config, chaos=[chaos(close_out="in_node")]) as supervisor:
        with pytest.raises(BoundaryTransportError) as closed:
            await supervisor.call("echo", 1, timeout_seconds=20)
        assert closed.value.report.reason == "its stdout was closed"
        assert await supervisor.call("echo", 2) == {"value": 2}


@pytest.mark.fault("FAULT-22")
def test_a_worker_that_closes_its_stdout_is_noticed_for_it_has_no_copy(faulty: MakeConfig) -> None:
    on_uvloop(close_stdout(faulty({"g": ["echo"]})))


async def look_at_descriptors(config: RuntimeConfig, left_open: Path) -> None:
    async with AsyncBoundarySupervisor(config) as supervisor:
        descriptors = (await supervisor.call("surroundings", None))["descriptors"]
    assert str(left_open) not in descriptors.values()
    assert len({to for to in descriptors.values() if to.startswith("pipe:")}) == 4, "stderr, both ends of the wire, the lifeline"


@pytest.mark.fault("FAULT-36")
def test_a_worker_has_no_descriptor_of_its_parent(faulty: MakeConfig, left_open: Path) -> None:
    on_uvloop(look_at_descriptors(faulty({"g": ["surroundings"]}), left_open))
