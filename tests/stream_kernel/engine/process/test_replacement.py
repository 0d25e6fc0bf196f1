"""Workers that are replaced while they serve: worn ones, and all of a group that is restarted. In virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fake_group import Stage, moments, outcome
from stream_kernel.errors import WorkerBootstrapError
from stream_kernel.testing.fake_process import Ignored
from virtual_clock import on_virtual_clock

MIB = 1 << 20
DEAF: frozenset[Ignored] = frozenset(("stop", "end of stdin", "terminate"))


def generations(stage: Stage) -> list[int]:
    return [worker.generation for worker in stage.group.snapshot().workers]


async def serve(stage: Stage, count: int) -> None:
    """So many commands, one after the other; each must be answered."""
    for _ in range(count):
        ticket = stage.submit()
        await ticket.future
        assert outcome(ticket) == "answered executed"
        await moments()


# -- wear


@pytest.mark.fault("FAULT-39")
@on_virtual_clock
async def test_a_worn_worker_serves_until_its_replacement_is_ready() -> None:
    stage = Stage(max_requests_per_worker=4, answers=True)
    await stage.start()
    stage.launch.may_spawn.clear()
    await serve(stage, 10)
    old = stage.children[0]
    assert (len(old.commands), old.is_alive, generations(stage)) == (10, True, [1])
    stage.launch.may_spawn.set()
    await moments()
    assert (len(stage.children), generations(stage), stage.states) == (2, [2], ["ready"])
    assert (old.is_alive, old.log[-4:]) == (False, ["stop", "kill", "reap", "close"])
    await serve(stage, 1)
    assert len(stage.children[1].commands) == 1
    assert stage.kinds[-4:] == ["worker_ready 2", "worker_restarted 2", "worker_stopping 1", "worker_stopped 1"]
    await stage.end()


@pytest.mark.fault("FAULT-39")
@on_virtual_clock
async def test_a_worn_worker_finishes_what_it_has_while_the_new_one_takes_over() -> None:
    stage = Stage(max_requests_per_worker=1, depth=2)
    await stage.start()
    tickets = [stage.submit() for _ in range(4)]
    old = stage.children[0]
    await old.next_command()
    old.answer()
    await moments()
    new = stage.children[1]
    assert [len(child.unanswered) for child in (old, new)] == [2, 1], "it was given one more before the other was ready"
    assert "stop" not in old.log
    old.answer()
    old.answer()
    new.answer()
    await asyncio.gather(*(ticket.future for ticket in tickets))
    await moments()
    assert {outcome(ticket) for ticket in tickets} == {"answered executed"}
    assert not old.is_alive
    await stage.end()


@pytest.mark.fault("FAULT-39")
@on_virtual_clock
async def test_recycling_under_load_fails_nothing_and_leaves_no_gap() -> None:
    stage = Stage(max_requests_per_worker=4, workers=3, answers=True)
    await stage.start()
    tickets = [stage.submit() for _ in range(300)]
    while not all(ticket.settled for ticket in tickets):
        assert stage.states == ["ready"] * 3
        await asyncio.sleep(0)
    await moments()
    assert {outcome(ticket) for ticket in tickets} == {"answered executed"}
    assert sum(len(child.commands) for child in stage.children) == 300
    assert len(stage.children) > 6 and len(stage.launch.alive) == 3
    await stage.end()


@on_virtual_clock
async def test_workers_of_a_group_are_recycled_one_at_a_time() -> None:
    stage = Stage(max_requests_per_worker=1, workers=3, answers=True)
    await stage.start()
    stage.launch.may_spawn.clear()
    await serve(stage, 12)
    stage.launch.may_spawn.set()
    await moments()
    assert (len(stage.children), sorted(generations(stage))) == (4, [1, 1, 2])
    await stage.end()


@on_virtual_clock
async def test_the_next_one_is_recycled_when_the_one_before_has_gone_so_that_there_is_one_process_more_and_not_many() -> None:
    stage = Stage(max_requests_per_worker=1, workers=2, depth=2)
    await stage.start()
    tickets = [stage.submit() for _ in range(4)]
    first, second = stage.children
    await second.told("execute_boundary c4")
    first.answer()
    await moments()
    assert (stage.states, first.log.count("stop")) == (["ready"] * 2, 0), "it has one more to answer, and its place is taken"
    second.answer()
    await moments()
    assert len(stage.children) == 3
    first.answer()
    second.answer()
    await moments()
    tickets.append(stage.submit())
    tickets.append(stage.submit())
    await moments()
    second.answer()
    await moments()
    assert len(stage.children) == 4 and not first.is_alive
    for child in stage.children[2:]:
        while child.unanswered:
            child.answer()
            await moments()
    assert {outcome(ticket) for ticket in tickets} == {"answered executed"}
    await stage.end()


@on_virtual_clock
async def test_a_worker_that_has_grown_too_much_is_replaced() -> None:
    stage = Stage(max_rss_mb=50, answers=True)
    await stage.start()
    (old,) = stage.children
    old.rss_bytes = 100 * MIB
    await serve(stage, 1)
    old.rss_bytes = 140 * MIB
    await asyncio.sleep(2)
    await serve(stage, 1)
    assert len(stage.children) == 1
    old.rss_bytes = 160 * MIB
    await asyncio.sleep(2)
    await serve(stage, 1)
    assert (len(stage.children), old.is_alive) == (2, False)
    await stage.end()


@on_virtual_clock
async def test_the_worker_of_a_stateful_group_is_never_replaced_and_that_is_said_once() -> None:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("stream_kernel.lifecycle")
    logger.addHandler(handler)
    try:
        stage = Stage(max_requests_per_worker=1, stateful=True, answers=True)
        await stage.start()
        await serve(stage, 20)
    finally:
        logger.removeHandler(handler)
    assert (len(stage.children), len(stage.children[0].commands)) == (1, 20)
    assert [text for text in records if "stateful" in text] == [
        "group 'g' has a stateful node: its worker is never replaced for its age or its memory"
    ]
    await stage.end()


@on_virtual_clock
async def test_a_replacement_that_does_not_come_up_leaves_the_old_one_and_is_tried_again_later() -> None:
    stage = Stage(max_requests_per_worker=1, answers=True)
    await stage.start()
    stage.launch.failures.append(OSError(24, "Too many open files"))
    await serve(stage, 5)
    assert (len(stage.children), stage.states, stage.group.state) == (1, ["ready"], "ready")
    await asyncio.sleep(29)
    await serve(stage, 1)
    assert len(stage.children) == 1
    await asyncio.sleep(2)
    await serve(stage, 1)
    assert (len(stage.children), stage.states) == (2, ["ready"])
    await stage.end()


@on_virtual_clock
async def test_no_two_processes_in_a_place_have_the_same_generation() -> None:
    stage = Stage(max_requests_per_worker=1, answers=True)
    await stage.start()
    for exit_code in (1, 2):
        stage.launch.traits.boots = False
        await serve(stage, 1)
        stage.children[-1].die(exit_code=exit_code)
        await asyncio.sleep(31)
    assert (generations(stage), stage.states) == ([1], ["ready"])
    stage.launch.traits.boots = True
    stage.children[0].die(signal="SIGKILL")
    await moments()
    await serve(stage, 1)
    await moments()
    assert [event.generation for event in stage.sink.find("worker_spawned")] == [1, 2, 3, 4, 5]
    assert generations(stage) == [5]
    await stage.end()


# -- what happens meanwhile


@on_virtual_clock
async def test_a_worker_that_dies_while_its_replacement_is_coming_gets_no_second_one() -> None:
    stage = Stage(max_requests_per_worker=1)
    await stage.start()
    (old,) = stage.children
    stage.launch.may_spawn.clear()
    stage.submit()
    await old.next_command()
    old.answer()
    at_work, waiting = stage.submit(), stage.submit()
    await moments()
    old.die(signal="SIGKILL")
    await asyncio.sleep(5)
    assert (outcome(at_work), outcome(waiting)) == ("transport maybe_executed", "open")
    stage.launch.may_spawn.set()
    await asyncio.sleep(5)
    assert (len(stage.children), stage.states) == (2, ["ready"])
    stage.children[1].answer()
    await waiting.future
    await stage.end()


@on_virtual_clock
async def test_a_worker_that_died_while_its_replacement_failed_is_started_again() -> None:
    stage = Stage(max_requests_per_worker=1)
    await stage.start()
    (old,) = stage.children
    stage.launch.may_spawn.clear()
    stage.launch.failures.append(OSError(24, "Too many open files"))
    stage.submit()
    await old.next_command()
    old.answer()
    await moments()
    old.die(signal="SIGKILL")
    await moments()
    assert stage.states == ["stopped"]
    stage.launch.may_spawn.set()
    await asyncio.sleep(1)
    assert (stage.states, stage.group.state) == (["ready"], "ready")
    await stage.end()


@on_virtual_clock
async def test_what_a_retiring_worker_had_not_begun_when_it_died_goes_again() -> None:
    stage = Stage(max_requests_per_worker=1, depth=3)
    await stage.start()
    (old,) = stage.children
    tickets = [stage.submit(payload) for payload in range(4)]
    await old.next_command()
    stage.launch.may_spawn.clear()
    old.answer()
    await moments()
    stage.launch.may_spawn.set()
    await moments()
    assert len(old.unanswered) == 3
    old.die(signal="SIGKILL")
    await moments()
    assert [outcome(ticket) for ticket in tickets] == ["answered executed", "transport maybe_executed", "open", "open"]
    assert [command.correlation_id for command in stage.children[1].unanswered] == ["c3", "c4"]
    assert (len(stage.children), stage.group.state) == (2, "ready")
    await stage.end()


@on_virtual_clock
async def test_late_replies_of_workers_that_have_retired_still_count() -> None:
    stage = Stage(max_requests_per_worker=1)
    await stage.start()
    (old,) = stage.children
    stage.submit().cancel()
    gone = stage.submit()
    await old.next_command()
    gone.cancel()
    old.answer()
    await moments()
    assert not old.is_alive
    assert stage.group.snapshot().late_replies == 1
    await stage.end()


@on_virtual_clock
async def test_a_group_that_is_stopped_while_a_replacement_is_coming_ends_both() -> None:
    stage = Stage(max_requests_per_worker=1, answers=True)
    await stage.start()
    stage.launch.may_spawn.clear()
    await serve(stage, 1)
    stage.group.stop()
    assert stage.group.running() == ["g#0", "g#0"]
    stage.launch.may_spawn.set()
    await stage.gone()
    assert (stage.group.state, stage.launch.alive, len(stage.children)) == ("stopped", [], 2)


# -- all of a group


@on_virtual_clock
async def test_a_group_is_restarted_one_worker_after_the_other_and_serves_meanwhile() -> None:
    stage = Stage(workers=3, answers=True)
    await stage.start()
    restarting = asyncio.create_task(stage.group.replace_all())
    most = 0
    while not restarting.done():
        assert stage.states == ["ready"] * 3
        most = max(most, len(stage.launch.alive))
        await asyncio.sleep(0)
    await restarting
    assert (generations(stage), most, len(stage.children)) == ([2, 2, 2], 4, 6)
    assert not any(child.is_alive for child in stage.children[:3])
    await serve(stage, 3)
    await stage.end()


@on_virtual_clock
async def test_a_restart_stops_at_the_first_replacement_that_does_not_come_up_and_keeps_the_rest() -> None:
    stage = Stage(workers=3, answers=True)
    await stage.start()
    restarting = asyncio.create_task(stage.group.replace_all())
    while len(stage.children) < 4:
        await asyncio.sleep(0)
    stage.launch.traits.boots = False
    while len(stage.children) < 5:
        await asyncio.sleep(0)
    await moments()
    stage.children[4].hello()
    stage.children[4].refuse("module 'm' cannot be imported")
    with pytest.raises(WorkerBootstrapError, match="group 'g': module 'm' cannot be imported"):
        await restarting
    assert (generations(stage), stage.states, stage.group.state) == ([2, 1, 1], ["ready"] * 3, "ready")
    assert len(stage.children) == 5
    await serve(stage, 6)
    await stage.end()


@on_virtual_clock
async def test_a_restart_replaces_workers_that_are_not_there_too() -> None:
    stage = Stage(workers=2, answers=True, restart={"strategy": "temporary"})
    await stage.start()
    stage.children[0].die(signal="SIGKILL")
    await moments()
    assert stage.states == ["failed", "ready"]
    await stage.group.replace_all()
    assert (stage.states, generations(stage)) == (["ready", "ready"], [2, 2])
    await stage.end()


@pytest.mark.parametrize(("strategy", "becomes"), [("temporary", "failed"), ("transient", "failed"), ("permanent", "ready")])
@on_virtual_clock
async def test_what_the_loss_of_a_worker_calls_for_is_done_when_its_replacement_does_not_come_up(strategy: str, becomes: str) -> None:
    stage = Stage(workers=2, answers=True, restart={"strategy": strategy})
    await stage.start()
    stage.launch.traits.boots = False
    restarting = asyncio.create_task(stage.group.replace_all())
    replacement = await stage.launch.child(3)
    stage.children[0].die(exit_code=0)
    await moments()
    assert stage.states == ["stopped", "ready"]
    stage.launch.traits.boots = True
    replacement.hello()
    replacement.refuse("module 'm' cannot be imported")
    with pytest.raises(WorkerBootstrapError, match="module 'm' cannot be imported"):
        await restarting
    await moments()
    assert (stage.states, stage.group.state) == ([becomes, "ready"], "ready")
    assert len(stage.launch.alive) == (2 if becomes == "ready" else 1)
    await serve(stage, 2)
    await stage.end()


@on_virtual_clock
async def test_a_restart_waits_for_the_work_of_the_old_workers_and_no_longer_than_its_deadline() -> None:
    stage = Stage()
    await stage.start()
    ticket = stage.submit(seconds=5)
    await stage.children[0].next_command()
    restarting = asyncio.create_task(stage.group.replace_all())
    await asyncio.sleep(4.5)
    assert (restarting.done(), stage.states, generations(stage)) == (False, ["ready"], [2])
    await restarting
    assert outcome(ticket) == "timeout maybe_executed"
    assert (len(stage.children), len(stage.launch.alive), stage.group.state) == (2, 1, "ready")
    await stage.end()


@on_virtual_clock
async def test_an_old_worker_that_does_not_obey_its_stop_is_ended_by_force() -> None:
    stage = Stage()
    stage.launch.traits.ignores = DEAF
    await stage.start()
    await stage.group.replace_all()
    assert [child.is_alive for child in stage.children] == [False, True]
    assert str(stage.children[0].status) == "killed by SIGKILL"
    await stage.end()


@on_virtual_clock
async def test_who_asks_twice_for_the_same_replacement_waits_for_the_same_one() -> None:
    stage = Stage(workers=1)
    await stage.start()
    both = [asyncio.create_task(stage.group.replace_all()) for _ in range(2)]
    await asyncio.gather(*both)
    assert (len(stage.children), generations(stage)) == (2, [2])
    await stage.end()


@on_virtual_clock
async def test_a_stateful_group_is_not_replaced_while_it_serves() -> None:
    stateful, stateless = Stage(stateful=True), Stage()
    for stage in (stateful, stateless):
        await stage.start()
    assert (stateful.group.is_replaceable, stateless.group.is_replaceable) == (False, True)
    for stage in (stateful, stateless):
        await stage.end()
        assert not stage.group.is_replaceable
