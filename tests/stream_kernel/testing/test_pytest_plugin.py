"""The pytest plugin, as a run of somebody else's tests meets it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

from documents import ROOT, blocks

# Whether or not the entry point of this checkout is installed, the plugin is there exactly once.
LOADED = ("-p", "no:stream_kernel", "-p", "stream_kernel.testing.pytest_plugin")


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *LOADED, *arguments, str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_the_tests_in_the_document_pass(tmp_path: Path) -> None:
    shown = [block.text for block in blocks(ROOT / "docs" / "testing.md", "python") if "def test_" in block.text]
    for number, text in enumerate(shown):
        (tmp_path / f"test_{number}.py").write_text(text, encoding="utf-8")
    done = run_pytest(tmp_path, "-p", "no:asyncio", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    count = sum(text.count("def test_") for text in shown)
    assert count >= 3 and f"{count} passed" in done.stdout


def test_every_fixture_is_listed_with_its_description(tmp_path: Path) -> None:
    listed = run_pytest(tmp_path, "--fixtures").stdout
    for name in ("crashing_node", "hanging_node", "leaking_node"):
        assert f"{name} -- " in listed


def test_a_run_that_uses_no_fixture_pays_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_nothing_is_loaded():\n"
        "    heavy = {'pydantic', 'anyio', 'msgspec', 'orjson', 'stream_kernel.errors', 'stream_kernel.testing.misbehaviour'}\n"
        "    assert not heavy & sys.modules.keys()\n"
        "    assert 'stream_kernel.testing.pytest_plugin' in sys.modules\n",
        encoding="utf-8",
    )
    done = run_pytest(tmp_path, "-p", "no:anyio", "-p", "no:hypothesispytest")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_plugin_is_declared_where_pytest_looks_for_it() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    assert declared == {"stream_kernel": "stream_kernel.testing.pytest_plugin"}
    assert import_module(declared["stream_kernel"]).crashing_node
