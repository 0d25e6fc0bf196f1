"""The process engine over worker processes that are none, in virtual time: what no real process does at a moment that a test can choose."""

from __future__ import annotations

import asyncio

import pytest

from engine_on_fakes import EngineOnFakes, fake_config, supervisor_on
from stream_kernel import BoundaryDispatchInput, BoundaryTimeoutError, BoundaryTransportError, RoutingResult, WorkerBootstrapError
from stream_kernel.engine.base import Answer, AtWork, Loss
from stream_kernel.testing import FakeChild, FakeLaunch, RecordingSink
from stream_kernel.testing.fake_process import ChildTraits
from virtual_clock import START, on_virtual_clock


def now() -> float:
    return asyncio.get_running_loop().time()


async def answered(fakes: EngineOnFakes, correlation_id: str = "again") -> Answer:
    """What a command gets that its worker echoes at once."""
    ticket = fakes.submit(correlation_id)
    await fakes.settle()
    child = next(child for child in fakes.launch.alive if child.unanswered)
    child.answer()
    outcome = await ticket.future
    assert isinstance(outcome, Answer)
    return outcome


@on_virtual_clock
async def test_a_reply_reaches_its_caller() -> None:
    async with EngineOnFakes() as fakes:
        ticket = fakes.submit("c", {"v": 1}, "two")
        await fakes.latest.next_command()
        await asyncio.sleep(3)
        fakes.latest.answer()
        outcome = await ticket.future
        assert isinstance(outcome, Answer)
        assert [bytes(emission.packed.data) for emission in outcome.emissions] == [b'{"v":1}', b'"two"']
        assert (outcome.report.delivery, outcome.report.pid) == ("executed", fakes.latest.pid)
        assert outcome.report.executing_seconds == pytest.approx(3)


@on_virtual_clock
async def test_a_death_costs_the_command_at_work_and_the_next_worker_is_there_at_once() -> None:
    async with EngineOnFakes() as fakes:
        ticket = fakes.submit("c", "first", "second")
        first = fakes.latest
        await first.next_command()
        first.note_progress(index=1)
        first.stderr.append("last words")
        first.die(signal="SIGSEGV")
        outcome = await ticket.future
        assert isinstance(outcome, Loss)
        assert (outcome.category, outcome.reason, outcome.report.delivery) == ("transport", "killed by SIGSEGV", "maybe_executed")
        assert outcome.at_work == AtWork(1, "n")
        assert outcome.exit is not None
        assert (outcome.exit.signal, outcome.exit.node, outcome.exit.stderr_tail) == ("SIGSEGV", "n", ("last words",))
        assert (await answered(fakes)).report.generation == 2
        assert now() == START
        assert first.log[-3:] == ["kill", "reap", "close"]


@on_virtual_clock
@pytest.mark.parametrize("exit_comes_first", [False, True])
async def test_a_whole_reply_before_a_death_counts_and_a_torn_one_does_not(exit_comes_first: bool) -> None:
    async with EngineOnFakes(traits=ChildTraits(exit_comes_first=exit_comes_first)) as fakes:
        for correlation_id, first_bytes, expected in (("whole", None, Answer), ("torn", 40, Loss)):
            ticket = fakes.submit(correlation_id)
            child = fakes.latest
            await child.next_command()
            child.answer(first_bytes=first_bytes)
            child.die(signal="SIGKILL")
            assert isinstance(await ticket.future, expected), correlation_id
            await fakes.sink.wait_for("worker_ready", generation=len(fakes.launch.children) + 1)


@on_virtual_clock
async def test_replacements_wait_longer_and_longer_until_the_group_is_given_up() -> None:
    async with EngineOnFakes({"g": {"restart": {"intensity": 4, "period_seconds": 60, "backoff_seconds": [1, 2]}}}) as fakes:
        pauses = []
        for lives in range(1, 5):
            fakes.latest.die(exit_code=1)
            died = now()
            await fakes.launch.child(lives + 1)
            pauses.append(now() - died)
            await fakes.sink.wait_for("worker_ready", generation=lives + 1)
        assert pauses[0] == 0.0
        assert all(0 < pause <= bound for pause, bound in zip(pauses[1:], (1, 2, 2), strict=True))
        waiting = fakes.submit("waiting")
        await fakes.latest.next_command()
        fakes.latest.die(exit_code=1)
        assert isinstance(await waiting.future, Loss)
        assert fakes.group().state == "failed"
        refused = fakes.submit("refused")
        assert refused.future.done()
        await asyncio.sleep(3600)
        assert len(fakes.launch.children) == 5


@on_virtual_clock
async def test_a_command_that_hangs_costs_the_deadline_and_its_worker() -> None:
    async with EngineOnFakes() as fakes:
        hung = fakes.latest
        hung.stack = "Current thread (most recent call first):\n  File 'n.py', line 1 in n"
        ticket = fakes.submit("c", seconds=7)
        outcome = await ticket.future
        assert isinstance(outcome, Loss)
        assert (outcome.category, outcome.report.delivery) == ("timeout", "maybe_executed")
        assert 7 <= now() - START < 7.05
        assert [told for told in hung.log if told in ("stacks", "kill", "reap", "close")][:2] == ["stacks", "kill"]
        assert outcome.exit is not None and (outcome.exit.signal, outcome.exit.stack) == ("SIGRTMIN+10", hung.stack)
        await asyncio.sleep(0.05)
        assert (await answered(fakes)).report.generation == 2


@on_virtual_clock
async def test_an_unkillable_worker_does_not_keep_its_caller() -> None:
    async with EngineOnFakes(traits=ChildTraits(ignores=frozenset({"kill"}))) as fakes:
        outcome = await fakes.submit("c", seconds=7).future
        assert isinstance(outcome, Loss) and outcome.category == "timeout"
        assert now() - START < 7.05


@on_virtual_clock
async def test_an_unkillable_worker_is_left_behind_and_replaced() -> None:
    async with EngineOnFakes(traits=ChildTraits(ignores=frozenset({"kill"}))) as fakes:
        await fakes.submit("c", seconds=7).future
        second = await fakes.launch.child(2, timeout_seconds=10)
        ticket = fakes.submit("again")
        await fakes.settle()
        second.answer()
        outcome = await ticket.future
        assert isinstance(outcome, Answer) and outcome.report.generation == 2


@on_virtual_clock
async def test_an_unkillable_worker_does_not_keep_an_end() -> None:
    async with EngineOnFakes(traits=ChildTraits(ignores=frozenset({"kill"}))) as fakes:
        async with asyncio.timeout(10):
            await fakes.engine.kill(["g"])
        assert fakes.latest.log[-1] == "close"


@on_virtual_clock
async def test_a_deadline_that_passes_in_the_queue_touches_no_worker() -> None:
    async with EngineOnFakes() as fakes:
        first = fakes.submit("first", seconds=50)
        outcome = await fakes.submit("second", seconds=5).future
        assert isinstance(outcome, Loss)
        assert (outcome.category, outcome.report.delivery, now()) == ("timeout", "not_executed", START + 5)
        fakes.latest.answer()
        assert isinstance(await first.future, Answer)
        assert [each.correlation_id for each in fakes.latest.commands] == ["first"]


@pytest.mark.fault("FAULT-31")
@on_virtual_clock
async def test_the_time_in_front_of_a_full_queue_is_time_in_the_queue() -> None:
    async with supervisor_on(FakeLaunch(), fake_config({"g": {"max_queued": 1}}), RecordingSink()) as supervisor:

        def call(seconds: float) -> asyncio.Task[RoutingResult]:
            entry = BoundaryDispatchInput(1, "g", "n")
            return asyncio.create_task(supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[entry], timeout_seconds=seconds))

        before = [call(60), call(60)]  # one at work, one in the queue
        with pytest.raises(BoundaryTimeoutError) as failed:
            await call(5)
        report = failed.value.report
        assert (now() - START, report.reason) == (5.0, "the queue of the group was full until the deadline")
        assert [command.queued_seconds for command in report.commands] == [5.0]
        for each in before:
            each.cancel()


@on_virtual_clock
async def test_what_was_behind_the_head_of_a_dead_worker_is_run_once_by_the_next() -> None:
    async with EngineOnFakes({"g": {"depth": 3}}) as fakes:
        tickets = [fakes.submit(name) for name in "abc"]
        first = fakes.latest
        await first.told("execute_boundary c")
        first.note_progress()
        first.die(signal="SIGKILL")
        assert isinstance(await tickets[0].future, Loss)
        second = await fakes.launch.child(2)
        await second.told("execute_boundary c")
        assert [each.correlation_id for each in second.commands] == ["b", "c"]
        second.answer()
        second.answer()
        outcomes = [await ticket.future for ticket in tickets[1:]]
        assert all(isinstance(outcome, Answer) for outcome in outcomes)


@on_virtual_clock
@pytest.mark.parametrize("misbehave", [FakeChild.send_garbage, FakeChild.duplicate])
async def test_a_worker_that_breaks_the_protocol_is_killed_and_nothing_of_it_is_run_again(misbehave: object) -> None:
    assert callable(misbehave)
    async with EngineOnFakes({"g": {"depth": 2}}) as fakes:
        first = fakes.latest
        earlier, tickets = fakes.submit("earlier"), [fakes.submit("a")]
        await first.told("execute_boundary a")
        first.answer()
        await earlier.future
        tickets.append(fakes.submit("b"))
        await first.told("execute_boundary b")
        misbehave(first)
        for ticket in tickets:
            outcome = await ticket.future
            assert isinstance(outcome, Loss)
            assert (outcome.category, outcome.report.delivery) == ("transport", "maybe_executed")
            assert "protocol violation" in outcome.reason
        await fakes.sink.wait_for("worker_ready", generation=2)
        assert fakes.latest.commands == [] and first.status is not None and first.status.signal == "SIGKILL"


@on_virtual_clock
@pytest.mark.parametrize("closing", [FakeChild.close_stdout, FakeChild.hang_up])
async def test_a_worker_that_closes_a_pipe_and_lives_is_replaced(closing: object) -> None:
    assert callable(closing)
    async with EngineOnFakes() as fakes:
        ticket = fakes.submit("c")
        await fakes.latest.next_command()
        closing(fakes.latest)
        outcome = await ticket.future
        assert isinstance(outcome, Loss) and outcome.report.delivery == "maybe_executed"
        assert now() - START < 0.05
        assert (await answered(fakes)).report.generation == 2


@on_virtual_clock
async def test_a_grandchild_that_holds_the_pipes_hides_no_death() -> None:
    async with EngineOnFakes() as fakes:
        ticket = fakes.submit("c")
        await fakes.latest.next_command()
        fakes.latest.die(exit_code=9, pipes_stay_open=True)
        outcome = await ticket.future
        assert isinstance(outcome, Loss) and outcome.exit is not None
        assert (outcome.exit.exit_code, now()) == (9, START)


@on_virtual_clock
async def test_a_worker_that_says_nothing_is_given_its_start_timeout_twice() -> None:
    fakes = EngineOnFakes({"g": {"start_timeout_seconds": 4, "restart": {"backoff_seconds": [1, 1]}}}, ChildTraits(boots=False))
    with pytest.raises(WorkerBootstrapError, match="was not ready within 4 s"):
        async with fakes:
            pass
    assert [child.log[0] for child in fakes.launch.children] == ["bootstrap", "bootstrap"]
    assert 8 <= now() - START <= 9.1
    assert fakes.group().state == "failed"
    await fakes.engine.kill(fakes.group_names)


@pytest.mark.fault("FAULT-10")
@on_virtual_clock
async def test_a_start_whose_spawns_do_not_come_back_ends_and_so_does_the_close() -> None:
    launch = FakeLaunch()
    launch.may_spawn.clear()
    keys = {"start_timeout_seconds": 4, "reap_timeout_seconds": 3}
    config = fake_config({"g": {**keys, "workers": 2}, "h": keys})
    supervisor = supervisor_on(launch, config, RecordingSink())
    with pytest.raises(WorkerBootstrapError, match="'g': g#0 was not spawned within 4 s"):
        await supervisor.start_groups()
    assert now() - START <= 4 + 3  # g#1 is ended with its group, which has its own bound
    starting = asyncio.create_task(supervisor.start_groups())
    await asyncio.sleep(1)
    closing = now()
    await supervisor.close()
    assert now() - closing <= 5 + 3  # the stop timeout, of which each group has its share, and the bound of the last one
    await starting  # what was stopped meanwhile is not started any more
    assert (launch.children, {group.state for group in supervisor.engine.snapshot()}) == ([], {"stopped"})


@on_virtual_clock
async def test_a_replacement_whose_spawn_does_not_come_back_is_tried_again() -> None:
    async with EngineOnFakes({"g": {"start_timeout_seconds": 4}}) as fakes:
        fakes.launch.may_spawn.clear()
        fakes.latest.die(signal="SIGKILL")
        await asyncio.sleep(3)
        waiting = fakes.submit("waiting", seconds=60)
        await asyncio.sleep(2)
        fakes.launch.may_spawn.set()
        await fakes.sink.wait_for("worker_ready", generation=3)
        await fakes.latest.next_command()
        fakes.latest.answer()
        assert isinstance(await waiting.future, Answer)


@on_virtual_clock
async def test_a_spawn_that_fails_later_is_tried_again() -> None:
    async with EngineOnFakes() as fakes:
        fakes.launch.failures += [OSError(24, "Too many open files"), OSError(24, "Too many open files")]
        ticket = fakes.submit("c")
        await fakes.latest.next_command()
        fakes.latest.die(exit_code=1)
        await ticket.future
        await fakes.sink.wait_for("worker_ready", count=2)
        assert not fakes.launch.failures
        assert isinstance(await answered(fakes), Answer)


@on_virtual_clock
async def test_an_idle_worker_that_gives_no_sign_of_life_is_replaced_and_a_busy_one_is_not_asked() -> None:
    async with EngineOnFakes({"g": {"ping_interval_seconds": 10, "ping_timeout_seconds": 5}}) as fakes:
        first = fakes.latest
        ticket = fakes.submit("c", seconds=1000)
        await asyncio.sleep(500)
        assert "ping" not in first.log
        first.answer()
        await ticket.future
        await first.told("ping", count=2, timeout_seconds=60)
        first.traits.ignores = frozenset({"ping"})
        await fakes.sink.wait_for("worker_ready", generation=2, timeout_seconds=60)
        assert first.status is not None and first.status.signal == "SIGKILL"


@on_virtual_clock
async def test_a_late_reply_is_counted_and_reaches_nobody() -> None:
    async with EngineOnFakes() as fakes:
        gone = fakes.submit("gone")
        await fakes.latest.next_command()
        gone.cancel()
        await fakes.latest.told("cancel gone")
        waiting = fakes.submit("waiting")
        fakes.latest.answer()
        assert (await fakes.latest.next_command()).correlation_id == "waiting"
        fakes.latest.answer([])
        outcome = await waiting.future
        assert isinstance(outcome, Answer) and outcome.emissions == []
        assert fakes.group().late_replies == 1


@on_virtual_clock
async def test_a_worker_that_does_not_read_gets_its_command_when_it_does() -> None:
    async with EngineOnFakes(traits=ChildTraits(stdin_bytes=4096)) as fakes:
        fakes.latest.stop_reading()
        ticket = fakes.submit("c", "x" * 100_000, seconds=50)
        await asyncio.sleep(10)
        assert not ticket.future.done() and fakes.latest.commands == []
        fakes.latest.read_on()
        await fakes.latest.next_command()
        fakes.latest.answer()
        assert isinstance(await ticket.future, Answer)


@on_virtual_clock
async def test_an_end_takes_each_of_its_steps_for_as_long_as_it_may() -> None:
    keys = {"stop_timeout_seconds": 5, "eof_timeout_seconds": 2, "terminate_timeout_seconds": 3}
    async with EngineOnFakes({"g": keys}, ChildTraits(ignores=frozenset({"stop", "end of stdin", "terminate"}))) as fakes:
        ending = asyncio.create_task(fakes.engine.end(["g"]))
        moments = []
        for told in ("stop", "end of stdin", "terminate", "kill"):
            await fakes.latest.told(told)
            moments.append(round(now() - START, 3))
        await ending
        assert moments == [0, 5, 7, 10]


@on_virtual_clock
async def test_a_supervisor_tells_its_caller_what_became_of_the_worker() -> None:
    launch, sink = FakeLaunch(), RecordingSink()
    async with supervisor_on(launch, fake_config(), sink) as supervisor:
        entry = BoundaryDispatchInput({"v": 1}, "g", "n", trace_id="t-1")
        calling = asyncio.create_task(supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[entry]))
        child = await launch.child()
        await child.next_command()
        child.die(signal="SIGKILL")
        with pytest.raises(BoundaryTransportError) as caught:
            await calling
        assert (caught.value.delivery, caught.value.report.signal, caught.value.trace_ids) == ("maybe_executed", "SIGKILL", ("t-1",))
        assert (await sink.wait_for("worker_ready", generation=2)).pid == launch.children[1].pid
