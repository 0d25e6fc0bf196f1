"""On uvloop, which web servers bring along: workers are started, lost, replaced, hung and ended as on asyncio's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from processes import ends, kill_and_wait, watched
from stream_kernel import AsyncBoundarySupervisor, BoundaryTimeoutError, BoundaryTransportError, RuntimeConfig
from stream_kernel.testing import RecordingSink

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


@pytest.mark.fault("FAULT-01")
def test_workers_live_and_die_the_same(faulty: MakeConfig) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(lose_and_hang(faulty({"g": {"nodes": ["echo", "end", "busy"], "restart": {"backoff_seconds": [0.01, 0.01]}}})))
