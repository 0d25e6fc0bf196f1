"""A mutant: a small patch that takes one mechanism away, the rule that the mechanism keeps, and the tests that must notice."""

from __future__ import annotations

from pathlib import Path

import msgspec

__all__ = ["ROOT", "DoesNotApply", "Mutant"]

ROOT = Path(__file__).resolve().parents[2]


class DoesNotApply(Exception):
    """The text that a mutant replaces is not at exactly one place in its file."""


class Mutant(msgspec.Struct, frozen=True):
    """`file` is below `src/stream_kernel`, `tests` (files, or ids in them) are below `tests/stream_kernel`."""

    name: str
    rule: str
    """What holds as long as nobody takes the mechanism away."""
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Patch the sources below `root`. Raises `DoesNotApply`."""
        path = root / "src" / "stream_kernel" / self.file
        path.write_text(self.patched(path.read_text(encoding="utf-8")), encoding="utf-8")

    def patched(self, text: str) -> str:
        """The text with the patch. Raises `DoesNotApply`."""
        places = text.count(self.old)
        if places != 1:
            raise DoesNotApply(f"{self.name}: what it replaces is at {places} places in {self.file}")
        return text.replace(self.old, self.new)
