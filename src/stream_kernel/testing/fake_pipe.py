"""A pipe in memory: what one side puts in the other takes out, until one of them closes its end."""

from __future__ import annotations

__all__ = ["FakePipe"]


class FakePipe:
    """Bytes on their way. `capacity` bounds what waits in it; None: nothing does."""

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.has_reader = True
        self.has_writer = True
        self._held = bytearray()

    @property
    def room(self) -> int:
        """How many bytes it takes now."""
        return max(0, 1 << 62 if self.capacity is None else self.capacity - len(self._held))

    @property
    def is_readable(self) -> bool:
        """Whether a read gives something: bytes, or the end."""
        return bool(self._held) or not self.has_writer

    def put(self, data: bytes | bytearray) -> int:
        """Put in what there is room for; gives how much. Raises `BrokenPipeError` when an end is closed."""
        if not (self.has_reader and self.has_writer):
            raise BrokenPipeError("nobody reads this pipe any more")
        taken = data[: self.room]
        self._held += taken
        return len(taken)

    def take(self, limit: int) -> bytes | None:
        """At most `limit` bytes; None when there are none now, empty when there never will be."""
        if not self._held:
            return None if self.has_writer else b""
        data = bytes(self._held[:limit])
        del self._held[:limit]
        return data

    def close_reader(self) -> None:
        """Nobody will read it: what is in it is lost."""
        self.has_reader = False
        self._held.clear()

    def close_writer(self) -> None:
        """Nothing more will come; what is in it can still be read."""
        self.has_writer = False
