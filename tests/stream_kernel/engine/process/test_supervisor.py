"""All groups together: the gate in front of them, and their end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from stream_kernel import RuntimeConfig, WorkerBootstrapError
from stream_kernel.engine.process.supervisor import ProcessEngine
from stream_kernel.errors import ConfigurationError
from stream_kernel.observability.sinks import EventHub

MakeConfig = Callable[..., RuntimeConfig]


@pytest.fixture
async def make_engine(make_config: MakeConfig) -> AsyncIterator[Callable[..., ProcessEngine]]:
    """Build an engine; all are killed after the test."""
    engines: list[tuple[ProcessEngine, list[str]]] = []

    def make(groups: dict[str, object]) -> ProcessEngine:
        engine = ProcessEngine(make_config(groups, modules=["kernel_nodes", "fault_nodes"]), EventHub())
        engines.append((engine, list(groups)))
        return engine

    yield make
    for engine, names in engines:
        await engine.kill(names)


async def test_the_gate_opens_when_all_groups_are_ready(make_engine: Callable[..., ProcessEngine]) -> None:
    engine = make_engine({"a": ["echo"], "b": ["whoami"]})
    await engine.start(["a"])
    waiting = asyncio.create_task(engine.wait_ready())
    async with asyncio.timeout(20):
        while engine.snapshot()[0].state != "ready":
            await asyncio.sleep(0.005)
        assert not engine.is_open and not waiting.done()
        await engine.start(["b"])
        await waiting
    assert engine.is_open
    assert {engine.router.find(name) is not None for name in ("echo", "whoami")} == {True}


async def test_one_group_that_cannot_boot_ends_the_wait(make_engine: Callable[..., ProcessEngine]) -> None:
    engine = make_engine({"a": ["echo"], "b": ["bad_constructor"]})
    await engine.start(["a", "b"])
    async with asyncio.timeout(20):
        with pytest.raises(WorkerBootstrapError, match="bad_constructor"):
            await engine.wait_ready()
    assert not engine.is_open


async def test_waiting_for_a_group_that_has_failed_ends(make_engine: Callable[..., ProcessEngine]) -> None:
    engine = make_engine({"a": ["counter"]})
    await engine.start(["a"])
    async with asyncio.timeout(20):
        await engine.wait_ready()
        pid = engine.snapshot()[0].workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while engine.snapshot()[0].state != "failed":
            await asyncio.sleep(0.005)
        with pytest.raises(WorkerBootstrapError, match="'a' has failed"):
            await engine.wait_ready()
        await engine.restart("a")
    assert engine.snapshot()[0].state == "ready"


async def test_a_stop_that_is_not_done_in_time_names_the_workers_and_kills_none(
    make_engine: Callable[..., ProcessEngine],
) -> None:
    engine = make_engine({"a": ["echo"]})
    await engine.start(["a"])
    async with asyncio.timeout(20):
        await engine.wait_ready()
    pid = engine.snapshot()[0].workers[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError, match="a#0"):
        await engine.stop(["a"], asyncio.get_running_loop().time() + 0.1)
    os.kill(pid, 0)
    os.kill(pid, signal.SIGCONT)
    await engine.stop(["a"], asyncio.get_running_loop().time() + 20)
    assert [group.state for group in engine.snapshot()] == ["stopped"]
    assert not engine.is_open


def test_other_platforms_are_refused_with_the_way_out(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(ConfigurationError, match="inline"):
        ProcessEngine(make_config({"a": ["echo"]}), EventHub())
