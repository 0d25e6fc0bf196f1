"""What is declared about the package holds: lower bounds, version, typing mark."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import stream_kernel
from documents import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_lowest_versions_that_are_tested_are_those_that_are_declared() -> None:
    declared = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cli"]]
    bounds = dict(re.split(r">=", requirement) for requirement in declared)
    lines = (ROOT / "tests" / "packaging" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: _release(pin) for name, pin in pins.items()} == {name: _release(bound) for name, bound in bounds.items()}


def _release(text: str) -> tuple[int, ...]:
    parts = [int(part) for part in text.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def test_the_version_has_one_place() -> None:
    assert version("stream-kernel") == stream_kernel.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(stream_kernel.__file__).parent / "py.typed").exists()
