"""The worker program started by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

USUAL = ["--lifeline", "3", "--max-frame-bytes", "9", "--black-box", "4"]


@pytest.mark.parametrize("arguments", [[], ["--help"], USUAL[:2], USUAL[:4], USUAL[:5], [*USUAL, "more"], USUAL[2:] + USUAL[:2]])
def test_started_by_hand_it_says_who_starts_it(arguments: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "stream_kernel.worker", *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "started by a supervisor" in ended.stderr and "Traceback" not in ended.stderr
