"""A run: lines through the groups of a supervisor, several batches in flight, outputs in the order of the lines.

A batch is a call under `collect`, so that what becomes of a line never depends on the batch that it happens to be in. A line has all its
outputs written, or its failures recorded. A batch has its time in each group from when a worker takes it: it must not pass its
deadline only because it waited behind others.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from math import inf

import msgspec

from stream_kernel.engine.settlement import Finished
from stream_kernel.engine.turns import RunOrder
from stream_kernel.errors import ConfigurationError
from stream_kernel.execution.orchestration.line_results import LineResult, results_of
from stream_kernel.execution.orchestration.line_sink import LineSink
from stream_kernel.execution.orchestration.line_source import Line, LineSource
from stream_kernel.execution.orchestration.route_checks import stateful_circles
from stream_kernel.execution.orchestration.run_summary import LineFailure, RunOutcome, RunSummary, Totals
from stream_kernel.platform.services.async_supervisor import AsyncBoundarySupervisor
from stream_kernel.platform.services.request import CallRequest, OnError
from stream_kernel.reports import FailureReport
from stream_kernel.routing.dispatch import BoundaryDispatchInput

__all__ = ["Progress", "StreamRun"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one moment."""

    lines_complete: int
    lines_in_flight: int
    failures: int
    restarts: int
    bytes_complete: int
    bytes_total: int | None
    """None for an input of unknown length."""


class _Batch(msgspec.Struct):
    lines: list[Line]
    request: CallRequest | None
    outcome: asyncio.Future[list[Finished]]
    bytes_taken: int

    def line_at_work(self, report: FailureReport | None) -> int | None:
        """The line of the input that a report names."""
        if report is None or report.input_index is None:
            return None
        return [line.number for line in self.lines if line.problem is None][report.input_index]


class _Stop(Exception):
    """Nothing more is taken."""

    def __init__(
        self,
        outcome: RunOutcome,
        failure: LineFailure | None = None,
        problem: str | None = None,
        report: FailureReport | None = None,
    ) -> None:
        super().__init__(outcome)
        self.outcome: RunOutcome = outcome
        self.failure = failure
        self.problem = problem
        # The traceback of a node quotes what it likes: that is for the log at debug level, not for a summary.
        self.report = None if report is None else msgspec.structs.replace(report, detail=None)
        self.line_at_work: int | None = None


class StreamRun:
    """One run over a supervisor that is ready. Raises nothing for what happens to lines: see its summary."""

    def __init__(
        self,
        supervisor: AsyncBoundarySupervisor,
        source: LineSource,
        sink: LineSink,
        *,
        run_id: str,
        on_error: OnError = "raise",
        errors: LineSink | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """`errors` gets one JSON line for each `LineFailure`. `timeout_seconds` is how long a worker may have a batch, by default the
        configuration's `boundary_timeout_seconds`.

        Raises `ConfigurationError` when the configuration has no `[source]`, or its routes cannot keep the order.
        """
        config = supervisor.config
        if config.source is None:
            raise ConfigurationError("source: is missing: a run feeds its lines to the node [source] target")
        for circle, _ in stateful_circles(supervisor.engine.router):
            raise ConfigurationError(f"group '{circle.group}' {circle.message}")
        self._supervisor = supervisor
        self._source = source
        self._sink = sink
        self._run_id = run_id
        self._raises = on_error == "raise"
        self._errors = errors
        self._target = config.source.target
        self._group = config.group_of(self._target)
        self._timeout = timeout_seconds
        self._order = RunOrder()
        self._window: deque[_Batch] = deque()
        self._reading: asyncio.Task[list[Line]] | None = None
        self._is_all_taken = False
        self._is_told_to_stop = False
        self._rest: asyncio.Timeout | None = None
        # All workers busy, and one batch more on its way; one where batches would only share a thread.
        self._width = sum(group.workers for group in config.process_groups) + 1 if supervisor.capabilities.runs_parallel else 1
        self._totals = Totals(config)
        self._begun = time.monotonic()
        self._bytes_complete = 0
        self._lines_complete = 0
        self._outputs = 0
        self._failures = 0

    async def run(self) -> RunSummary:
        """Take all lines, or as many as there are until `stop_taking`."""
        try:
            async with asyncio.timeout(None) as self._rest:
                await self._take_all()
        except TimeoutError:  # what was in flight when the run was told to stop has had its time
            return self.summary("interrupted")
        except _Stop as stop:
            return self._summary(stop)
        finally:
            self._rest = None
        return self.summary("interrupted" if self._is_told_to_stop else "complete")

    def stop_taking(self, within_seconds: float) -> None:
        """Take no more lines. Those in flight go on and are written; what is not done within this time is cancelled.

        Once more shortens the time, and never prolongs it. Without effect on a run that is over.
        """
        if self._rest is None or self._rest.expired():
            return
        self._is_told_to_stop = self._is_all_taken = True
        if self._reading is not None:
            self._reading.cancel()
        before = self._rest.when()
        self._rest.reschedule(min(inf if before is None else before, asyncio.get_running_loop().time() + within_seconds))

    def summary(self, outcome: RunOutcome) -> RunSummary:
        """What the run has come to so far."""
        return self._summary(_Stop(outcome))

    def _summary(self, stop: _Stop) -> RunSummary:
        config = self._supervisor.config
        seconds = time.monotonic() - self._begun
        return RunSummary(
            run_id=self._run_id,
            scenario_id=config.scenario_id,
            mode=config.bootstrap.mode,
            outcome=stop.outcome,
            lines_read=self._source.lines_read,
            lines_complete=self._lines_complete,
            outputs=self._outputs,
            failures=self._failures,
            restarts=self._restarts(),
            seconds=seconds,
            lines_per_second=self._lines_complete / seconds if seconds > 0 else 0.0,
            groups=self._totals.groups(seconds),
            stopped_by=stop.failure,
            problem=stop.problem,
            report=stop.report,
            line_at_work=stop.line_at_work,
            exits=tuple(
                event.exit for event in self._supervisor.lifecycle_events() if event.kind == "worker_failed" and event.exit is not None
            ),
        )

    def progress(self) -> Progress:
        """Where the run is."""
        return Progress(
            lines_complete=self._lines_complete,
            lines_in_flight=self._source.lines_read - self._lines_complete,
            failures=self._failures,
            restarts=self._restarts(),
            bytes_complete=self._bytes_complete,
            bytes_total=self._source.size,
        )

    async def _take_all(self) -> None:
        failed: OSError | None = None
        try:
            while True:
                if self._reading is None and not self._is_all_taken and len(self._window) < self._width:
                    self._reading = asyncio.create_task(self._source.next_batch(), name="stream_kernel read")
                waits: list[asyncio.Future[list[Line]] | asyncio.Future[list[Finished]]] = []
                waits += [] if self._reading is None else [self._reading]
                waits += [batch.outcome for batch in list(self._window)[:1]]
                if not waits:
                    break
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if self._window and self._window[0].outcome.done():
                    await self._conclude(self._window.popleft())
                if self._reading is not None and self._reading.done():
                    reading, self._reading = self._reading, None
                    try:
                        self._take([] if reading.cancelled() else reading.result())
                    except OSError as error:  # what was read before it goes its way first
                        failed, self._is_all_taken = error, True
        finally:
            await _end([*([] if self._reading is None else [self._reading]), *(batch.outcome for batch in self._window)])
        if failed is not None:
            raise _stream_failed(failed, "read")

    def _take(self, lines: list[Line]) -> None:
        """Send what was read on its way; nothing is the end of the input."""
        if lines:
            self._window.append(self._begin(lines))
        else:
            self._is_all_taken = True

    def _begin(self, lines: list[Line]) -> _Batch:
        inputs = [
            BoundaryDispatchInput(line.payload, self._group, self._target, f"line-{line.number}") for line in lines if line.problem is None
        ]
        loop = asyncio.get_running_loop()
        request = None
        outcome: asyncio.Future[list[Finished]] = loop.create_future()
        if inputs:
            request = self._supervisor.batch_request(
                inputs, order=self._order, width=self._width, timeout_seconds=self._timeout, run_id=self._run_id
            )
            outcome = loop.create_task(self._supervisor.settle(request))
        else:
            outcome.set_result([])
        return _Batch(lines, request, outcome, self._source.bytes_taken)

    async def _conclude(self, batch: _Batch) -> None:
        """Write what a batch gave, up to the line that stops the run."""
        if batch.request is not None:
            self._totals.add(batch.request.reports)
        complete: list[LineResult] = []
        failures: list[LineFailure] = []
        stop: _Stop | None = None
        for result in results_of(batch.lines, batch.outcome.result()):
            failures += result.failures
            stop = self._stop_for(result)
            if stop is not None:
                stop.line_at_work = batch.line_at_work(stop.report)
                break
            complete.append(result)
        await self._record(failures)
        await self._write(complete)
        if stop is not None:
            raise stop
        self._bytes_complete = batch.bytes_taken

    async def _record(self, failures: list[LineFailure]) -> None:
        self._failures += len(failures)
        if self._errors is not None:
            try:
                await self._errors.write([msgspec.json.encode(failure) for failure in failures])
            except OSError as error:
                raise _stream_failed(error, "written") from None

    async def _write(self, results: list[LineResult]) -> None:
        try:
            await self._sink.write([output for result in results for output in result.outputs])
        except BrokenPipeError:
            raise _Stop("output_closed") from None
        except OSError as error:
            raise _stream_failed(error, "written") from None
        finally:
            self._count(results)

    def _count(self, results: list[LineResult]) -> None:
        """Take note of what is out, which is not all where the output failed or the run was interrupted."""
        out = self._sink.lines_written - self._outputs
        self._outputs += out
        for result in results:
            out -= len(result.outputs)
            if out < 0:
                return
            self._lines_complete = result.line

    def _stop_for(self, result: LineResult) -> _Stop | None:
        """Why the run cannot go on after what became of a line, or None."""
        stateful = self._supervisor.engine.router.stateful_groups
        for failure, report in zip(result.failures, result.reports, strict=True):
            why = self._why_failed(failure.group) if failure.category == "transport" else None
            if failure.group in stateful and (why is not None or _tells_of_an_end(failure, report)):
                return _Stop("state_lost", failure, report=report)
            if why is not None:
                return _Stop("failed", failure, f"group '{failure.group}' has failed: {why}", report)
            if self._raises:
                return _Stop("failed", failure, report=report)
        return None

    def _why_failed(self, name: str | None) -> str | None:
        """Why nothing can run in that group any more: to go on would only fail all lines that are left. None where something can."""
        return next((group.failure for group in self._supervisor.snapshot().groups if group.name == name), None)

    def _restarts(self) -> int:
        return sum(worker.restarts for group in self._supervisor.snapshot().groups for worker in group.workers)


def _tells_of_an_end(failure: LineFailure, report: FailureReport) -> bool:
    """Whether the worker that had the line ended, or is being killed for its deadline; not so where no worker had it."""
    return failure.category in ("transport", "timeout") and (report.exit is not None or failure.delivery != "not_executed")


def _stream_failed(error: OSError, verb: str) -> _Stop:
    return _Stop("stream_failed", problem=f"{error.filename} cannot be {verb}: {error.strerror}")


async def _end(futures: Iterable[asyncio.Future[list[Line]] | asyncio.Future[list[Finished]]]) -> None:
    """Cancel what nobody waits for any more, and see it end."""
    ending = list(futures)
    for future in ending:
        future.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
