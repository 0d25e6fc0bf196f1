"""The report of how a worker ended, when it comes: a caller hears of a deadline whether or not its worker is known to be dead by then."""

from __future__ import annotations

from stream_kernel import MultiprocessBootstrapSupervisor
from stream_kernel.reports import WorkerExitReport
from waiting import until

__all__ = ["end_of_lost_worker"]


def end_of_lost_worker(supervisor: MultiprocessBootstrapSupervisor) -> WorkerExitReport:
    """Wait until a worker has been lost; gives the report of the last one."""

    def ends() -> list[WorkerExitReport]:
        return [event.exit for event in supervisor.lifecycle_events() if event.kind == "worker_failed" and event.exit is not None]

    until(lambda: bool(ends()))
    return ends()[-1]
