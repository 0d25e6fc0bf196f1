"""Lets the tests of the benchmark import its modules the way its script does: from the script's folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
