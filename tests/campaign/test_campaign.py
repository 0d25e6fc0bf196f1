"""The campaign in its form of one minute, as anyone runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("campaign.py")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_of_faults_breaks_no_rule(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    # Measured lines would make the event loop late, and the figures with it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, SCRIPT, "--short", "--report", report], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "every rule held" in report.read_text(encoding="utf-8")
