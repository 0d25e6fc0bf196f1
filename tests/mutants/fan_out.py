"""Mutants of batches that are split over the workers of a group."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["FAN_OUT"]

_GROUP = "engine/process/test_group.py"

FAN_OUT = (
    Mutant(
        "split-is-not-asked-for",
        "a batch for a group that splits becomes several commands",
        "engine/boundary.py",
        "cut(batch, self._engine.pieces(group) if len(batch) > 1 else 1, ",
        "cut(batch, 1, ",
        ("engine/test_fan_out.py",),
    ),
    Mutant(
        "what-goes-side-by-side-is-not-split",
        "inputs that go side by side are split like others",
        "engine/boundary.py",
        " or engine.pieces(group) > 1",
        "",
        ("engine/test_fan_out.py",),
    ),
    Mutant(
        "piece-beyond-the-frame",
        "a piece of a batch is cut to the limit of a frame, too",
        "engine/batches.py",
        "for part in _within(piece, limit)]",
        "for part in _within(piece, 1 << 62)]",
        ("engine/test_batches.py",),
    ),
    Mutant(
        "last-piece-takes-the-rest",
        "the pieces of a batch differ by one input at most",
        "engine/batches.py",
        "batch[count * piece // pieces : count * (piece + 1) // pieces]",
        "batch[count // pieces * piece : count // pieces * (piece + 1) if piece < pieces - 1 else count]",
        ("engine/test_batches.py",),
    ),
    Mutant(
        "pieces-for-workers-that-are-gone",
        "a batch is split over the workers that are ready, not over those that there should be",
        "engine/process/group.py",
        'return max(1, sum(slot.state == "ready" for slot in self._slots))',
        "return len(self._slots)",
        (_GROUP,),
    ),
    Mutant(
        "no-piece-where-nobody-is-ready",
        "a batch for a group without a ready worker is one command, and waits for one",
        "engine/process/group.py",
        'return max(1, sum(slot.state == "ready" for slot in self._slots))',
        'return sum(slot.state == "ready" for slot in self._slots)',
        (_GROUP,),
    ),
    Mutant(
        "state-is-split",
        "a group with a stateful node refuses to split its batches",
        "engine/base.py",
        '    if stateful is None or fan_out == "whole":\n',
        '    if stateful is None or fan_out != "whole" or fan_out == "whole":\n',
        (_GROUP,),
    ),
)
