"""What a worker notes in shared memory while it works, as both ends read it: two numbers of 64 bit, each written whole.

The first says what is running: which command (counted from 1 in each incarnation), which input of it, which node (its place among those of
the `ready` message). The second is when the command began, in nanoseconds on the machine's monotonic clock, which both processes share.
A zero says nothing. Behind them, from `STACKS_OFFSET` on, faulthandler writes the worker's stacks at its end.
"""

from __future__ import annotations

import signal

import msgspec

__all__ = ["BLACK_BOX_SIZE", "STACKS_OFFSET", "STACKS_SIGNAL", "Progress", "pack_progress", "unpack_progress"]

BLACK_BOX_SIZE = 4096
"""Bytes that are mapped: a page."""
STACKS_OFFSET = BLACK_BOX_SIZE
STACKS_SIGNAL: int = signal.SIGRTMIN + 10 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
"""Has a worker write its stacks and end. Not one of those that programs use for themselves, where the system has others."""
_COMMAND_BITS, _INDEX_BITS, _NODE_BITS = 28, 24, 12
_INDEX_MAX = (1 << _INDEX_BITS) - 1
_NODE_MAX = (1 << _NODE_BITS) - 1
_COMMAND_MAX = (1 << _COMMAND_BITS) - 1


class Progress(msgspec.Struct, frozen=True):
    """Command `command` (counted from 1, modulo 2**28) was working on its input `index`, in the node at place `node`."""

    command: int
    index: int
    node: int

    def is_of(self, command: int) -> bool:
        """Whether it speaks of the command with this number."""
        return self.command == command & _COMMAND_MAX


def pack_progress(command: int, index: int, node: int) -> int:
    """The number to write; 0, which says nothing, for what has no place in it."""
    if index > _INDEX_MAX or node > _NODE_MAX:
        return 0
    return (command & _COMMAND_MAX) << (_INDEX_BITS + _NODE_BITS) | index << _NODE_BITS | node


def unpack_progress(number: int) -> Progress | None:
    """What a number says; None for 0."""
    if not number:
        return None
    return Progress(number >> (_INDEX_BITS + _NODE_BITS), number >> _NODE_BITS & _INDEX_MAX, number & _NODE_MAX)
