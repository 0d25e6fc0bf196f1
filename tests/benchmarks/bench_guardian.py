"""A process above the benchmark that sees to it that nothing outlives it, however it ends.

The benchmark itself could not: pools have threads that start another worker for each one that is killed, until their process has gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_TRACKER_SECONDS = 5.0
_KILL_SECONDS = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def guarded(run: Callable[[], int]) -> int:
    """Run in a child; once that has ended, or at Ctrl-C or SIGTERM, kill all that is left below. Returns the exit code.

    Call it while there is no other thread. In the child it returns too, and the child ends in its own way.
    """
    adopt_orphans()
    pid = os.fork()
    if pid == 0:
        for number in _SIGNALS:
            signal.signal(number, _leave_the_rest)
        return run()
    heard: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    for number in _SIGNALS:
        signal.signal(number, end)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sweep()
    if heard:
        os.write(2, b"bench.py: interrupted\n")
        return 128 + heard[0]
    return code


def _leave_the_rest(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def adopt_orphans() -> None:
    """What outlives its own parent becomes a child of this process, where it is found. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def sweep() -> None:
    """Kill every process below this one. Trackers of multiprocessing and loky clean up what others left: they have time to end."""
    deadline = time.monotonic() + _TRACKER_SECONDS
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        found = descendants(os.getpid())
        if not found or time.monotonic() > deadline + _KILL_SECONDS:
            return
        for pid in found:
            if time.monotonic() > deadline or not _is_tracker(pid):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _is_tracker(pid: int) -> bool:
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


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
