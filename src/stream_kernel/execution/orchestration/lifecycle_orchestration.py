"""One run: start, readiness gate, run, drain, stop; and the mapping of failures to the one type that runtimes expect.

No input is taken before all groups are ready. Whatever fails first is what the caller gets: a shutdown that fails after it is logged,
never raised in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from stream_kernel.config.model import RuntimeConfig
from stream_kernel.errors import BoundaryError, BoundaryInputError, RuntimeWorkerFailedError, WorkerBootstrapError, handoff_sentence
from stream_kernel.observability.sinks import Sink
from stream_kernel.platform.services.bootstrap import create_supervisor
from stream_kernel.platform.services.request import check_seconds
from stream_kernel.reports import Category, Delivery
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.envelope import RoutingResult

__all__ = ["BoundaryDispatchInput", "RuntimeSupervisor", "RuntimeWorkerFailedError", "run_batches", "run_lifecycle"]

T = TypeVar("T")
_logger = logging.getLogger("stream_kernel.run")


class RuntimeSupervisor(Protocol):
    """What a run needs of a supervisor; both synchronous ones are one."""

    def start_groups(self, group_names: Sequence[str] | None = None) -> None: ...

    def wait_ready(self, timeout_seconds: float | None = None) -> bool: ...

    def execute_boundary(
        self, *, run_id: str, scenario_id: str, inputs: Sequence[BoundaryDispatchInput], timeout_seconds: float | None = None
    ) -> RoutingResult: ...

    def stop_groups(self, *, graceful_timeout_seconds: float | None = None, drain_inflight: bool = True) -> None: ...

    def force_terminate_groups(self, group_names: Sequence[str] | None = None) -> None: ...

    def close(self) -> None: ...


def run_lifecycle(
    config: RuntimeConfig,
    run: Callable[[RuntimeSupervisor], T],
    *,
    ready_timeout_seconds: float | None = None,
    graceful_timeout_seconds: float | None = None,
    sink: Sink | None = None,
    supervisor: RuntimeSupervisor | None = None,
) -> T:
    """Start the groups of `config`, wait until all are ready, call `run` with the supervisor, then drain and stop.

    The supervisor is the one for `bootstrap.mode`, unless one is given. Past the grace the groups are terminated by force. Raises
    `WorkerBootstrapError` when a group cannot start or is not ready in time, and whatever `run` raises; boundary errors become
    `RuntimeWorkerFailedError`.
    """
    check_seconds("ready_timeout_seconds", ready_timeout_seconds)
    check_seconds("graceful_timeout_seconds", graceful_timeout_seconds)  # not only once the run is over, whose result would be lost
    chosen: RuntimeSupervisor = create_supervisor(config, sink=sink) if supervisor is None else supervisor
    try:
        result = _gated(chosen, run, ready_timeout_seconds)
    except BaseException as error:  # noqa: BLE001  it is raised below, after a shutdown that must not mask it
        failure = _as_runtime_failure(error)
    else:
        _shut_down(chosen, graceful_timeout_seconds)
        return result
    try:
        _shut_down(chosen, graceful_timeout_seconds)
    except Exception:
        _logger.exception("the shutdown after a failed run failed too")
    raise failure


def run_batches(
    supervisor: RuntimeSupervisor,
    batches: Iterable[Sequence[BoundaryDispatchInput]],
    *,
    run_id: str,
    scenario_id: str,
    timeout_seconds: float | None = None,
) -> Iterator[RoutingResult]:
    """The result of each batch, in order; the next batch is taken when the result before it has been. For use inside `run`."""
    for batch in batches:
        yield supervisor.execute_boundary(run_id=run_id, scenario_id=scenario_id, inputs=batch, timeout_seconds=timeout_seconds)


def _gated(supervisor: RuntimeSupervisor, run: Callable[[RuntimeSupervisor], T], ready_timeout_seconds: float | None) -> T:
    supervisor.start_groups()
    if not supervisor.wait_ready(ready_timeout_seconds):
        raise WorkerBootstrapError(f"the groups were not ready within {ready_timeout_seconds} s; no input was taken")
    return run(supervisor)


def _shut_down(supervisor: RuntimeSupervisor, graceful_timeout_seconds: float | None) -> None:
    try:
        supervisor.stop_groups(graceful_timeout_seconds=graceful_timeout_seconds, drain_inflight=True)
    except TimeoutError:
        _logger.warning("the groups did not stop within the grace and are terminated by force")
        supervisor.force_terminate_groups()
    finally:
        supervisor.close()


def _as_runtime_failure(error: BaseException) -> BaseException:
    if isinstance(error, BoundaryError):
        return _map_worker_failure(error, group=error.group or "")
    return error


def _map_worker_failure(exc: BaseException, *, group: str) -> RuntimeWorkerFailedError:
    """What to raise for a failure of a worker group: the sentence of its category, nothing of its text, cause or context.

    Our own errors say their category. For the plain builtins of other runtimes it is their type: `TimeoutError` is a timeout,
    `ConnectionError`, `EOFError` and `BrokenPipeError` are transport, everything else is execution.
    """
    if isinstance(exc, RuntimeWorkerFailedError):
        return exc
    if isinstance(exc, (BoundaryError, BoundaryInputError)):
        # A refused input is a mistake of the program that made it: for a runtime, a failed execution.
        own: Category = "execution" if exc.category == "input" else exc.category
        return RuntimeWorkerFailedError(
            handoff_sentence(own, group),
            category=own,
            delivery=exc.delivery,
            group=group,
            trace_ids=exc.trace_ids,
            correlation_id=exc.correlation_id,
            report=exc.report,
        )
    category: Category = "execution"
    if isinstance(exc, TimeoutError):
        category = "timeout"
    elif isinstance(exc, (ConnectionError, EOFError, WorkerBootstrapError)):
        category = "transport"
    delivery: Delivery = "not_executed" if isinstance(exc, WorkerBootstrapError) else "maybe_executed"
    return RuntimeWorkerFailedError(handoff_sentence(category, group), category=category, delivery=delivery, group=group)
