"""Makes a worker die with its parent, whatever it is doing: asleep, in C code that holds the GIL, stopped by a signal.

The parent holds the write end of a pipe that nobody ever writes to. When the parent is gone, the kernel closes it and sends SIGKILL
to the owner of the read end (`O_ASYNC` with `F_SETSIG`, Linux). Elsewhere a thread waits for the hang-up: that covers everything
but C code that holds the GIL and stopped processes.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal

__all__ = ["hold_lifeline"]


def hold_lifeline(fd: int) -> None:
    """Tie this process to the pipe whose read end is `fd`."""
    os.set_inheritable(fd, False)
    set_signal = getattr(fcntl, "F_SETSIG", None)
    if set_signal is None:  # pragma: no cover  not Linux
        _watch_in_thread(fd)
        return
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, set_signal, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    poller = select.poll()
    poller.register(fd, 0)
    if poller.poll(0):  # the parent went before the signal was armed
        os._exit(0)


def _watch_in_thread(fd: int) -> None:  # pragma: no cover  not Linux
    import threading

    def watch() -> None:
        poller = select.poll()
        poller.register(fd, 0)
        poller.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="stream_kernel lifeline", daemon=True).start()
