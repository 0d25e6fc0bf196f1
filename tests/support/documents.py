"""Reads what the documents say, so that tests can hold them to it. Needs nothing but the standard library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block of a Markdown document."""

    document: Path
    line: int
    language: str
    """The first word after the fence."""
    text: str

    @property
    def name(self) -> str:
        """Where it is, for test ids."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    """README, changelog and everything in docs/."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: Path, language: str) -> list[Block]:
    """The fenced blocks of that language, in order."""
    found: list[Block] = []
    fence: tuple[int, str, list[str]] | None = None
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if fence is not None and line.strip() == "```":
            found.append(Block(document, fence[0], fence[1], "".join(fence[2])))
            fence = None
        elif fence is not None:
            fence[2].append(line)
        elif line.startswith("```"):
            fence = (number, line[3:].strip(), [])
    assert fence is None, f"{document}: the fence of line {fence[0]} is never closed"
    return [block for block in found if block.language == language]


def section(document: Path, heading: str) -> str:
    """The text below a heading (given with its #), to the next one of its level or above."""
    level = heading.index(" ")
    lines = iter(document.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line == heading:
            break
    else:
        raise AssertionError(f"{document} has no heading '{heading}'")
    taken = []
    for line in lines:
        if re.match(rf"#{{1,{level}}} ", line):
            break
        taken.append(line)
    return "\n".join(taken)


def table_rows(text: str) -> list[list[str]]:
    """The cells of all table rows, heads and rules left out; backticks taken away."""
    rows = []
    lines = text.splitlines()
    for index, line in enumerate(lines):
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if line.startswith("|") and not line.startswith("|-") and not following.startswith("|-"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            rows.append([cell.replace("`", "").strip("| ") for cell in cells])
    return rows
