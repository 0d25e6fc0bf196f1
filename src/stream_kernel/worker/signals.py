"""A worker's own way with signals: what its parent blocks or ignores is none of its business, and a process inherits both."""

from __future__ import annotations

import signal

from stream_kernel.protocol.breadcrumb import STACKS_SIGNAL

__all__ = ["own_signals"]


def own_signals() -> None:
    """Before anything else: block nothing, and heed what a supervisor ends a worker with."""
    for number in (signal.SIGTERM, signal.SIGCHLD, STACKS_SIGNAL):  # without SIGCHLD, exit codes of a node's children are lost
        signal.signal(number, signal.SIG_DFL)
    # The parent decides when a worker ends; a stray SIGINT must not strike in the middle of a frame.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
