"""Workers whose event loop is closed: nothing there will ever watch them, stop them or reap them, so it is done from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

__all__ = ["end_orphans", "kill_trees"]

_INTERVAL_SECONDS = 0.005
_REAP_SECONDS = 5.0
_OTHERS_FIRST_SECONDS = 0.1
"""How long a dead child is left to a thread of asyncio that may be waiting for it, which would complain of a status that is gone."""


def kill_trees(pids: Iterable[int]) -> None:
    """SIGKILL to the process trees of these workers, as far as they are still children of this process."""
    for pid in pids:
        if _has_ended(pid) is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


async def end_orphans(pids: Iterable[int]) -> None:
    """Kill the process trees of these workers and reap them; returns when none is left, or after 5 s."""
    left = set(pids)
    kill_trees(left)
    begun = time.monotonic()
    while left and time.monotonic() < begun + _REAP_SECONDS:
        if time.monotonic() > begun + _OTHERS_FIRST_SECONDS:
            for pid in left:
                _reap(pid)
        left = {pid for pid in left if _has_ended(pid) is not None}
        await asyncio.sleep(_INTERVAL_SECONDS if left else 0)


def _has_ended(pid: int) -> bool | None:
    """Whether this child is dead; None: there is no such child, or it has been reaped. Its status stays where it is."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return None


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
