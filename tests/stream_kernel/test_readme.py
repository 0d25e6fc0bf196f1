"""The README does what it says: its set-up commands, its first program, its links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from documents import ROOT, blocks

README = ROOT / "README.md"
SCRIPT = Path(sys.executable).parent / "stream-kernel"


def _program(text: str) -> str:
    """The Python program that holds this text."""
    return next(block.text for block in blocks(README, "python") if text in block.text)


def _text(beginning: str) -> str:
    return next(block.text for block in blocks(README, "text") if block.text.startswith(beginning))


def test_its_first_command_shows_the_demo() -> None:
    assert blocks(README, "bash")[0].text.splitlines()[-1] == ".venv/bin/stream-kernel demo"


@pytest.mark.slow
def test_the_demo_shows_what_it_says_up_to_times_and_rates() -> None:
    done = subprocess.run([SCRIPT, "demo"], capture_output=True, text=True, timeout=110, check=True)
    assert done.stderr == ""
    shown, said = (_without_times(text) for text in (done.stdout, _text("20,000 attempts")))
    assert shown == said


def _without_times(text: str) -> list[str]:
    """The lines without what differs from run to run; of a row of the table, its name and its counts are left."""
    lines = []
    for line in text.splitlines():
        if line.endswith(" restarts") and " in flight, " in line:
            continue  # a slow machine says now and then how far it is
        if line.startswith("execution."):
            lines.append(" ".join(line.split()[:3]))
        elif re.match(r"  [a-z_]+ +[0-9,]+ ", line):
            lines.append(" ".join(line.split()[:2]))
        elif line.startswith("group / node"):
            lines.append(" ".join(line.split()))
        else:
            lines.append(re.sub(r"in [0-9.]+ s, [0-9,]+ a second", "in so many seconds", line))
    return lines


def test_its_first_program_is_the_example_of_that_name() -> None:
    assert _program('"square"') == (ROOT / "examples" / "first.py").read_text(encoding="utf-8")


def test_its_first_program_works_when_pasted_into_a_file_elsewhere_and_prints_what_it_says(tmp_path: Path) -> None:
    script = tmp_path / "pasted.py"
    script.write_text(_program('"square"'), encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout == _text("{'n': 7")


def test_its_pipeline_works_when_pasted_into_files_elsewhere_and_gives_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(_program('"split"'), encoding="utf-8")
    (tmp_path / "words.toml").write_text(blocks(README, "toml")[0].text, encoding="utf-8")
    check, run = (line for block in blocks(README, "bash") for line in block.text.splitlines() if "words.toml" in line)
    path = f"{SCRIPT.parent}:/usr/bin:/bin"
    for command, wanted in ((check, "no problems\n"), (run, _text('{"line"'))):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stderr == ""
        assert done.stdout.endswith(wanted)


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
