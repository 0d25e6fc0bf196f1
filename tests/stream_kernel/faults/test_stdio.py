"""Nodes that write to stdout or read from stdin: the wire is untouched, the text is in the log, a read sees the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from processes import worker_pids
from stream_kernel import BoundaryExecutionError, MultiprocessBootstrapSupervisor, RuntimeConfig

MakeConfig = Callable[..., RuntimeConfig]


def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until a line of a worker is in the log: it comes by another pipe than the reply, in its own time."""
    deadline = time.monotonic() + 20
    while not any(text in record.getMessage() for record in caplog.records):
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.005)


@pytest.mark.fault("FAULT-17")
@pytest.mark.parametrize("how", ["print", "os.write", "c", "child", "partial"])
def test_what_a_node_writes_to_stdout_is_in_the_log_and_not_on_the_wire(
    faulty: MakeConfig, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO, "stream_kernel")
    with MultiprocessBootstrapSupervisor(faulty({"g": ["chatter"]})) as supervisor:
        pids = worker_pids(supervisor)
        assert [supervisor.call("chatter", how) for _ in range(3)] == [how] * 3
        assert worker_pids(supervisor) == pids
        if how != "partial":
            until_logged(caplog, '{"kind":"pong"}')
    if how == "partial":
        until_logged(caplog, "half a line" * 3)
    assert {record.name for record in caplog.records if "pong" in record.getMessage()} <= {"stream_kernel.worker.g"}


@pytest.mark.fault("FAULT-17")
def test_a_node_that_reads_stdin_sees_its_end(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["listen"]})) as supervisor:
        pids = worker_pids(supervisor)
        for how, raised in (("input", "EOFError"), ("breakpoint", "BdbQuit")):
            with pytest.raises(BoundaryExecutionError) as caught:
                supervisor.call("listen", how, timeout_seconds=20)
            assert caught.value.report.exception_type == raised
        assert supervisor.call("listen", "read", timeout_seconds=20) == ""
        assert supervisor.call("listen", "child", timeout_seconds=20) == ""
        assert worker_pids(supervisor) == pids


@pytest.mark.fault("FAULT-24")
def test_control_characters_on_stderr_are_escaped(faulty: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stream_kernel")
    with MultiprocessBootstrapSupervisor(faulty({"g": ["stderr_flood"]})) as supervisor:
        supervisor.call("stderr_flood", {"text": "\x1b[2Jred\rover\x07\n", "times": 1})
        until_logged(caplog, r"\x1b[2Jred\rover\x07")
    assert "\x1b" not in caplog.text


@pytest.mark.fault("FAULT-24")
@pytest.mark.parametrize("text", ["a line of some length that is repeated\n" * 25, "no end of line " * 60])
def test_a_flood_on_stderr_blocks_nobody(faulty: MakeConfig, text: str) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["stderr_flood"], "other": ["echo"]})) as supervisor:
        assert supervisor.call("stderr_flood", {"text": text, "times": 5000}) == "written"
        assert supervisor.call("echo", 1) == {"value": 1}
