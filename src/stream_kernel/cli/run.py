"""`stream-kernel run`: a configuration, an input and an output, put together into one run."""

from __future__ import annotations

import asyncio
import pdb
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import msgspec

from stream_kernel.cli.exit_codes import ExitCode, exit_code_of, interruption_code
from stream_kernel.cli.interruption import Interruption
from stream_kernel.cli.reaper import reaping
from stream_kernel.cli.reporter import Reporter, counted
from stream_kernel.cli.signals import end_at_once
from stream_kernel.cli.streams import STANDARD, OpenStream, is_standard_output, open_input, open_output, refuse_same_file
from stream_kernel.config.model import RuntimeConfig
from stream_kernel.engine.process.supervisor import ProcessEngine
from stream_kernel.errors import ConfigurationError
from stream_kernel.execution.orchestration.line_sink import LineSink
from stream_kernel.execution.orchestration.line_source import LineSource
from stream_kernel.execution.orchestration.run_summary import RunSummary
from stream_kernel.execution.orchestration.stream_run import StreamRun
from stream_kernel.platform.services.async_supervisor import AsyncBoundarySupervisor
from stream_kernel.platform.services.request import MAX_TIMEOUT_SECONDS, OnError

__all__ = ["RunOptions", "run_lines"]

_TICK_SECONDS = 0.1


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `run` was told."""

    config: RuntimeConfig
    input: str = STANDARD
    output: str = STANDARD
    errors: str | None = None
    batch_size: int = 100
    on_error: OnError = "raise"
    drain_seconds: float | None = None
    """How long lines in flight may go on after a signal. None takes the longest drain timeout of the groups; inline, none at all."""
    debug: bool = False
    """Stop in the debugger where a node raises."""


class _Streams(msgspec.Struct, frozen=True):
    input: OpenStream
    output: OpenStream
    errors: OpenStream | None


class _Ending:
    """What a signal does, wherever the command is."""

    def __init__(self, options: RunOptions, reporter: Reporter) -> None:
        is_inline = options.config.bootstrap.mode != "process_supervisor"
        # Inline, a node holds the loop: who asks for an end has waited for it already.
        default = 0.0 if is_inline else max(group.drain_seconds for group in options.config.process_groups)
        self._drain_seconds = default if options.drain_seconds is None else options.drain_seconds
        self._reporter = reporter
        self.interruption = Interruption(self._in_order, self._at_once, is_inline=is_inline)
        self.task: asyncio.Task[RunSummary] | None = None
        self.supervisor: AsyncBoundarySupervisor | None = None
        self.run: StreamRun | None = None
        """What there is by now."""
        self.is_at_once = False

    def _in_order(self) -> None:
        if self.run is None:
            self._cancel_start()
            return
        in_flight = self.run.progress().lines_in_flight
        if in_flight and self._drain_seconds > 0:
            lines = counted(in_flight, "line")
            self._reporter.say(f"stream-kernel: stopping: {lines} in flight, up to {self._drain_seconds:g} s more; another signal kills")
        self.run.stop_taking(self._drain_seconds)

    def _at_once(self) -> None:
        self.is_at_once = True
        if self.run is None or self.supervisor is None:
            self._cancel_start()
            return
        self.run.stop_taking(0.0)  # first: that its workers die is no failure of a line any more
        self.supervisor.engine.kill_now()

    def _cancel_start(self) -> None:
        assert self.task is not None
        self.task.cancel()


def run_lines(options: RunOptions, reporter: Reporter) -> tuple[RunSummary | None, ExitCode]:
    """Run; without a summary when it was interrupted before it took a line.

    Raises `ConfigurationError` and `WorkerBootstrapError`.
    """
    _refuse_what_cannot_be(options)
    ending = _Ending(options, reporter)
    with ExitStack() as stack:
        streams = _open(options, stack)
        stack.enter_context(reporter)
        if options.debug:
            _leave_signals_to_the_debugger()
        try:
            summary: RunSummary | None = asyncio.run(_run(options, streams, reporter, ending))
        except (KeyboardInterrupt, asyncio.CancelledError):  # before the run began, or when all of it had ended
            summary = None if ending.run is None else ending.run.summary("interrupted")
    if summary is None or summary.outcome == "interrupted" or ending.is_at_once:
        return summary, interruption_code(ending.interruption.number)
    return summary, exit_code_of(summary)


def _refuse_what_cannot_be(options: RunOptions) -> None:
    config = options.config
    if options.drain_seconds is not None and not 0 <= options.drain_seconds <= MAX_TIMEOUT_SECONDS:
        raise ConfigurationError(f"--drain-timeout must be from 0 to {MAX_TIMEOUT_SECONDS:g} seconds, not {options.drain_seconds:g}")
    if options.debug and config.bootstrap.mode != "inline":
        raise ConfigurationError("--pdb needs --mode inline: a worker has no terminal")
    if options.debug and options.input == STANDARD:
        raise ConfigurationError("--pdb needs --input FILE: the debugger reads its commands from standard input")
    if (
        options.errors is not None
        and is_standard_output(options.output)
        and options.errors != STANDARD
        and is_standard_output(options.errors)
    ):
        raise ConfigurationError("--output and --errors are both standard output: name a file for one of them")
    for group in config.process_groups:
        if "__main__" in config.modules_of(group):
            raise ConfigurationError("discovery_modules: '__main__' would be the command line itself: name the module")


def _open(options: RunOptions, stack: ExitStack) -> _Streams:
    streams = _Streams(
        stack.enter_context(open_input(options.input)),
        stack.enter_context(open_output(options.output)),
        None if options.errors is None else stack.enter_context(open_output(options.errors, standard=2)),
    )
    refuse_same_file(streams.input, streams.output, *([] if streams.errors is None else [streams.errors]))
    return streams


async def _run(options: RunOptions, streams: _Streams, reporter: Reporter, ending: _Ending) -> RunSummary:
    # No class is needed here: outputs are written as the JSON that they are.
    config = options.config.model_copy(update={"message_modules": ()})
    async with AsyncExitStack() as stack:
        ending.task = asyncio.current_task()
        if not options.debug:
            stack.enter_context(ending.interruption)
        supervisor = ending.supervisor = AsyncBoundarySupervisor(config, on_node_exception=_debug if options.debug else None)
        if isinstance(supervisor.engine, ProcessEngine):  # inline, a child that has ended may be one that a node is going to wait for
            await stack.enter_async_context(reaping(supervisor.engine.pids))
        await stack.enter_async_context(supervisor)
        ending.run = _stream_run(options, supervisor, streams)
        reporter.begin(config.scenario_id)
        async with _shown(ending.run, reporter):
            return await ending.run.run()


def _stream_run(options: RunOptions, supervisor: AsyncBoundarySupervisor, streams: _Streams) -> StreamRun:
    config = supervisor.config
    source = LineSource(
        streams.input.descriptor,
        streams.input.name,
        line_format="text" if config.source is None else config.source.format,
        batch_size=options.batch_size,
        max_line_bytes=config.execution_ipc.max_frame_bytes,
    )
    run = StreamRun(
        supervisor,
        source,
        LineSink(streams.output.descriptor, streams.output.name),
        run_id=uuid.uuid4().hex,
        on_error=options.on_error,
        errors=None if streams.errors is None else LineSink(streams.errors.descriptor, streams.errors.name),
        timeout_seconds=MAX_TIMEOUT_SECONDS if options.debug else None,
    )
    streams.output.begin()
    if streams.errors is not None:
        streams.errors.begin()
    return run


@asynccontextmanager
async def _shown(run: StreamRun, reporter: Reporter) -> AsyncIterator[None]:
    """Show where the run is while it goes on, and once more at its end."""

    async def tick() -> None:
        while True:
            reporter.show(run.progress())
            await asyncio.sleep(_TICK_SECONDS)

    ticking = asyncio.create_task(tick(), name="stream_kernel progress")
    try:
        yield
    finally:
        ticking.cancel()
        reporter.show(run.progress())


def _leave_signals_to_the_debugger() -> None:
    """It has its own use for Ctrl-C, and takes any other `KeyboardInterrupt` for one."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, end_at_once)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _debug(error: BaseException) -> None:
    pdb.post_mortem(error.__traceback__)
