"""A turn that takes too long ends the run and says whose it was."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TURN_SECONDS = 300.0
EXIT_CODE = 3


class Watchdog:
    """Ends this process when a turn takes too long. What is below it is left to the guardian."""

    def __init__(self, seconds: float = TURN_SECONDS) -> None:
        self._seconds = seconds

    @contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Bound a turn."""
        timer = threading.Timer(self._seconds, self._bite, (what,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _bite(self, what: str) -> None:
        os.write(2, f"bench.py: {what} has taken more than {self._seconds:g} s: the run ends (--without NAME leaves a peer out)\n".encode())
        os._exit(EXIT_CODE)
