"""A program forks in one thread while another starts workers: it goes on, and the copies keep no worker alive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from processes import ends, is_alive, watched

PARENT = """
import json, os, signal, sys, threading, warnings
from stream_kernel import MultiprocessBootstrapSupervisor, RuntimeConfig

warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads
group = {"name": "g", "nodes": ["whoami"], "workers": 4}
supervisor = MultiprocessBootstrapSupervisor(RuntimeConfig.from_mapping({"discovery_modules": ["kernel_nodes"], "process_groups": [group]}))
starting = threading.Thread(target=supervisor.start_groups, daemon=True)
starting.start()
copies = []
while starting.is_alive() and len(copies) < 40:
    copy = os.fork()
    if copy == 0:
        os.close(1)
        signal.pause()
    copies.append(copy)
    print(json.dumps(copy), flush=True)
starting.join()
supervisor.wait_ready()
print(json.dumps([worker.pid for worker in supervisor.snapshot().groups[0].workers]), flush=True)
sys.stdin.read()
"""


@pytest.mark.fault("FAULT-25")
@pytest.mark.fault("FAULT-30")
def test_forks_while_workers_start_neither_hold_up_the_start_nor_keep_workers_alive(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command, pipe = [sys.executable, str(script)], subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as parent,
        ExitStack() as stack,
    ):
        stack.callback(parent.kill)
        assert parent.stdout is not None
        copies = []
        while isinstance(told := json.loads(parent.stdout.readline()), int):
            copies.append(stack.enter_context(watched(told)))
            stack.callback(signal.pidfd_send_signal, copies[-1], signal.SIGKILL)
        workers = [stack.enter_context(watched(pid)) for pid in told]
        assert len(workers) == 4 and all(is_alive(worker) for worker in workers)
        parent.kill()
        parent.wait()
        assert [ends(worker, 5) for worker in workers] == [True] * 4
        assert copies and all(is_alive(copy) for copy in copies)
