"""Room in the queues for a call that enters: for all of its first commands, or it waits, or it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from stream_kernel.engine.base import Command, Engine

__all__ = ["release_room", "reserve_room"]


async def reserve_room(engine: Engine, commands: Sequence[Command], deadline: float, *, is_patient: bool = False) -> frozenset[str]:
    """Reserve room for `commands` and mark them as admitted; gives the groups that refuse theirs. One that `is_patient` waits for room
    where a group would refuse it.

    A call that finds no room in time goes on without: its commands then meet their deadline. Being cancelled gives back what was reserved.
    """
    wanted: dict[str, tuple[int, int]] = {}
    for command in commands:
        count, size = wanted.get(command.group, (0, 0))
        wanted[command.group] = (count + 1, size + command.size)
    refused: set[str] = set()
    try:
        for group, (count, size) in sorted(wanted.items()):  # the same order for all: otherwise two calls could wait for each other
            if engine.reserve(group, count, size):
                _mark(commands, group)
            elif not is_patient and engine.refuses_overflow(group):
                refused.add(group)
            else:
                _mark_waiting(commands, group)
                if await _wait(engine, group, count, size, deadline):
                    _mark(commands, group)
    except asyncio.CancelledError:
        release_room(engine, commands)
        raise
    return frozenset(refused)


def release_room(engine: Engine, commands: Iterable[Command]) -> None:
    """Give up the room of those that have some."""
    for command in commands:
        if command.is_admitted:
            command.is_admitted = False
            engine.release(command.group, 1, command.size)


def _mark(commands: Iterable[Command], group: str) -> None:
    for command in commands:
        if command.group == group:
            command.is_admitted = True


def _mark_waiting(commands: Iterable[Command], group: str) -> None:
    now = asyncio.get_running_loop().time()
    for command in commands:
        if command.group == group:
            command.waited_since = now


async def _wait(engine: Engine, group: str, count: int, size: int, deadline: float) -> bool:
    """Whether there was room before the deadline."""
    try:
        async with asyncio.timeout_at(deadline):
            await engine.wait_for_room(group, count, size)
    except TimeoutError:
        return False
    return True
