"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from processes import Liveness
from stream_kernel import RuntimeConfig


@pytest.fixture
def faulty(make_config: Callable[..., RuntimeConfig]) -> Callable[..., RuntimeConfig]:
    """`make_config` for nodes that misbehave."""

    def make(groups: dict[str, Any], **top: Any) -> RuntimeConfig:
        return make_config(groups, modules=["kernel_nodes", "fault_nodes"], **top)

    return make


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Future[Any]]]:
    """Run a call in a thread of its own."""
    with ThreadPoolExecutor(32) as threads:
        yield threads.submit


@pytest.fixture
def liveness(tmp_path: Path) -> Iterator[Liveness]:
    """A socket that descendants connect to."""
    socket = Liveness(tmp_path / "liveness")
    yield socket
    socket.close()
