"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The script, in the test's folder."""
    return Cli(tmp_path)
