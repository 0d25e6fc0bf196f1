"""The life of one worker as a table: state and event to next state. No I/O, no clock.

`spawning` and `booting` lead to `ready`; `stopping` was asked to end, `killing` is being ended; `stopped` has no process.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["TRANSITIONS", "WorkerEvent", "WorkerState", "advance"]

WorkerState = Literal["stopped", "spawning", "booting", "ready", "stopping", "killing"]
WorkerEvent = Literal["start", "spawned", "spawn_failed", "became_ready", "stop", "kill", "exited"]

TRANSITIONS: dict[WorkerState, dict[WorkerEvent, WorkerState]] = {
    "stopped": {"start": "spawning"},
    "spawning": {"spawned": "booting", "spawn_failed": "stopped", "stop": "killing", "kill": "killing"},
    "booting": {"became_ready": "ready", "stop": "stopping", "kill": "killing", "exited": "stopped"},
    "ready": {"stop": "stopping", "kill": "killing", "exited": "stopped"},
    "stopping": {"kill": "killing", "exited": "stopped"},
    "killing": {"spawned": "killing", "spawn_failed": "stopped", "kill": "killing", "exited": "stopped"},
}


def advance(state: WorkerState, event: WorkerEvent) -> WorkerState:
    """The next state; a missing transition is a mistake of the caller and names both."""
    following = TRANSITIONS[state].get(event)
    if following is None:
        raise RuntimeError(f"a worker in state '{state}' cannot take '{event}'")
    return following
