"""Larger pipes for those workers that large frames go to and come from.

A pipe holds 64 KiB, so a frame of a megabyte makes writer and reader wait for each other some sixteen times. What all pipes of a user
may hold is limited too (`fs.pipe-user-pages-soft`, 64 MiB), and beyond that every new pipe of that user, in whatever program, gets two
pages. So a pipe grows only when it was seen full, once, to four times its size, where most of the gain is; and so few of them do that all
together take a tenth of what the user has.
"""

from __future__ import annotations

import contextlib
import fcntl
import weakref
from typing import ClassVar

__all__ = ["RoomyPipe"]

_BYTES = 1 << 18
_MOST = 32
"""Pipes of all workers together: each one takes 48 pages more, of 16,384."""
_SET_SIZE: int | None = getattr(fcntl, "F_SETPIPE_SZ", None)
"""None: not Linux."""


class RoomyPipe:
    """One end of a pipe, which grows when it has been seen full, as far as the system allows."""

    _grown: ClassVar[weakref.WeakSet[RoomyPipe]] = weakref.WeakSet()

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._was_tried = False

    def was_full(self) -> None:
        """Nothing went in any more, or as much came out at once as it holds. The descriptor is open still."""
        if _SET_SIZE is None or self._was_tried or len(self._grown) >= _MOST:
            return
        self._was_tried = True
        with contextlib.suppress(OSError):  # larger than the system allows, or the user has used up what there is
            fcntl.fcntl(self._fd, _SET_SIZE, _BYTES)
            self._grown.add(self)
