"""The installed script as a shell would start it, in a folder of the test's own: every wait is bounded, and no process may be left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["KNOWN_INPUT", "KNOWN_OUTPUT", "SCRIPT", "SECONDS", "Cli", "Done", "decoded", "encoded", "environment", "interrupt"]

SCRIPT = Path(sys.executable).parent / "stream-kernel"
SECONDS = 60.0
"""What no start of the script takes longer than."""

_SUPPORT = Path(__file__).parent
_KNOWN = _SUPPORT.parents[2] / "shared" / "data" / "fund_load"
KNOWN_INPUT = _KNOWN / "input.jsonl"
KNOWN_OUTPUT = _KNOWN / "expected_baseline.jsonl"


class Done(NamedTuple):
    """How the script ended."""

    code: int
    out: bytes
    err: str


class Cli:
    """Configurations, inputs and outputs in one folder, and the script started there."""

    def __init__(self, folder: Path) -> None:
        """`folder` must be there."""
        self.folder = folder
        self.output = folder / "out.jsonl"
        self.errors = folder / "errors.jsonl"
        self.input = folder / "in.jsonl"

    def config(
        self,
        groups: dict[str, Any],
        *,
        source: str | None,
        form: str = "jsonl",
        modules: Iterable[str] = ("run_nodes",),
        timeout: float = 30,
        settings: dict[str, dict[str, Any]] | None = None,
    ) -> str:
        """Write a configuration of `group -> nodes`, or `group -> its keys`; gives its path."""
        text = [f"discovery_modules = {json.dumps(list(modules))}"]
        if source is not None:
            text += ["[source]", f'target = "{source}"', f'format = "{form}"']
        text += ["[execution_ipc]", f"boundary_timeout_seconds = {timeout}"]
        for name, given in groups.items():
            keys = {"name": name, **(given if isinstance(given, dict) else {"nodes": given}), "env_passthrough": ["COVERAGE_*"]}
            text += ["[[process_groups]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
            text.append(f"env = {{ RUN_FOLDER = {json.dumps(str(self.folder))} }}")
        for node, values in (settings or {}).items():
            text += [f"[nodes.{node}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        path = self.folder / "run.toml"
        path.write_text("\n".join(text) + "\n", encoding="utf-8")
        return str(path)

    def lines(self, records: Iterable[Any]) -> str:
        """Write the input, one JSON line each; gives its path."""
        self.input.write_bytes(encoded(records))
        return str(self.input)

    def outputs(self) -> list[Any]:
        """What the output file holds, which is whole lines only."""
        return decoded(self.output.read_bytes())

    def failures(self) -> list[Any]:
        """What the errors file holds."""
        return decoded(self.errors.read_bytes())

    def run_lines(self, config: str, records: Iterable[Any], *arguments: str) -> Done:
        """Run these lines from a file, into the output file."""
        return self.run("run", config, "--input", self.lines(records), "--output", str(self.output), *arguments)

    def run(self, *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None) -> Done:
        """Start the script, wait for its end, and see that it left no process."""
        with self.start(*arguments, variables=variables) as process:
            out, err = process.communicate(stdin, timeout=SECONDS)
        return Done(process.returncode, out, err.decode())

    def shell(self, command: str) -> Done:
        """Let a shell run `command`, in which the script goes by its name."""
        variables = {**environment(), "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=variables, capture_output=True, timeout=SECONDS, check=False)
        assert self.workers() == []
        return Done(done.returncode, done.stdout, done.stderr.decode())

    @contextmanager
    def start(
        self, *arguments: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE, variables: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The script, started in the folder. It must have ended when the block is left, and all its workers with it."""
        given = {**environment(), **(variables or {})}
        with subprocess.Popen(
            [SCRIPT, *arguments], cwd=self.folder, env=given, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr
        ) as process:
            try:
                yield process
                process.wait(SECONDS)
            finally:
                process.kill()
        assert self.workers() == []

    def workers(self) -> list[int]:
        """The processes that carry the mark of this folder's configurations."""
        mark = f"RUN_FOLDER={self.folder}".encode()
        return [
            int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and mark in _environment_of(entry).split(b"\0")
        ]


def interrupt(process: subprocess.Popen[bytes], number: signal.Signals) -> Done:
    """Send a signal, and wait for the end."""
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    return Done(process.returncode, out, err.decode())


def encoded(records: Iterable[Any]) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)


def decoded(data: bytes) -> list[Any]:
    """The values of JSON lines, the last of which has ended too."""
    *lines, rest = data.split(b"\n")
    assert rest == b""
    return [json.loads(line) for line in lines]


def environment() -> dict[str, str]:
    """The tests' own, with the nodes of the tests on the import path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(_SUPPORT)]))}


def _environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # gone meanwhile, or somebody else's
        return b""
