"""The command line where its extra is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stream_kernel import cli

START = """
import sys

class Absent:
    missing = sys.argv.pop(1)

    def find_spec(self, name, path, target=None):
        if name == self.missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from stream_kernel.cli import main
sys.exit(main())
"""


def start_without(module: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command where `module` cannot be imported."""
    command = [sys.executable, "-c", START, module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
@pytest.mark.parametrize("arguments", [["--version"], ["run", "no-such.toml"], []])
def test_without_the_extra_it_says_what_to_install(missing: str, arguments: list[str]) -> None:
    says = f"stream-kernel: the command line needs '{missing}': pip install 'stream-kernel[cli]'\n"
    assert start_without(missing, *arguments) == (2, "", says)


def test_anything_else_that_is_missing_is_a_fault_and_shows_itself() -> None:
    code, _, stderr = start_without("stream_kernel.cli.run", "--version")
    assert code == 1 and "Traceback" in stderr and stderr.endswith("No module named 'stream_kernel.cli.run'\n")


def test_with_the_extra_it_runs_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr("stream_kernel.cli.hear_with", lambda handler: None)
    monkeypatch.setattr("atexit.register", lambda handler: None)
    monkeypatch.setattr("stream_kernel.cli.app.app", lambda: started.append("app"))
    assert (cli.main(), started) == (0, ["app"])
