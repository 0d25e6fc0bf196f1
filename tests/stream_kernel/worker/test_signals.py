"""A worker's own way with signals, whatever its parent's is."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_kernel.protocol.breadcrumb import STACKS_SIGNAL
from stream_kernel.protocol.messages import Bootstrap
from worker_talk import started

HEEDED = (signal.SIGTERM, signal.SIGCHLD, STACKS_SIGNAL)


@pytest.fixture
def deaf() -> Iterator[None]:
    """This process blocks and ignores what a worker must heed."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in HEEDED}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*HEEDED, signal.SIGUSR1})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_its_parent_blocks_and_ignores_is_nothing_to_it(deaf: None, worker: Any, make_bootstrap: Callable[..., Bootstrap]) -> None:
    started(worker, make_bootstrap("echo"))
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    blocked, ignored = (int(status.partition(f"\n{name}:")[2].split()[0], 16) for name in ("SigBlk", "SigIgn"))
    assert blocked == 0
    assert [number for number in HEEDED if ignored >> (number - 1) & 1] == []
    assert ignored >> (signal.SIGINT - 1) & 1, "a Ctrl-C is for its parent"
