"""The table of a worker's states."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_kernel.engine.process.lifecycle import TRANSITIONS, Instruction, WorkerEvent, WorkerLife, WorkerState, diagram

ARCHITECTURE = Path(__file__).parents[4] / "docs" / "architecture.md"
WAITS: dict[WorkerState, float] = {"spawning": 20.0, "booting": 30.0, "stopping": 5.0, "closing": 0.5, "terminating": 1.0, "killing": 2.0}
WITHOUT_PROCESS = ("stopped", "backoff", "failed")


def life() -> WorkerLife:
    return WorkerLife(WAITS)


def can(one: WorkerLife, event: WorkerEvent) -> bool:
    return event in TRANSITIONS[one.state]


def driven(*events: WorkerEvent, now: float = 0.0) -> WorkerLife:
    """A life after these events, all at the same moment."""
    one = life()
    for event in events:
        one.take(event, now)
    return one


def test_an_ordinary_life_and_what_is_done_in_it() -> None:
    one = life()
    steps: list[tuple[WorkerEvent, WorkerState, tuple[Instruction, ...]]] = [
        ("start", "spawning", ("spawn",)),
        ("spawned", "booting", ("introduce",)),
        ("became_ready", "ready", ()),
        ("drain", "draining", ()),
        ("stop", "stopping", ("say_stop",)),
        ("exited", "stopped", ()),
    ]
    for event, state, instructions in steps:
        assert one.take(event, 0.0) == instructions
        assert one.state == state


def test_a_worker_that_does_not_end_meets_each_step_after_exactly_its_wait() -> None:
    one = driven("start", "spawned", "became_ready")
    assert one.take("stop", 100.0) == ("say_stop",)
    steps: list[tuple[float, tuple[Instruction, ...]]] = [(105.0, ("close_stdin",)), (105.5, ("terminate",)), (106.5, ("kill",))]
    for due, instructions in steps:
        assert one.deadline == due
        assert one.take("overdue", due) == instructions
    assert (one.state, one.deadline) == ("killing", 108.5)
    assert one.take("overdue", 108.5) == ("leave_behind",)
    assert (one.state, one.deadline) == ("killing", None), "that is told once"


def test_a_worker_that_is_not_ready_in_time_is_refused_before_it_is_killed() -> None:
    one = driven("start", "spawned", now=7.0)
    assert one.deadline == 37.0
    assert one.take("overdue", 37.0) == ("refuse_late_start", "kill")


def test_a_spawn_that_is_not_done_in_time_is_refused_and_given_up_and_what_it_brings_all_the_same_is_killed() -> None:
    one = driven("start", now=7.0)
    assert one.deadline == 27.0
    assert one.take("overdue", 27.0) == ("refuse_late_start", "leave_behind")
    assert (one.state, one.deadline) == ("killing", 29.0)
    assert one.take("overdue", 29.0) == ("leave_behind",)
    assert (one.take("spawned", 30.0), one.state, one.deadline) == (("kill",), "killing", 32.0)


def test_a_pause_ends_with_the_next_start() -> None:
    one = life()
    one.take("back_off", 10.0, wait=2.5)
    assert (one.state, one.deadline) == ("backoff", 12.5)
    assert one.take("overdue", 12.5) == ("spawn",)
    assert (one.state, one.deadline) == ("spawning", 32.5)


def test_a_second_stop_may_shorten_the_bound_of_the_first_and_never_prolongs_it() -> None:
    one = driven("start", "spawned", "became_ready")
    one.take("stop", 0.0)
    one.take("stop", 4.0)
    assert one.deadline == 5.0
    for longer in (inf, 60.0):
        one.take("stop", 4.0, wait=longer)
        assert one.deadline == 5.0
    one.take("stop", 4.5, wait=0.0)
    assert one.deadline == 4.5


def test_a_stop_without_a_bound_gets_one_from_the_next() -> None:
    one = driven("start", "spawned", "became_ready")
    one.take("stop", 0.0, wait=inf)
    assert one.deadline is None
    one.take("stop", 4.0, wait=2.0)
    assert one.deadline == 6.0


def test_what_is_asked_of_a_worker_while_it_spawns_ends_it_when_it_has() -> None:
    asked: tuple[WorkerEvent, ...] = ("stop", "kill")
    for event in asked:
        one = driven("start", event)
        assert (one.take("spawned", 0.0), one.state) == (("kill",), "killing")
        assert (one.take("exited", 0.0), one.state) == ((), "stopped")


def test_a_missing_transition_names_state_and_event_and_changes_nothing() -> None:
    one = life()
    with pytest.raises(RuntimeError, match=r"'stopped'.*'became_ready'"):
        one.take("became_ready", 0.0)
    assert (one.state, one.deadline) == ("stopped", None)


def test_every_state_can_be_reached_and_left_and_every_word_is_used() -> None:
    rows = [transition for row in TRANSITIONS.values() for transition in row.values()]
    assert {transition.state for transition in rows} == set(TRANSITIONS) == set(get_args(WorkerState))
    assert all(any(transition.state != state for transition in row.values()) for state, row in TRANSITIONS.items())
    assert {instruction for transition in rows for instruction in transition.instructions} == set(get_args(Instruction))
    assert {event for row in TRANSITIONS.values() for event in row} == set(get_args(WorkerEvent))


# -- whatever happens, in whatever order


class Process:
    """What a life does to a process, as its instructions say."""

    def __init__(self) -> None:
        self.is_there = False
        self.is_coming = False

    def hears(self, event: WorkerEvent, instructions: tuple[Instruction, ...]) -> None:
        if event in ("spawned", "spawn_failed"):
            assert self.is_coming
            self.is_coming, self.is_there = False, event == "spawned"
        elif event == "exited":
            assert self.is_there
            self.is_there = False
        if "spawn" in instructions:
            assert not self.is_there and not self.is_coming, "a worker has one process at a time"
            self.is_coming = True
        if "leave_behind" in instructions:
            assert self.is_there or self.is_coming
        if set(instructions) - {"spawn", "leave_behind", "refuse_late_start"}:
            assert self.is_there, f"{instructions} without a process"

    def can(self, event: WorkerEvent) -> bool:
        """Whether the world can bring this event about now."""
        if event in ("spawned", "spawn_failed"):
            return self.is_coming
        return self.is_there if event == "exited" else True


Step = tuple[WorkerEvent, float, float]
"""An event, the seconds before it, and how long a pause is that it begins."""
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(st.sampled_from(get_args(WorkerEvent)), st.floats(0.0, 100.0), st.floats(0.0, 100.0)), max_size=40
)


def lived(steps: list[Step]) -> tuple[WorkerLife, Process, float]:
    """A life after those of the steps that can happen, its invariants checked after each."""
    one, process, now = life(), Process(), 0.0
    for event, passed, wait in steps:
        now += passed
        if not can(one, event) or not process.can(event) or (event == "overdue" and (one.deadline is None or now < one.deadline)):
            continue
        before, bound = one.state, one.deadline
        own = wait if event == "back_off" else None
        process.hears(event, one.take(event, now, wait=own))
        check(one, process)
        if one.state == before and event != "spawned":
            expected = None if event == "overdue" else bound
            assert one.deadline == expected, "the bound of a state does not move while it lasts, and passes once"
        else:
            seconds = WAITS.get(one.state, inf) if own is None else own
            assert one.deadline == (None if seconds == inf else now + seconds)
    return one, process, now


def check(one: WorkerLife, process: Process) -> None:
    if one.state in WITHOUT_PROCESS:
        assert not process.is_there and not process.is_coming
    elif one.state == "spawning":
        assert process.is_coming
    elif one.state == "killing":
        assert process.is_there or process.is_coming
    else:
        assert process.is_there
    if one.deadline is not None:
        assert can(one, "overdue"), f"nothing comes of the bound of '{one.state}'"


@given(STEPS)
def test_a_process_is_there_exactly_in_the_states_that_say_so_and_bounds_are_those_of_the_states(steps: list[Step]) -> None:
    lived(steps)


@given(STEPS)
def test_a_stop_and_time_alone_lead_to_a_kill_from_wherever_a_process_is(steps: list[Step]) -> None:
    one, process, now = lived(steps)
    if can(one, "drain"):
        one.take("drain", now)
    process.hears("stop", one.take("stop", now))
    for _ in range(3):
        if one.deadline is not None:
            now = one.deadline
            process.hears("overdue", one.take("overdue", now))
    assert one.state in ("killing", "stopped")


@given(STEPS, st.booleans())
def test_a_kill_is_taken_in_every_state_and_ends_with_no_process(steps: list[Step], spawns: bool) -> None:
    one, process, now = lived(steps)
    was_killing, was_there = one.state == "killing", process.is_there
    instructions = one.take("kill", now)
    process.hears("kill", instructions)
    assert ("kill" in instructions) == (was_there and not was_killing)
    if process.is_coming:
        event: WorkerEvent = "spawned" if spawns else "spawn_failed"
        following = one.take(event, now)
        process.hears(event, following)
        assert following == (("kill",) if spawns else ())
    if process.is_there:
        process.hears("exited", one.take("exited", now))
    assert (one.state, one.deadline) == ("stopped", None)
    check(one, process)


# -- its drawing


def test_the_drawing_has_every_way_from_one_state_to_another() -> None:
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> stopped"]
    for state, row in TRANSITIONS.items():
        for event, transition in row.items():
            assert (f"    {state} --> {transition.state}: {event}" in lines) == (transition.state != state)


def test_the_drawing_in_the_documentation_is_made_from_the_table() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    section = text.partition("\n## What decides, and what obeys\n")[2].partition("\n## ")[0]
    assert section.partition("```mermaid\n")[2].partition("\n```")[0] == diagram()
