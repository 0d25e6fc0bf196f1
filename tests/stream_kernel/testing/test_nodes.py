"""The nodes that misbehave on demand, on real workers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import pytest

from stream_kernel import (
    BoundaryExecutionError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    MultiprocessBootstrapSupervisor,
    RuntimeConfig,
)
from stream_kernel.testing.misbehaviour import CrashingNode, HangingNode, LeakingNode, MisbehavingNode

Supervise = Callable[[MisbehavingNode], AbstractContextManager[MultiprocessBootstrapSupervisor]]


@pytest.fixture
def supervise() -> Supervise:
    """A supervisor of one worker with this node."""

    def make(node: MisbehavingNode) -> MultiprocessBootstrapSupervisor:
        return MultiprocessBootstrapSupervisor(RuntimeConfig.from_mapping(node.mapping(env_passthrough=["COVERAGE_*"])))

    return make


@pytest.mark.parametrize(
    "asked",
    [{"exit_code": 0}, {"exit_code": 41}, {"signal": "SIGKILL"}, {"signal": "SIGSEGV"}, {"signal": "SIGPIPE"}, {"signal": "SIGINT"}],
    ids=lambda asked: str(*asked.values()),
)
def test_a_worker_ends_as_the_message_says(supervise: Supervise, asked: dict[str, Any]) -> None:
    node = CrashingNode()
    with supervise(node) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call(node.name, node.message(**asked))
        assert (caught.value.report.exit_code, caught.value.report.signal) == (asked.get("exit_code"), asked.get("signal"))
        assert supervisor.call(node.name, {"hello": "again"}) == {"hello": "again"}


def test_a_signal_that_ends_nothing_is_said_to(supervise: Supervise) -> None:
    node = CrashingNode()
    with supervise(node) as supervisor, pytest.raises(BoundaryExecutionError) as caught:
        supervisor.call(node.name, node.message(signal="SIGCONT"))
    assert "SIGCONT does not end a process" in (caught.value.report.detail or "")


@pytest.mark.parametrize("how", ["python", "sleep", "gil"])
def test_a_worker_hangs_as_the_message_says(supervise: Supervise, how: Literal["python", "sleep", "gil"]) -> None:
    node = HangingNode()
    with supervise(node) as supervisor:
        with pytest.raises(BoundaryTimeoutError):
            supervisor.call(node.name, node.message(how), timeout_seconds=0.3)
        assert supervisor.call(node.name, "hello again") == "hello again"


def test_a_worker_takes_so_much_memory_and_keeps_it(supervise: Supervise) -> None:
    node = LeakingNode()
    with supervise(node) as supervisor:
        assert supervisor.call(node.name, 7) == 7
        pid = supervisor.snapshot().groups[0].workers[0].pid
        before = resident_mib(pid)
        assert supervisor.call(node.name, node.message(24)) == {"held_mib": 24}
        assert supervisor.call(node.name, node.message(8)) == {"held_mib": 32}
        assert resident_mib(pid) - before >= 31


def resident_mib(pid: int | None) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_a_group_takes_further_keys_and_another_name() -> None:
    node = CrashingNode()
    config = RuntimeConfig.from_mapping(node.mapping(name="mine", workers=3, restart={"intensity": 1}))
    (group,) = config.process_groups
    assert (group.name, group.nodes, group.workers, group.restart.intensity) == ("mine", ("crashing_node",), 3, 1)


@pytest.mark.parametrize("asked", [{}, {"exit_code": 1, "signal": "SIGKILL"}])
def test_an_end_is_by_exit_code_or_by_signal(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="name one of both"):
        CrashingNode().message(**asked)
