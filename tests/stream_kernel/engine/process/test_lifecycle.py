"""The table of a worker's states."""

from __future__ import annotations

import pytest

from stream_kernel.engine.process.lifecycle import TRANSITIONS, WorkerState, advance


def test_an_ordinary_life() -> None:
    state: WorkerState = "stopped"
    for event, following in (("start", "spawning"), ("spawned", "booting"), ("became_ready", "ready"), ("stop", "stopping")):
        state = advance(state, event)  # type: ignore[arg-type]
        assert state == following
    assert advance(state, "exited") == "stopped"


def test_every_state_with_a_process_takes_a_kill_and_ends_by_its_exit() -> None:
    for state in ("booting", "ready", "stopping", "killing"):
        assert advance(state, "kill") == "killing"
        assert advance(state, "exited") == "stopped"


def test_what_is_asked_of_a_worker_while_it_spawns_ends_it_when_it_has() -> None:
    assert advance("spawning", "stop") == advance("spawning", "kill") == "killing"
    assert advance("killing", "spawned") == "killing"


def test_a_missing_transition_names_state_and_event() -> None:
    with pytest.raises(RuntimeError, match=r"'stopped'.*'became_ready'"):
        advance("stopped", "became_ready")


def test_every_state_can_be_reached_and_left() -> None:
    reached = {following for events in TRANSITIONS.values() for following in events.values()}
    assert reached == set(TRANSITIONS)
    assert all(TRANSITIONS.values())
