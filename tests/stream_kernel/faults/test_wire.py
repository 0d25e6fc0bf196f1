"""Workers that do not keep to the protocol: killed, replaced, and never a wrong result."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from processes import until_generation, until_ready, worker_pids
from stream_kernel import (
    BoundaryExecutionError,
    BoundaryInputError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    MultiprocessBootstrapSupervisor,
    RuntimeConfig,
    WorkerBootstrapError,
)

MakeConfig = Callable[..., RuntimeConfig]
InThread = Callable[..., Future[Any]]


def test_a_fake_worker_that_keeps_to_the_protocol_is_as_good_as_ours(fake_worker: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(fake_worker("boot()\nwhile True:\n    answer(command(), 'fake')\n")) as supervisor:
        assert [supervisor.call("echo", n) for n in range(3)] == ["fake"] * 3


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize(
    "misbehaviour",
    [
        "tell(b'this is not JSON\\n'); forever()",
        "tell(b'\\n'); forever()",
        "tell(b'\\xff\\xfe\\n'); forever()",
        "tell(b'[' * 100000 + b'\\n'); forever()",
        "say(kind='execute_boundary_result'); forever()",
        "say(kind='execute_boundary_result', correlation_id=7); forever()",
        "say(kind='no_such_kind'); forever()",
        "answer('never-issued'); forever()",
        "answer(id, index=[5]); forever()",
        "answer(id, index=[0, 0]); forever()",
        "hello(); forever()",
        "ready(); forever()",
        "while True: tell(b'x' * 65536)",
        # What follows in a write of its own must not be taken for the answer.
        "tell(b'garbage\\n'); answer(id); forever()",
        "tell(b'garbage' + b'\\n' + b' ' * 300000 + b'\\n'); answer(id); forever()",
    ],
)
def test_a_broken_protocol_is_a_transport_failure_and_the_worker_is_killed(fake_worker: MakeConfig, misbehaviour: str) -> None:
    config = fake_worker(f"boot()\nid = command()\n{misbehaviour}\n")
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("echo", 1, timeout_seconds=20)
        assert caught.value.delivery == "maybe_executed"
        assert "protocol violation" in (caught.value.report.reason or "")
        until_ready(supervisor)
        assert supervisor.snapshot().groups[0].workers[0].generation == 2


@pytest.mark.fault("FAULT-18")
def test_a_second_reply_to_the_same_command_ends_the_worker_and_reaches_nobody(fake_worker: MakeConfig) -> None:
    config = fake_worker("boot()\nid = command()\nanswer(id, 'first')\nanswer(id, 'second')\nforever()\n")
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        for generation in (2, 3):
            assert supervisor.call("echo", 1) == "first"
            until_generation(supervisor, generation)


@pytest.mark.fault("FAULT-02")
def test_a_reply_without_its_newline_is_no_reply(fake_worker: MakeConfig) -> None:
    torn = 'tell(json.dumps(dict(kind="execute_boundary_error", correlation_id=id, category="execution", message="m")).encode())'
    with MultiprocessBootstrapSupervisor(fake_worker(f"boot()\nid = command()\n{torn}\nos._exit(4)\n")) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("echo", 1)
        assert (caught.value.report.exit_code, caught.value.delivery) == (4, "maybe_executed")


@pytest.mark.fault("FAULT-02")
def test_parts_of_a_reply_whose_rest_never_comes_are_no_reply(fake_worker: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(fake_worker("boot()\nid = command()\nanswer(id, more=True)\nos._exit(4)\n")) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("echo", 1)
        assert caught.value.report.exit_code == 4


@pytest.mark.fault("FAULT-03")
def test_a_whole_reply_counts_although_its_worker_ended_at_once(fake_worker: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(fake_worker("boot()\nanswer(command(), 'last')\nos._exit(0)\n")) as supervisor:
        for generation in range(2, 6):
            assert supervisor.call("echo", 1) == "last"
            until_generation(supervisor, generation)


@pytest.mark.fault("FAULT-09")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("hello(protocols=[99]); forever()", "protocol versions [99]"),
        ("ready(); forever()", "protocol violation"),
        ("tell(b'Welcome to some other program\\n'); forever()", "protocol violation"),
        ("hello(); os._exit(6)", "exit code 6"),
        pytest.param(
            "hello(); sys.stderr.write('no licence'); os.close(1); os.close(2); forever()",
            "stdout was closed",
            marks=pytest.mark.asyncio_loop(reason="on uvloop a program that is no worker keeps copies of its pipes"),
        ),
    ],
)
def test_a_program_that_does_not_boot_as_a_worker_is_a_boot_error(fake_worker: MakeConfig, body: str, words: str) -> None:
    supervisor = MultiprocessBootstrapSupervisor(fake_worker(body))
    with pytest.raises(WorkerBootstrapError) as caught, supervisor:
        pass
    assert words in str(caught.value) and "'g'" in str(caught.value)
    assert [event.kind for event in supervisor.lifecycle_events()].count("worker_spawned") == 2


@pytest.mark.fault("FAULT-20")
def test_what_exceeds_the_frame_limit_is_refused_in_its_place(faulty: MakeConfig) -> None:
    config = faulty({"g": ["blob", "echo"]}, execution_ipc={"max_frame_bytes": 65536})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        pids = worker_pids(supervisor)
        with pytest.raises(BoundaryInputError) as refused:
            supervisor.call("echo", "x" * 65536)
        assert refused.value.delivery == "not_executed"
        with pytest.raises(BoundaryExecutionError) as failed:
            supervisor.call("blob", 65536)
        assert failed.value.delivery == "executed"
        assert supervisor.call("blob", 65000) == "x" * 65000
        assert worker_pids(supervisor) == pids


@pytest.mark.fault("FAULT-21")
def test_megabytes_both_ways_at_once_do_not_block(faulty: MakeConfig, in_thread: InThread) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["echo"], "workers": 2}})) as supervisor:
        texts = [str(n) * 2_000_000 for n in range(4)]
        calls = [in_thread(supervisor.call, "echo", text) for text in texts]
        assert [call.result(60) for call in calls] == [{"value": text} for text in texts]


@pytest.mark.fault("FAULT-21")
def test_a_worker_that_stops_reading_holds_nobody_up_beyond_the_deadline(fake_worker: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(fake_worker("boot()\nforever()\n")) as supervisor:
        with pytest.raises(BoundaryTimeoutError) as caught:
            supervisor.call("echo", "x" * 4_000_000, timeout_seconds=0.3)
        assert caught.value.delivery == "maybe_executed"
        assert len(os.listdir("/proc/self/fd")) < 1000


@pytest.mark.fault("FAULT-22")
@pytest.mark.parametrize(("what", "lives"), [("stdout", True), ("stdout", False), ("stdin", True), ("all", True), ("all", False)])
def test_a_worker_that_closes_its_wire_is_replaced(faulty: MakeConfig, what: str, lives: bool) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["close_descriptors", "whoami"]})) as supervisor:
        (pid,) = worker_pids(supervisor)
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("close_descriptors", {"what": what, "lives": lives}, timeout_seconds=20)
        assert caught.value.delivery == "maybe_executed"
        assert supervisor.call("whoami", None)["pid"] != pid


@pytest.mark.fault("FAULT-22")
def test_a_node_that_closes_the_standard_descriptors_harms_nobody(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["close_descriptors", "echo"]})) as supervisor:
        pids = worker_pids(supervisor)
        assert supervisor.call("close_descriptors", {"what": "standard"}) == "closed"
        assert supervisor.call("echo", 1) == {"value": 1}
        assert worker_pids(supervisor) == pids


@pytest.mark.fault("FAULT-23")
def test_a_death_is_seen_although_a_forked_child_keeps_the_wire_open(fake_worker: MakeConfig) -> None:
    body = "boot()\nid = command()\nif os.fork() == 0:\n    forever()\nos._exit(4)\n"
    with MultiprocessBootstrapSupervisor(fake_worker(body)) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            supervisor.call("echo", 1, timeout_seconds=10)
        assert caught.value.report.exit_code == 4
