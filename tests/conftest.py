"""What every test gets: nothing of it may stay behind. And the small vocabulary of the tests on real workers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_kernel import BoundaryDispatchInput, RuntimeConfig

# A job in the background of a script starts with Ctrl-C ignored, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOOP = os.environ.get("TESTS_LOOP", "asyncio")
"""Whose event loops this process makes, those of the tests and those of supervisors: `asyncio` or `uvloop`."""
if LOOP == "uvloop":
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    uvloop.new_event_loop().close()  # it makes the pipe that it keeps for as long as the process lives


def pytest_configure(config: pytest.Config) -> None:
    """uvloop warns of what is open while it closes a loop. As an error that would keep it open, and `close` waits for it without end."""
    if LOOP == "uvloop":
        config.addinivalue_line("filterwarnings", "ignore:unclosed resource:ResourceWarning")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what asyncio's own loops alone can show, and say why."""
    mark = item.get_closest_marker("asyncio_loop")
    if mark is not None and LOOP == "uvloop":
        pytest.skip(mark.kwargs["reason"])


SETTLE_SECONDS = 5.0
"""How long what a test has closed may take to be gone: threads that reap, transports that close in the next pass of a loop."""


def _children() -> set[int]:
    """Child processes of this one, zombies included."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found.update(map(int, (task / "children").read_text().split()))
    return found


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except OSError:
            continue  # the one that lists the folder
    return found


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.is_alive()}


def _left(children: set[int], descriptors: dict[int, str], threads: set[threading.Thread]) -> str:
    left = []
    if new := _children() - children:
        left.append(f"child processes {sorted(new)}")
    if new_threads := _threads() - threads:
        left.append(f"threads {[thread.name for thread in new_threads]}")
    if new_fds := {fd: to for fd, to in _descriptors().items() if descriptors.get(fd) != to}:
        left.append(f"descriptors {new_fds}")
    return ", ".join(left)


@pytest.fixture(autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    """Fail a test that leaves a process, a zombie, a thread, a task or a descriptor behind."""
    before = _children(), _descriptors(), _threads()
    yield
    deadline = time.monotonic() + SETTLE_SECONDS
    while left := _left(*before):
        if time.monotonic() > deadline:
            pytest.fail(f"the test leaves behind: {left}")
        gc.collect()
        time.sleep(0.005)


@pytest.fixture(autouse=True)
async def no_task_stays_behind(request: pytest.FixtureRequest) -> Any:
    """Fail an async test that leaves an asyncio task behind."""
    before: set[asyncio.Task[Any] | None] = {*asyncio.all_tasks()}
    yield
    before.add(asyncio.current_task())  # the one that finishes this fixture
    for _ in range(20):
        left = [task for task in asyncio.all_tasks() if task not in before and not task.done()]
        if not left:
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"the test leaves tasks behind: {[task.get_name() for task in left]}")


def coverage_environment() -> list[str]:
    """What orderly workers need to be measured too, when the tests are."""
    return [name for name in os.environ if name.startswith("COVERAGE_")]


MakeConfig = Callable[..., RuntimeConfig]


@pytest.fixture
def make_config() -> MakeConfig:
    """Build a configuration from `group name -> nodes` and overrides of a group's or the top level's keys."""

    def make(groups: dict[str, Any], *, modules: list[str] | None = None, mode: str = "process_supervisor", **top: Any) -> RuntimeConfig:
        entries = []
        for name, given in groups.items():
            entry: dict[str, Any] = {"name": name, "env_passthrough": coverage_environment()}
            entry.update(given if isinstance(given, dict) else {"nodes": given})
            entries.append(entry)
        return RuntimeConfig.from_mapping(
            {
                "discovery_modules": ["kernel_nodes"] if modules is None else modules,
                "bootstrap": {"mode": mode},
                "process_groups": entries,
                **top,
            }
        )

    return make


@pytest.fixture
def make_input() -> Callable[..., BoundaryDispatchInput]:
    """Build an input for a node of a group."""

    def make(group: str | None, target: str | None, payload: Any, **fields: Any) -> BoundaryDispatchInput:
        return BoundaryDispatchInput(payload, group, target, **fields)

    return make


class Fifo:
    """A moment that a node and a test share: what one writes, the other waits for."""

    def __init__(self, path: Path) -> None:
        """Make the FIFO."""
        self.path = str(path)
        os.mkfifo(path)

    def wait(self) -> str:
        """Block until somebody has written; gives what was written."""
        with Path(self.path).open() as fifo:
            return fifo.read()

    def release(self) -> None:
        """Let those go on that wait for this FIFO."""
        with Path(self.path).open("w"):
            pass


@pytest.fixture
def make_fifo(tmp_path: Path) -> Callable[[str], Fifo]:
    """Make named FIFOs in the test's folder."""

    def make(name: str) -> Fifo:
        return Fifo(tmp_path / name)

    return make
