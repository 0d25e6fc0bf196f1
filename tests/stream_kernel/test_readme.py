"""The README does what it says: its set-up commands, its first program, its links."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from documents import ROOT, blocks

README = ROOT / "README.md"


def test_its_first_program_is_the_example_that_the_set_up_runs() -> None:
    program = blocks(README, "python")[0].text
    assert program == (ROOT / "examples" / "first.py").read_text(encoding="utf-8")
    assert "examples/first.py" in blocks(README, "bash")[0].text


def test_its_first_program_works_when_pasted_into_a_file_elsewhere_and_prints_what_it_says(tmp_path: Path) -> None:
    script = tmp_path / "pasted.py"
    script.write_text(blocks(README, "python")[0].text, encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout == blocks(README, "text")[0].text


def test_its_set_up_commands_make_the_environment_only_when_it_is_missing_and_install_everything() -> None:
    for block in blocks(README, "bash")[:2]:
        make, install, _ = block.text.splitlines()
        assert make == "test -x .venv/bin/python || python3 -m venv .venv"
        assert install == ".venv/bin/python -m pip install -q -e '.[dev,cli]'"


def test_its_test_command_is_the_one_that_ci_runs(tmp_path: Path) -> None:
    extraction = next(
        line for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines() if line.startswith("setup_and_test=")
    )
    script = f'{extraction}\nprintf "%s\\n" "$setup_and_test"'
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout == blocks(README, "bash")[1].text
    assert done.stdout.splitlines()[-1] == ".ci/test"
