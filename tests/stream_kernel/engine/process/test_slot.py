"""The place of one worker: its incarnations, seen by an owner that only writes down what it is told, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import pytest

from fake_group import moments, now, workplace
from stream_kernel.engine.base import AtWork, Command, Loss
from stream_kernel.engine.process.deadlines import Deadlines
from stream_kernel.engine.process.ledger import DEADLINE_PASSED
from stream_kernel.engine.process.slot import End, WorkerSlot
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.reports import WorkerExitReport
from stream_kernel.routing.router import NodeRoute
from stream_kernel.testing import FakeChild, FakeLaunch, RecordingSink
from stream_kernel.testing.fake_process import ChildTraits, Ignored
from virtual_clock import START, on_virtual_clock

ROUTES = (NodeRoute("n", "g"),)
STUBBORN: frozenset[Ignored] = frozenset(("stop", "end of stdin", "terminate"))
WAITS: dict[str, Any] = {"stop_timeout_seconds": 4, "eof_timeout_seconds": 0.25, "terminate_timeout_seconds": 1.5}
"""Not what a group has that says nothing."""


class DeafLaunch(FakeLaunch):
    """Does not hear that nobody waits for it any more."""

    async def __call__(
        self, arguments: Callable[[int, int], Sequence[str]], environment: Mapping[str, str], *, group: str, worker_id: str
    ) -> FakeChild:
        while not self.may_spawn.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.may_spawn.wait()
        return await super().__call__(arguments, environment, group=group, worker_id=worker_id)


class Place:
    """A slot, its owner, and the processes in it. It is never started again by itself."""

    def __init__(self, traits: ChildTraits | None = None, launch: FakeLaunch | None = None, **keys: Any) -> None:
        """`keys` are those of the group."""
        self.launch = launch or FakeLaunch(traits)
        self.sink = RecordingSink()
        self.refuses: str | None = None
        self.calls: list[str] = []
        self.ends: list[End] = []
        self.deadlines: Deadlines[Ticket] = Deadlines(lambda late: late.holder.expire(late) if late.holder is not None else None)
        self.slot = WorkerSlot(self, workplace(self.launch, self.sink, **keys), 0)

    def refusal(self, slot: WorkerSlot, nodes: list[NodeRoute]) -> str | None:
        return self.refuses

    def ready(self, slot: WorkerSlot) -> None:
        self.calls.append("ready")

    def idle(self, slot: WorkerSlot) -> None:
        self.calls.append("idle")

    def ended(self, slot: WorkerSlot, end: End) -> None:
        self.calls.append("ended")
        self.ends.append(end)

    @property
    def child(self) -> FakeChild:
        """The last process."""
        return self.launch.children[-1]

    @property
    def events(self) -> list[str]:
        return [event.kind if event.mode is None else f"{event.kind} {event.mode}" for event in self.sink.events]

    async def ready_slot(self) -> WorkerSlot:
        """The slot, once its worker takes commands."""
        self.slot.start()
        await moments()
        assert self.slot.state == "ready"
        self.slot.start_work(ROUTES)
        await moments()
        return self.slot

    def give(self, command: Command) -> Ticket:
        ticket = Ticket(command, asyncio.get_running_loop())
        ticket.arm(self.deadlines)
        assert self.slot.is_free and self.slot.take(ticket, now())
        return ticket

    async def over(self) -> End:
        """How its last process ended, once it has."""
        await self.slot.gone()
        assert (self.slot.state, self.slot.snapshot().pid, self.launch.alive) == ("stopped", None, [])
        assert self.calls.count("ended") == len(self.ends)
        assert self.child.log[-2:] == ["reap", "close"]
        return self.ends[-1]


def report(end: End) -> WorkerExitReport:
    assert end.exit is not None
    return end.exit


def lost(ticket: Ticket) -> Loss:
    outcome = ticket.future.result()
    assert isinstance(outcome, Loss)
    return outcome


# -- birth


@on_virtual_clock
async def test_an_orderly_life() -> None:
    place = Place()
    slot = await place.ready_slot()
    slot.stop()
    slot.stop()
    end = await place.over()
    assert place.events == ["worker_spawned", "worker_ready", "worker_stopping", "worker_stopped graceful"]
    assert (end.kind, report(end).exit_code, place.calls) == ("stopped", 0, ["ready", "ended"])
    assert place.child.log == ["bootstrap", "start_work", "stop", "kill", "reap", "close"]


@on_virtual_clock
async def test_a_worker_is_told_what_to_be_before_it_has_said_a_word() -> None:
    place = Place(ChildTraits(boots=False))
    place.slot.start()
    await moments()
    assert (place.slot.state, place.child.log) == ("booting", ["bootstrap"])
    place.slot.kill("that was all", final=True)
    await place.over()


@on_virtual_clock
async def test_a_worker_is_told_who_it_is() -> None:
    place = Place()
    await place.ready_slot()
    bootstrap = place.child.bootstrap
    assert bootstrap is not None
    assert (bootstrap.worker_id, bootstrap.generation, bootstrap.process_group, bootstrap.nodes) == ("g#0", 1, "g", ["n"])
    place.slot.kill("enough", final=True)
    await place.over()


@on_virtual_clock
async def test_a_worker_is_not_free_before_it_knows_the_routes_nor_after_it_has_ended() -> None:
    place = Place()
    place.slot.start()
    await moments()
    assert not place.slot.is_free
    place.slot.start_work(ROUTES)
    assert place.slot.is_free
    place.child.die(signal="SIGKILL")
    await place.over()
    assert not place.slot.is_free


@on_virtual_clock
async def test_a_next_incarnation_counts_as_a_restart() -> None:
    place = Place()
    slot = await place.ready_slot()
    slot.kill("enough", final=False)
    await place.over()
    await place.ready_slot()
    snapshot = slot.snapshot()
    assert (snapshot.generation, snapshot.restarts, snapshot.pid) == (2, 1, place.child.pid)
    assert place.events.count("worker_restarted") == 1
    slot.kill("enough", final=True)
    await place.over()


@on_virtual_clock
async def test_a_worker_that_is_not_ready_within_the_start_timeout_is_unbootable() -> None:
    place = Place(ChildTraits(boots=False), start_timeout_seconds=7)
    place.slot.start()
    await moments()
    place.child.stderr.append("still loading")
    await place.slot.gone()
    end = await place.over()
    assert now() == START + 7
    assert end.kind == "unbootable"
    assert "g#0 was not ready within 7 s" in str(end.boot_error) and "start_timeout_seconds" in str(end.boot_error)
    assert place.events == ["worker_spawned", "worker_failed"]


@on_virtual_clock
async def test_a_worker_that_its_owner_refuses_is_unbootable() -> None:
    place = Place()
    place.refuses = "these are other nodes"
    place.slot.start()
    await place.slot.gone()
    end = await place.over()
    assert end.kind == "unbootable" and "other nodes" in str(end.boot_error)
    assert "worker_ready" not in place.events and place.calls == ["ended"]


@on_virtual_clock
async def test_a_worker_that_says_why_it_cannot_boot_is_believed() -> None:
    place = Place(ChildTraits(boots=False))
    place.slot.start()
    await moments()
    place.child.hello()
    place.child.refuse("module 'm' cannot be imported")
    end = await place.over()
    assert end.kind == "unbootable" and str(end.boot_error) == "group 'g': module 'm' cannot be imported"


@pytest.mark.fault("FAULT-09")
@on_virtual_clock
async def test_a_worker_that_speaks_another_version_is_refused() -> None:
    place = Place(ChildTraits(boots=False))
    place.slot.start()
    await moments()
    place.child.hello(7, 8)
    end = await place.over()
    assert end.kind == "unbootable" and "[7, 8], this is version 1" in str(end.boot_error)


@pytest.mark.fault("FAULT-09")
@on_virtual_clock
async def test_a_worker_that_dies_before_it_is_ready_is_unbootable_and_its_last_words_are_kept() -> None:
    place = Place(ChildTraits(boots=False))
    place.slot.start()
    await moments()
    place.child.stderr.append("ImportError: no module named m")
    place.child.die(exit_code=1)
    end = await place.over()
    assert end.kind == "unbootable" and end.boot_error is not None
    assert "g#0 was not ready: exit code 1" in str(end.boot_error)
    assert "ImportError" not in str(end.boot_error) and end.boot_error.detail == "ImportError: no module named m"


@pytest.mark.fault("FAULT-10")
@on_virtual_clock
async def test_a_worker_that_cannot_be_spawned_has_no_end_and_no_process() -> None:
    place = Place()
    place.launch.failures.append(OSError(24, "Too many open files"))
    place.slot.start()
    await place.slot.launched()
    await place.slot.gone()
    (end,) = place.ends
    assert (end.kind, end.exit, place.slot.state, place.events) == ("unbootable", None, "stopped", [])
    assert "could not be spawned" in str(end.boot_error) and "Too many open files" in str(end.boot_error)


@pytest.mark.parametrize("ending", ["stop", "kill"])
@on_virtual_clock
async def test_what_is_ended_while_it_spawns_is_ended_when_it_has(ending: str) -> None:
    place = Place()
    place.launch.may_spawn.clear()
    place.slot.start()
    await moments()
    if ending == "stop":
        place.slot.stop()
    else:
        place.slot.kill("not wanted", final=True)
    await moments()
    assert place.slot.has_process and place.launch.children == []
    place.launch.may_spawn.set()
    end = await place.over()
    assert (end.kind, place.events) == ("stopped", ["worker_spawned", "worker_stopped forced"])
    assert place.child.bootstrap is None


@pytest.mark.parametrize("ending", ["stop", "kill"])
@on_virtual_clock
async def test_what_is_ended_while_its_spawn_hangs_is_given_up_after_a_bound(ending: str) -> None:
    place = Place(reap_timeout_seconds=3)
    place.launch.may_spawn.clear()
    place.slot.start()
    await moments()
    if ending == "stop":
        place.slot.stop(patience=inf)
    else:
        place.slot.kill("not wanted", final=True)
    await place.slot.launched()
    await place.slot.gone()
    (end,) = place.ends
    assert (now() - START, end.kind, end.exit, place.slot.state) == (3.0, "stopped", None, "stopped")
    assert (place.launch.children, place.events) == ([], [])


@pytest.mark.fault("FAULT-10")
@on_virtual_clock
async def test_a_spawn_that_does_not_come_back_within_the_start_timeout_is_a_boot_error_that_says_so() -> None:
    place = Place(start_timeout_seconds=7)
    place.launch.may_spawn.clear()
    place.slot.start()
    await place.slot.launched()
    (end,) = place.ends
    assert (now() - START, end.kind, end.exit, place.slot.state) == (7.0, "unbootable", None, "stopped")
    assert str(end.boot_error) == (
        "group 'g': g#0 was not spawned within 7 s; if that takes longer, raise process_groups.start_timeout_seconds"
    )
    await place.slot.gone()
    place.launch.may_spawn.set()
    await place.ready_slot()
    await asyncio.sleep(3600)
    assert (place.slot.state, place.slot.generation, len(place.launch.children)) == ("ready", 2, 1)
    place.slot.kill("enough", final=True)
    await place.over()


@on_virtual_clock
async def test_a_process_that_comes_of_a_spawn_which_was_given_up_is_killed() -> None:
    place = Place(launch=DeafLaunch(), start_timeout_seconds=7, reap_timeout_seconds=3)
    place.launch.may_spawn.clear()
    place.slot.start()
    await asyncio.sleep(60)
    assert (place.slot.state, place.ends) == ("killing", [])
    place.launch.may_spawn.set()
    end = await place.over()
    assert (end.kind, report(end).signal, place.child.bootstrap) == ("unbootable", "SIGKILL", None)
    assert "g#0 was not spawned within 7 s" in str(end.boot_error)


@on_virtual_clock
async def test_a_worker_is_started_again_after_a_pause() -> None:
    place = Place()
    slot = await place.ready_slot()
    place.child.die(signal="SIGKILL")
    await place.over()
    slot.start_later(2.5)
    await asyncio.sleep(2.4)
    assert (slot.state, slot.has_process, len(place.launch.children)) == ("backoff", False, 1)
    await asyncio.sleep(0.2)
    assert (slot.state, slot.generation) == ("ready", 2)
    slot.kill("enough", final=True)
    await place.over()


@pytest.mark.parametrize("ending", ["stop", "kill", "give_up"])
@on_virtual_clock
async def test_a_pause_that_is_called_off_starts_nothing(ending: str) -> None:
    place = Place()
    slot = await place.ready_slot()
    place.child.die(signal="SIGKILL")
    await place.over()
    slot.start_later(2.5)
    if ending == "stop":
        slot.stop()
    elif ending == "kill":
        slot.kill("not wanted", final=True)
    else:
        slot.give_up()
    await asyncio.sleep(10)
    assert len(place.launch.children) == 1
    assert slot.state == ("failed" if ending == "give_up" else "stopped")


# -- the end


@on_virtual_clock
async def test_a_worker_that_obeys_nothing_meets_each_step_after_exactly_its_wait() -> None:
    place = Place(ChildTraits(ignores=STUBBORN), **WAITS)
    slot = await place.ready_slot()
    slot.stop()
    seen: list[tuple[float, str]] = [(0.0, slot.state)]
    while slot.has_process:
        await asyncio.sleep(0.125)
        if seen[-1][1] != slot.state:
            seen.append((now() - START, slot.state))
    assert seen == [(0.0, "stopping"), (4.0, "closing"), (4.25, "terminating"), (5.75, "killing"), (5.875, "stopped")]
    end = await place.over()
    assert place.child.log[2:] == ["stop", "end of stdin", "terminate", "kill", "kill", "reap", "close"]
    assert (end.kind, report(end).signal, place.events[-1]) == ("stopped", "SIGKILL", "worker_stopped forced")


@pytest.mark.parametrize(
    ("ignores", "seconds", "status"),
    [
        ((), 0.0, "exit code 0"),
        (("stop",), 4.0, "exit code 0"),
        (("stop", "end of stdin"), 4.25, "killed by SIGTERM"),
        (("stop", "end of stdin", "terminate"), 5.75, "killed by SIGKILL"),
    ],
)
@on_virtual_clock
async def test_a_worker_ends_at_the_first_step_that_it_obeys(ignores: tuple[Ignored, ...], seconds: float, status: str) -> None:
    place = Place(ChildTraits(ignores=frozenset(ignores)), **WAITS)
    slot = await place.ready_slot()
    slot.stop()
    await slot.gone()
    assert (now() - START, str(place.child.status)) == (seconds, status)
    await place.over()


@on_virtual_clock
async def test_a_stop_without_end_of_patience_is_waited_for_and_can_be_given_one() -> None:
    place = Place(ChildTraits(ignores=STUBBORN))
    slot = await place.ready_slot()
    slot.stop(patience=inf)
    await asyncio.sleep(3600)
    assert slot.state == "stopping"
    assert "end of stdin" not in place.child.log
    slot.stop(patience=0.0)
    await moments()
    assert "end of stdin" in place.child.log
    await place.over()


@on_virtual_clock
async def test_a_stop_that_is_asked_for_again_on_the_way_gives_no_more_time() -> None:
    place = Place(ChildTraits(ignores=STUBBORN), **WAITS)
    slot = await place.ready_slot()
    slot.stop()
    for seconds in (4.125, 0.25, 0.5):
        await asyncio.sleep(seconds)
        slot.stop(patience=inf)
    await slot.gone()
    assert now() - START == 5.75
    await place.over()


@on_virtual_clock
async def test_who_was_asked_to_end_has_not_been_lost_whatever_ends_it() -> None:
    place = Place(ChildTraits(ignores=STUBBORN))
    slot = await place.ready_slot()
    slot.stop()
    slot.kill("a command passed its deadline", final=False)
    assert (await place.over()).kind == "stopped"
    assert place.events[-1] == "worker_stopped forced"


@on_virtual_clock
async def test_a_worker_that_cannot_be_ended_at_all_is_left_behind_after_a_bound() -> None:
    place = Place(ChildTraits(ignores=STUBBORN | {"kill"}), reap_timeout_seconds=3)
    slot = await place.ready_slot()
    slot.kill("enough", final=True)
    await slot.gone()
    (end,) = place.ends
    assert (now() - START, slot.state, end.kind) == (3.0, "stopped", "stopped")
    assert (report(end).exit_code, report(end).signal) == (None, None)


@on_virtual_clock
async def test_a_worker_that_cannot_be_ended_and_has_closed_its_pipes_is_left_behind_after_a_bound_too() -> None:
    place = Place(ChildTraits(ignores=STUBBORN | {"kill"}), reap_timeout_seconds=3)
    slot = await place.ready_slot()
    slot.kill("enough", final=True)
    place.child.hang_up()
    await slot.gone()
    assert 3 <= now() - START <= 3.1
    assert slot.state == "stopped"


@on_virtual_clock
async def test_a_worker_that_is_at_work_is_stopped_when_it_has_answered(make_command: Any) -> None:
    place = Place()
    slot = await place.ready_slot()
    ticket = place.give(make_command(deadline=now() + 60))
    await moments()
    slot.drain()
    assert (slot.state, slot.is_free) == ("draining", False)
    await asyncio.sleep(30)
    assert "stop" not in place.child.log
    place.child.answer()
    end = await place.over()
    assert (end.kind, ticket.future.result().report.outcome) == ("stopped", "answered")
    assert place.events[-2:] == ["worker_stopping", "worker_stopped graceful"]


@on_virtual_clock
async def test_an_idle_worker_that_is_drained_is_stopped_at_once() -> None:
    place = Place()
    slot = await place.ready_slot()
    slot.drain()
    assert slot.state == "stopping"
    assert (await place.over()).kind == "stopped"


@pytest.mark.fault("FAULT-01")
@on_virtual_clock
async def test_a_death_is_told_once_with_its_cause() -> None:
    place = Place()
    await place.ready_slot()
    await asyncio.sleep(4)
    place.child.stderr += ["first", "last words"]
    place.child.rss_bytes, place.child.memory_kill = 12 << 20, "likely"
    place.child.die(signal="SIGKILL")
    end = await place.over()
    assert (end.kind, end.reason) == ("died", "killed by SIGKILL")
    assert report(end) == WorkerExitReport(
        worker_id="g#0",
        group="g",
        generation=1,
        pid=place.child.pid,
        reason="killed by SIGKILL",
        signal="SIGKILL",
        out_of_memory="likely",
        peak_rss_bytes=12 << 20,
        uptime_seconds=4.0,
        stderr_tail=("first", "last words"),
    )
    failed = place.sink.events[-1]
    assert (failed.kind, failed.reason, failed.exit) == ("worker_failed", "killed by SIGKILL", end.exit)


@on_virtual_clock
async def test_an_idle_worker_is_looked_at_whenever_it_gives_a_sign_of_life() -> None:
    place = Place(ping_interval_seconds=10, ping_timeout_seconds=5)
    await place.ready_slot()
    place.child.rss_bytes = 12 << 20
    await asyncio.sleep(10.1)
    place.child.rss_bytes = 1 << 20
    place.child.die(signal="SIGKILL")
    assert report(await place.over()).peak_rss_bytes == 12 << 20


@pytest.mark.parametrize(("seconds", "peak"), [(0.9, 1 << 20), (1.1, 12 << 20)])
@on_virtual_clock
async def test_what_a_worker_held_while_it_was_at_work_is_told_though_nobody_saw_its_end(
    make_command: Any, seconds: float, peak: int
) -> None:
    place = Place()
    await place.ready_slot()
    place.give(make_command(deadline=now() + 60))
    place.child.rss_bytes = 12 << 20
    await asyncio.sleep(seconds)
    place.child.rss_bytes = 1 << 20
    place.child.die(signal="SIGKILL")
    end = report(await place.over())
    assert (end.peak_rss_bytes, end.is_peak_exact) == (peak, False)


@on_virtual_clock
async def test_what_a_worker_held_when_it_gave_its_first_answer_is_told(make_command: Any) -> None:
    place = Place()
    await place.ready_slot()
    place.give(make_command(deadline=now() + 60))
    await moments()
    place.child.rss_bytes = 12 << 20
    place.child.answer()
    await moments()
    place.child.rss_bytes = 1 << 20
    place.child.die(signal="SIGKILL")
    assert report(await place.over()).peak_rss_bytes == 12 << 20


@on_virtual_clock
async def test_a_worker_that_was_at_work_leaves_no_timer(make_command: Any) -> None:
    place = Place()
    await place.ready_slot()
    place.give(make_command(deadline=now() + 60))
    place.child.die(signal="SIGKILL")
    await place.over()
    place.deadlines.rest()
    timers = [handle for handle in getattr(asyncio.get_running_loop(), "_scheduled", []) if not handle.cancelled()]
    assert timers == []


@on_virtual_clock
async def test_a_peak_that_the_end_of_a_worker_tells_is_exact() -> None:
    place = Place()
    await place.ready_slot()
    place.child.rss_bytes, place.child.knows_peak = 12 << 20, True
    place.child.die(signal="SIGKILL")
    assert report(await place.over()).is_peak_exact


@on_virtual_clock
async def test_a_death_by_our_hand_is_another_thing() -> None:
    place = Place()
    slot = await place.ready_slot()
    place.child.memory_kill = "likely"
    slot.kill("a command passed its deadline", final=False)
    slot.kill("and again", final=False)
    end = await place.over()
    assert (end.kind, end.reason, report(end).signal) == ("inflicted", "a command passed its deadline", "SIGKILL")
    assert report(end).out_of_memory == "no", "we know who killed it"
    assert place.child.log.count("kill") == 2, "the order, and what is done before every burial"


@pytest.mark.parametrize("break_off", [FakeChild.close_stdout, FakeChild.hang_up, FakeChild.send_garbage])
@on_virtual_clock
async def test_the_kill_that_buries_a_worker_is_not_put_down_to_its_memory(break_off: Callable[[FakeChild], None]) -> None:
    place = Place(ChildTraits(ignores=STUBBORN))
    await place.ready_slot()
    place.child.memory_kill = "likely"
    break_off(place.child)
    end = await place.over()
    assert (report(end).signal, report(end).out_of_memory) == ("SIGKILL", "no")


@pytest.mark.fault("FAULT-22")
@pytest.mark.parametrize(("closes", "reason"), [("close_stdout", "its stdout was closed"), ("hang_up", "its stdin was closed")])
@on_virtual_clock
async def test_a_worker_that_closes_a_pipe_and_lives_is_dead(closes: str, reason: str) -> None:
    place = Place(ChildTraits(ignores=STUBBORN))
    await place.ready_slot()
    {"close_stdout": place.child.close_stdout, "hang_up": place.child.hang_up}[closes]()
    end = await place.over()
    assert (end.kind, end.reason, now() - START <= 0.05) == ("died", reason, True)


@pytest.mark.fault("FAULT-23")
@on_virtual_clock
async def test_a_death_is_seen_though_a_grandchild_holds_the_pipes() -> None:
    place = Place()
    await place.ready_slot()
    place.child.die(exit_code=9, pipes_stay_open=True)
    end = await place.over()
    assert (end.kind, end.reason, now()) == ("died", "exit code 9", START)
    assert "kill" in place.child.log, "its tree goes with it"


@pytest.mark.fault("FAULT-18")
@on_virtual_clock
async def test_a_worker_that_breaks_the_protocol_is_killed(make_command: Any) -> None:
    place = Place(depth=2)
    await place.ready_slot()
    tickets = [place.give(make_command(f"c-{n}", deadline=now() + 60)) for n in range(2)]
    await moments()
    place.child.send_garbage()
    end = await place.over()
    assert (end.kind, end.unbegun) == ("died", ())
    assert end.reason.startswith("protocol violation: ")
    assert [ticket.future.result().report.delivery for ticket in tickets] == ["maybe_executed"] * 2


@pytest.mark.fault("FAULT-28")
@on_virtual_clock
async def test_a_loop_that_is_torn_down_takes_its_worker_with_it() -> None:
    place = Place()
    slot = await place.ready_slot()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "stream_kernel g#0"]
    task.cancel()
    end = await place.over()
    assert (end.kind, place.child.status is not None, slot.has_process) == ("cancelled", True, False)


@on_virtual_clock
async def test_a_worker_that_is_cancelled_before_there_is_a_process_says_so() -> None:
    place = Place()
    place.launch.may_spawn.clear()
    place.slot.start()
    await moments()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "stream_kernel g#0"]
    task.cancel()
    await asyncio.wait_for(place.slot.launched(), 1)
    assert [end.kind for end in place.ends] == ["cancelled"]
    assert place.slot.state == "stopped"


# -- what it has when it ends


@pytest.mark.fault("FAULT-07")
@on_virtual_clock
async def test_a_death_tells_what_it_was_doing_and_what_it_had_not_begun(make_command: Any) -> None:
    place = Place(depth=3)
    slot = await place.ready_slot()
    tickets = [place.give(make_command(f"c-{n}", count=4, deadline=now() + 60, trace_id=f"t{n}")) for n in range(3)]
    assert not slot.is_free and slot.outstanding == 3
    await moments()
    place.child.note_progress(index=2)
    place.child.die(signal="SIGSEGV")
    end = await place.over()
    assert list(end.unbegun) == tickets[1:]
    outcome = lost(tickets[0])
    assert (report(end).node, report(end).input_index, report(end).trace_ids) == ("n", 2, ("t0", "t1", "t2"))
    assert (outcome.exit, outcome.at_work) == (end.exit, AtWork(2, "n"))
    assert slot.late_replies == 0


@on_virtual_clock
async def test_progress_of_an_earlier_command_says_nothing_of_the_one_at_work(make_command: Any) -> None:
    place = Place()
    await place.ready_slot()
    place.give(make_command("c-1", deadline=now() + 60))
    await moments()
    place.child.note_progress(command=1)
    place.child.answer()
    await moments()
    ticket = place.give(make_command("c-2", deadline=now() + 60))
    await moments()
    place.child.note_progress(command=1)
    place.child.die(signal="SIGKILL")
    end = await place.over()
    assert (report(end).node, report(end).requests) == (None, 1)
    outcome = lost(ticket)
    assert (outcome.at_work, outcome.report.delivery) == (None, "maybe_executed")


@pytest.mark.fault("FAULT-03")
@on_virtual_clock
async def test_a_reply_that_was_written_before_the_death_is_delivered(make_command: Any) -> None:
    place = Place(ChildTraits(exit_comes_first=True, chunk_bytes=16))
    await place.ready_slot()
    ticket = place.give(make_command(deadline=now() + 60))
    await moments()
    place.child.answer()
    place.child.die(signal="SIGKILL")
    end = await place.over()
    assert ticket.future.result().report.outcome == "answered"
    assert report(end).requests == 1


@pytest.mark.fault("FAULT-02")
@on_virtual_clock
async def test_a_reply_that_was_torn_by_the_death_is_none(make_command: Any) -> None:
    place = Place()
    await place.ready_slot()
    ticket = place.give(make_command(deadline=now() + 60))
    await moments()
    place.child.answer(first_bytes=25)
    place.child.die(signal="SIGKILL")
    await place.over()
    assert ticket.future.result().report.delivery == "maybe_executed"


@pytest.mark.fault("FAULT-12")
@pytest.mark.parametrize(("deadline", "limit"), [(60, 2), (2, inf)])
@on_virtual_clock
async def test_a_command_that_a_worker_did_not_begin_in_its_time_is_not_given_to_another(
    make_command: Any, deadline: float, limit: float
) -> None:
    place = Place()
    await place.ready_slot()
    place.give(make_command("c-1", deadline=now() + 60))
    await moments()
    place.child.note_progress()
    place.child.answer()
    await moments()
    ticket = place.give(make_command("c-2", deadline=now() + deadline, limit_seconds=limit))
    await moments()
    place.child.note_progress(command=1)
    place.child.stack = "where it hangs"
    end = await place.over()
    outcome = lost(ticket)
    assert now() == pytest.approx(START + 2, abs=0.05)
    assert (outcome.category, outcome.reason, outcome.report.delivery) == ("timeout", DEADLINE_PASSED, "maybe_executed")
    assert (outcome.report.worker_id, outcome.exit, end.unbegun) == ("g#0", report(end), ())
    assert report(end).stack == "where it hangs"


@on_virtual_clock
async def test_a_command_says_how_long_it_may_take_and_how_long_after_the_one_before_it_was_sent(make_command: Any) -> None:
    place = Place(depth=3)
    slot = await place.ready_slot()
    for number, (seconds, limit) in enumerate(((60, inf), (60, 2), (1, 2))):
        place.give(make_command(f"c-{number}", deadline=now() + seconds, limit_seconds=limit))
        await asyncio.sleep(0.25)
    assert [command.remaining_ms for command in place.child.commands] == [60_000, 60_000, 1_000]
    assert [command.limit_ms for command in place.child.commands] == [None, 2_000, 2_000]
    assert [command.after_ms for command in place.child.commands] == [None, 250, 250]
    slot.kill("enough", final=True)
    await place.over()


# -- signs of life


@pytest.mark.fault("FAULT-12")
@on_virtual_clock
async def test_an_idle_worker_that_gives_no_sign_of_life_is_killed() -> None:
    place = Place(ChildTraits(ignores=frozenset({"ping"})), ping_interval_seconds=10, ping_timeout_seconds=5)
    await place.ready_slot()
    end = await place.over()
    assert (end.kind, end.reason) == ("inflicted", "it was idle and gave no sign of life for 5 s")
    assert now() == START + 15


@on_virtual_clock
async def test_routes_that_come_while_a_worker_is_buried_make_it_ask_nothing_of_the_one_that_follows() -> None:
    place = Place(ping_interval_seconds=10, ping_timeout_seconds=5, reap_timeout_seconds=3)
    place.slot.start()
    await moments()
    first = place.child
    first.traits.ignores = frozenset({"kill"})
    first.close_stdout()
    await first.told("reap")
    assert place.slot.state == "ready"
    place.slot.start_work(ROUTES)
    first.die(signal="SIGKILL")
    await place.over()
    slot = await place.ready_slot()
    await asyncio.sleep(100)
    assert (slot.state, slot.generation, place.child.log.count("ping")) == ("ready", 2, 9)
    slot.kill("enough", final=True)
    await place.over()


@pytest.mark.parametrize("before_its_end", [2.0, 0.005])
@on_virtual_clock
async def test_a_deadline_that_passes_while_a_worker_is_buried_ends_none_that_follows(make_command: Any, before_its_end: float) -> None:
    place = Place(reap_timeout_seconds=10)
    await place.ready_slot()
    first, deadline = place.child, now() + 5
    first.traits.ignores = frozenset({"kill"})
    ticket = place.give(make_command(deadline=deadline))
    first.close_stdout()
    await first.told("reap")
    await asyncio.sleep(deadline - now() + before_its_end)
    assert ticket.settled == (before_its_end > 1), "its caller hears within some hundredths of a second"
    first.die(signal="SIGKILL")
    await place.over()
    assert lost(ticket).category == "timeout"
    slot = await place.ready_slot()
    await asyncio.sleep(1)
    assert (slot.state, slot.generation, "freeze" in first.log) == ("ready", 2, False)
    slot.kill("enough", final=True)
    await place.over()


@on_virtual_clock
async def test_an_idle_worker_that_answers_lives_on_and_a_busy_one_is_not_asked(make_command: Any) -> None:
    place = Place(ping_interval_seconds=10, ping_timeout_seconds=5)
    slot = await place.ready_slot()
    await asyncio.sleep(100)
    asked = place.child.log.count("ping")
    assert (slot.state, asked) == ("ready", 9)
    place.give(make_command(deadline=now() + 3600))
    place.child.stop_reading()
    await asyncio.sleep(1000)
    assert (slot.state, place.child.log.count("ping")) == ("ready", asked)
    slot.kill("enough", final=True)
    await place.over()
