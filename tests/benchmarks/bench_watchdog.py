"""Everything ends: a turn that takes too long ends the run and says whose it was; no process outlives this one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
TURN_SECONDS = 300.0


class Watchdog:
    """Ends this process and all below it when a turn takes too long, or at a signal."""

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
        end_now(f"{what} has taken more than {self._seconds:g} s: the run ends (a peer can be left out with --without NAME)", 3)


def adopt_orphans() -> None:
    """What outlives its own parent becomes a child of this process, where it is found. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def end_on_signals() -> None:
    """Ctrl-C and SIGTERM leave nothing behind, whatever is at work."""

    def end(number: int, frame: FrameType | None) -> None:
        end_now("interrupted", 128 + number)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)


def end_now(why: str, code: int) -> None:
    """Kill what is below and end."""
    os.write(2, f"{Path(sys.argv[0]).name}: {why}\n".encode())
    kill_descendants()
    os._exit(code)


def kill_descendants() -> None:
    """Kill every process below this one, over and over until there is none, since some are just starting others."""
    for _ in range(50):
        found = [pid for pid in descendants(os.getpid()) if not _ends_by_itself(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        threading.Event().wait(0.01)


def _ends_by_itself(pid: int) -> bool:
    """A tracker of multiprocessing or loky cleans up what others left, and ends when they have ended. A zombie has ended."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, the nearest first."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            below.setdefault(int(entry.read_text().rpartition(")")[2].split()[1]), []).append(int(entry.parent.name))
    found = list(below.get(pid, []))
    for one in found:  # grows while it is gone through
        found += below.get(one, [])
    return found
