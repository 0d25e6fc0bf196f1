"""Workers whose event loop is closed: nothing there will ever watch them, stop them or reap them, so it is done from outside."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

__all__ = ["end_orphans", "end_orphans_soon", "is_there"]

_INTERVAL_SECONDS = 0.005
_REAP_SECONDS = 5.0
_OTHERS_FIRST_SECONDS = 0.1
"""How long a dead child is left to a thread of asyncio that may be waiting for it, which would complain of a status that is gone."""


def end_orphans(pids: Iterable[int]) -> None:
    """Kill the process trees of these workers and reap them, as far as they are still children of this process.

    Blocks until none is left, 5 s at most.
    """
    left = _children(pids)
    _kill_trees(left)
    begun = time.monotonic()
    while left := _children(left):
        passed = time.monotonic() - begun
        if passed > _REAP_SECONDS:
            return
        if passed > _OTHERS_FIRST_SECONDS:
            for pid in left:
                _reap(pid)
        time.sleep(_INTERVAL_SECONDS)


def end_orphans_soon(pids: Iterable[int]) -> None:
    """The same from where nothing may block: they are killed at once, and reaped by a thread."""
    left = _children(pids)
    _kill_trees(left)
    if left:
        # At the end of the interpreter no thread starts any more, but then they come to a process that reaps them.
        with suppress(RuntimeError):
            threading.Thread(target=end_orphans, args=(left,), name="stream_kernel orphans", daemon=True).start()


def is_there(pid: int) -> bool:
    """Whether a process has this number, which may be a dead one that has not been reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _kill_trees(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _children(pids: Iterable[int]) -> set[int]:
    """Those of them that are children of this process, dead ones too, unless they have been reaped. Their status stays where it is."""
    found = set()
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            found.add(pid)
    return found


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
