"""The parent is killed: no worker may be left a second later, whatever it was doing.

    python tests/campaign/parent_death.py [--trials 200] [--report FILE]

Each trial starts a parent with four workers: one idle, one in a Python loop, one in C code that holds the GIL, one stopped by SIGSTOP. When
all four are there, the parent gets a SIGKILL, and a pidfd of each worker tells when it is dead. Exit code 1 when one outlived the second.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.campaign.figures import Spread, spread_of
from tests.campaign.processes import stat_of

from stream_kernel import AsyncBoundarySupervisor, NodeContext, RuntimeConfig, node

STATES = ("idle", "python", "c", "stopped")
LIMIT_SECONDS = 1.0
_WAIT_SECONDS = 30.0


def _busy(message: dict[str, Any]) -> None:
    """Say through a FIFO that it runs now, and never come back."""
    with Path(message["started"]).open("w"):
        pass
    if message["how"] == "c":
        ctypes.PyDLL(None).sleep(600)  # PyDLL keeps the GIL
    while True:
        pass


@node(name="busy_python")
def busy_python(message: dict[str, Any], ctx: NodeContext) -> None:
    """Holds its worker in a Python loop."""
    _busy(message)


@node(name="busy_c")
def busy_c(message: dict[str, Any], ctx: NodeContext) -> None:
    """Holds its worker in C code."""
    _busy(message)


@node(name="idle")
def idle(message: Any, ctx: NodeContext) -> None:
    """Never called."""


@node(name="halted")
def halted(message: Any, ctx: NodeContext) -> None:
    """Never called: its worker is stopped."""


_NODES = {"idle": "idle", "python": "busy_python", "c": "busy_c", "stopped": "halted"}


# -- the parent that is killed


async def parent(folder: Path) -> None:
    """Start the workers, bring each into its state, tell their pids, wait for the end."""
    groups = [{"name": state, "nodes": [name]} for state, name in _NODES.items()]
    config = RuntimeConfig.from_mapping({"discovery_modules": ["tests.campaign.parent_death"], "process_groups": groups})
    async with AsyncBoundarySupervisor(config) as supervisor:
        pids = {group.name: group.workers[0].pid for group in supervisor.snapshot().groups}
        calls = []
        for state in ("python", "c"):
            fifo = folder / state
            os.mkfifo(fifo)
            message = {"how": state, "started": str(fifo)}
            calls.append(asyncio.create_task(supervisor.call(_NODES[state], message, timeout_seconds=600)))
            # The other end is opened for as long as the node needs to say its word; the loop must go on meanwhile.
            await asyncio.to_thread(fifo.read_bytes)
        stopped = pids["stopped"]
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)
        os.waitid(os.P_PID, stopped, os.WSTOPPED | os.WNOWAIT)
        print(json.dumps(pids), flush=True)
        await asyncio.gather(*calls)


# -- the trials


def trial(folder: Path) -> dict[str, float]:
    """Seconds from the SIGKILL of the parent to the death of each worker; infinite: it outlived the limit, and was killed then."""
    started = [sys.executable, __file__, "--parent", str(folder)]
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True) as process, ExitStack() as stack:
        assert process.stdout is not None
        try:
            pids: dict[str, int] = json.loads(process.stdout.readline())
            pidfds = {state: os.pidfd_open(pid) for state, pid in pids.items()}
            for pidfd in pidfds.values():
                stack.callback(os.close, pidfd)
            _until_state(pids["c"], "S")  # asleep in C: the GIL is held
            _until_state(pids["python"], "R")
            return _kill_and_watch(process.pid, pidfds)
        finally:
            process.kill()


def _until_state(pid: int, state: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while (found := stat_of(pid)) is None or found.state != state:
        if found is None or time.monotonic() > deadline:
            raise RuntimeError(f"worker {pid} did not come into state {state}: {found}")
        time.sleep(0.001)


def _kill_and_watch(parent_pid: int, pidfds: dict[str, int]) -> dict[str, float]:
    poller = select.poll()
    for pidfd in pidfds.values():
        poller.register(pidfd, select.POLLIN)
        if poller.poll(0):
            raise RuntimeError("a worker was dead before its parent")
    waiting = {pidfd: state for state, pidfd in pidfds.items()}
    took = dict.fromkeys(pidfds, float("inf"))
    began = time.monotonic()
    os.kill(parent_pid, signal.SIGKILL)
    while waiting and (left := began + LIMIT_SECONDS - time.monotonic()) > 0:
        for pidfd, _ in poller.poll(left * 1000):
            took[waiting.pop(pidfd)] = time.monotonic() - began
            poller.unregister(pidfd)
    for pidfd in waiting:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return took


def page(times: dict[str, list[float]], trials: int) -> str:
    """The distribution, by what the worker was doing."""
    lines = [f"# SIGKILL of the parent, {trials} trials, {trials * len(STATES)} workers", ""]
    lines += ["| worker | left after 1 s | p50 | p99 | most |", "|---|---:|---:|---:|---:|"]
    for state in STATES:
        dead = [each for each in times[state] if each != float("inf")]
        spread: Spread = spread_of(dead)
        figures = " | ".join(f"{seconds * 1000:.1f} ms" for seconds in (spread.p50, spread.p99, spread.most))
        lines.append(f"| {state} | {len(times[state]) - len(dead)} | {figures} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Run the trials, print the page."""
    parser = argparse.ArgumentParser(description="What becomes of workers whose parent is killed.")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--parent", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.parent is not None:
        asyncio.run(parent(given.parent))
        return 0
    import tempfile

    times: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(given.trials):
        with tempfile.TemporaryDirectory(prefix="parent-death-") as folder:
            for state, seconds in trial(Path(folder)).items():
                times[state].append(seconds)
    text = page(times, given.trials)
    print(text)
    if given.report is not None:
        given.report.write_text(text, encoding="utf-8")
    return 1 if any(seconds == float("inf") for each in times.values() for seconds in each) else 0


if __name__ == "__main__":
    sys.exit(main())
