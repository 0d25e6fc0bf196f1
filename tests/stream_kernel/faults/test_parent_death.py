"""The parent dies or forgets to close: no worker outlives it, whatever the worker was doing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from processes import ends, is_alive, state_of, watched

PARENT = """
import json, os, signal, sys, threading
from stream_kernel import MultiprocessBootstrapSupervisor, RuntimeConfig

def main():
    how, fifo = sys.argv[1:]
    groups = [{"name": name, "nodes": [node]} for name, node in (("g", "busy"), ("idle", "whoami"), ("other", "fork"))]
    config = RuntimeConfig.from_mapping({"discovery_modules": ["kernel_nodes", "fault_nodes"], "process_groups": groups})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        pids = [worker.pid for group in supervisor.snapshot().groups for worker in group.workers]
        if how == "forked":
            # A copy of this process that lives on for longer must not keep the workers.
            copy = os.fork()
            if copy == 0:
                os.close(1)
                os.close(0)
                signal.pause()
            pids.append(copy)
        elif how == "stopped":
            os.kill(pids[0], signal.SIGSTOP)
            os.waitid(os.P_PID, pids[0], os.WSTOPPED | os.WNOWAIT)
        elif how != "idle":
            message = {"how": how, "started": fifo}
            threading.Thread(target=supervisor.call, args=("busy", message), kwargs={"timeout_seconds": 600}, daemon=True).start()
        print(json.dumps(pids), flush=True)
        sys.stdin.read()

main()
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@contextmanager
def running_parent(tmp_path: Path, how: str, fifo: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(script), how, fifo], stdin=pipe, stdout=pipe, text=True, env=environment()) as parent:
        assert parent.stdout is not None
        try:
            yield parent, json.loads(parent.stdout.readline())
        finally:
            parent.kill()


@pytest.mark.fault("FAULT-25")
@pytest.mark.parametrize("how", ["idle", "python", "sleep", "gil", "stopped"])
def test_no_worker_outlives_a_parent_that_was_killed(tmp_path: Path, make_fifo: Callable[[str], Any], how: str) -> None:
    fifo = make_fifo("started")
    with running_parent(tmp_path, how, fifo.path) as (parent, pids), ExitStack() as stack:
        if how not in ("idle", "stopped"):
            assert int(fifo.wait()) == pids[0]
        if how == "gil":
            # It announces itself just before it goes into C: asleep there means that the GIL is held.
            deadline = time.monotonic() + 20
            while state_of(pids[0]) != "S":
                assert time.monotonic() < deadline
        if how == "stopped":
            assert state_of(pids[0]) == "T"
        pidfds = [stack.enter_context(watched(pid)) for pid in pids]
        assert all(is_alive(pidfd) for pidfd in pidfds)
        parent.kill()
        parent.wait()
        limit = time.monotonic() + 1
        assert [ends(pidfd, max(0.0, limit - time.monotonic())) for pidfd in pidfds] == [True] * 3


@pytest.mark.fault("FAULT-25")
def test_a_forked_copy_of_the_parent_keeps_no_worker_alive(tmp_path: Path, make_fifo: Callable[[str], Any]) -> None:
    with running_parent(tmp_path, "forked", make_fifo("unused").path) as (parent, pids), ExitStack() as stack:
        *workers, copy = (stack.enter_context(watched(pid)) for pid in pids)
        try:
            parent.kill()
            parent.wait()
            limit = time.monotonic() + 1
            assert [ends(pidfd, max(0.0, limit - time.monotonic())) for pidfd in workers] == [True] * 3
            assert is_alive(copy)
        finally:
            signal.pidfd_send_signal(copy, signal.SIGKILL)


HEADER = """
import asyncio, json, os, sys
from stream_kernel import AsyncBoundarySupervisor, MultiprocessBootstrapSupervisor, RuntimeConfig

group = {"name": "g", "nodes": ["whoami", "busy"], "workers": 2}
config = RuntimeConfig.from_mapping({"discovery_modules": ["kernel_nodes", "fault_nodes"], "process_groups": [group]})

def tell(supervisor):
    print(json.dumps([worker.pid for group in supervisor.snapshot().groups for worker in group.workers]), flush=True)
    sys.stdin.readline()

async def started():
    supervisor = AsyncBoundarySupervisor(config)
    await supervisor.start_groups()
    await supervisor.wait_ready()
    tell(supervisor)
    return supervisor

def opened():
    supervisor = MultiprocessBootstrapSupervisor(config)
    supervisor.start_groups()
    supervisor.wait_ready()
    tell(supervisor)
    return supervisor
"""

FORGETFUL = {
    "asyncio.run returns": "asyncio.run(started())",
    "asyncio.run returns while a call is at work": """
async def main():
    supervisor = await started()
    call = asyncio.create_task(supervisor.call("busy", {"how": "sleep", "started": "/dev/null"}))
    await asyncio.sleep(0.05)
asyncio.run(main())
""",
    "the loop is closed, the supervisor is kept": """
loop = asyncio.new_event_loop()
supervisor = loop.run_until_complete(started())
loop.close()
""",
    "the loop is closed, the supervisor is dropped": """
import gc
loop = asyncio.new_event_loop()
supervisor = loop.run_until_complete(started())
loop.close()
del supervisor, loop
gc.collect()
""",
    "the facade is kept until the end": "supervisor = opened()",
    "the facade is dropped": """
import gc
supervisor = opened()
del supervisor
gc.collect()
""",
    "the facade is kept and a call is at work": """
import threading
supervisor = opened()
message = {"how": "sleep", "started": "/dev/null"}
def call():
    try:
        supervisor.call("busy", message)
    except Exception:
        pass
threading.Thread(target=call, daemon=True).start()
""",
    "the program ends by sys.exit within the block": """
try:
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        tell(supervisor)
        sys.exit()
finally:
    pass
""",
    "a forked copy ends": """
supervisor = opened()
copy = os.fork()
if copy == 0:
    sys.exit()
_, status = os.waitpid(copy, 0)
assert status == 0, status
assert supervisor.call("whoami", None)
assert all(worker.restarts == 0 for worker in supervisor.snapshot().groups[0].workers)
""",
}


@pytest.mark.fault("FAULT-29")
@pytest.mark.parametrize("body", FORGETFUL.values(), ids=FORGETFUL.keys())
def test_a_program_that_forgets_to_close_ends_in_order_and_its_workers_with_it(tmp_path: Path, body: str) -> None:
    script = tmp_path / "forgetful.py"
    script.write_text(HEADER + body)
    pipe = subprocess.PIPE
    started = [sys.executable, str(script)]
    with subprocess.Popen(started, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment()) as program, ExitStack() as stack:
        assert program.stdout is not None
        try:
            pids = json.loads(program.stdout.readline())
            pidfds = [stack.enter_context(watched(pid)) for pid in pids]
            assert len(pids) == 2 and all(is_alive(pidfd) for pidfd in pidfds)
            _, stderr = program.communicate("go\n", timeout=20)
        finally:
            program.kill()
        assert all(ends(pidfd, 1) for pidfd in pidfds)
    assert program.returncode == 0
    assert "Traceback" not in stderr
    # asyncio's own words, three lines a worker at most: a pending task is gone, and so is the loop that would have reaped.
    assert len(stderr.splitlines()) <= 6, stderr
