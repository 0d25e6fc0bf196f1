"""Starts, stops and restarts that overtake each other, and failures that concern more than one input: what a random walk has found."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from engine_on_fakes import fake_config, supervisor_on
from stream_kernel import BoundaryDispatchInput, BoundaryTransportError, TerminalEvent, UsageError, WorkerBootstrapError
from stream_kernel.engine.base import Command, Loss
from stream_kernel.engine.process.ledger import Ledger
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.protocol.messages import ExecuteBoundaryResult
from stream_kernel.routing.items import InputItem
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute
from stream_kernel.testing import FakeLaunch, RecordingSink
from stream_kernel.testing.fake_process import ChildTraits, Ignored
from virtual_clock import on_virtual_clock

DEAF: frozenset[Ignored] = frozenset({"stop", "end of stdin", "terminate"})


@on_virtual_clock
async def test_nothing_is_started_while_a_supervisor_is_being_closed() -> None:
    launch = FakeLaunch(ChildTraits(ignores=DEAF))
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    closing = asyncio.create_task(supervisor.close())
    await launch.children[0].told("stop")
    await supervisor.force_terminate_groups()
    with pytest.raises(UsageError, match="closed"):
        await supervisor.start_groups()
    await closing
    assert len(launch.children) == 1 and launch.alive == []


@on_virtual_clock
async def test_nothing_is_started_while_all_workers_are_being_terminated() -> None:
    launch = FakeLaunch(ChildTraits(ignores=frozenset({"kill"})))
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    await supervisor.start_groups()
    terminating = asyncio.create_task(supervisor.force_terminate_groups())
    await launch.children[0].told("kill")
    with pytest.raises(UsageError, match="still stopping"):
        await supervisor.start_groups()
    launch.children[0].die(signal="SIGKILL")
    await terminating
    assert supervisor.snapshot().state == "stopped"
    await supervisor.close()


@on_virtual_clock
async def test_a_stop_that_was_overtaken_by_force_leaves_what_was_started_afterwards_alone() -> None:
    launch = FakeLaunch()
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    calling = asyncio.create_task(supervisor.call("n", 1, timeout_seconds=60))
    await launch.children[0].next_command()
    stopping = asyncio.create_task(supervisor.stop_groups(graceful_timeout_seconds=30))
    await asyncio.sleep(1)
    # The call is still on its way out when the groups are started again.
    await supervisor.force_terminate_groups()
    await supervisor.start_groups()
    with pytest.raises(ConnectionError):
        await calling
    await stopping
    assert await supervisor.wait_ready()
    assert supervisor.snapshot().state == "running" and len(launch.alive) == 1
    await supervisor.close()
    assert launch.alive == []


@on_virtual_clock
async def test_a_start_that_waits_for_workers_to_go_ends_with_a_close() -> None:
    launch = FakeLaunch(ChildTraits(ignores=frozenset({"kill"})))
    supervisor = supervisor_on(launch, fake_config({"g": {"reap_timeout_seconds": 5}}), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    launch.failures.append(OSError(24, "Too many open files"))
    restarting = asyncio.create_task(supervisor.engine.kill(["g"]))
    await launch.children[0].told("kill")
    starting = asyncio.create_task(supervisor.start_groups())
    await asyncio.sleep(0)
    closing = asyncio.create_task(supervisor.close())
    with pytest.raises(WorkerBootstrapError, match="stopped while it was starting"):
        await starting
    await asyncio.gather(restarting, closing)
    assert len(launch.children) == 1


@on_virtual_clock
async def test_a_restart_that_is_overtaken_by_a_stop_starts_no_other_worker() -> None:
    launch, sink = FakeLaunch(), RecordingSink()
    supervisor = supervisor_on(launch, fake_config({"g": {"workers": 2}}), sink)
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    first = launch.of("g#0")[0]
    first.traits.ignores = DEAF
    restarting = asyncio.create_task(supervisor.restart_group("g"))
    await first.told("stop")
    stopping = asyncio.create_task(supervisor.stop_groups(graceful_timeout_seconds=20, drain_inflight=False))
    await launch.of("g#1")[0].told("stop")
    first.die(exit_code=0)
    with pytest.raises(WorkerBootstrapError, match="was stopped while it was restarting"):
        await restarting
    await stopping
    assert len(launch.children) == 3 and launch.alive == []
    await supervisor.close()


@pytest.mark.parametrize("is_stateful", [False, True])
@on_virtual_clock
async def test_a_restart_does_not_wait_for_a_deaf_worker_to_which_a_stop_gives_all_the_time_there_is(is_stateful: bool) -> None:
    launch = FakeLaunch(ChildTraits(routes=(NodeRoute("n", "g", stateful=is_stateful),), ignores=DEAF))
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    restarting = asyncio.create_task(supervisor.restart_group("g"))
    await launch.children[0].told("stop")
    with pytest.raises(TimeoutError, match="did not end within the grace: g#0"):
        await supervisor.stop_groups(graceful_timeout_seconds=1)
    with pytest.raises(WorkerBootstrapError, match="was stopped while it was restarting"):
        await asyncio.wait_for(restarting, 1)
    await supervisor.force_terminate_groups()
    assert launch.alive == []
    await supervisor.close()


@on_virtual_clock
async def test_a_close_during_a_stop_ends_the_workers_to_which_the_stop_gives_all_the_time_there_is() -> None:
    launch = FakeLaunch(ChildTraits(ignores=DEAF))
    supervisor = supervisor_on(launch, fake_config({"g": {}, "h": {}}), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    stopping = asyncio.create_task(supervisor.stop_groups(graceful_timeout_seconds=1))
    await launch.of("h#0")[0].told("stop")
    closing = asyncio.create_task(supervisor.close())
    with pytest.raises(TimeoutError, match="did not end within the grace"):
        await stopping
    await asyncio.wait_for(closing, 60)
    assert launch.alive == []


@on_virtual_clock
async def test_a_stop_during_a_close_gives_no_worker_more_time() -> None:
    launch = FakeLaunch(ChildTraits(ignores=DEAF))
    supervisor = supervisor_on(launch, fake_config({"g": {}, "h": {}}), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    closing = asyncio.create_task(supervisor.close())
    await launch.of("h#0")[0].told("stop")
    with pytest.raises(TimeoutError):
        await supervisor.stop_groups(graceful_timeout_seconds=0.5)
    await asyncio.wait_for(closing, 60)
    assert (supervisor.snapshot().state, launch.alive) == ("closed", [])


@on_virtual_clock
async def test_a_stop_that_is_overtaken_by_force_does_not_wait_for_what_is_started_then() -> None:
    launch = FakeLaunch()
    supervisor = supervisor_on(launch, fake_config({"g": {}, "h": {}}), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    (first,), (second,) = launch.of("g#0"), launch.of("h#0")
    first.traits.ignores, second.traits.ignores = DEAF | {"kill"}, DEAF
    stopping = asyncio.create_task(supervisor.stop_groups(graceful_timeout_seconds=100))
    await second.told("stop")

    async def force_and_start() -> None:
        await supervisor.force_terminate_groups()
        await supervisor.start_groups()

    forcing = asyncio.create_task(force_and_start())
    await first.told("kill")
    await asyncio.sleep(0.5)
    first.die(signal="SIGKILL")
    await forcing
    await asyncio.wait_for(stopping, 1)
    assert await supervisor.wait_ready()
    assert (supervisor.snapshot().state, len(launch.alive)) == ("running", 2)
    await supervisor.close()


@on_virtual_clock
async def test_of_two_stops_at_a_time_each_says_that_a_worker_is_left() -> None:
    launch = FakeLaunch(ChildTraits(ignores=DEAF))
    supervisor = supervisor_on(launch, fake_config({"g": {}, "h": {}}), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    stops = [asyncio.create_task(supervisor.stop_groups(graceful_timeout_seconds=seconds)) for seconds in (5, 10)]
    for stopping in stops:
        with pytest.raises(TimeoutError, match="did not end within the grace: g#0, h#0"):
            await stopping
    assert supervisor.snapshot().state == "draining"
    await supervisor.close()
    assert (supervisor.snapshot().state, launch.alive) == ("closed", [])


@pytest.mark.parametrize("passes", range(1, 9))
@on_virtual_clock
async def test_a_stop_that_a_close_has_overtaken_leaves_it_closed(passes: int) -> None:
    launch = FakeLaunch()
    supervisor = supervisor_on(launch, fake_config({"g": {}, "h": {}}), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    stopping = asyncio.create_task(supervisor.stop_groups())
    for _ in range(passes):
        await asyncio.sleep(0)
    await supervisor.close()
    await stopping
    assert (supervisor.snapshot().state, launch.alive) == ("closed", [])


@pytest.mark.parametrize("passes", [0, 1, 2, 3])
@on_virtual_clock
async def test_a_start_whose_workers_are_cancelled_at_once_ends(passes: int) -> None:
    launch = FakeLaunch()
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    starting = asyncio.create_task(supervisor.start_groups())
    while not (lives := [task for task in asyncio.all_tasks() if task.get_name() == "stream_kernel g#0"]):
        await asyncio.sleep(0)
    for _ in range(passes):
        await asyncio.sleep(0)
    lives[0].cancel()
    await asyncio.wait_for(asyncio.gather(starting, return_exceptions=True), 1)
    await asyncio.sleep(1)
    assert (supervisor.snapshot().groups[0].state, launch.alive) == ("failed", [])
    await supervisor.close()


@on_virtual_clock
async def test_a_group_whose_dead_worker_could_not_be_reaped_for_a_cancel_has_failed() -> None:
    launch = FakeLaunch(ChildTraits(ignores=frozenset({"kill"})))
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    calling = asyncio.create_task(supervisor.call("n", 1))
    (child,) = launch.children
    await child.next_command()
    child.close_stdout()
    await child.told("reap")
    (life,) = [task for task in asyncio.all_tasks() if task.get_name() == "stream_kernel g#0"]
    life.cancel()
    with pytest.raises(BoundaryTransportError) as failed:
        await calling
    assert (failed.value.delivery, supervisor.snapshot().groups[0].state) == ("maybe_executed", "failed")
    child.die(signal="SIGKILL")
    await asyncio.sleep(100)
    await supervisor.close()


@on_virtual_clock
async def test_nothing_is_started_in_the_place_of_a_replacement_that_was_cancelled() -> None:
    launch = FakeLaunch()
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    launch.traits.boots = False
    restarting = asyncio.create_task(supervisor.restart_group("g"))
    await launch.child(2)
    launch.children[0].die(signal="SIGKILL")
    await asyncio.sleep(0.1)
    for task in asyncio.all_tasks():
        if task.get_name() == "stream_kernel g#0":
            task.cancel()
    with pytest.raises(WorkerBootstrapError):
        await restarting
    await asyncio.sleep(100)
    assert (supervisor.snapshot().groups[0].state, len(launch.children), launch.alive) == ("failed", 2, [])
    await supervisor.close()


@on_virtual_clock
async def test_force_does_not_wait_for_what_is_started_in_the_very_pass_in_which_it_was_asked_for() -> None:
    launch = FakeLaunch()
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    await supervisor.force_terminate_groups()
    terminating = asyncio.create_task(supervisor.force_terminate_groups(["g"]))
    starting = asyncio.create_task(supervisor.start_groups())
    await asyncio.wait_for(asyncio.gather(terminating, starting), 60)
    assert await supervisor.wait_ready()
    await supervisor.close()


@on_virtual_clock
async def test_a_start_that_is_overtaken_by_a_close_starts_nothing_that_the_close_has_ended() -> None:
    launch = FakeLaunch()
    supervisor = supervisor_on(launch, fake_config({"g": {}, "h": {}}), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    (first,), (second,) = launch.of("g#0"), launch.of("h#0")
    first.traits.ignores, second.traits.ignores = frozenset({"kill"}), DEAF
    terminating = asyncio.create_task(supervisor.force_terminate_groups(["g"]))
    await first.told("kill")
    starting = asyncio.create_task(supervisor.start_groups())
    await asyncio.sleep(0)
    closing = asyncio.create_task(supervisor.close())
    await second.told("stop")
    first.die(signal="SIGKILL")
    with pytest.raises(WorkerBootstrapError, match="'h' was stopped while it was starting"):
        await starting
    await asyncio.wait_for(closing, 60)
    await terminating
    assert len(launch.children) == 2 and launch.alive == []


@on_virtual_clock
async def test_a_group_whose_workers_nobody_watches_any_more_has_failed_and_can_be_restarted() -> None:
    launch = FakeLaunch(ChildTraits(answers=True))
    async with supervisor_on(launch, fake_config({"g": {"workers": 2}}), RecordingSink()) as supervisor:
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        with pytest.raises(BoundaryTransportError) as failed:
            await supervisor.call("n", 1)
        await asyncio.sleep(1)
        assert (failed.value.delivery, launch.alive) == ("not_executed", [])
        assert supervisor.snapshot().groups[0].state == "failed"
        await supervisor.restart_group("g")
        assert await supervisor.call("n", 1) == 1


@on_virtual_clock
async def test_a_close_whose_work_was_cancelled_can_be_asked_for_again() -> None:
    launch = FakeLaunch()
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    first = asyncio.create_task(supervisor.close())
    await asyncio.sleep(0)
    for task in asyncio.all_tasks():
        if task.get_name() == "stream_kernel close":
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await supervisor.close()
    assert (supervisor.snapshot().state, launch.alive) == ("closed", [])


@on_virtual_clock
async def test_a_command_that_fails_as_a_whole_fails_each_input_of_a_call_that_collects() -> None:
    launch = FakeLaunch()
    async with supervisor_on(launch, fake_config(), RecordingSink()) as supervisor:
        inputs = [BoundaryDispatchInput(number, "g", "n", trace_id=f"t{number}") for number in range(3)]
        calling = asyncio.create_task(supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=inputs, on_error="collect"))
        await launch.children[0].next_command()
        launch.children[0].fail("the command could not be finished")
        outputs = (await calling).terminal_outputs
        assert [envelope.trace_id for envelope in outputs] == ["t0", "t1", "t2"]
        assert all(isinstance(envelope.payload, TerminalEvent) and envelope.payload.status == "error" for envelope in outputs)


@on_virtual_clock
async def test_an_input_that_may_have_run_is_not_said_not_to_have_run_when_its_second_worker_refuses_it() -> None:
    launch = FakeLaunch(ChildTraits(routes=(NodeRoute("n", "g", idempotent=True),)))
    async with supervisor_on(launch, fake_config({"g": {"retries": 1}}), RecordingSink()) as supervisor:
        inputs = [BoundaryDispatchInput(1, "g", "n")]
        calling = asyncio.create_task(supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=inputs, on_error="collect"))
        await launch.children[0].next_command()
        launch.children[0].note_progress()
        launch.children[0].die(signal="SIGKILL")
        second = await launch.child(2)
        await second.next_command()
        second.fail("it does not fit", executed=False)
        [envelope] = (await calling).terminal_outputs
        assert isinstance(envelope.payload, TerminalEvent) and envelope.payload.failure is not None
        assert envelope.payload.failure.delivery == "maybe_executed"


@on_virtual_clock
async def test_an_end_by_force_does_not_wait_for_workers_that_are_started_meanwhile() -> None:
    launch = FakeLaunch(ChildTraits(ignores=frozenset({"kill"})))
    supervisor = supervisor_on(launch, fake_config({"g": {"workers": 2}, "h": {}}), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    terminating = asyncio.create_task(supervisor.force_terminate_groups(["g"]))
    starting = asyncio.create_task(supervisor.start_groups())
    async with asyncio.timeout(10):
        await asyncio.gather(terminating, starting)
    assert len(launch.of("g#0")) == len(launch.of("g#1")) == 2
    for child in launch.alive:
        child.die(signal="SIGKILL")
    await supervisor.close()


@on_virtual_clock
async def test_a_caller_behind_the_head_does_not_wait_for_the_moment_in_which_its_command_is_skipped() -> None:
    loop, ledger = asyncio.get_running_loop(), Ledger()
    tickets = []
    for name, seconds in (("head", 60.0), ("behind", 5.0)):
        item = InputItem(Packed(Raw(b"1"), None, 1), "n")
        tickets.append(Ticket(Command(name, "g", "r", "s", "collect", loop.time() + seconds, [item]), loop))
        ledger.enter(tickets[-1])
    await asyncio.sleep(5)  # its timer, which nobody has set here, would be due in this very pass
    ledger.receive(ExecuteBoundaryResult(correlation_id="head"))
    outcome = tickets[1].future.result()
    assert isinstance(outcome, Loss) and outcome.category == "timeout"
    assert ledger.head is tickets[1]
    tickets[1].disarm()


@on_virtual_clock
async def test_a_restart_that_was_asked_for_just_before_an_end_starts_nothing() -> None:
    launch = FakeLaunch()
    supervisor = supervisor_on(launch, fake_config(), RecordingSink())
    await supervisor.start_groups()
    assert await supervisor.wait_ready()
    restarting = asyncio.create_task(supervisor.restart_group("g"))
    terminating = asyncio.create_task(supervisor.force_terminate_groups())
    await terminating
    with pytest.raises(WorkerBootstrapError, match="was stopped before it could be restarted"):
        await restarting
    assert len(launch.children) == 1 and supervisor.snapshot().groups[0].state == "stopped"
    await supervisor.close()
