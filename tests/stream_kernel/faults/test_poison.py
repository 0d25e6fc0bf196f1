"""Inputs that kill their worker: found by the breadcrumb, tried twice at most, and no harm to those beside them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fixture_types import MakeConfig
from stream_kernel import (
    BoundaryDispatchInput,
    BoundaryTimeoutError,
    BoundaryTransportError,
    MultiprocessBootstrapSupervisor,
    TerminalEvent,
    WorkerBootstrapError,
)
from stream_kernel.testing import chaos
from worker_ends import end_of_lost_worker

POISONED = 2


def batch(journal: Path, how: str = "die", count: int = 5) -> list[BoundaryDispatchInput]:
    """Inputs of which the one at `POISONED` does as `how` says; each notes its run in a journal of its own."""
    return [
        BoundaryDispatchInput(
            {"n": n, "journal": f"{journal}-{n}", **({"how": how} if n == POISONED else {})}, "g", "fragile", trace_id=f"t{n}"
        )
        for n in range(count)
    ]


def runs(journal: Path, count: int = 5) -> list[int]:
    paths = [Path(f"{journal}-{n}") for n in range(count)]
    return [len(path.read_text().splitlines()) if path.exists() else 0 for path in paths]


def execute(supervisor: MultiprocessBootstrapSupervisor, inputs: list[BoundaryDispatchInput], **options: Any) -> list[Any]:
    result = supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=inputs, **{"timeout_seconds": 30, **options})
    return [output.payload for output in result.terminal_outputs]


def deaths(supervisor: MultiprocessBootstrapSupervisor) -> int:
    return sum(event.kind == "worker_failed" for event in supervisor.lifecycle_events())


@pytest.mark.fault("FAULT-33")
@pytest.mark.parametrize("retries", [1, 3])
def test_with_retries_poison_costs_two_workers_and_its_own_input(faulty: MakeConfig, tmp_path: Path, retries: int) -> None:
    journal = tmp_path / "journal"
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["fragile"], "retries": retries}})) as supervisor:
        payloads = execute(supervisor, batch(journal), on_error="collect")
        poisoned = payloads.pop(POISONED)
        assert [payload["n"] for payload in payloads] == [0, 1, 3, 4]
        assert isinstance(poisoned, TerminalEvent) and poisoned.failure is not None
        failure = poisoned.failure
        assert (poisoned.status, failure.category, failure.delivery) == ("error", "transport", "maybe_executed")
        assert (failure.group, failure.node) == ("g", "fragile")
        assert deaths(supervisor) == 2
        assert end_of_lost_worker(supervisor).trace_ids == (f"t{POISONED}",), "the second time it was alone"
        assert runs(journal)[POISONED] == 2
        assert supervisor.snapshot().groups[0].state == "ready"


@pytest.mark.fault("FAULT-33")
def test_a_collected_failure_says_that_its_input_was_poison(faulty: MakeConfig, tmp_path: Path) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["fragile"], "retries": 1}})) as supervisor:
        poisoned = execute(supervisor, batch(tmp_path / "journal"), on_error="collect")[POISONED]
        assert poisoned.failure.is_poison


@pytest.mark.fault("FAULT-33")
def test_with_retries_the_error_of_a_call_names_the_poison(faulty: MakeConfig, tmp_path: Path) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["fragile"], "retries": 3}})) as supervisor:
        with pytest.raises(BoundaryTransportError) as caught:
            execute(supervisor, batch(tmp_path / "journal"))
        report = caught.value.report
        assert (report.is_poison, report.node, report.input_index, report.signal) == (True, "fragile", POISONED, "SIGKILL")
        assert report.exit is not None and report.exit.node == "fragile"
        assert str(caught.value) == "remote handoff transport failed for group 'g'"
        assert "third time" in str(report)
        assert deaths(supervisor) == 2


@pytest.mark.fault("FAULT-33")
def test_without_retries_each_input_of_the_batch_hears_what_the_breadcrumb_tells_of_it(faulty: MakeConfig, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with MultiprocessBootstrapSupervisor(faulty({"g": ["fragile"]})) as supervisor:
        payloads = execute(supervisor, batch(journal), on_error="collect")
        assert [payload.failure.category for payload in payloads] == ["transport"] * 5
        deliveries = [payload.failure.delivery for payload in payloads]
        assert deliveries == ["executed", "executed", "maybe_executed", "not_executed", "not_executed"]
        assert runs(journal) == [1, 1, 1, 0, 0]
        assert deaths(supervisor) == 1


@pytest.mark.fault("FAULT-33")
def test_a_hang_in_a_batch_is_told_by_input_too(faulty: MakeConfig, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["fragile"], "retries": 3}})) as supervisor:
        payloads = execute(supervisor, batch(journal, "hang"), on_error="collect", timeout_seconds=1)
        assert [payload.status for payload in payloads] == ["timeout"] * 5
        deliveries = [payload.failure.delivery for payload in payloads]
        assert deliveries == ["executed", "executed", "maybe_executed", "not_executed", "not_executed"]
        assert runs(journal) == [1, 1, 1, 0, 0]


@pytest.mark.fault("FAULT-33")
def test_an_error_under_raise_names_the_input_and_the_node_that_hung(faulty: MakeConfig, tmp_path: Path) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["fragile"]})) as supervisor:
        with pytest.raises(BoundaryTimeoutError) as caught:
            execute(supervisor, batch(tmp_path / "journal", "hang"), timeout_seconds=1)
        report = caught.value.report
        assert (report.node, report.input_index, report.is_poison) == ("fragile", POISONED, False)
        end = end_of_lost_worker(supervisor)
        assert (end.node, end.input_index, end.trace_ids) == ("fragile", POISONED, ("t0", "t1", "t2", "t3", "t4"))


@pytest.mark.fault("FAULT-33")
def test_an_input_that_was_at_work_in_one_death_by_chance_succeeds(faulty: MakeConfig, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    config = faulty({"g": {"nodes": ["fragile"], "retries": 2}})
    with MultiprocessBootstrapSupervisor(config, chaos=[chaos(kill="in_node", nth=3)]) as supervisor:
        assert [payload["n"] for payload in execute(supervisor, batch(journal, "live"))] == [0, 1, 2, 3, 4]
        assert deaths(supervisor) == 1
        assert max(runs(journal)) <= 2 and runs(journal)[POISONED] == 1


@pytest.mark.fault("FAULT-33")
def test_two_poisoned_inputs_of_a_batch_cost_no_third(faulty: MakeConfig, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    inputs = batch(journal)
    inputs[4] = inputs[POISONED]
    keys = {"nodes": ["fragile"], "retries": 3, "restart": {"intensity": 20}}
    with MultiprocessBootstrapSupervisor(faulty({"g": keys})) as supervisor:
        payloads = execute(supervisor, inputs, on_error="collect")
        assert Counter(isinstance(payload, TerminalEvent) for payload in payloads) == {False: 3, True: 2}
        assert runs(journal)[POISONED] == 4, "twice each"
        assert deaths(supervisor) == 4


@pytest.mark.fault("FAULT-33")
def test_retries_are_refused_where_a_node_may_not_run_twice(faulty: MakeConfig) -> None:
    config = faulty({"g": {"nodes": ["fragile", "echo"], "retries": 1}})
    with pytest.raises(WorkerBootstrapError, match="'echo' is not"), MultiprocessBootstrapSupervisor(config):
        pass
