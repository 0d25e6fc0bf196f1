"""The end of a worker, step by step: stop message, end of stdin, SIGTERM, SIGKILL. Each has its bound; the first that helps is the last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from fixture_types import MakeConfig, MakeFifo
from processes import ends, watched
from stream_kernel import AsyncBoundarySupervisor, BoundaryTransportError, MultiprocessBootstrapSupervisor, RuntimeConfig
from stream_kernel.observability.events import LifecycleEvent

InThread = Callable[..., Future[Any]]
BOUNDS = {"stop_timeout_seconds": 0.4, "eof_timeout_seconds": 0.3, "terminate_timeout_seconds": 0.2}
# A worker that does not end at a step is given that step's time in full; one that ends at the last step of these has had the others.
ENDINGS = {
    "stop": ("boot(); command()", 0.0, None, 0),
    "end of stdin": ("boot()\nwhile hear(): pass", 0.4, None, 0),
    "SIGTERM": ("boot()\nforever()", 0.7, "SIGTERM", None),
    "SIGKILL": ("signal.signal(signal.SIGTERM, signal.SIG_IGN); boot()\nforever()", 0.9, "SIGKILL", None),
}


def end_of(supervisor: MultiprocessBootstrapSupervisor) -> LifecycleEvent:
    (event,) = [event for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"]
    return event


@pytest.mark.fault("FAULT-27")
@pytest.mark.parametrize("step", ENDINGS)
def test_a_worker_ends_at_the_first_step_that_it_heeds_and_no_step_takes_longer_than_it_may(
    fake_worker: Callable[..., RuntimeConfig], step: str
) -> None:
    body, earliest, signal_name, exit_code = ENDINGS[step]
    with MultiprocessBootstrapSupervisor(fake_worker(f"{body}\n", **BOUNDS)) as supervisor:
        begun = time.monotonic()
        supervisor.close()
        took = time.monotonic() - begun
    end = end_of(supervisor)
    assert end.exit is not None
    assert (end.exit.signal, end.exit.exit_code) == (signal_name, exit_code)
    assert end.mode == ("graceful" if exit_code == 0 else "forced")
    assert earliest <= took < earliest + 5


@pytest.mark.fault("FAULT-27")
@pytest.mark.parametrize(("hears_sigterm", "signal_name"), [(True, "SIGTERM"), (False, "SIGKILL")])
def test_a_node_that_is_never_left_is_terminated_and_one_deaf_to_that_is_killed(
    faulty: MakeConfig, hears_sigterm: bool, signal_name: str
) -> None:
    config = faulty({"g": {"nodes": ["deaf"], **BOUNDS}}, nodes={"deaf": {"hears_sigterm": hears_sigterm}})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        pid = supervisor.call("deaf", None)
        with watched(pid) as pidfd:
            supervisor.close()
            assert ends(pidfd, 0)
    end = end_of(supervisor)
    assert end.exit is not None and (end.mode, end.exit.signal) == ("forced", signal_name)


@pytest.mark.fault("FAULT-27")
async def test_workers_end_beside_each_other(faulty: MakeConfig) -> None:
    config = faulty({"g": {"nodes": ["deaf"], "workers": 4, **BOUNDS}}, nodes={"deaf": {"hears_sigterm": False}})
    supervisor = AsyncBoundarySupervisor(config)
    await supervisor.start_groups()
    assert await supervisor.wait_ready(60)
    begun = time.monotonic()
    await supervisor.close()
    assert time.monotonic() - begun < 3 * sum(BOUNDS.values()), "four times as long, one after the other"


@pytest.mark.fault("FAULT-27")
async def test_a_hung_node_is_given_the_drain_timeout_and_then_the_short_end(
    faulty: MakeConfig, make_fifo: MakeFifo, in_thread: InThread
) -> None:
    started = make_fifo("started")
    bounds = {"drain_timeout_seconds": 0.4, "stop_timeout_seconds": 600, "eof_timeout_seconds": 0.1, "terminate_timeout_seconds": 0.1}
    supervisor = AsyncBoundarySupervisor(faulty({"g": {"nodes": ["busy"], **bounds}}))
    await supervisor.start_groups()
    call = asyncio.create_task(supervisor.call("busy", {"how": "sigterm", "started": started.path}, timeout_seconds=600))
    await asyncio.wrap_future(in_thread(started.wait))
    begun = time.monotonic()
    await supervisor.close()
    assert 0.4 <= time.monotonic() - begun < 20, "it has had the drain timeout, and is not given its stop timeout as well"
    with pytest.raises(BoundaryTransportError) as caught:
        await call
    assert caught.value.delivery == "maybe_executed"
    assert [event.exit.signal for event in supervisor.lifecycle_events() if event.kind == "worker_stopped" and event.exit] == ["SIGKILL"]


@pytest.mark.fault("FAULT-27")
async def test_what_waits_in_the_queue_of_a_hung_worker_ends_with_the_close(
    faulty: MakeConfig, make_fifo: MakeFifo, in_thread: InThread
) -> None:
    started = make_fifo("started")
    supervisor = AsyncBoundarySupervisor(faulty({"g": {"nodes": ["busy", "echo"], "drain_timeout_seconds": 0.2, **BOUNDS}}))
    await supervisor.start_groups()
    message = {"how": "sigterm", "started": started.path}
    calls = [asyncio.create_task(supervisor.call("busy", message, timeout_seconds=600))]
    await asyncio.wrap_future(in_thread(started.wait))
    calls += [asyncio.create_task(supervisor.call("echo", n, timeout_seconds=600)) for n in range(5)]
    while supervisor.snapshot().groups[0].queued < 5:
        await asyncio.sleep(0)
    await asyncio.wait_for(supervisor.close(), 30)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    deliveries = [outcome.delivery for outcome in outcomes if isinstance(outcome, BoundaryTransportError)]
    assert deliveries == ["maybe_executed", *["not_executed"] * 5]
    assert supervisor.snapshot().active_calls == 0
