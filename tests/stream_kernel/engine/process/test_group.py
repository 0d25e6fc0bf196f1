"""A group: who gets a command, what waits, and what happens when a worker is lost. Its workers are none, and its clock is virtual."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fake_group import Stage, moments, now, outcome
from stream_kernel.engine.base import Answer, Loss
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.errors import WorkerBootstrapError
from stream_kernel.testing.fake_process import Ignored
from virtual_clock import START, on_virtual_clock

DEAF: frozenset[Ignored] = frozenset(("stop", "end of stdin", "terminate"))


def loss(ticket: Ticket) -> Loss:
    settled = ticket.future.result()
    assert isinstance(settled, Loss)
    return settled


# -- the queue and the workers


@on_virtual_clock
async def test_before_the_routes_are_known_commands_wait() -> None:
    stage = Stage(answers=True)
    stage.group.start()
    await moments()
    ticket = stage.submit()
    assert (stage.group.state, stage.group.snapshot().queued) == ("ready", 1)
    stage.group.start_work(stage.group.nodes)
    assert isinstance(await ticket.future, Answer)
    assert stage.group.snapshot().queued == 0
    await stage.end()


@on_virtual_clock
async def test_free_workers_take_turns() -> None:
    stage = Stage(answers=True, workers=3)
    await stage.start()
    pids = [(await stage.submit().future).report.pid for _ in range(6)]
    assert pids == [child.pid for child in stage.children] * 2
    await stage.end()


@pytest.mark.fault("FAULT-32")
@on_virtual_clock
async def test_a_slow_worker_holds_up_nobody() -> None:
    stage = Stage(workers=3)
    await stage.start()
    slow, *others = stage.children
    held = stage.submit()
    await slow.next_command()
    for child in others:
        child.traits.answers = True
    assert [outcome(ticket) for ticket in [stage.submit() for _ in range(20)] if await ticket.future] == ["answered executed"] * 20
    assert outcome(held) == "open"
    await stage.end()


@on_virtual_clock
async def test_the_worker_that_has_the_fewest_commands_gets_the_next() -> None:
    stage = Stage(workers=2, depth=3)
    await stage.start()
    one, two = stage.children
    for _ in range(4):
        stage.submit()
    await moments()
    two.answer()
    two.answer()
    await moments()
    stage.submit()
    await moments()
    assert [len(child.unanswered) for child in (one, two)] == [2, 1]
    await stage.end()


@on_virtual_clock
async def test_no_worker_has_more_commands_than_its_depth() -> None:
    stage = Stage(workers=2, depth=2)
    await stage.start()
    for _ in range(7):
        stage.submit()
    await moments()
    assert [len(child.unanswered) for child in stage.children] == [2, 2]
    assert stage.group.snapshot().queued == 3
    await stage.end()


@on_virtual_clock
async def test_a_command_that_cannot_reach_a_dead_worker_goes_to_the_next_one() -> None:
    stage = Stage(answers=True)
    await stage.start()
    (dead,) = stage.children
    dead.die(signal="SIGKILL")  # the loop has not seen it yet: what is sent now meets a pipe without reader
    settled = await stage.submit().future
    assert isinstance(settled, Answer)
    assert (settled.report.generation, dead.commands) == (2, [])
    await stage.end()


# -- bounds of the queue


def crowded(**keys: Any) -> Stage:
    """One worker, and room for two commands that wait."""
    return Stage(max_queued=2, **keys)


async def enters(stage: Stage) -> Ticket:
    """A call with one command, from the door on."""
    command = stage.command()
    if not stage.group.reserve(1, command.size):
        await stage.group.wait_for_room(1, command.size)
    command.is_admitted = True
    return stage.group.submit(command)


@pytest.mark.fault("FAULT-31")
@on_virtual_clock
async def test_calls_that_find_no_room_wait_for_it_in_their_order() -> None:
    stage = crowded()
    await stage.start()
    calls = []
    for _ in range(6):
        calls.append(asyncio.create_task(enters(stage)))
        await moments()
    snapshot = stage.group.snapshot()
    assert (snapshot.workers[0].in_flight, snapshot.queued, snapshot.waiting) == (1, 2, 3)
    for count in range(4, 7):
        stage.children[0].answer()
        await moments()
        assert [call.done() for call in calls] == [True] * count + [False] * (6 - count)
    for call in calls:
        assert (await call).command.correlation_id == f"c{calls.index(call) + 1}"
    await stage.end()


@on_virtual_clock
async def test_a_later_hop_is_never_held_up() -> None:
    stage = crowded()
    await stage.start()
    for _ in range(10):
        stage.submit()
    assert stage.group.snapshot().queued == 9
    assert not stage.group.reserve(1, 1)
    await stage.end()


@on_virtual_clock
async def test_commands_that_leave_the_queue_unserved_give_their_room_back() -> None:
    stage = crowded()
    await stage.start()
    at_work = await enters(stage)
    await stage.children[0].next_command()
    cancelled, expiring = await enters(stage), stage.command(seconds=1)
    assert stage.group.reserve(1, 1) and not stage.group.reserve(1, 1)
    expiring.is_admitted = True
    late = stage.group.submit(expiring)
    cancelled.cancel()
    await asyncio.sleep(2)
    assert (outcome(late), outcome(at_work)) == ("timeout not_executed", "open")
    assert stage.group.snapshot().queued == 0
    assert stage.group.reserve(2, 2), "the queue is empty again"
    await stage.end()


@on_virtual_clock
async def test_a_group_that_fails_lets_in_who_waits_for_room_to_hear_why() -> None:
    stage = crowded(stateful=True)
    await stage.start()
    calls = [asyncio.create_task(enters(stage)) for _ in range(5)]
    await moments()
    stage.children[0].die(signal="SIGKILL")
    await moments()
    assert {call.done() for call in calls} == {True}
    reasons = {loss(await call).reason.partition(":")[0] for call in calls[1:]}
    assert reasons == {"the group has failed"}
    assert stage.group.snapshot().waiting == 0
    await stage.end()


@on_virtual_clock
async def test_a_command_that_cannot_be_taken_gives_its_room_back() -> None:
    stage = crowded()
    await stage.start()
    stage.submit()
    assert stage.group.reserve(2, 2)
    for _ in range(2):
        assert outcome(stage.submit(seconds=0, is_admitted=True)) == "timeout not_executed"
    assert stage.group.reserve(2, 2) and not stage.group.reserve(1, 1)
    await stage.end()


@on_virtual_clock
async def test_who_waits_for_room_that_another_call_has_reserved_hears_at_once_that_the_group_is_stopped() -> None:
    stage = crowded()
    await stage.start()
    assert stage.group.reserve(2, 2)
    call = asyncio.create_task(enters(stage))
    await moments()
    assert not call.done()
    stage.group.stop()
    await moments()
    assert call.done() and outcome(call.result()) == "transport not_executed"
    await stage.end()


@on_virtual_clock
async def test_a_group_that_takes_no_commands_holds_nobody_up_at_the_door() -> None:
    stage = crowded()
    await stage.start()
    stage.group.stop()
    assert stage.group.reserve(50, 50)
    assert outcome(stage.submit(is_admitted=True)) == "transport not_executed"
    await stage.end()


# -- deadlines


@pytest.mark.fault("FAULT-15")
@on_virtual_clock
async def test_a_deadline_that_passes_in_the_queue_is_a_timeout_of_what_never_ran() -> None:
    stage = Stage()
    await stage.start()
    stage.submit()
    waiting, none_left = stage.submit(seconds=2), stage.submit(seconds=0)
    assert outcome(none_left) == "timeout not_executed"
    await asyncio.sleep(3)
    assert (outcome(waiting), waiting.future.result().report.queued_seconds) == ("timeout not_executed", 2.0)
    assert len(stage.children[0].commands) == 1
    await stage.end()


@pytest.mark.fault("FAULT-12")
@on_virtual_clock
async def test_a_deadline_at_the_head_ends_the_worker_with_its_stacks_and_it_is_replaced() -> None:
    stage = Stage()
    await stage.start()
    (child,) = stage.children
    child.stack = "Current thread:\n  File n.py"
    ticket = stage.submit(seconds=5)
    await child.next_command()
    child.note_progress(index=0)
    await ticket.future
    assert 5 <= now() - START <= 5.05
    settled = loss(ticket)
    assert (outcome(ticket), settled.category, settled.reason) == ("timeout maybe_executed", "timeout", "a command passed its deadline")
    assert settled.at_work is not None and settled.exit is not None
    assert (settled.exit.signal, settled.exit.stack) == ("SIGRTMIN+10", "Current thread:\n  File n.py")
    assert child.log[-6:] == ["freeze", "stacks", "kill", "kill", "reap", "close"]
    await asyncio.sleep(0.05)
    assert (stage.states, stage.group.snapshot().workers[0].generation) == (["ready"], 2)
    await stage.end()


@on_virtual_clock
async def test_a_caller_whose_deadline_has_passed_hears_of_that_and_not_of_a_stop_in_the_same_moment() -> None:
    stage = Stage()
    await stage.start()
    ticket = stage.submit(seconds=5)
    await asyncio.sleep(5.001)
    stage.group.abandon("the supervisor is being stopped")
    await ticket.future
    report = loss(ticket).exit
    assert (outcome(ticket), loss(ticket).reason) == ("timeout maybe_executed", "a command passed its deadline")
    assert report is not None and report.signal == "SIGRTMIN+10", "it was dead before"
    await stage.end()


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize("moment", [5.001, 5.003 - 1e-10], ids=["stopped", "looked-at"])
@on_virtual_clock
async def test_a_worker_that_breaks_the_protocol_after_a_deadline_has_broken_the_protocol(moment: float) -> None:
    stage = Stage()
    await stage.start()
    ticket = stage.submit(seconds=5)
    child = stage.children[0]
    await child.next_command()
    asyncio.get_running_loop().call_at(START + moment, child.send_garbage)
    await ticket.future
    report = loss(ticket).exit
    assert outcome(ticket) == "timeout maybe_executed"
    assert report is not None and report.reason.startswith("protocol violation")
    await stage.end()


@on_virtual_clock
async def test_a_caller_does_not_wait_for_a_worker_that_cannot_be_killed() -> None:
    stage = Stage()
    await stage.start()
    stage.children[0].traits.ignores = DEAF | {"kill"}
    ticket = stage.submit(seconds=5)
    await ticket.future
    assert 5 <= now() - START <= 5.05
    report = loss(ticket).exit
    assert outcome(ticket) == "timeout maybe_executed"
    assert report is not None and (report.worker_id, report.requests, report.signal) == ("g#0", 0, None)
    stage.children[0].die(signal="SIGKILL")
    await stage.end()


@pytest.mark.fault("FAULT-14")
@on_virtual_clock
async def test_a_reply_that_is_there_when_the_deadline_passes_wins() -> None:
    stage = Stage()
    await stage.start()
    ticket = stage.submit(seconds=5)
    child = stage.children[0]
    await child.next_command()
    asyncio.get_running_loop().call_at(START + 5 - 1e-10, child.answer)  # in the same pass of the loop, just before
    await asyncio.sleep(5.5)
    assert outcome(ticket) == "answered executed"
    assert stage.children == [child] and child.is_alive
    await stage.end()


@pytest.mark.fault("FAULT-13")
@on_virtual_clock
async def test_a_reply_after_the_deadline_is_late_and_its_worker_is_killed_all_the_same() -> None:
    stage = Stage()
    await stage.start()
    ticket = stage.submit(seconds=5)
    child = stage.children[0]
    await child.next_command()
    asyncio.get_running_loop().call_at(START + 5.001, child.answer)
    await asyncio.sleep(6)
    assert outcome(ticket) == "timeout maybe_executed"
    assert stage.group.snapshot().late_replies == 1
    assert not child.is_alive and stage.states == ["ready"]
    await stage.end()


@pytest.mark.fault("FAULT-13")
@on_virtual_clock
async def test_a_reply_after_the_deadline_spares_the_worker_that_is_at_work_for_somebody_else() -> None:
    stage = Stage(depth=2)
    await stage.start()
    late, other = stage.submit(seconds=5), stage.submit(seconds=60)
    child = stage.children[0]
    await child.next_command()
    asyncio.get_running_loop().call_at(START + 5.001, child.answer)
    await asyncio.sleep(10)
    assert (outcome(late), outcome(other), child.is_alive) == ("timeout maybe_executed", "open", True)
    child.answer()
    await other.future
    assert (outcome(other), stage.group.snapshot().late_replies) == ("answered executed", 1)
    await stage.end()


@on_virtual_clock
async def test_a_deadline_behind_the_head_harms_nobody() -> None:
    stage = Stage(depth=2)
    await stage.start()
    head, behind = stage.submit(seconds=60), stage.submit(seconds=5)
    child = stage.children[0]
    await asyncio.sleep(10)
    assert (outcome(head), outcome(behind), child.cancels) == ("open", "timeout maybe_executed", ["c2"])
    child.answer()
    await moments()
    child.answer([])  # it skips what was cancelled
    await asyncio.sleep(10)
    assert (outcome(head), child.is_alive, stage.group.snapshot().late_replies) == ("answered executed", True, 1)
    await stage.end()


@on_virtual_clock
async def test_one_that_was_to_be_skipped_and_is_not_has_its_worker_killed() -> None:
    stage = Stage(depth=2)
    await stage.start()
    stage.submit(seconds=60)
    stage.submit(seconds=5)
    child = stage.children[0]
    await asyncio.sleep(10)
    child.answer()
    await asyncio.sleep(0.2)
    assert child.is_alive
    await asyncio.sleep(0.2)
    assert not child.is_alive and stage.states == ["ready"]
    await stage.end()


@on_virtual_clock
async def test_after_a_late_reply_the_next_one_has_its_moment_to_be_skipped() -> None:
    stage = Stage(depth=3)
    await stage.start()
    for _ in range(2):
        stage.submit(seconds=5)
    third = stage.submit(seconds=60)
    child = stage.children[0]
    await child.next_command()
    asyncio.get_running_loop().call_at(START + 5.001, child.answer)
    asyncio.get_running_loop().call_at(START + 5.15, child.answer, [])
    await asyncio.sleep(6)
    assert child.is_alive
    child.answer()
    await moments()
    assert outcome(third) == "answered executed"
    await stage.end()


@on_virtual_clock
async def test_a_deadline_that_passes_while_a_late_reply_is_being_judged_is_not_forgotten() -> None:
    stage = Stage(depth=2)
    await stage.start()
    first, second = stage.submit(seconds=5), stage.submit(seconds=5.002)
    child = stage.children[0]
    await child.next_command()
    asyncio.get_running_loop().call_at(START + 5.001, child.answer)
    await asyncio.sleep(5.1)
    assert [outcome(ticket) for ticket in (first, second)] == ["timeout maybe_executed"] * 2
    assert not child.is_alive
    await stage.end()


@on_virtual_clock
async def test_the_next_one_has_its_own_deadline() -> None:
    stage = Stage(depth=2)
    await stage.start()
    first, second = stage.submit(seconds=5), stage.submit(seconds=9)
    child = stage.children[0]
    await child.next_command()
    asyncio.get_running_loop().call_at(START + 5.001, child.answer)
    await second.future
    assert 9 <= now() - START <= 9.05
    assert [outcome(ticket) for ticket in (first, second)] == ["timeout maybe_executed"] * 2
    assert not child.is_alive
    await stage.end()


@on_virtual_clock
async def test_a_worker_past_a_deadline_is_given_nothing_more() -> None:
    stage = Stage(depth=2)
    await stage.start()
    stage.submit(seconds=5)
    child = stage.children[0]
    await asyncio.sleep(5.001)
    assert child.is_alive
    following = stage.submit()
    await moments()
    assert (outcome(following), len(child.commands)) == ("open", 1)
    await asyncio.sleep(1)
    assert [command.correlation_id for command in stage.children[1].unanswered] == ["c2"]
    await stage.end()


@pytest.mark.fault("FAULT-14")
@on_virtual_clock
async def test_one_behind_a_reply_that_came_in_the_moment_of_the_kill_goes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(depth=2)
    await stage.start()
    late, behind = stage.submit(seconds=5), stage.submit(seconds=60)
    child = stage.children[0]
    await child.next_command()
    kill = child.kill_tree

    def answer_and_die() -> None:
        if child.unanswered and child.is_alive and child.unanswered[0].correlation_id == "c1":
            child.answer()
            child.note_progress(command=1)  # it had not begun the next one
        kill()

    monkeypatch.setattr(child, "kill_tree", answer_and_die)
    await asyncio.sleep(6)
    assert (outcome(late), outcome(behind), child.is_alive) == ("timeout maybe_executed", "open", False)
    stage.children[1].answer()
    await behind.future
    assert outcome(behind) == "answered executed"
    await stage.end()


@on_virtual_clock
async def test_a_limit_counts_from_when_a_worker_is_at_work_on_the_command() -> None:
    stage = Stage()
    await stage.start()
    first, second = stage.submit(limit_seconds=5), stage.submit(limit_seconds=5)
    await asyncio.sleep(4)
    stage.children[0].answer()
    await second.future
    assert 9 <= now() - START <= 9.05
    assert (outcome(first), outcome(second)) == ("answered executed", "timeout maybe_executed")
    await stage.end()


# -- cancelling


@pytest.mark.fault("FAULT-16")
@on_virtual_clock
async def test_a_caller_that_goes_in_the_moment_a_worker_is_free_is_not_served() -> None:
    stage = Stage()
    stage.group.start()
    await moments()
    gone, following = stage.submit(), stage.submit()
    gone.cancel()
    stage.group.start_work(stage.group.nodes)
    await moments()
    assert [command.correlation_id for command in stage.children[0].commands] == [following.command.correlation_id]
    await stage.end()


@pytest.mark.fault("FAULT-16")
@on_virtual_clock
async def test_a_caller_that_goes_from_the_queue_leaves_nothing() -> None:
    stage = Stage()
    await stage.start()
    stage.submit()
    waiting, following = stage.submit(), stage.submit()
    waiting.cancel()
    await moments()
    assert stage.group.snapshot().queued == 1
    stage.children[0].answer()
    await moments()
    assert stage.children[0].unanswered[0].correlation_id == following.command.correlation_id
    await stage.end()


@pytest.mark.fault("FAULT-16")
@on_virtual_clock
async def test_a_caller_that_goes_from_a_worker_has_it_told_and_its_reply_is_late() -> None:
    stage = Stage(depth=2)
    await stage.start()
    tickets = [stage.submit(), stage.submit()]
    child = stage.children[0]
    await child.next_command()
    for ticket in tickets:
        ticket.cancel()
    await moments()
    assert child.cancels == ["c1", "c2"]
    child.answer()
    child.answer([])
    await moments()
    assert (stage.group.snapshot().late_replies, child.is_alive) == (2, True)
    await stage.end()


@pytest.mark.fault("FAULT-16")
@on_virtual_clock
async def test_what_a_caller_left_behind_is_still_bounded_by_its_deadline() -> None:
    stage = Stage()
    await stage.start()
    ticket = stage.submit(seconds=5)
    child = stage.children[0]
    await child.next_command()
    ticket.cancel()
    await asyncio.sleep(4.9)
    assert child.is_alive
    await asyncio.sleep(0.2)
    assert not child.is_alive and stage.states == ["ready"]
    await stage.end()


# -- a worker is lost


@pytest.mark.fault("FAULT-07")
@on_virtual_clock
async def test_those_behind_the_head_of_a_dead_worker_go_first_to_the_next_one_in_their_order() -> None:
    stage = Stage(depth=3)
    await stage.start()
    tickets = [stage.submit(payload) for payload in range(5)]
    await stage.children[0].next_command()
    stage.children[0].die(signal="SIGKILL")
    await moments()
    assert [outcome(ticket) for ticket in tickets] == ["transport maybe_executed"] + ["open"] * 4
    replacement = stage.children[1]
    assert [command.correlation_id for command in replacement.unanswered] == ["c2", "c3", "c4"]
    replacement.traits.answers = True
    for _ in range(3):
        replacement.answer()
    await asyncio.gather(*(ticket.future for ticket in tickets[1:]))
    assert [outcome(ticket) for ticket in tickets[1:]] == ["answered executed"] * 4
    assert [len(child.commands) for child in stage.children] == [3, 4]
    await stage.end()


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize("violation", ["garbage", "duplicate"])
@on_virtual_clock
async def test_nothing_goes_again_after_a_violation_of_the_protocol(violation: str) -> None:
    stage = Stage(depth=3)
    await stage.start()
    tickets = [stage.submit(payload) for payload in range(4)]
    child = stage.children[0]
    await child.next_command()
    if violation == "garbage":
        child.send_garbage()
    else:
        child.answer()
        child.duplicate()
    await moments()
    first = "transport maybe_executed" if violation == "garbage" else "answered executed"
    assert [outcome(ticket) for ticket in tickets[:3]] == [first] + ["transport maybe_executed"] * 2
    assert [command.correlation_id for command in stage.children[1].commands] == ["c4"]
    await stage.end()


@pytest.mark.fault("FAULT-07")
@on_virtual_clock
async def test_one_behind_the_head_that_nobody_waits_for_any_more_does_not_go_again() -> None:
    stage = Stage(depth=4)
    await stage.start()
    _, cancelled, expired, wanted = (stage.submit(payload, seconds=5 if payload == 2 else 60) for payload in range(4))
    child = stage.children[0]
    await child.next_command()
    cancelled.cancel()
    await asyncio.sleep(6)
    child.die(signal="SIGKILL")
    await moments()
    assert outcome(expired) == "timeout maybe_executed"
    assert [command.correlation_id for command in stage.children[1].commands] == [wanted.command.correlation_id]
    await stage.end()


@on_virtual_clock
async def test_what_goes_again_is_cancelled_and_expires_like_anything_that_waits() -> None:
    stage = Stage(depth=3)
    await stage.start()
    _, cancelled, expiring = (stage.submit(payload, seconds=10) for payload in range(3))
    await stage.children[0].next_command()
    stage.launch.may_spawn.clear()
    stage.children[0].die(signal="SIGKILL")
    await moments()
    assert stage.group.snapshot().queued == 2
    cancelled.cancel()
    await asyncio.sleep(11)
    assert outcome(expiring) == "timeout not_executed"
    assert stage.group.snapshot().queued == 0
    stage.launch.may_spawn.set()
    await moments()
    assert stage.children[1].commands == []
    await stage.end()


@on_virtual_clock
async def test_those_behind_a_head_whose_deadline_has_passed_go_again() -> None:
    stage = Stage(depth=2)
    await stage.start()
    late, behind = stage.submit(seconds=5), stage.submit(seconds=60)
    await asyncio.sleep(6)
    assert (outcome(late), outcome(behind)) == ("timeout maybe_executed", "open")
    stage.children[1].answer()
    await behind.future
    assert outcome(behind) == "answered executed"
    await stage.end()


@pytest.mark.fault("FAULT-08")
@on_virtual_clock
async def test_two_workers_that_die_in_the_same_moment_have_two_replacements() -> None:
    stage = Stage(workers=2)
    await stage.start()
    tickets = [stage.submit(), stage.submit()]
    await moments()
    for child in stage.children[:2]:
        child.die(signal="SIGKILL")
    await asyncio.sleep(5)
    assert [outcome(ticket) for ticket in tickets] == ["transport maybe_executed"] * 2
    assert (len(stage.children), stage.states) == (4, ["ready", "ready"])
    await stage.end()


@on_virtual_clock
async def test_the_first_replacement_comes_at_once_and_further_ones_after_a_pause() -> None:
    stage = Stage(restart={"backoff_seconds": [8, 8], "intensity": 100, "period_seconds": 1000})
    await stage.start()
    stage.children[0].die(signal="SIGKILL")
    await moments()
    assert stage.states == ["ready"]
    stage.children[1].die(signal="SIGKILL")
    await moments()
    assert stage.states == ["backoff"]
    waiting = stage.submit()
    assert outcome(waiting) == "open", "one is coming"
    await asyncio.sleep(8.1)
    assert stage.states == ["ready"]
    assert stage.children[2].unanswered[0].correlation_id == waiting.command.correlation_id
    await stage.end()


@pytest.mark.fault("FAULT-11")
@on_virtual_clock
async def test_a_group_whose_workers_die_too_often_fails_loudly_and_answers_at_once() -> None:
    stage = Stage(workers=2, restart={"intensity": 2, "backoff_seconds": [0.001, 0.001]})
    await stage.start()
    waiting = [stage.submit() for _ in range(5)]
    for _ in range(3):
        await moments()
        stage.launch.alive[0].die(exit_code=9)
        await asyncio.sleep(0.1)
    assert (stage.group.state, stage.changes[-1], stage.launch.alive) == ("failed", "failed", [])
    assert "open" not in map(outcome, waiting)
    refused = stage.submit()
    assert outcome(refused) == "transport not_executed"
    why = "its workers died too often (process_groups.restart: more than 2 in 30 s), the last one: exit code 9"
    assert (loss(refused).reason, stage.group.snapshot().failure) == (f"the group has failed: {why}", why)
    with pytest.raises(WorkerBootstrapError, match="'g' has failed: its workers died too often"):
        stage.group.check_not_failed()
    await asyncio.sleep(3600)
    assert stage.launch.alive == []


@on_virtual_clock
async def test_a_group_that_is_given_up_ends_its_healthy_workers_too_and_what_they_have_at_work() -> None:
    stage = Stage(workers=2, restart={"intensity": 0})
    await stage.start()
    tickets = [stage.submit(), stage.submit()]
    for child in stage.children:
        await child.next_command()
    stage.children[0].die(signal="SIGSEGV")
    await moments()
    assert [outcome(ticket) for ticket in tickets] == ["transport maybe_executed"] * 2
    assert [loss(ticket).reason for ticket in tickets] == ["killed by SIGSEGV", "its group has failed"]
    assert (stage.group.state, stage.launch.alive) == ("failed", [])


@on_virtual_clock
async def test_deaths_that_we_inflict_do_not_count() -> None:
    stage = Stage(restart={"intensity": 0})
    await stage.start()
    for number in range(10):
        await stage.submit(seconds=1).future
        await asyncio.sleep(0.05)
        assert (stage.states, len(stage.children)) == (["ready"], number + 2)
    await stage.end()


@on_virtual_clock
async def test_the_death_that_shows_an_input_to_be_poison_does_not_count() -> None:
    stage = Stage(restart={"intensity": 0})
    await stage.start()
    trial = stage.submit(is_trial=True)
    await stage.children[0].next_command()
    stage.children[0].die(signal="SIGSEGV")
    await moments()
    assert outcome(trial) == "transport maybe_executed"
    assert (stage.states, stage.group.state, len(stage.children)) == (["ready"], "ready", 2)
    await stage.end()


@on_virtual_clock
async def test_a_group_that_is_started_again_begins_with_nothing_counted() -> None:
    stage = Stage(restart={"intensity": 1})
    for lives in (2, 4):
        await stage.start()
        stage.launch.alive[0].die(signal="SIGKILL")
        await moments()
        assert (stage.group.state, stage.states, len(stage.children)) == ("ready", ["ready"], lives), "the first one, and at once"
        stage.group.stop()
        await stage.gone()
    assert now() == START


@on_virtual_clock
async def test_a_restart_from_scratch_begins_with_nothing_counted() -> None:
    stage = Stage(restart={"intensity": 1})
    await stage.start()
    for lives in (2, 4):
        stage.launch.alive[0].die(signal="SIGKILL")
        await moments()
        assert (stage.group.state, stage.states, len(stage.children)) == ("ready", ["ready"], lives), "the first one, and at once"
        stage.group.hold()
        await stage.gone()
        stage.group.spawn()
        await moments()
    assert now() == START
    await stage.end()


@pytest.mark.parametrize(
    ("strategy", "exit_code", "state"),
    [("permanent", 0, "ready"), ("transient", 0, "failed"), ("transient", 1, "ready"), ("temporary", 1, "failed")],
)
@on_virtual_clock
async def test_the_strategy_says_what_becomes_of_a_worker(strategy: str, exit_code: int, state: str) -> None:
    stage = Stage(workers=2, restart={"strategy": strategy}, answers=True)
    await stage.start()
    stage.children[0].die(exit_code=exit_code)
    await moments()
    assert (stage.states, stage.group.state) == ([state, "ready"], "ready")
    assert isinstance(await stage.submit().future, Answer)
    await stage.end()


@pytest.mark.parametrize("dies_first", [True, False])
@on_virtual_clock
async def test_a_group_is_ready_without_a_worker_that_is_lost_during_the_start_and_not_replaced(dies_first: bool) -> None:
    stage = Stage(workers=2, restart={"strategy": "temporary"})
    stage.launch.traits.boots = False
    stage.group.start()
    await moments()
    first, second = stage.children
    for child in (first, second):
        child.hello()
    await moments()
    first.ready()
    await moments()
    if not dies_first:
        second.ready()
    first.die(signal="SIGKILL")
    await moments()
    if dies_first:
        assert stage.group.state == "starting"
        second.ready()
        await moments()
    assert (stage.states, stage.group.state) == (["failed", "ready"], "ready")
    await stage.end()


@on_virtual_clock
async def test_a_group_fails_with_the_last_of_its_workers_that_is_not_replaced() -> None:
    stage = Stage(workers=2, restart={"strategy": "temporary"})
    await stage.start()
    for child in list(stage.children):
        child.die(signal="SIGKILL")
        await moments()
    assert stage.group.state == "failed"
    assert "not replaced" in loss(stage.submit()).reason


@pytest.mark.fault("FAULT-38")
@on_virtual_clock
async def test_a_stateful_group_that_loses_its_worker_has_lost_its_state_and_says_so() -> None:
    stage = Stage(stateful=True, depth=2)
    await stage.start()
    tickets = [stage.submit() for _ in range(3)]
    await stage.children[0].next_command()
    stage.children[0].die(signal="SIGKILL")
    await moments()
    assert [outcome(ticket) for ticket in tickets] == ["transport maybe_executed", "transport not_executed", "transport not_executed"]
    assert loss(tickets[2]).reason == "the group has failed: its worker was lost (killed by SIGKILL) and its state with it"
    assert (stage.group.state, len(stage.children)) == ("failed", 1)


# -- boots


@pytest.mark.fault("FAULT-09")
@on_virtual_clock
async def test_a_worker_that_cannot_boot_is_tried_twice_before_its_group_fails() -> None:
    stage = Stage()
    stage.launch.traits.boots = False
    stage.group.start()
    waiting = stage.submit()
    for number in range(2):
        await moments()
        assert (len(stage.children), stage.group.state, outcome(waiting)) == (number + 1, "starting", "open")
        stage.children[number].hello()
        stage.children[number].refuse("module 'm' cannot be imported")
    await asyncio.sleep(3600)
    assert (len(stage.children), stage.group.state) == (2, "failed")
    assert str(stage.group.boot_error) == "group 'g': module 'm' cannot be imported"
    assert outcome(waiting) == "transport not_executed" and "cannot be imported" in loss(waiting).reason


@on_virtual_clock
async def test_a_worker_that_boots_at_the_second_attempt_is_as_good_as_any() -> None:
    stage = Stage(answers=True)
    stage.launch.traits.boots = False
    stage.group.start()
    await moments()
    stage.launch.traits.boots = True
    stage.children[0].die(exit_code=1)
    await moments()
    assert (stage.group.state, stage.group.boot_error) == ("ready", None)
    await stage.end()


@on_virtual_clock
async def test_boots_that_failed_before_a_worker_came_up_are_forgotten() -> None:
    stage = Stage(start_timeout_seconds=10, restart={"intensity": 1, "period_seconds": 1, "backoff_seconds": [0.5, 0.5]})
    await stage.start()
    for _ in range(3):
        await asyncio.sleep(5)
        stage.launch.traits.boots = False
        stage.launch.alive[0].die(signal="SIGKILL")
        await asyncio.sleep(1)
        assert stage.states == ["booting"]
        stage.launch.traits.boots = True
        await asyncio.sleep(11)
        assert (stage.group.state, stage.states) == ("ready", ["ready"]), "one in a row"
    await stage.end()


@pytest.mark.fault("FAULT-10")
@on_virtual_clock
async def test_a_worker_that_cannot_even_be_spawned_at_the_start_fails_its_group_at_once() -> None:
    stage = Stage()
    stage.launch.failures.append(FileNotFoundError(2, "No such file or directory"))
    stage.group.start()
    await stage.group.launched()
    await asyncio.sleep(3600)
    assert (stage.group.state, stage.children) == ("failed", [])
    assert "No such file or directory" in str(stage.group.boot_error)


@pytest.mark.fault("FAULT-10")
@on_virtual_clock
async def test_a_replacement_that_cannot_be_spawned_is_tried_again_after_pauses_and_then_given_up() -> None:
    stage = Stage(restart={"intensity": 3, "period_seconds": 3600, "backoff_seconds": [1, 1]})
    await stage.start()
    stage.launch.failures += [OSError(24, "Too many open files")] * 2
    waiting = stage.submit(seconds=1000)
    await stage.children[0].next_command()
    behind = stage.submit(seconds=1000)
    stage.children[0].die(signal="SIGKILL")
    await asyncio.sleep(10)
    assert (stage.states, outcome(waiting), outcome(behind)) == (["ready"], "transport maybe_executed", "open")
    stage.launch.failures += [OSError(24, "Too many open files")] * 99
    stage.children[1].die(signal="SIGKILL")
    await asyncio.sleep(10)
    assert stage.group.state == "failed"
    assert len(stage.launch.failures) == 99


@on_virtual_clock
async def test_a_replacement_that_declares_other_nodes_is_not_taken() -> None:
    stage = Stage(restart={"intensity": 2, "backoff_seconds": [0.1, 0.1]})
    await stage.start()
    stage.launch.traits.routes = ()
    stage.group.nodes = tuple(type(route)(route.name, route.group, stateful=False, idempotent=True) for route in stage.group.nodes)
    stage.children[0].die(signal="SIGKILL")
    await asyncio.sleep(60)
    assert stage.group.state == "failed"
    assert "declares other nodes than the workers before it" in loss(stage.submit()).reason


@on_virtual_clock
async def test_a_stateful_node_needs_a_group_with_one_worker() -> None:
    stage = Stage(stateful=True, workers=2)
    await stage.start()
    await asyncio.sleep(10)
    assert stage.group.state == "failed" and "stateful" in str(stage.group.boot_error)


@pytest.mark.parametrize(("idempotent", "state"), [(False, "failed"), (True, "ready")])
@on_virtual_clock
async def test_retries_need_nodes_that_may_run_twice(idempotent: bool, state: str) -> None:
    stage = Stage(idempotent=idempotent, retries=1)
    await stage.start()
    await asyncio.sleep(10)
    assert stage.group.state == state
    if state == "failed":
        assert "'n' is not: mark it @node(idempotent=True)" in str(stage.group.boot_error)
    await stage.end()


@on_virtual_clock
async def test_a_batch_is_split_over_the_workers_that_are_ready() -> None:
    whole, split = Stage(workers=3), Stage(workers=3, fan_out="split", restart={"strategy": "temporary"})
    for stage in (whole, split):
        await stage.start()
    assert (whole.group.pieces, split.group.pieces) == (1, 3)
    split.submit()  # a busy one gets its piece all the same
    await moments()
    assert split.group.pieces == 3
    for left in (2, 1, 1):  # and where nobody is left, there is something to be refused
        next(child for child in split.launch.alive).die(signal="SIGKILL")
        await asyncio.sleep(1)
        assert split.group.pieces == left
    for stage in (whole, split):
        await stage.end()


@on_virtual_clock
async def test_a_batch_for_a_stateful_group_is_not_split() -> None:
    stage = Stage(stateful=True, fan_out="split")
    await stage.start()
    await asyncio.sleep(10)
    assert stage.group.state == "failed"
    assert "fan_out = 'split' cannot be had with node 'n': it is stateful" in str(stage.group.boot_error)
    await stage.end()


@pytest.mark.fault("FAULT-38")
@on_virtual_clock
async def test_what_a_stateful_group_has_lost_is_never_run_again_behind_its_callers_back() -> None:
    stage = Stage(idempotent=True, stateful=True, retries=1)
    await stage.start()
    await asyncio.sleep(10)
    assert stage.group.state == "failed"
    assert "retries cannot be had with node 'n': it is stateful" in str(stage.group.boot_error)
    await stage.end()


@pytest.mark.fault("FAULT-33")
@pytest.mark.parametrize("is_forced", [True, False])
@on_virtual_clock
async def test_a_worker_that_was_ended_for_nothing_that_it_was_at_has_that_said_of_what_it_had(is_forced: bool) -> None:
    stage = Stage()
    await stage.start()
    ticket = stage.submit()
    await stage.children[0].next_command()
    if is_forced:
        stage.group.kill("the group was terminated by force")
    else:
        stage.children[0].die(signal="SIGKILL")
    await ticket.future
    assert (outcome(ticket), loss(ticket).is_inflicted) == ("transport maybe_executed", is_forced)
    report = loss(ticket).exit
    assert report is not None and (report.signal, report.by_supervisor) == ("SIGKILL", is_forced)
    await stage.end()


# -- the end


@on_virtual_clock
async def test_a_stopped_group_takes_nothing() -> None:
    stage = Stage()
    await stage.start()
    stage.group.stop()
    ticket = stage.submit()
    assert (outcome(ticket), loss(ticket).reason) == ("transport not_executed", "the group is stopping")
    await stage.gone()
    assert (stage.group.state, stage.group.running()) == ("stopped", [])


@on_virtual_clock
async def test_stopping_drops_the_queue_as_not_executed_and_lets_the_worker_finish() -> None:
    stage = Stage(stop_timeout_seconds=1)
    await stage.start()
    at_work, *waiting = [stage.submit() for _ in range(3)]
    child = stage.children[0]
    await child.next_command()
    stage.group.stop()
    assert {outcome(ticket) for ticket in waiting} == {"transport not_executed"}
    await asyncio.sleep(30)
    assert (outcome(at_work), stage.group.running()) == ("open", ["g#0"])
    child.answer()
    await stage.gone()
    assert (outcome(at_work), stage.group.state, stage.group.snapshot().queued) == ("answered executed", "stopped", 0)


@pytest.mark.fault("FAULT-27")
@on_virtual_clock
async def test_the_end_is_bounded_for_workers_that_are_idle_and_those_that_hang() -> None:
    keys: dict[str, Any] = {"stop_timeout_seconds": 4, "eof_timeout_seconds": 0.25, "terminate_timeout_seconds": 1.5}
    stage = Stage(workers=2, **keys)
    stage.launch.traits.ignores = DEAF
    await stage.start()
    hanging = stage.submit(seconds=3600)
    idle, busy = stage.children[1], stage.children[0]
    await busy.next_command()
    stage.group.end(now() + 10)
    await asyncio.sleep(1.85)
    assert (idle.is_alive, busy.is_alive) == (True, False), "one that is at work has had its patience"
    await stage.gone()
    assert now() - START == 5.75
    assert (outcome(hanging), stage.group.state) == ("transport maybe_executed", "stopped")


@on_virtual_clock
async def test_a_restart_from_scratch_gives_its_workers_their_stop_timeout() -> None:
    stage = Stage(stop_timeout_seconds=4, eof_timeout_seconds=0.25, terminate_timeout_seconds=1.5)
    stage.launch.traits.ignores = DEAF
    await stage.start()
    stage.group.hold()
    await stage.gone()
    assert (now() - START, stage.group.state) == (5.75, "starting")
    await stage.end()


@on_virtual_clock
async def test_killing_ends_everything_now() -> None:
    stage = Stage(workers=2)
    stage.launch.traits.ignores = DEAF
    await stage.start()
    tickets = [stage.submit() for _ in range(4)]
    await moments()
    stage.group.kill("the group was terminated by force")
    await stage.gone()
    assert (now(), stage.group.state) == (START, "stopped")
    assert [outcome(ticket) for ticket in tickets] == ["transport maybe_executed"] * 2 + ["transport not_executed"] * 2
    assert {loss(ticket).reason for ticket in tickets} == {"the group was terminated by force"}


@on_virtual_clock
async def test_a_group_that_is_stopped_during_a_pause_starts_nothing_any_more() -> None:
    stage = Stage(restart={"backoff_seconds": [5, 5]})
    await stage.start()
    for number in range(2):
        stage.children[number].die(signal="SIGKILL")
        await moments()
    assert stage.states == ["backoff"]
    stage.group.stop()
    assert stage.group.state == "stopped"
    await asyncio.sleep(60)
    assert len(stage.children) == 2


@on_virtual_clock
async def test_what_a_stopping_worker_had_not_begun_when_it_died_is_not_given_to_another() -> None:
    stage = Stage(depth=2)
    await stage.start()
    tickets = [stage.submit(), stage.submit()]
    await stage.children[0].next_command()
    stage.group.stop()
    stage.children[0].die(signal="SIGKILL")
    await stage.gone()
    assert [outcome(ticket) for ticket in tickets] == ["transport maybe_executed", "transport not_executed"]
    assert (len(stage.children), stage.group.state) == (1, "stopped")


@on_virtual_clock
async def test_abandoning_ends_the_calls_and_not_the_workers() -> None:
    stage = Stage()
    await stage.start()
    tickets = [stage.submit(), stage.submit()]
    await stage.children[0].next_command()
    stage.group.abandon("no longer wanted")
    assert [outcome(ticket) for ticket in tickets] == ["transport maybe_executed", "withdrawn not_executed"]
    following = stage.submit()
    stage.children[0].answer()
    await moments()
    stage.children[0].answer()
    await following.future
    assert (outcome(following), stage.group.snapshot().late_replies) == ("answered executed", 1)
    await stage.end()


@on_virtual_clock
async def test_a_stateful_worker_that_is_dying_when_its_group_is_held_for_a_restart_is_no_loss() -> None:
    stage = Stage(stateful=True)
    await stage.start()
    stage.children[0].traits.ignores = frozenset({"stacks"})
    ticket = stage.submit(seconds=5)
    await asyncio.sleep(5)
    while stage.states != ["killing"]:  # the kill is out, the death has not been seen
        await asyncio.sleep(0.001)
    waiting = stage.submit()
    stage.group.hold()
    await stage.gone()
    assert (stage.group.state, stage.states) == ("starting", ["stopped"])
    assert (outcome(ticket), outcome(waiting)) == ("timeout maybe_executed", "open")
    stage.group.spawn()
    await moments()
    assert (stage.group.state, stage.states) == ("ready", ["ready"])
    stage.children[1].answer()
    await waiting.future
    await stage.end()
