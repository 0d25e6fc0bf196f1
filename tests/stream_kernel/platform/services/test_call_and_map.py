"""One payload in and one out, and streams of them, through both faces of a supervisor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fixture_types import MakeConfig, MakeFifo
from message_nodes import Order, Quote
from stream_kernel import (
    BoundaryExecutionError,
    BoundaryInputError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    LocalBootstrapSupervisor,
    MultiprocessBootstrapSupervisor,
    create_supervisor,
)
from waiting import until

BOTH = ["kernel_nodes", "message_nodes"]
NODES = ["echo", "many", "ending", "whoami", "fail_if_asked", "verdict", "price"]


@pytest.fixture
def local(make_config: MakeConfig) -> Iterator[LocalBootstrapSupervisor]:
    config = make_config({"g": NODES}, modules=BOTH, mode="inline_wire", message_modules=["message_nodes"], scenario_id="mine")
    with LocalBootstrapSupervisor(config) as supervisor:
        yield supervisor


# -- call


def test_a_call_gives_the_payload_of_the_one_output(local: LocalBootstrapSupervisor) -> None:
    assert local.call("echo", {"v": 1}) == {"value": {"v": 1}}
    assert local.call("many", 1) == 0
    quote = local.call("price", Order(2))
    assert type(quote) is Quote and quote.n == 2
    told = local.call("whoami", 1, trace_id="t", reply_to="r", timeout_seconds=5)
    assert (told["trace_id"], told["reply_to"], told["scenario_id"], told["run_id"]) == ("t", "r", "mine", "")


@pytest.mark.parametrize(("count", "words"), [(0, "no outputs"), (2, "2 outputs"), (5, "5 outputs")])
def test_a_call_says_when_there_is_not_exactly_one_output(local: LocalBootstrapSupervisor, count: int, words: str) -> None:
    with pytest.raises(BoundaryExecutionError, match=f"node 'many' gave {words} where exactly one is expected") as failed:
        local.call("many", count, trace_id="t")
    assert (failed.value.delivery, failed.value.group, failed.value.trace_ids) == ("executed", "g", ("t",))


def test_a_call_unwraps_a_terminal_event(local: LocalBootstrapSupervisor) -> None:
    assert local.call("ending", {"status": "success", "payload": {"v": 1}}) == {"v": 1}
    assert local.call("ending", {"status": "success"}) is None


@pytest.mark.parametrize(
    ("status", "kind"), [("error", BoundaryExecutionError), ("cancelled", BoundaryExecutionError), ("timeout", BoundaryTimeoutError)]
)
def test_a_call_raises_the_error_of_a_terminal_event(local: LocalBootstrapSupervisor, status: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"for group 'g'$") as failed:
        local.call("ending", {"status": status, "error": "card 4711 refused"}, trace_id="t")
    assert isinstance(failed.value, (BoundaryExecutionError, BoundaryTimeoutError))
    assert (failed.value.delivery, failed.value.trace_ids, failed.value.report.detail) == ("executed", ("t",), "card 4711 refused")
    assert status in (failed.value.report.reason or "")


def test_a_call_raises_what_the_full_form_raises(local: LocalBootstrapSupervisor) -> None:
    with pytest.raises(BoundaryTransportError, match="for group 'None'"):
        local.call("nobody", 1)
    with pytest.raises(BoundaryInputError, match="input 0 for node 'echo'"):
        local.call("echo", {1, 2})
    with pytest.raises(BoundaryExecutionError):
        local.call("fail_if_asked", {"fail": True})
    with pytest.raises(BoundaryTimeoutError):
        local.call("echo", 1, timeout_seconds=0)


# -- map


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_a_map_gives_the_outputs_in_order(make_config: MakeConfig, batch_size: int) -> None:
    with MultiprocessBootstrapSupervisor(make_config({"g": {"nodes": ["echo"], "workers": 2}})) as supervisor:
        outputs = supervisor.map("echo", iter(range(100)), batch_size=batch_size, timeout_seconds=30)
        assert list(outputs) == [{"value": n} for n in range(100)]
        commands = sum(worker.requests for worker in supervisor.snapshot().groups[0].workers)
        assert commands == -(-100 // batch_size)
        assert list(supervisor.map("echo", [])) == []


def test_a_map_takes_no_more_of_its_input_than_its_look_ahead(make_config: MakeConfig) -> None:
    taken = 0

    def payloads() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with MultiprocessBootstrapSupervisor(make_config({"g": {"nodes": ["echo"], "workers": 2}})) as supervisor:
        outputs = iter(supervisor.map("echo", payloads(), batch_size=10))
        assert taken == 0
        for n in range(1, 101):
            assert next(outputs) == {"value": n}
            # Two workers busy, one batch on its way; the batch that is being given has been answered.
            assert taken <= (n - 1) // 10 * 10 + 30
        del outputs
        until(lambda: supervisor.snapshot().active_calls == 0)
        assert supervisor.call("echo", 1) == {"value": 1}


def test_a_map_keeps_all_workers_of_the_group_at_work(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    started, released = [make_fifo(f"started{n}") for n in range(2)], [make_fifo(f"released{n}") for n in range(2)]
    payloads = [{"started": begin.path, "release": end.path} for begin, end in zip(started, released, strict=True)]
    with (
        MultiprocessBootstrapSupervisor(make_config({"g": {"nodes": ["hold"], "workers": 2}})) as supervisor,
        ThreadPoolExecutor(1) as threads,
    ):
        outputs = threads.submit(lambda: list(supervisor.map("hold", payloads, batch_size=1)))
        holders = [int(fifo.wait()) for fifo in started]
        assert len(set(holders)) == 2
        for fifo in reversed(released):
            fifo.release()
        assert [output["pid"] for output in outputs.result(30)] == holders


def test_a_map_keeps_its_order_at_a_stateful_group_though_a_batch_is_overtaken(make_config: MakeConfig, make_fifo: MakeFifo) -> None:
    config = make_config({"a": {"nodes": ["hold_and_pass", "relay_a"], "workers": 2}, "b": ["ledger"]}, modules=BOTH)
    started, released = make_fifo("started"), make_fifo("released")
    payloads: list[dict[str, Any]] = [{"path": ["ledger"], "fields": {"relay_a": {"trace_id": str(n)}}} for n in range(1, 6)]
    payloads[0] |= {"started": started.path, "release": released.path}
    with MultiprocessBootstrapSupervisor(config) as supervisor, ThreadPoolExecutor(1) as threads:
        outputs = threads.submit(lambda: list(supervisor.map("hold_and_pass", payloads, batch_size=1)))
        started.wait()
        until(lambda: sum(worker.requests for worker in supervisor.snapshot().groups[0].workers) == 3)
        assert not outputs.done()
        released.release()
        assert outputs.result(30) == ["1", "1 2", "1 2 3", "1 2 3 4", "1 2 3 4 5"]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize(
    ("wrong", "kind"),
    [({"fail": True}, BoundaryExecutionError), ({"n": {1}}, BoundaryInputError)],
)
def test_a_map_raises_a_failure_at_its_place_after_the_outputs_before_it(
    local: LocalBootstrapSupervisor, wrong: dict[str, Any], kind: type[Exception], batch_size: int
) -> None:
    payloads = [wrong if n == 6 else {"n": n} for n in range(20)]
    outputs = local.map("fail_if_asked", payloads, batch_size=batch_size)
    assert [next(outputs) for _ in range(6)] == [{"n": n} for n in range(6)]
    with pytest.raises(kind) as failed:
        next(outputs)
    assert isinstance(failed.value, (BoundaryExecutionError, BoundaryInputError)) and failed.value.report.input_index == 6
    assert ("input 6 for node" in str(failed.value)) is (kind is BoundaryInputError)
    assert list(outputs) == []
    until(lambda: local.snapshot().active_calls == 0)


def test_what_a_map_could_not_begin_any_more_is_named_by_its_place_too(make_config: MakeConfig) -> None:
    with LocalBootstrapSupervisor(make_config({"g": ["echo"]}, mode="inline")) as supervisor:
        outputs = supervisor.map("echo", range(9), batch_size=1)
        assert next(outputs) == {"value": 0}
        supervisor.stop_groups()
        assert next(outputs) == {"value": 1}
        with pytest.raises(BoundaryTransportError) as failed:
            next(outputs)
    assert (failed.value.report.input_index, failed.value.report.reason) == (2, "the supervisor is stopped")


def test_a_worker_that_a_map_loses_names_the_place_among_all_payloads(make_config: MakeConfig) -> None:
    config = make_config({"g": ["work"]}, modules=["run_nodes"])
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        outputs = supervisor.map("work", [{"n": n, "work": {"do": "die"} if n == 5 else {}} for n in range(8)], batch_size=4)
        assert [next(outputs)["n"] for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(BoundaryTransportError) as failed:
            next(outputs)
    assert (failed.value.report.input_index, failed.value.report.exit and failed.value.report.exit.input_index) == (5, 1)


def test_a_map_wants_exactly_one_output_for_each_input(local: LocalBootstrapSupervisor) -> None:
    outputs = local.map("many", [1, 1, 2, 1], batch_size=2)
    assert [next(outputs), next(outputs)] == [0, 0]
    with pytest.raises(BoundaryExecutionError, match="2 outputs where exactly one is expected") as failed:
        next(outputs)
    assert failed.value.report.input_index == 2


def test_the_timeout_of_a_map_is_for_each_batch(local: LocalBootstrapSupervisor) -> None:
    outputs = local.map("echo", range(4), batch_size=1, timeout_seconds=0.5)
    assert next(outputs) == {"value": 0}
    time.sleep(0.6)  # the whole timeout passes; batches that were not at work yet have theirs before them
    assert list(outputs) == [{"value": n} for n in (1, 2, 3)]


@pytest.mark.parametrize("mode", ["inline", "process_supervisor"])
def test_what_a_batch_waits_for_those_before_it_is_not_of_its_timeout(make_config: MakeConfig, mode: str) -> None:
    config = make_config({"first": ["relay"], "then": {"nodes": ["work"], "workers": 9}}, modules=["run_nodes"], mode=mode)
    payloads = [{"n": n, "relay": {"do": "take", "seconds": 0.2}} for n in range(12)]
    with create_supervisor(config) as supervisor:
        assert [output["n"] for output in supervisor.map("relay", payloads, batch_size=1, timeout_seconds=1.5)] == [*range(12)]
        with pytest.raises(BoundaryTimeoutError):
            list(supervisor.map("relay", [{"n": 0, "relay": {"do": "take", "seconds": 2}}], timeout_seconds=0.2))


def test_a_map_waits_for_room_where_a_group_refuses_what_finds_none(make_config: MakeConfig) -> None:
    first = {"nodes": ["relay"], "max_queued": 1, "overflow": "refuse"}
    config = make_config({"first": first, "then": {"nodes": ["work"], "workers": 4}}, modules=["run_nodes"])
    payloads = [{"n": n, "relay": {"do": "take", "seconds": 0.01}} for n in range(12)]
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        assert [output["n"] for output in supervisor.map("relay", payloads, batch_size=1)] == [*range(12)]


@pytest.mark.parametrize(("target", "width"), [("parse", 3), ("price", 2), ("echo", 2)])
def test_a_map_keeps_a_batch_for_each_worker_that_its_target_leads_to_and_one_more(
    make_config: MakeConfig, target: str, width: int
) -> None:
    taken: list[int] = []

    def payloads() -> Iterator[Any]:
        for n in range(9):
            taken.append(n)
            yield Order(n) if target == "price" else {"n": n}

    groups = {"first": ["parse"], "second": ["price"], "apart": ["echo"]}
    with LocalBootstrapSupervisor(make_config(groups, modules=BOTH, mode="inline_wire", message_modules=["message_nodes"])) as supervisor:
        outputs = supervisor.map(target, payloads(), batch_size=1)
        next(outputs)
        assert len(taken) == width
        assert len(list(outputs)) == 8


def test_an_impossible_batch_size_is_refused(local: LocalBootstrapSupervisor) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        next(local.map("echo", [1], batch_size=0))


@pytest.mark.parametrize("seconds", [float("nan"), -0.1])
def test_a_wait_that_is_no_span_of_time_is_refused_before_and_after_the_start(make_config: MakeConfig, seconds: float) -> None:
    with LocalBootstrapSupervisor(make_config({"g": ["echo"]}, mode="inline")) as started:
        for supervisor in (LocalBootstrapSupervisor(make_config({"g": ["echo"]}, mode="inline")), started):
            with pytest.raises(ValueError, match=r"^timeout_seconds must be a number from 0 to inf"):
                supervisor.wait_ready(seconds)
            with pytest.raises(ValueError, match=r"^graceful_timeout_seconds must be a number from 0 to inf"):
                supervisor.stop_groups(graceful_timeout_seconds=seconds)
        assert started.call("echo", 1) == {"value": 1}
