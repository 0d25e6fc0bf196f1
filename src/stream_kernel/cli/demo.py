"""`stream-kernel demo`: the example pipeline on attempts that it makes itself, and what to look at next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from stream_kernel.cli.configuration import load_config
from stream_kernel.cli.exit_codes import ExitCode
from stream_kernel.cli.reporter import reporter_for, show_closing, show_totals
from stream_kernel.cli.run import RunOptions, run_lines
from stream_kernel.errors import ConfigurationError
from stream_kernel.examples.fund_load.generator import generate_attempts

__all__ = ["show_demo"]

_EXAMPLE = "example:fund_load/baseline"
_SHOWN = 3


def show_demo(console: Console, *, attempts: int, keep: str | None) -> ExitCode:
    """Make so many attempts, run them, tell what happened; `keep` names a folder for both files. Raises `ConfigurationError`."""
    config = load_config(_EXAMPLE)
    with _folder(keep) as folder:
        taken, given = folder / "attempts.jsonl", folder / "decisions.jsonl"
        _write_attempts(taken, attempts)
        _say(
            console,
            f"{attempts:,} attempts to load money into an account, some of them malformed, through {len(config.process_groups)} groups",
        )
        _say(console, "of worker processes that decide on each: parse, derive features, apply the rules in order, format.", "")
        options = RunOptions(config=config, input=str(taken), output=str(given))
        summary, code = run_lines(options, reporter_for(console, is_quiet=False))
        if summary is None:
            return code
        show_totals(summary, console)
        show_closing(summary, str(given), console)
        if code is ExitCode.COMPLETE:
            _say(console, "", *_first(taken, given), "", *_counts(given), "", *_next(folder if keep else None))
        return code


@contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    if keep is None:
        with TemporaryDirectory(prefix="stream-kernel-demo-") as name:
            yield Path(name)
        return
    folder = Path(keep)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--keep {keep}: {error.strerror}") from None
    yield folder


def _write_attempts(path: Path, count: int) -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in generate_attempts(count))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _first(taken: Path, given: Path) -> Iterator[str]:
    """The first attempts, each with its decision."""
    with taken.open(encoding="utf-8") as attempts, given.open(encoding="utf-8") as decisions:
        for _, attempt, decision in zip(range(_SHOWN), attempts, decisions, strict=False):
            yield f"  {attempt.rstrip()}"
            yield f"    -> {decision.rstrip()}"


def _counts(given: Path) -> Iterator[str]:
    with given.open(encoding="utf-8") as decisions:
        are_accepted = Counter(line.endswith('"accepted":true}\n') for line in decisions)
    yield f"{are_accepted[True]:,} accepted, {are_accepted[False]:,} declined; one decision for each attempt, in order."


def _next(folder: Path | None) -> Iterator[str]:
    """What to try now; with the files at hand, or how to get them."""
    yield "Try next:"
    yield f"  stream-kernel check {_EXAMPLE}"
    if folder is None:
        yield "  stream-kernel demo --keep demo"
    files = "demo" if folder is None else str(folder)
    yield (
        f"  stream-kernel run example:fund_load/sanctions --input {files}/attempts.jsonl --output {files}/sanctions.jsonl "
        "--workers execution.features=2"
    )
    yield "and kill a worker while that runs: it says which line was the last to be complete."
