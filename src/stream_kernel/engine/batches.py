"""How the steps of a hop become batches, and a batch commands: one for its group, or several where it is split or too large for a frame."""

from __future__ import annotations

from collections.abc import Iterable

from stream_kernel.engine.settlement import Step

__all__ = ["by_group", "cut"]


def by_group(steps: list[Step]) -> dict[str, list[Step]]:
    """The steps of each group, in order; the groups in the order of their first ones."""
    if len(steps) == 1:
        return {steps[0].group: steps}
    groups = [step.group for step in steps]
    if groups and groups.count(groups[0]) == len(groups):
        return {groups[0]: steps}
    batches: dict[str, list[Step]] = {}
    for step in steps:
        batches.setdefault(step.group, []).append(step)
    return batches


def cut(batch: list[Step], pieces: int, limit: int) -> Iterable[tuple[list[Step], int]]:
    """The batch in order, cut into so many pieces and each of them to the limit of a frame; each part with its size. Pieces differ by one
    step at most, and none is empty.
    """
    if pieces == 1:
        return _within(batch, limit)
    return [part for piece in _shares(batch, pieces) for part in _within(piece, limit)]


def _shares(batch: list[Step], pieces: int) -> Iterable[list[Step]]:
    count, pieces = len(batch), min(pieces, len(batch))
    return [batch[count * piece // pieces : count * (piece + 1) // pieces] for piece in range(pieces)]


def _within(batch: list[Step], limit: int) -> Iterable[tuple[list[Step], int]]:
    """Parts whose payloads stay within the limit; one step always goes."""
    whole = batch[0].weight if len(batch) == 1 else sum([step.weight for step in batch])
    return [(batch, whole)] if whole <= limit else _filled(batch, limit)


def _filled(batch: list[Step], limit: int) -> Iterable[tuple[list[Step], int]]:
    part: list[Step] = []
    size = 0
    for step in batch:
        if part and size + step.weight > limit:
            yield part, size
            part, size = [], 0
        part.append(step)
        size += step.weight
    yield part, size
