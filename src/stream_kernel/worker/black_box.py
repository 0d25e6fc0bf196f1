"""The worker's end of the breadcrumb: two words in memory that its parent can read while it works, hangs, or is dead.

The layout is in `protocol/breadcrumb.py`. The memory is a file that the parent made and this process inherited; behind the words,
faulthandler writes the stacks of all threads at a crash, and when the parent has this process end. A signal handler in C does that: it
needs neither the interpreter lock nor memory, and so works while C code holds the lock.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import time
from collections.abc import Callable, Sequence

from stream_kernel.protocol.breadcrumb import BLACK_BOX_SIZE, STACKS_OFFSET, STACKS_SIGNAL, pack_progress

__all__ = ["BlackBox"]

_PER_INPUT = pack_progress(0, 1, 0)


class BlackBox:
    """Notes what is running. A forked copy of the process notes into memory of its own, and writes no stacks."""

    def __init__(self, fd: int) -> None:
        """`fd` is the inherited file, of `BLACK_BOX_SIZE` bytes. Raises `OSError` or `ValueError` when it is none."""
        os.set_inheritable(fd, False)
        self._fd = fd
        self._map = mmap.mmap(fd, BLACK_BOX_SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._base = 0
        self._places: dict[str, int] = {}
        os.register_at_fork(after_in_child=self._leave_in_child)

    def keep_stacks(self) -> None:
        """From now on the last thing that this process does is to write its stacks: at a crash, and when the parent's signal ends it."""
        os.lseek(self._fd, STACKS_OFFSET, os.SEEK_SET)
        # Chained to the default, which is to end: a handler that came back would wake a node from the system call that it hangs in.
        faulthandler.register(STACKS_SIGNAL, file=self._fd, all_threads=True, chain=True)
        faulthandler.enable(self._fd)

    def notes_of(self, names: Sequence[str]) -> Callable[[int, str], None]:
        """What to call with the index of an input and the name of a node before that works; `names` are all, in the order of `ready`.

        Of more nodes than a note can tell apart nothing is noted: a wrong name is worse than none.
        """
        self._places = {name: place for place, name in enumerate(names)}
        return self._note if pack_progress(1, 0, len(names) - 1) else _nothing

    def begin(self, command: int) -> None:
        """The command with this number, counted from 1, begins now; none of its inputs is at work yet."""
        self._words[0] = 0
        self._base = pack_progress(command, 0, 0)
        self._words[1] = time.monotonic_ns()

    def _note(self, index: int, node: str) -> None:
        """The command's input `index` is at work in `node`: one aligned store, whole whenever it is read."""
        # The same as pack_progress(command, index, place), whose call costs more than all of this. A batch of 2**24 inputs would carry
        # into the number of the command, and then speak of none that the parent asks for.
        self._words[0] = self._base + index * _PER_INPUT + self._places[node]

    def _leave_in_child(self) -> None:
        if self._fd < 0:  # a child's child, which may have given the number to another file
            return
        self._words.release()
        self._map.close()
        self._words = memoryview(bytearray(16)).cast("Q")
        faulthandler.unregister(STACKS_SIGNAL)
        faulthandler.enable(2)
        os.close(self._fd)
        self._fd = -1


def _nothing(index: int, node: str) -> None:
    """Note nothing."""
