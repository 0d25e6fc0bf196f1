"""Waiting until a descriptor can be read or written, without blocking the event loop."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

__all__ = ["Readiness"]


class Readiness:
    """Knows whether a descriptor can be used now, and waits until it can be."""

    def __init__(self, descriptor: int, *, writes: bool) -> None:
        self._descriptor = descriptor
        self._writes = writes
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT if writes else select.POLLIN)

    @property
    def is_now(self) -> bool:
        """Whether the next read or write does not wait. Always so for a file, and where the other end has gone: the call itself says so."""
        return bool(self._poll.poll(0))

    async def wait(self) -> None:
        """Return when it can be used. Others have their turn in any case: one that can always be used must not keep the loop to itself."""
        if self.is_now:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        add: Callable[..., None] = loop.add_writer if self._writes else loop.add_reader
        remove: Callable[[int], bool] = loop.remove_writer if self._writes else loop.remove_reader
        add(self._descriptor, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            remove(self._descriptor)
