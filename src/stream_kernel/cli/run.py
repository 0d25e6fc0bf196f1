"""`stream-kernel run`: a configuration, an input and an output, put together into one run."""

from __future__ import annotations

import asyncio
import pdb
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import msgspec

from stream_kernel.cli.exit_codes import ExitCode, exit_code_of
from stream_kernel.cli.interruption import Interruption
from stream_kernel.cli.reporter import Reporter
from stream_kernel.cli.streams import STANDARD, OpenStream, is_standard_output, open_input, open_output, refuse_same_file
from stream_kernel.config.model import RuntimeConfig
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
    debug: bool = False
    """Stop in the debugger where a node raises."""


class _Streams(msgspec.Struct, frozen=True):
    input: OpenStream
    output: OpenStream
    errors: OpenStream | None


class _State:
    """What an interruption finds."""

    def __init__(self, *, is_inline: bool) -> None:
        self.run: StreamRun | None = None
        self.interruption = Interruption(is_inline=is_inline)


def run_lines(options: RunOptions, reporter: Reporter) -> tuple[RunSummary | None, ExitCode]:
    """Run; without a summary when it was interrupted before it took a line.

    Raises `ConfigurationError` and `WorkerBootstrapError`.
    """
    _refuse_what_cannot_be(options)
    state = _State(is_inline=options.config.bootstrap.mode != "process_supervisor")
    with ExitStack() as stack:
        streams = _open(options, stack)
        stack.enter_context(reporter)
        try:
            summary: RunSummary | None = asyncio.run(_run(options, streams, reporter, state))
        except (KeyboardInterrupt, asyncio.CancelledError):  # before the run began, or once more while it is being ended
            summary = None if state.run is None else state.run.summary("interrupted")
    if summary is None or summary.outcome == "interrupted":
        was_terminated = state.interruption.number == signal.SIGTERM
        return summary, ExitCode.TERMINATED if was_terminated else ExitCode.INTERRUPTED
    return summary, exit_code_of(summary)


def _refuse_what_cannot_be(options: RunOptions) -> None:
    config = options.config
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


async def _run(options: RunOptions, streams: _Streams, reporter: Reporter, state: _State) -> RunSummary:
    # No class is needed here: outputs are written as the JSON that they are.
    config = options.config.model_copy(update={"message_modules": ()})
    async with AsyncExitStack() as stack:
        if not options.debug:  # the debugger has its own use for Ctrl-C
            stack.enter_context(state.interruption)
        supervisor = await stack.enter_async_context(AsyncBoundarySupervisor(config, on_node_exception=_debug if options.debug else None))
        run = state.run = _stream_run(options, supervisor, streams)
        reporter.begin(config.scenario_id)
        async with _shown(run, reporter):
            try:
                return await run.run()
            except asyncio.CancelledError:
                return run.summary("interrupted")


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


def _debug(error: BaseException) -> None:
    pdb.post_mortem(error.__traceback__)
