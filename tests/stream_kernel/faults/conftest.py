"""What the tests of faults share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from other_worker import write_other_worker
from processes import Liveness
from stream_kernel import RuntimeConfig


@pytest.fixture
def faulty(make_config: Callable[..., RuntimeConfig]) -> Callable[..., RuntimeConfig]:
    """`make_config` for nodes that misbehave."""

    def make(groups: dict[str, Any], **top: Any) -> RuntimeConfig:
        return make_config(groups, modules=["kernel_nodes", "fault_nodes", "fragile_nodes"], **top)

    return make


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Future[Any]]]:
    """Run a call in a thread of its own."""
    with ThreadPoolExecutor(32) as threads:
        yield threads.submit


@pytest.fixture
def left_open(tmp_path: Path) -> Iterator[Path]:
    """A file that this process has open, and would hand on to whatever it starts."""
    path = tmp_path / "secret"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.set_inheritable(fd, True)
    yield path
    os.close(fd)


@pytest.fixture
def liveness(tmp_path: Path) -> Iterator[Liveness]:
    """A socket that descendants connect to."""
    socket = Liveness(tmp_path / "liveness")
    yield socket
    socket.close()


@pytest.fixture
def fake_worker(tmp_path: Path, faulty: Callable[..., RuntimeConfig]) -> Callable[..., RuntimeConfig]:
    """A configuration whose workers run `body` instead of ours."""

    def make(body: str, **group: Any) -> RuntimeConfig:
        program = tmp_path / "fake_worker"
        write_other_worker(program, body)
        return faulty({"g": {"nodes": ["echo"], "python": str(program), **group}})

    return make
