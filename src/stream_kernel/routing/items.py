"""Messages between groups, as both engines and the worker handle them: what goes into a group and what leaves it."""

from __future__ import annotations

import msgspec

from stream_kernel.reports import Category
from stream_kernel.routing.envelope import BoundaryFailure, TerminalStatus
from stream_kernel.routing.packed import Packed

__all__ = ["CHARACTER_BYTES", "ITEM_BYTES", "Emission", "InputItem", "ItemFailure", "Way"]

ITEM_BYTES = 96
"""Bytes that an item may need on the wire besides its texts: separators and nulls of its columns."""
CHARACTER_BYTES = 6
"""Bytes that a character may take as JSON: an escape."""


def _header_size(node: str, tag: str | None, target: str | None) -> int:
    characters = len(node)
    if tag is not None:
        characters += len(tag)
    if target is not None:
        characters += len(target)
    return ITEM_BYTES + CHARACTER_BYTES * characters


class Way(msgspec.Struct, gc=False):
    """What is to be told of an output besides its payload when it inherits everything: many have the same."""

    node: str
    tag: str | None
    terminal: bool
    target: str | None = None
    size: int = 0
    """At most this many bytes it is on the wire."""

    def __post_init__(self) -> None:
        self.size = _header_size(self.node, self.tag, self.target)


class InputItem(msgspec.Struct, gc=False):
    """One message on its way to `target`."""

    packed: Packed
    target: str
    trace_id: str | None = None
    reply_to: str | None = None
    meta: Packed | None = None
    source_group: str | None = None
    route_hop: int | None = None
    steps: int = 0
    """Node runs that led to it."""

    @property
    def size(self) -> int:
        """At most this many bytes on the wire."""
        return self.packed.size + self.header_size

    @property
    def header_size(self) -> int:
        """At most this many bytes on the wire besides the payload."""
        characters = len(self.target)
        if self.trace_id is not None:
            characters += len(self.trace_id)
        if self.reply_to is not None:
            characters += len(self.reply_to)
        if self.source_group is not None:
            characters += len(self.source_group)
        if self.packed.tag is not None:
            characters += len(self.packed.tag)
        return ITEM_BYTES + CHARACTER_BYTES * characters + (0 if self.meta is None else self.meta.size)


class Emission(msgspec.Struct, gc=False):
    """One output that leaves a group. What is None is inherited from the input item at `index`."""

    index: int
    node: str
    packed: Packed
    terminal: bool
    target: str | None = None
    trace_id: str | None = None
    reply_to: str | None = None
    meta: Packed | None = None
    steps: int = 0
    status: TerminalStatus | None = None
    """Set for a terminal event."""
    error: str | None = None
    failure: BoundaryFailure | None = None

    @property
    def size(self) -> int:
        """At most this many bytes on the wire."""
        size = self.packed.size + _header_size(self.node, self.packed.tag, self.target)
        if self.trace_id is not None:
            size += CHARACTER_BYTES * len(self.trace_id)
        if self.reply_to is not None:
            size += CHARACTER_BYTES * len(self.reply_to)
        if self.meta is not None:
            size += self.meta.size
        if self.error is not None:
            size += CHARACTER_BYTES * len(self.error)
        return size if self.failure is None else size + _failure_size(self.failure)


class ItemFailure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One input item that failed. `reason` is a clean sentence; `detail`, the traceback, may quote anything."""

    index: int
    category: Category
    reason: str
    node: str | None = None
    executed: bool = True
    """False when no node ran for it."""
    exception_type: str | None = None
    detail: str | None = None

    @property
    def size(self) -> int:
        """At most this many bytes on the wire."""
        texts = (self.reason, self.node, self.exception_type, self.detail)
        return ITEM_BYTES + CHARACTER_BYTES * sum(len(text) for text in texts if text is not None)


def _failure_size(failure: BoundaryFailure) -> int:
    texts = (failure.group, failure.node, failure.message)
    return ITEM_BYTES + CHARACTER_BYTES * sum(len(text) for text in texts if text is not None)
