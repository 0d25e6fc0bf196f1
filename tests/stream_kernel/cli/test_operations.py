"""The document for those who run it: its units are accepted by systemd, its snippets work, its keys are those of the configuration."""

from __future__ import annotations

import ast
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import SECONDS
from documents import ROOT, blocks, section, table_rows
from stream_kernel.config.model import ProcessGroupConfig, RestartConfig

OPERATIONS = ROOT / "docs" / "operations.md"
GROUP = ProcessGroupConfig(name="g", nodes=("n",))


@pytest.mark.parametrize("unit", [pytest.param(block, id=block.name) for block in blocks(OPERATIONS, "ini")])
def test_a_unit_is_accepted_by_systemd(unit: Any, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    path = tmp_path / "scores.service"
    # The program need not be on this machine.
    text, count = re.subn(r"(?m)^(ExecStart)=.*$", r"\1=/bin/true", unit.text)
    assert count == 1
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "scores.service" in line]) == (0, [])


def test_the_steps_of_the_end_have_the_bounds_and_defaults_of_the_configuration() -> None:
    rows = [row for row in table_rows(section(OPERATIONS, "## Stopping")) if row[2]]
    keys = [row[2].partition(",")[0] for row in rows]
    waits = [name for name in ProcessGroupConfig.model_fields if name.endswith("_timeout_seconds")]
    assert keys == [name for name in waits if not name.startswith(("ping_", "start_"))]
    assert [row[3] for row in rows[1:]] == [f"{getattr(GROUP, key):g} s" for key in keys[1:]]
    longest = GROUP.drain_seconds + sum(getattr(GROUP, key) for key in keys[1:])
    assert f"{longest:g} s at most" in section(OPERATIONS, "## Stopping")


def test_the_keys_of_restarts_and_queues_are_those_of_the_configuration() -> None:
    restarts = [key for row in table_rows(section(OPERATIONS, "## When a worker is lost")) for key in row[0].split(", ")]
    assert restarts == list(RestartConfig.model_fields)
    for heading in ("## Queues", "## Workers that grow old"):
        assert [row[0] for row in table_rows(section(OPERATIONS, heading)) if row[0] not in ProcessGroupConfig.model_fields] == []


@pytest.fixture(params=["path", "abstract"])
def notify_socket(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A socket like systemd's, and how NOTIFY_SOCKET names it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"\0{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        listening.settimeout(SECONDS)
        yield listening, name.replace("\0", "@")


def test_the_lines_that_tell_systemd_are_heard(notify_socket: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch) -> None:
    listening, name = notify_socket
    (block,) = [block for block in blocks(OPERATIONS, "python") if "NOTIFY_SOCKET" in block.text]
    wanted: list[ast.stmt] = [each for each in ast.parse(block.text).body if isinstance(each, (ast.Import, ast.FunctionDef))]
    namespace: dict[str, Any] = {}
    exec(compile(ast.Module(wanted, []), block.name, "exec"), namespace)
    notify: Callable[[str], None] = namespace["notify"]
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("nobody hears this")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("READY=1")
    assert listening.recv(100) == b"READY=1"
