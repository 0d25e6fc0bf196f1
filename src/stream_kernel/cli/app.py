"""The commands and their options. What goes wrong before a line is taken is one message on stderr, never a traceback."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console

from stream_kernel._version import __version__
from stream_kernel.cli.configuration import load_config, parse_workers
from stream_kernel.cli.exit_codes import ExitCode
from stream_kernel.cli.reporter import discard, make_console, reporter_for, show_closing, show_totals
from stream_kernel.cli.run import RunOptions, run_lines
from stream_kernel.cli.streams import STANDARD, is_standard_output
from stream_kernel.config.model import Mode
from stream_kernel.errors import StreamKernelError, WorkerBootstrapError
from stream_kernel.execution.orchestration.run_summary import RunSummary
from stream_kernel.platform.services.request import OnError

__all__ = ["app"]

_logger = logging.getLogger("stream_kernel.cli")

app = typer.Typer(
    name="stream-kernel",
    help="Runs the steps of a program in supervised worker processes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

LogLevel = Literal["debug", "info", "warning", "error"]
SummaryForm = Literal["table", "json", "none"]
Config = Annotated[str, typer.Argument(metavar="CONFIG", help="A TOML file, or example:fund_load/baseline, example:fund_load/sanctions.")]
Workers = Annotated[list[str], typer.Option("--workers", metavar="GROUP=N", help="Run GROUP in N workers. May be repeated.")]
Modes = Annotated[Mode | None, typer.Option(help="Run the nodes in worker processes, or in this one. Default: the configuration's.")]
LogLevels = Annotated[LogLevel, typer.Option(help="What is logged on stderr; info shows what the workers write.")]


@contextmanager
def _one_message() -> Iterator[None]:
    """What we raise on purpose is said once and ends the command."""
    try:
        yield
    except StreamKernelError as error:
        typer.echo(f"stream-kernel: {error}", err=True)
        if isinstance(error, WorkerBootstrapError) and error.detail:
            _logger.debug("%s", error.detail)
            if not _logger.isEnabledFor(logging.DEBUG):
                typer.echo("  --log-level debug shows where it was raised", err=True)
        raise typer.Exit(ExitCode.UNUSABLE) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except OSError as error:
        discard(1)
        typer.echo(f"stream-kernel: cannot write: {error.strerror}", err=True)
        raise typer.Exit(ExitCode.UNUSABLE) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stream-kernel {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Runs the steps of a program in supervised worker processes."""


@app.command()
def run(
    config: Config,
    source: Annotated[str, typer.Option("--input", metavar="FILE|-", help="Where the lines come from; - is standard input.")] = STANDARD,
    output: Annotated[str, typer.Option(metavar="FILE|-", help="Where the outputs go, in the order of the lines.")] = STANDARD,
    batch_size: Annotated[int, typer.Option(min=1, max=1_000_000, help="Lines to a batch. Never changes the output.")] = 100,
    workers: Workers = [],  # noqa: B006  typer copies it
    mode: Modes = None,
    on_error: Annotated[OnError, typer.Option(help="Stop at the first line that fails, or go on with the others.")] = "raise",
    errors: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Where failures go, one JSON object each; - is standard error.")
    ] = None,
    summary: Annotated[
        SummaryForm, typer.Option(help="The table at the end, or all of it as JSON (on stdout, when it is free).")
    ] = "table",
    log_level: LogLevels = "error",
    drain_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long lines in flight may go on after Ctrl-C or SIGTERM. Default: the groups' longest."),
    ] = None,
    pdb: Annotated[bool, typer.Option("--pdb", help="Stop in the debugger where a node raises (--mode inline); no deadlines.")] = False,
) -> None:
    """Take lines through the groups of CONFIG, several batches at once, outputs in the order of the lines.

    Exit codes: 0 all lines are through, 1 a node failed or a line was refused, 2 nothing could be run, 3 a worker was lost, 4 a deadline
    passed, 5 a stateful group lost its worker, 6 all lines are through but some failed (--on-error collect), 130 and 143 interrupted.
    """
    with _one_message():
        if errors is None and on_error == "collect":
            errors = STANDARD
        options = RunOptions(
            config=load_config(config, mode=mode, workers=parse_workers(workers)),
            input=source,
            output=output,
            errors=errors,
            batch_size=batch_size,
            on_error=on_error,
            drain_seconds=drain_timeout,
            debug=pdb,
        )
        _log_to_stderr(log_level)
        if source == STANDARD and os.isatty(0):
            typer.echo("Reading lines from the terminal; Ctrl-D ends them.", err=True)
        console = make_console(stderr=True)
        is_quiet = log_level != "error" or _writes_to_a_terminal(options)
        done, code = run_lines(options, reporter_for(console, is_quiet=is_quiet))
        _tell(done, summary, output, console)
    raise typer.Exit(code)


def _writes_to_a_terminal(options: RunOptions) -> bool:
    """Whether something else than the bar, which that would tear, is going to be there."""
    return options.debug or options.errors == STANDARD or (is_standard_output(options.output) and os.isatty(1))


def _tell(done: RunSummary | None, form: SummaryForm, output: str, console: Console) -> None:
    """What a run came to, in the form that was asked for."""
    is_standard = is_standard_output(output)
    if done is None:
        typer.echo("stream-kernel: interrupted before a line was taken", err=True)
    elif done.outcome != "output_closed":
        if form == "table":
            show_totals(done, console)
        elif form == "json":
            make_console(stderr=is_standard).out(msgspec.json.encode(done).decode(), highlight=False)
        show_closing(done, "standard output" if is_standard else output, console)


@app.command()
def check(
    config: Config,
    workers: Workers = [],  # noqa: B006
    mode: Modes = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are problems too.")] = False,
) -> None:
    """Show the groups, nodes and routes of CONFIG, and what is wrong with them, without starting a worker.

    Exit codes: 0 no problem, 1 a problem, 2 CONFIG cannot be used at all.
    """
    from stream_kernel.cli.check import show_check
    from stream_kernel.execution.orchestration.preflight import examine

    with _one_message():
        result = examine(load_config(config, mode=mode, workers=parse_workers(workers)))
        show_check(result, make_console(stderr=False))
    if result.problems or (strict and result.warnings):
        raise typer.Exit(ExitCode.NODE_FAILED)


@app.command()
def demo(
    attempts: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many attempts to make.")] = 20_000,
    keep: Annotated[str | None, typer.Option(metavar="FOLDER", help="Leave the attempts and the decisions there.")] = None,
) -> None:
    """Make attempts to load money, always the same ones, and run them through the four worker groups of example:fund_load/baseline."""
    from stream_kernel.cli.demo import show_demo

    with _one_message():
        code = show_demo(make_console(stderr=False), attempts=attempts, keep=keep)
    raise typer.Exit(code)


def _log_to_stderr(level: LogLevel) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if level == "error":
        handler.addFilter(lambda record: record.name != "stream_kernel.lifecycle")  # that a group has failed, the command says itself
    logging.basicConfig(level=level.upper(), handlers=[handler], format="%(asctime)s %(levelname)s %(name)s: %(message)s")
