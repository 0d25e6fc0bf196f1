"""The life of one worker as a table: a state and an event give the next state and what is to be done. No I/O, no clock.

Seconds are on any one monotonic clock. The diagram in `docs/architecture.md` is made from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Literal

import msgspec

__all__ = ["TRANSITIONS", "Instruction", "Transition", "WorkerEvent", "WorkerLife", "WorkerState", "diagram"]

WorkerState = Literal[
    "stopped", "spawning", "booting", "ready", "draining", "stopping", "closing", "terminating", "killing", "backoff", "failed"
]
"""`draining` finishes what it has; `stopping` was told to stop; `closing` has had its stdin closed; `terminating` has had SIGTERM,
`killing` SIGKILL. `backoff` waits for its next start. `stopped`, `backoff` and `failed` have no process."""
WorkerEvent = Literal[
    "start", "spawned", "spawn_failed", "became_ready", "drain", "stop", "overdue", "kill", "exited", "back_off", "give_up"
]
Instruction = Literal["spawn", "introduce", "refuse_late_start", "say_stop", "close_stdin", "terminate", "kill", "leave_behind"]


class Transition(msgspec.Struct, frozen=True):
    """Where an event leads, and what is to be done there, in order."""

    state: WorkerState
    instructions: tuple[Instruction, ...] = ()


def _to(state: WorkerState, *instructions: Instruction) -> Transition:
    return Transition(state, instructions)


_KILL = _to("killing", "kill")
_GONE = _to("stopped")
_SPAWN = _to("spawning", "spawn")
_STOP = _to("stopping", "say_stop")

TRANSITIONS: dict[WorkerState, dict[WorkerEvent, Transition]] = {
    "stopped": {"start": _SPAWN, "back_off": _to("backoff"), "give_up": _to("failed"), "stop": _GONE, "kill": _GONE},
    "backoff": {"overdue": _SPAWN, "start": _SPAWN, "give_up": _to("failed"), "stop": _GONE, "kill": _GONE},
    "failed": {"start": _SPAWN, "give_up": _to("failed"), "stop": _GONE, "kill": _GONE},
    "spawning": {
        "spawned": _to("booting", "introduce"),
        "spawn_failed": _GONE,
        "overdue": _to("killing", "refuse_late_start", "leave_behind"),
        "stop": _to("killing"),
        "kill": _to("killing"),
    },
    "booting": {
        "became_ready": _to("ready"),
        "overdue": _to("killing", "refuse_late_start", "kill"),
        "stop": _STOP,
        "kill": _KILL,
        "exited": _GONE,
    },
    "ready": {"drain": _to("draining"), "stop": _STOP, "kill": _KILL, "exited": _GONE},
    "draining": {"drain": _to("draining"), "stop": _STOP, "kill": _KILL, "exited": _GONE},
    "stopping": {"stop": _to("stopping"), "overdue": _to("closing", "close_stdin"), "kill": _KILL, "exited": _GONE},
    "closing": {"stop": _to("closing"), "overdue": _to("terminating", "terminate"), "kill": _KILL, "exited": _GONE},
    "terminating": {"stop": _to("terminating"), "overdue": _KILL, "kill": _KILL, "exited": _GONE},
    "killing": {
        "spawned": _KILL,
        "spawn_failed": _GONE,
        "stop": _to("killing"),
        "kill": _to("killing"),
        "overdue": _to("killing", "leave_behind"),
        "exited": _GONE,
    },
}


class WorkerLife:
    """The state of one worker, and until when it may last. `waits` bounds states in seconds; a state that is not named has no bound."""

    def __init__(self, waits: Mapping[WorkerState, float]) -> None:
        self._waits = waits
        self.state: WorkerState = "stopped"
        self.deadline: float | None = None
        """When `overdue` is due, on the clock of `now`; None: never."""

    def take(self, event: WorkerEvent, now: float, *, wait: float | None = None) -> tuple[Instruction, ...]:
        """Go on; returns what is to be done, in order. `wait` bounds the new state instead of its own wait, or shortens the old one.

        An event that the table does not have in this state is a mistake of the caller: `RuntimeError` names both.
        """
        following = TRANSITIONS[self.state].get(event)
        if following is None:
            raise RuntimeError(f"a worker in state '{self.state}' cannot take '{event}'")
        if following.state != self.state or event == "spawned":
            seconds = self._waits.get(following.state, inf) if wait is None else wait
            self.deadline = None if seconds == inf else now + seconds
        elif wait is not None and wait != inf:  # who asks once more may shorten the time, and never prolong it
            self.deadline = min(inf if self.deadline is None else self.deadline, now + wait)
        elif event == "overdue":
            self.deadline = None  # it is told once
        self.state = following.state
        return following.instructions


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> stopped"]
    for state, row in TRANSITIONS.items():
        for event, transition in row.items():
            if transition.state != state:
                lines.append(f"    {state} --> {transition.state}: {event}")
    return "\n".join(lines)
