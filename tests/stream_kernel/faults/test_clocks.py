"""Moments that fall together, clocks that jump, loops that are late: one outcome each, on every Python, and nobody killed for it."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest

from blocked_loop import block
from engine_on_fakes import EngineOnFakes
from fixture_types import MakeConfig
from stream_kernel import AsyncBoundarySupervisor, BoundaryTimeoutError
from stream_kernel.engine.base import Answer, Loss
from stream_kernel.protocol.messages import Pong
from stream_kernel.testing import RecordingSink
from stream_kernel.testing.fake_process import ChildTraits
from virtual_clock import START, on_virtual_clock


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.fault("FAULT-14")
@pytest.mark.parametrize("exit_comes_first", [False, True])
@pytest.mark.parametrize("also_dies", [False, True])
@on_virtual_clock
async def test_a_reply_that_is_there_when_its_deadline_is_seen_wins(also_dies: bool, exit_comes_first: bool) -> None:
    async with EngineOnFakes(traits=ChildTraits(exit_comes_first=exit_comes_first)) as fakes:
        for n in range(5):
            ticket = fakes.submit(f"c{n}", seconds=7)
            child = fakes.latest
            await child.next_command()
            child.answer()
            if also_dies:
                child.die(signal="SIGKILL")
            block(7 + n)  # reply, death and deadline are due in the same pass of the loop
            assert isinstance(await ticket.future, Answer)
            await fakes.settle(60)
            assert "freeze" not in child.log
            if also_dies:
                await fakes.sink.wait_for("worker_ready", generation=n + 2)
        assert len(fakes.launch.children) == 1 + 5 * also_dies
        assert fakes.group().late_replies == 0


@pytest.mark.fault("FAULT-14")
@on_virtual_clock
async def test_a_reply_that_comes_in_the_very_pass_in_which_its_deadline_is_seen_wins() -> None:
    async with EngineOnFakes() as fakes:
        ticket = fakes.submit("c", seconds=7)
        await fakes.latest.next_command()
        # The loop has looked at its descriptors when the reply comes, and the timer of the deadline is due in the same pass.
        asyncio.get_running_loop().call_soon(fakes.latest.answer)
        block(7)
        assert isinstance(await ticket.future, Answer)
        assert "freeze" not in fakes.latest.log


@pytest.mark.fault("FAULT-14")
@pytest.mark.parametrize("passes", range(6))
@on_virtual_clock
async def test_a_reply_in_the_passes_after_its_deadline_is_late_and_reaches_nobody(passes: int) -> None:
    async with EngineOnFakes() as fakes:
        ticket = fakes.submit("c", seconds=7)
        child = fakes.latest
        await child.next_command()
        block(7)
        await fakes.settle(2 + passes)
        assert child.log.count("freeze") == 1, "the deadline has been seen"
        child.answer()
        outcome = await ticket.future
        assert isinstance(outcome, Loss) and outcome.category == "timeout"
        await fakes.settle(60)
        assert fakes.group().late_replies == 1
        following = fakes.submit("following")
        await fakes.sink.wait_for("worker_ready", generation=2)
        await fakes.latest.next_command()
        fakes.latest.answer()
        assert isinstance(await following.future, Answer)


@pytest.mark.fault("FAULT-14")
@pytest.mark.fault("FAULT-16")
@pytest.mark.parametrize("passes", range(6))
@pytest.mark.parametrize("replies", [False, True])
@on_virtual_clock
async def test_cancel_deadline_and_reply_in_one_moment_are_one_outcome(replies: bool, passes: int) -> None:
    async with EngineOnFakes() as fakes:
        ticket = fakes.submit("c", seconds=7)
        child = fakes.latest
        await child.next_command()
        if replies:
            child.answer()
        block(7)
        await fakes.settle(passes)
        was_cancelled = ticket.cancel()
        await fakes.settle(60)
        assert ticket.future.done() and ticket.future.cancelled() == was_cancelled
        if not was_cancelled:
            assert isinstance(ticket.future.result(), Answer) and replies
        await asyncio.sleep(1)
        (worker,) = fakes.group().workers
        assert (worker.in_flight, worker.state, worker.generation) == (0, "ready", 1 if replies else 2)
        assert fakes.group().late_replies == int(replies and was_cancelled)


@pytest.mark.fault("FAULT-14")
@pytest.mark.parametrize("replies", [False, True])
@on_virtual_clock
async def test_deadlines_of_the_head_and_behind_it_in_one_moment_are_one_outcome_each(replies: bool) -> None:
    async with EngineOnFakes({"g": {"depth": 2}}) as fakes:
        head, behind = fakes.submit("head", seconds=7), fakes.submit("behind", seconds=7)
        child = fakes.latest
        await child.told("execute_boundary behind")
        if replies:
            child.answer()
        block(7)
        outcomes = await asyncio.gather(head.future, behind.future)
        assert isinstance(outcomes[0], Answer) == replies
        assert isinstance(outcomes[1], Loss) and outcomes[1].category == "timeout"
        assert now() - START < 7.4


@pytest.mark.fault("FAULT-13")
@on_virtual_clock
async def test_replies_after_their_deadline_reach_nobody_in_any_order_with_what_follows() -> None:
    async with EngineOnFakes({"g": {"depth": 3}}) as fakes:
        first, second = fakes.submit("first", "mine", seconds=50), fakes.submit("second", "late", seconds=5)
        child = fakes.latest
        await child.told("execute_boundary second")
        lost = await second.future
        assert isinstance(lost, Loss) and now() == START + 5
        third = fakes.submit("third", "also mine", seconds=50)
        await child.told("execute_boundary third")
        for _ in range(3):
            child.answer()
        answers = await asyncio.gather(first.future, third.future)
        texts = [bytes(answer.emissions[0].packed.data) for answer in answers if isinstance(answer, Answer)]
        assert texts == [b'"mine"', b'"also mine"']
        assert fakes.group().late_replies == 1 and len(fakes.launch.children) == 1


@pytest.mark.fault("FAULT-40")
@pytest.mark.parametrize("seconds", [6, 60, 86400])
@on_virtual_clock
async def test_a_loop_that_was_blocked_kills_no_idle_worker_whose_answer_it_has_not_read(seconds: float) -> None:
    async with EngineOnFakes({"g": {"ping_interval_seconds": 10, "ping_timeout_seconds": 5}}) as fakes:
        child = fakes.latest
        for n in range(1, 6):
            await child.told("ping", count=n, timeout_seconds=1000)
            block(seconds)
        await asyncio.sleep(100)
        assert fakes.launch.children == [child] and child.is_alive


@pytest.mark.fault("FAULT-40")
@on_virtual_clock
async def test_a_loop_that_was_blocked_gives_a_silent_worker_its_time_again_and_only_then_kills_it() -> None:
    async with EngineOnFakes({"g": {"ping_interval_seconds": 10, "ping_timeout_seconds": 5}}) as fakes:
        child = fakes.latest
        child.traits.ignores = frozenset({"ping"})
        await child.told("ping", timeout_seconds=60)
        block(3600)
        woken = now()
        await asyncio.sleep(4.9)
        assert child.is_alive
        await fakes.sink.wait_for("worker_ready", generation=2, timeout_seconds=60)
        assert 4.9 < now() - woken <= 5.1


@pytest.mark.fault("FAULT-40")
@on_virtual_clock
async def test_a_sign_of_life_that_comes_in_the_very_pass_in_which_it_is_missed_counts() -> None:
    async with EngineOnFakes({"g": {"ping_interval_seconds": 10, "ping_timeout_seconds": 5}}) as fakes:
        child = fakes.latest
        child.traits.ignores = frozenset({"ping"})
        await child.told("ping", timeout_seconds=60)
        asyncio.get_running_loop().call_soon(child.say, Pong(token=1))
        block(5.1)
        await asyncio.sleep(1)
        assert child.is_alive and fakes.launch.children == [child]


@pytest.mark.fault("FAULT-40")
@on_virtual_clock
async def test_a_machine_that_slept_through_deadlines_and_replies_delivers_what_came() -> None:
    async with EngineOnFakes({"g": {"workers": 3}}) as fakes:
        tickets = [fakes.submit(f"c{n}", seconds=10 + n) for n in range(3)]
        for child in fakes.launch.children:
            await child.next_command()
        for child in fakes.launch.children[:2]:
            child.answer()
        block(8 * 3600)
        outcomes = await asyncio.gather(*(ticket.future for ticket in tickets))
        assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, True, False]
        await fakes.sink.wait_for("worker_ready", count=4, timeout_seconds=5)
        assert [child.is_alive for child in fakes.launch.children] == [True, True, False, True]
        assert fakes.group().state == "ready"


@pytest.mark.fault("FAULT-40")
async def test_a_real_loop_blocked_for_longer_than_any_ping_may_take_kills_nobody(faulty: MakeConfig) -> None:
    keys = {"nodes": ["whoami"], "workers": 2, "ping_interval_seconds": 0.05, "ping_timeout_seconds": 0.2}
    async with AsyncBoundarySupervisor(faulty({"g": keys})) as supervisor:
        pids = {worker.pid for worker in supervisor.snapshot().groups[0].workers}
        for _ in range(3):
            await asyncio.sleep(0.06)  # a question is on its way, or about to be
            time.sleep(0.8)  # the fault itself: this loop does not run
        assert {(await supervisor.call("whoami", n))["pid"] for n in range(4)} == pids
        assert [worker.restarts for worker in supervisor.snapshot().groups[0].workers] == [0, 0]


@pytest.mark.fault("FAULT-40")
async def test_a_clock_on_the_wall_that_jumps_moves_no_deadline(faulty: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    days = itertools.cycle((86400.0, -86400.0, 0.0))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(days))
    group: dict[str, Any] = {"nodes": ["on_the_clock"], "discovery_modules": ["jumping_clock"], "ping_interval_seconds": 0.02}
    sink = RecordingSink()
    async with AsyncBoundarySupervisor(faulty({"g": group, "hung": ["hang"]}), sink=sink) as supervisor:
        for _ in range(5):
            answer = await supervisor.call("on_the_clock", None, timeout_seconds=30)
            assert 25 < answer["remaining"] <= 30
            assert max(answer["looks"]) - min(answer["looks"]) > 86000, "its clock jumps"
        begun = time.monotonic()
        with pytest.raises(BoundaryTimeoutError) as caught:
            await supervisor.call("hang", {}, timeout_seconds=0.3)
        assert 0.3 <= time.monotonic() - begun < 5
        assert [0 <= command.queued_seconds < 5 for command in caught.value.report.commands] == [True]
        end = (await sink.wait_for("worker_failed", group="hung")).exit
        assert end is not None and 0 <= end.uptime_seconds < 60
        assert supervisor.snapshot().groups[0].workers[0].restarts == 0
