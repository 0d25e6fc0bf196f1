"""Fails when this environment does not have exactly the versions of lowest.txt."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Compare what is installed with what is asked for."""
    lines = Path(__file__).with_name("lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    wrong = {name: version(name) for name, wanted in pins.items() if version(name) != wanted}
    if wrong:
        sys.exit(f"installed instead of the lowest versions: {wrong}")


if __name__ == "__main__":
    main()
