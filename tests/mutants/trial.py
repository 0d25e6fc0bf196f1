"""One trial: the tests of a mutant in a copy of the project, and what they said."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec

__all__ = ["Trial", "copy_project", "run_tests"]

_COPIED = ("src", "tests", "docs", "examples", "README.md", "pyproject.toml", "tox.ini")
_SECONDS_OF_A_TEST = 30
_FIRST_FAILURE = re.compile(r"^(?:FAILED|ERROR) (tests/\S*::.*?)(?: - .*)?$", re.MULTILINE)


class Trial(msgspec.Struct, frozen=True):
    """`killed`: a test failed, `killer`; `survived`: all passed; `unclear`: the tests did not come to a verdict, and `output` says why."""

    verdict: Literal["killed", "survived", "unclear"]
    killer: str
    output: str


def copy_project(source: Path, target: Path) -> None:
    """Copy what the tests need; compiled files go with it, so that only what is patched is compiled again."""
    for name in _COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, symlinks=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def run_tests(root: Path, tests: list[str], *, seconds: float, stops_at_failure: bool = True) -> Trial:
    """Run tests of the project at `root`, in a process with a folder of its own for what is temporary; ends what they leave running."""
    temporary = root / "tmp"
    temporary.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_", "PYTHON"))}
    environment |= {"PYTHONPATH": str(root / "src"), "TMPDIR": str(temporary)}
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--timeout={_SECONDS_OF_A_TEST}"),
        *(["-x"] if stops_at_failure else []),
        *(f"tests/stream_kernel/{test}" for test in tests),
    ]
    report = root / "report.txt"
    with report.open("wb") as file:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            _end_leftovers(temporary)
    output = report.read_text(encoding="utf-8", errors="replace")
    failure = _FIRST_FAILURE.search(output)
    if code == 0:
        return Trial("survived", "", output)
    if code == 1 and failure is not None:
        return Trial("killed", failure[1].removeprefix("tests/stream_kernel/"), output)
    return Trial("unclear", "", output if code is not None else f"{output}\nno end within {seconds:g} s")


def _end_leftovers(temporary: Path) -> None:
    """A mutant may leave workers behind, which have sessions of their own: they are known by their folder for temporary files."""
    mark = f"TMPDIR={temporary}\0".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = mark in (entry / "environ").read_bytes() + b"\0"
        except OSError:  # it has ended, or belongs to somebody else
            continue
        if is_ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)
