"""One run: gate before input, drain before stop, and one clean failure type that nothing masks."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from fixture_types import MakeConfig, MakeFifo
from stream_kernel import (
    BoundaryDispatchInput,
    BoundaryExecutionError,
    BoundaryInputError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    Envelope,
    MultiprocessBootstrapSupervisor,
    RoutingResult,
    RuntimeConfig,
    WorkerBootstrapError,
)
from stream_kernel.execution.orchestration.lifecycle_orchestration import (
    RuntimeSupervisor,
    RuntimeWorkerFailedError,
    _map_worker_failure,
    run_batches,
    run_lifecycle,
)
from stream_kernel.observability.events import LifecycleEvent
from stream_kernel.reports import Category, Delivery, FailureReport

SENTENCES: dict[str, str] = {
    "transport": "remote handoff transport failed for group 'G'",
    "timeout": "remote handoff timed out for group 'G'",
    "execution": "remote handoff failed for group 'G'",
}
SECRET = "hunter2"


class FakeSupervisor:
    """Writes down what a run asks of it; `ready` answers `wait_ready`, `fails` names what goes wrong."""

    def __init__(self, fails: Mapping[str, BaseException] | None = None, *, ready: bool = True) -> None:
        self.asked: list[str] = []
        self._ready = ready
        self._fails = fails or {}

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if what in self._fails:
            raise self._fails[what]

    def start_groups(self, group_names: Sequence[str] | None = None) -> None:
        self._note("start_groups")

    def wait_ready(self, timeout_seconds: float | None = None) -> bool:
        self._note("wait_ready")
        return self._ready

    def execute_boundary(
        self, *, run_id: str, scenario_id: str, inputs: Sequence[BoundaryDispatchInput], timeout_seconds: float | None = None
    ) -> RoutingResult:
        self._note("execute_boundary")
        return RoutingResult([], [], [Envelope(given.payload, given.trace_id) for given in inputs])

    def stop_groups(self, *, graceful_timeout_seconds: float | None = None, drain_inflight: bool = True) -> None:
        assert drain_inflight
        self._note("stop_groups")

    def force_terminate_groups(self, group_names: Sequence[str] | None = None) -> None:
        self._note("force_terminate_groups")

    def close(self) -> None:
        self._note("close")


class Source:
    """Inputs that know whether one has been taken."""

    def __init__(self, supervisor_sees: Callable[[], Any] | None = None) -> None:
        self.taken = 0
        self.seen: list[Any] = []
        self._look = supervisor_sees

    def __iter__(self) -> Iterator[list[BoundaryDispatchInput]]:
        for n in range(3):
            self.taken += 1
            if self._look is not None:
                self.seen.append(self._look())
            yield [BoundaryDispatchInput(n, "G", "echo", f"t{n}")]

    def run(self, supervisor: RuntimeSupervisor) -> list[Any]:
        results = run_batches(supervisor, self, run_id="r", scenario_id="s", timeout_seconds=30)
        return [output.payload for result in results for output in result.terminal_outputs]


@pytest.fixture
def config(make_config: MakeConfig) -> RuntimeConfig:
    return make_config({"G": ["echo"]})


def run_fake(config: RuntimeConfig, supervisor: FakeSupervisor, run: Callable[[RuntimeSupervisor], Any]) -> Any:
    return run_lifecycle(config, run, supervisor=supervisor)


# -- mapping


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (ConnectionError(SECRET), "transport"),
        (ConnectionResetError(SECRET), "transport"),
        (BrokenPipeError(SECRET), "transport"),
        (EOFError(SECRET), "transport"),
        (WorkerBootstrapError(SECRET), "transport"),
        (TimeoutError(SECRET), "timeout"),
        (RuntimeError(SECRET), "execution"),
        (ValueError(SECRET), "execution"),
        (OSError(SECRET), "execution"),
        (KeyboardInterrupt(SECRET), "execution"),
        (SystemExit(SECRET), "execution"),
    ],
)
def test_builtins_are_mapped_by_their_type_to_one_clean_sentence(error: BaseException, category: str) -> None:
    try:
        raise LookupError(SECRET)
    except LookupError as cause:
        error.__cause__ = cause
        mapped = _map_worker_failure(error, group="G")
    assert type(mapped) is RuntimeWorkerFailedError
    assert str(mapped) == SENTENCES[category]
    assert (mapped.category, mapped.group) == (category, "G")
    assert mapped.__cause__ is None and mapped.__context__ is None
    assert SECRET not in repr(mapped)


@pytest.mark.parametrize("delivery", ["executed", "maybe_executed", "not_executed"])
@pytest.mark.parametrize(
    ("kind", "category"),
    [
        (BoundaryTransportError, "transport"),
        (BoundaryTimeoutError, "timeout"),
        (BoundaryExecutionError, "execution"),
        (BoundaryInputError, "execution"),
    ],
)
def test_our_errors_are_mapped_by_their_category_and_lose_nothing_of_the_report(
    kind: type[BoundaryTransportError], category: Category, delivery: Delivery
) -> None:
    report = FailureReport(reason="why", node="n", detail=SECRET)
    error = kind(SECRET, delivery=delivery, group="other", trace_ids=("t1",), correlation_id="c1", report=report)
    mapped = _map_worker_failure(error, group="G")
    assert type(mapped) is RuntimeWorkerFailedError
    assert str(mapped) == SENTENCES[category]
    assert (mapped.category, mapped.delivery, mapped.group) == (category, delivery, "G")
    assert (mapped.trace_ids, mapped.correlation_id, mapped.report) == (("t1",), "c1", report)
    assert mapped.__cause__ is None and mapped.__context__ is None


def test_the_category_of_our_own_errors_is_theirs_whatever_builtin_they_are_too() -> None:
    class Odd(BoundaryExecutionError, TimeoutError):
        """An execution error that is a TimeoutError too."""

    assert _map_worker_failure(Odd("x"), group="G").category == "execution"


def test_what_is_mapped_already_stays_what_it_is() -> None:
    first = _map_worker_failure(TimeoutError(), group="G")
    assert _map_worker_failure(first, group="other") is first


def test_a_mapped_failure_survives_pickling() -> None:
    mapped = _map_worker_failure(BoundaryTimeoutError("x", delivery="maybe_executed", trace_ids=("t",)), group="G")
    copy = pickle.loads(pickle.dumps(mapped))
    assert (str(copy), copy.category, copy.delivery, copy.group, copy.trace_ids) == (
        SENTENCES["timeout"],
        "timeout",
        "maybe_executed",
        "G",
        ("t",),
    )


# -- the gate


@pytest.mark.requirement("P5PRE-EXEC-04")
def test_input_is_taken_only_after_all_groups_are_ready(config: RuntimeConfig) -> None:
    supervisor = FakeSupervisor()
    source = Source(lambda: list(supervisor.asked))
    assert run_fake(config, supervisor, source.run) == [0, 1, 2]
    assert source.seen[0] == ["start_groups", "wait_ready"]
    assert supervisor.asked == ["start_groups", "wait_ready", *["execute_boundary"] * 3, "stop_groups", "close"]


@pytest.mark.requirement("P5PRE-EXEC-04")
@pytest.mark.parametrize(
    "supervisor",
    [
        FakeSupervisor(ready=False),
        FakeSupervisor({"wait_ready": WorkerBootstrapError("group 'G': no such module", group="G")}),
        FakeSupervisor({"start_groups": WorkerBootstrapError("group 'G': no such interpreter", group="G")}),
    ],
)
def test_no_input_is_taken_when_a_group_does_not_become_ready(config: RuntimeConfig, supervisor: FakeSupervisor) -> None:
    source = Source()
    with pytest.raises(WorkerBootstrapError):
        run_fake(config, supervisor, source.run)
    assert source.taken == 0 and "execute_boundary" not in supervisor.asked
    assert supervisor.asked[-2:] == ["stop_groups", "close"]


@pytest.mark.requirement("P5PRE-EXEC-04")
def test_real_groups_are_all_ready_before_the_first_input_is_taken(make_config: MakeConfig) -> None:
    config = make_config({"G": {"nodes": ["echo"], "workers": 2}, "H": ["many"]})
    supervisor = MultiprocessBootstrapSupervisor(config)
    source = Source(lambda: [worker.state for group in supervisor.snapshot().groups for worker in group.workers])
    assert run_lifecycle(config, source.run, supervisor=supervisor) == [{"value": n} for n in range(3)]
    assert source.seen[0] == ["ready"] * 3
    assert [event.mode for event in supervisor.lifecycle_events() if event.kind == "worker_stopped"] == ["graceful"] * 3


@pytest.mark.requirement("P5PRE-EXEC-04")
@pytest.mark.parametrize(
    "broken", [{"nodes": ["late"], "start_timeout_seconds": 60}, {"nodes": ["late"], "discovery_modules": ["no_such"]}]
)
def test_no_input_reaches_a_real_group_while_another_is_not_ready(
    make_config: MakeConfig, make_fifo: MakeFifo, broken: dict[str, Any]
) -> None:
    boot = make_fifo("boot")
    config = make_config(
        {"G": {"nodes": ["echo"], "stop_timeout_seconds": 0.1}, "H": {"nodes": ["late"], "stop_timeout_seconds": 0.1, **broken}},
        modules=["kernel_nodes", "message_nodes"],
        nodes={"late": {"boot": boot.path}},
    )
    source = Source()
    with pytest.raises(WorkerBootstrapError):
        run_lifecycle(config, source.run, ready_timeout_seconds=1.0)
    assert source.taken == 0


def test_a_run_picks_the_supervisor_for_the_mode(make_config: MakeConfig) -> None:
    kept: list[LifecycleEvent] = []

    class Kept:
        def emit(self, event: LifecycleEvent) -> None:
            kept.append(event)

    for mode in ("inline", "inline_wire", "process_supervisor"):
        assert run_lifecycle(make_config({"G": ["echo"]}, mode=mode), Source().run, sink=Kept()) == [{"value": n} for n in range(3)]
    assert [event.kind for event in kept] == ["worker_spawned", "worker_ready", "worker_stopping", "worker_stopped"] * 3


# -- the end


def test_a_run_drains_before_it_stops_and_forces_only_after_the_grace(config: RuntimeConfig) -> None:
    supervisor = FakeSupervisor({"stop_groups": TimeoutError("g#0")})
    assert run_fake(config, supervisor, lambda _: "result") == "result"
    assert supervisor.asked[-3:] == ["stop_groups", "force_terminate_groups", "close"]


def test_a_failure_of_the_run_is_raised_as_the_one_type_after_an_orderly_stop(config: RuntimeConfig) -> None:
    report = FailureReport(detail=SECRET)
    supervisor = FakeSupervisor({"execute_boundary": BoundaryTimeoutError(SECRET, group="G", delivery="maybe_executed", report=report)})
    with pytest.raises(RuntimeWorkerFailedError) as failed:
        run_fake(config, supervisor, Source().run)
    assert str(failed.value) == SENTENCES["timeout"]
    assert (failed.value.category, failed.value.delivery) == ("timeout", "maybe_executed")
    assert failed.value.__cause__ is None and failed.value.__context__ is None
    assert supervisor.asked[-2:] == ["stop_groups", "close"]


@pytest.mark.parametrize("step", ["stop_groups", "force_terminate_groups", "close"])
@pytest.mark.parametrize("primary", [BoundaryExecutionError("x", group="G"), ValueError("mine"), KeyboardInterrupt()])
def test_a_failing_shutdown_never_masks_the_failure_of_the_run(
    config: RuntimeConfig, step: str, primary: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    later: dict[str, BaseException] = {step: OSError("later")}
    if step == "force_terminate_groups":
        later["stop_groups"] = TimeoutError("late")
    with pytest.raises(BaseException) as failed:  # noqa: PT011  each of them
        run_fake(config, FakeSupervisor({"execute_boundary": primary, **later}), Source().run)
    if isinstance(primary, BoundaryExecutionError):
        assert isinstance(failed.value, RuntimeWorkerFailedError) and str(failed.value) == SENTENCES["execution"]
    else:
        assert failed.value is primary
    assert failed.value.__cause__ is None and failed.value.__context__ is None
    assert "the shutdown after a failed run failed too" in caplog.text


def test_what_the_programs_own_error_came_from_is_kept(config: RuntimeConfig) -> None:
    def run(_: RuntimeSupervisor) -> None:
        try:
            raise LookupError("first")
        except LookupError:
            raise ValueError("second")  # noqa: B904  the implicit context is the point

    with pytest.raises(ValueError, match="second") as failed:
        run_fake(config, FakeSupervisor(), run)
    assert isinstance(failed.value.__context__, LookupError)


def test_a_failing_shutdown_after_a_good_run_is_not_hidden(config: RuntimeConfig) -> None:
    with pytest.raises(OSError, match="later"):
        run_fake(config, FakeSupervisor({"stop_groups": OSError("later")}), Source().run)


def test_a_real_run_that_fails_ends_with_its_own_failure_and_no_worker_left(make_config: MakeConfig) -> None:
    config = make_config({"G": ["fail_if_asked"]})

    def run(supervisor: RuntimeSupervisor) -> RoutingResult:
        given = BoundaryDispatchInput({"fail": True}, "G", "fail_if_asked")
        return supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=[given], timeout_seconds=30)

    with pytest.raises(RuntimeWorkerFailedError) as failed:
        run_lifecycle(config, run)
    assert str(failed.value) == SENTENCES["execution"]
    assert (failed.value.report.node, failed.value.report.exception_type) == ("fail_if_asked", "ValueError")
    assert SECRET not in str(failed.value) + repr(failed.value)


def test_batches_are_taken_one_by_one_as_results_are(config: RuntimeConfig) -> None:
    source, supervisor = Source(), FakeSupervisor()
    results = run_batches(supervisor, source, run_id="r", scenario_id="s")
    assert source.taken == 0
    next(results)
    assert source.taken == 1 and supervisor.asked == ["execute_boundary"]


@pytest.mark.parametrize("name", ["ready_timeout_seconds", "graceful_timeout_seconds"])
def test_a_wait_that_is_no_span_of_time_is_refused_before_anything_runs(make_config: MakeConfig, name: str) -> None:
    wait: dict[str, Any] = {name: float("nan")}
    with pytest.raises(ValueError, match=f"^{name} must be a number from 0 to inf, not nan"):
        run_lifecycle(make_config({"G": ["echo"]}, mode="inline"), lambda _: pytest.fail("it ran"), **wait)
