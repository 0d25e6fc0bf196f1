"""All groups together: the gate in front of them, and their end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fake_group import moments, now
from stream_kernel import RuntimeConfig, WorkerBootstrapError
from stream_kernel.engine.process.supervisor import ProcessEngine
from stream_kernel.errors import ConfigurationError
from stream_kernel.observability.sinks import EventHub
from stream_kernel.routing.router import NodeRoute
from stream_kernel.testing import FakeLaunch, RecordingSink
from stream_kernel.testing.fake_process import Ignored
from virtual_clock import START, on_virtual_clock

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


# -- over workers that are none, in virtual time


class House:
    """An engine over two groups, `a` with one worker and `b` with two."""

    def __init__(self, **keys: Any) -> None:
        """`keys` are those of both groups."""
        self.launch = FakeLaunch()
        groups = [{"name": "a", "nodes": ["one"], **keys}, {"name": "b", "nodes": ["two"], "workers": 2, **keys}]
        config = RuntimeConfig.from_mapping({"discovery_modules": ["m"], "process_groups": groups})
        self.engine = ProcessEngine(config, RecordingSink(), launch=self.launch)

    async def opened(self) -> ProcessEngine:
        await self.engine.start(["a", "b"])
        await self.engine.wait_ready()
        return self.engine

    @property
    def states(self) -> list[str]:
        return [group.state for group in self.engine.snapshot()]

    def pids(self, group: str) -> list[int]:
        return [child.pid for child in self.launch.alive if child.group == group]

    async def end(self) -> None:
        await self.engine.kill(["a", "b"])
        assert self.launch.alive == []


STUBBORN: frozenset[Ignored] = frozenset(("stop", "end of stdin", "terminate"))


@on_virtual_clock
async def test_workers_take_commands_once_every_group_is_ready() -> None:
    house = House()
    house.launch.traits.boots = False
    await house.engine.start(["a", "b"])
    await moments()
    for child in house.launch.children[:2]:
        child.hello()
        child.ready()
    await moments()
    assert not house.engine.is_open and "start_work" not in house.launch.children[0].log
    house.launch.children[2].hello()
    house.launch.children[2].ready()
    await moments()
    assert house.engine.is_open
    assert ["start_work" in child.log for child in house.launch.children] == [True] * 3
    await house.end()


@pytest.mark.fault("FAULT-11")
@on_virtual_clock
async def test_a_group_that_fails_leaves_the_others_alone_and_comes_back_on_demand() -> None:
    house = House(restart={"intensity": 0})
    engine = await house.opened()
    others = house.pids("b")
    next(child for child in house.launch.alive if child.group == "a").die(signal="SIGKILL")
    await moments()
    assert (house.states, house.pids("b")) == (["failed", "ready"], others)
    await engine.restart("a")
    assert (house.states, house.pids("b"), engine.is_open) == (["ready", "ready"], others, True)
    assert house.launch.alive[-1].log == ["bootstrap", "start_work"]
    await house.end()


@on_virtual_clock
async def test_a_restart_of_a_failed_group_that_cannot_boot_says_so() -> None:
    house = House(restart={"intensity": 0})
    engine = await house.opened()
    next(child for child in house.launch.alive if child.group == "a").die(signal="SIGKILL")
    await moments()
    house.launch.failures.append(OSError(24, "Too many open files"))
    with pytest.raises(WorkerBootstrapError, match="Too many open files"):
        await engine.restart("a")
    assert house.states == ["failed", "ready"]
    await house.end()


@on_virtual_clock
async def test_a_restart_replaces_the_workers_of_a_stateless_group_one_by_one() -> None:
    house = House()
    engine = await house.opened()
    before = house.pids("b")
    await engine.restart("b")
    assert (house.states, len(house.pids("b")), set(before) & set(house.pids("b"))) == (["ready", "ready"], 2, set())
    assert [worker.generation for worker in engine.snapshot()[1].workers] == [2, 2]
    await house.end()


@on_virtual_clock
async def test_who_gives_up_waiting_for_a_restart_does_not_stop_it() -> None:
    house = House()
    engine = await house.opened()
    house.launch.may_spawn.clear()
    restarting = asyncio.create_task(engine.restart("b"))
    await moments()
    restarting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await restarting
    house.launch.may_spawn.set()
    await asyncio.sleep(1)
    assert [worker.generation for worker in engine.snapshot()[1].workers] == [2, 2]
    await house.end()


@pytest.mark.fault("FAULT-27")
@on_virtual_clock
async def test_a_stop_that_is_not_done_in_time_names_all_workers_and_has_killed_none() -> None:
    house = House()
    house.launch.traits.ignores = STUBBORN
    engine = await house.opened()
    with pytest.raises(TimeoutError, match="a#0, b#0, b#1"):
        await engine.stop(["a", "b"], now() + 6)
    assert now() - START == 6
    assert [child.log[2:] for child in house.launch.children] == [["stop"]] * 3
    assert len(house.launch.alive) == 3
    await house.end()


@pytest.mark.fault("FAULT-27")
@on_virtual_clock
async def test_groups_are_stopped_in_the_reverse_order_of_their_start_and_one_that_hangs_leaves_the_others_their_time() -> None:
    house = House()
    engine = await house.opened()
    a, *b = house.launch.children
    b[0].traits.ignores = STUBBORN
    stopping = asyncio.create_task(engine.stop(["a", "b"], now() + 6))
    await moments()
    assert [a.is_alive, *(child.is_alive for child in b)] == [True, True, False]
    await asyncio.sleep(3)
    await moments()
    assert not a.is_alive
    with pytest.raises(TimeoutError, match=r"grace: b#0$"):
        await stopping
    await house.end()


@pytest.mark.parametrize("how", ["stop", "end"])
@on_virtual_clock
async def test_the_group_that_was_started_last_ends_first_whatever_the_order_of_the_configuration(how: str) -> None:
    house = House()
    engine = house.engine
    await engine.start(["b"])
    await engine.start(["a"])
    await engine.start(["b"])  # it is there already, and keeps its place
    await engine.wait_ready()
    *b, a = house.launch.children
    for child in (*b, a):
        child.traits.ignores = STUBBORN
    ending = asyncio.create_task(engine.stop(["a", "b"], now() + 6) if how == "stop" else engine.end(["a", "b"]))
    await moments()
    assert [child.log[2:] for child in (*b, a)] == [[], [], ["stop"]]
    a.die(exit_code=0)
    await moments()
    assert [child.log[2:] for child in b] == [["stop"], ["stop"]]
    await house.end()
    await asyncio.gather(ending, return_exceptions=True)


@pytest.mark.fault("FAULT-27")
@on_virtual_clock
async def test_an_end_goes_over_all_workers_at_once_step_by_step() -> None:
    house = House(stop_timeout_seconds=5, eof_timeout_seconds=0.5, terminate_timeout_seconds=1)
    house.launch.traits.ignores = STUBBORN
    engine = await house.opened()
    await engine.end(["a", "b"])
    assert now() - START == 6.5
    assert [child.log[2:5] for child in house.launch.children] == [["stop", "end of stdin", "terminate"]] * 3
    assert (house.states, engine.is_open, house.launch.alive) == (["stopped", "stopped"], False, [])


@pytest.mark.fault("FAULT-27")
@on_virtual_clock
async def test_an_end_is_bounded_even_with_a_process_that_cannot_be_killed() -> None:
    house = House(stop_timeout_seconds=5, eof_timeout_seconds=0.5, terminate_timeout_seconds=1, reap_timeout_seconds=2)
    house.launch.traits.ignores = STUBBORN | {"kill"}
    engine = await house.opened()
    await engine.end(["a", "b"])
    assert (now() - START, house.states) == (8.5, ["stopped", "stopped"])


@on_virtual_clock
async def test_a_failed_group_that_was_killed_is_an_ordinary_stopped_one_and_starts_again() -> None:
    house = House(restart={"intensity": 0})
    engine = await house.opened()
    house.launch.children[0].die(signal="SIGKILL")
    await moments()
    await engine.kill(["a", "b"])
    assert (house.states, engine.is_open) == (["stopped", "stopped"], False)
    await house.opened()
    assert (house.states, engine.is_open) == (["ready", "ready"], True)
    await house.end()


@on_virtual_clock
async def test_when_all_groups_are_stopped_the_next_workers_may_declare_other_nodes() -> None:
    house = House()
    engine = await house.opened()
    await engine.end(["b"])
    house.launch.traits.routes = (NodeRoute("one", "a"), NodeRoute("two", "b", sends_to=("one",)))
    await engine.start(["b"])
    with pytest.raises(WorkerBootstrapError, match="declares other nodes than the workers before it"):
        await engine.wait_ready()  # group a is still there, and knows the routes of before
    await engine.kill(["a", "b"])
    await engine.start(["a"])
    await moments()
    assert (house.states, house.launch.alive[0].log) == (["ready", "stopped"], ["bootstrap"]), "it is not told the routes of before"
    await engine.start(["b"])
    await engine.wait_ready()
    route = engine.router.find("two")
    assert route is not None and route.sends_to == ("one",)
    await house.end()
