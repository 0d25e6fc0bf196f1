"""How many commands a worker may have at a time, and when: by the configuration, or (`depth = "auto"`) by what it has been measured at.

A command that is in a worker cannot be given to another one, and its caller pays for what happens to the worker meanwhile. So with "auto" a
worker has one command, and more only where that takes nothing from anybody but the time on the pipe:

* The group has one worker: what stands behind a command there would have waited for it anyway.
* Each command that it has is a single message for a node whose last answers in this life of the worker, so many in a row, were quick. One
  that was not, or that failed, starts the count over.
* The one at work began just now: one that turns out slow gets nobody behind it any more.
* There are few.

Whatever the depth, no command stands behind another of the same call: a call that fails takes back what it has in the queue.
"""

from __future__ import annotations

from typing import Literal

from stream_kernel.engine.base import Command
from stream_kernel.engine.process.ledger import Ledger
from stream_kernel.engine.process.ticket import Ticket

__all__ = ["Pacing", "most_commands"]

_MOST = 4
"""Commands of a worker; more than these were no faster."""
_QUICK_SECONDS = 0.0005
_PROBATION = 16
"""Quick answers in a row, before the next command counts as quick."""
_YOUNG_SECONDS = 0.002
"""All that it has should be done by then."""


def most_commands(depth: int | Literal["auto"], workers: int) -> int:
    """How many commands a worker may have at a time, at most, in a group of so many."""
    if depth == "auto":
        return _MOST if workers == 1 else 1
    return depth


class Pacing:
    """Of one worker, in one life of it."""

    def __init__(self, depth: int | Literal["auto"], workers: int) -> None:
        self._is_measured = depth == "auto" and workers == 1
        self._depth = most_commands(depth, workers)
        self._streaks: dict[str, int] = {}
        """By node: how many of its last commands in a row were quick."""

    def answered(self, command: Command, seconds: float | None) -> None:
        """The worker has answered a command that took it so long; None: it failed."""
        node = _node_of(command) if self._is_measured else None
        if node is not None:
            is_quick = seconds is not None and seconds < _QUICK_SECONDS
            self._streaks[node] = min(_PROBATION, self._streaks.get(node, 0) + 1) if is_quick else 0

    def has_room(self, ledger: Ledger, now: float) -> bool:
        """Whether a worker that owes these answers may have one command more; not asked of one that owes none."""
        if len(ledger) >= self._depth:
            return False
        return not self._is_measured or (_is_young(ledger.head, now) and all(self._is_quick(ticket.command) for ticket in ledger.owed))

    def _is_quick(self, command: Command) -> bool:
        return self._streaks.get(_node_of(command) or "", 0) >= _PROBATION


def _is_young(head: Ticket | None, now: float) -> bool:
    return head is not None and head.begun is not None and now - head.begun < _YOUNG_SECONDS


def _node_of(command: Command) -> str | None:
    """The node that it is a single message for; None: it has several."""
    return command.items[0].target if len(command.items) == 1 else None
