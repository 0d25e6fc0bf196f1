"""A group of real workers: who gets a command, what waits, and what happens when a worker is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec import Raw

from processes import kill_and_wait
from stream_kernel import RuntimeConfig
from stream_kernel.engine.base import Answer, Command, Loss
from stream_kernel.engine.process.group import WorkerGroup
from stream_kernel.observability.sinks import EventHub
from stream_kernel.routing.items import InputItem
from stream_kernel.routing.packed import Packed

MakeConfig = Callable[..., RuntimeConfig]
Start = Callable[..., Awaitable[WorkerGroup]]


@pytest.fixture
async def start(make_config: MakeConfig) -> AsyncIterator[Start]:
    """Start a group and wait until it is ready or has failed; all are killed after the test."""
    groups: list[WorkerGroup] = []

    async def make(node: str = "echo", workers: int = 1) -> WorkerGroup:
        config = make_config({"g": {"nodes": [node], "workers": workers}}, modules=["kernel_nodes", "fault_nodes"])
        changed = asyncio.Event()
        group = WorkerGroup(config, config.process_groups[0], EventHub(), lambda _: changed.set())
        groups.append(group)
        group.start()
        async with asyncio.timeout(20):
            await changed.wait()
        return group

    yield make
    for group in groups:
        group.kill("the test is over")
        await group.gone()


def command(target: str = "echo", seconds: float = 20, correlation_id: str = "c") -> Command:
    deadline = asyncio.get_running_loop().time() + seconds
    return Command(correlation_id, "g", "r", "s", "raise", deadline, [InputItem(Packed(Raw(b"1"), None, 1), target)])


async def test_before_the_routes_are_known_commands_wait(start: Start) -> None:
    group = await start()
    ticket = group.submit(command())
    assert (group.state, group.snapshot().queued) == ("ready", 1)
    group.start_work(group.nodes)
    assert isinstance(await ticket.future, Answer)
    assert group.snapshot().queued == 0


async def test_free_workers_take_turns(start: Start) -> None:
    group = await start(workers=3)
    group.start_work(group.nodes)
    pids = []
    for n in range(6):
        outcome = await group.submit(command(correlation_id=str(n))).future
        pids.append(outcome.report.pid)
    assert pids[:3] == pids[3:] and len(set(pids)) == 3


async def test_a_command_that_cannot_reach_a_dead_worker_goes_to_the_next_one(start: Start) -> None:
    group = await start()
    group.start_work(group.nodes)
    pid = group.snapshot().workers[0].pid
    assert pid is not None
    # The event loop is kept from seeing the death: what is sent now meets a pipe without reader.
    kill_and_wait(pid)
    outcome = await group.submit(command()).future
    assert isinstance(outcome, Answer)
    assert outcome.report.pid != pid and outcome.report.generation == 2


async def test_a_stateful_worker_that_is_dying_when_its_group_is_held_for_a_restart_is_no_loss(start: Start) -> None:
    group = await start("counter")
    group.start_work(group.nodes)
    ticket = group.submit(command("counter"))
    await ticket.future
    # What a deadline does: the kill is out, the death has not been seen.
    for slot in group._slots:
        slot.kill("a command passed its deadline", final=False)
    group.hold()
    await group.gone()
    assert group.snapshot().state == "starting"
    assert [worker.state for worker in group.snapshot().workers] == ["stopped"]
    group.spawn()
    await group.launched()


async def test_a_stopped_group_takes_nothing(start: Start) -> None:
    group = await start()
    group.start_work(group.nodes)
    group.stop()
    outcome = await group.submit(command()).future
    assert isinstance(outcome, Loss) and "stopping" in outcome.reason
    async with asyncio.timeout(20):
        await group.gone()
    assert group.state == "stopped" and group.running() == []


async def test_stopping_drops_the_queue_as_not_executed(start: Start) -> None:
    group = await start()
    tickets = [group.submit(command(correlation_id=str(n))) for n in range(3)]
    group.stop()
    outcomes = [await ticket.future for ticket in tickets]
    assert {outcome.report.delivery for outcome in outcomes} == {"not_executed"}
    await asyncio.sleep(0)
    assert group.snapshot().queued == 0


async def test_abandoning_ends_the_calls_and_not_the_workers(start: Start) -> None:
    group = await start()
    ticket = group.submit(command())
    group.abandon("no longer wanted")
    outcome = await ticket.future
    assert isinstance(outcome, Loss) and outcome.report.delivery == "not_executed"
    group.start_work(group.nodes)
    assert isinstance(await group.submit(command(correlation_id="d")).future, Answer)


async def test_a_group_whose_worker_cannot_boot_fails_and_says_why(start: Start) -> None:
    group = await start("bad_constructor")
    assert group.state == "failed"
    assert group.boot_error is not None and "bad_constructor" in str(group.boot_error)
    outcome = await group.submit(command("bad_constructor")).future
    assert isinstance(outcome, Loss) and outcome.report.delivery == "not_executed"


async def test_a_stateful_node_needs_a_group_with_one_worker(start: Start) -> None:
    group = await start("counter", workers=2)
    assert group.state == "failed" and "stateful" in str(group.boot_error)
