"""Which worker of a group gets the next command, found at a cost that does not grow with the number of workers.

Workers stand on levels, by how many commands they have. A level is a number whose bits are the places of its workers: the next one in turn
is a matter of a shift. A worker is looked at when its turn comes, and not before: one that has no room after all is struck off the levels,
until it is noted again.
"""

from __future__ import annotations

from collections.abc import Sequence

from stream_kernel.engine.base import Command
from stream_kernel.engine.process.slot import WorkerSlot

__all__ = ["Roster"]


class Roster:
    """Of one group; `slots` is its list, in which places change hands. `depth` is the most that one of them may have."""

    def __init__(self, slots: Sequence[WorkerSlot], depth: int) -> None:
        self._slots = slots
        self._full = depth
        self._levels = [0] * (depth + 1)
        """By number of commands. Who is on the last one is not looked at."""
        self._level_of = [depth] * len(slots)
        self._next = 0

    def note(self, slot: WorkerSlot) -> None:
        """It may have room from now on. Has to be said of each worker that is told the routes, answers, or does not get what it was chosen
        for.
        """
        if self._slots[slot.index] is slot:
            self._place(slot.index, min(slot.outstanding, self._full))

    def choose(self, command: Command) -> WorkerSlot | None:
        """The free worker that has the fewest commands, the next one in turn among equals; none that has another of the same call. The
        command counts as given to it.
        """
        for level in range(self._full):
            workers = self._levels[level]
            while workers:
                in_turn = workers >> self._next << self._next or workers
                bit = in_turn & -in_turn
                index = bit.bit_length() - 1
                slot = self._slots[index]
                if not slot.is_free:
                    self._place(index, self._full)
                elif not level or not slot.has_of_call(command):
                    self._place(index, level + 1)
                    self._next = (index + 1) % len(self._slots)
                    return slot
                workers ^= bit
        return None

    def _place(self, index: int, level: int) -> None:
        bit = 1 << index
        self._levels[self._level_of[index]] &= ~bit
        self._levels[level] |= bit
        self._level_of[index] = level
