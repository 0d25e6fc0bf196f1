"""Messages between groups, as both engines and the worker handle them: what goes into a group and what leaves it."""

from __future__ import annotations

import msgspec

from stream_kernel.reports import Category
from stream_kernel.routing.envelope import BoundaryFailure, TerminalStatus
from stream_kernel.routing.packed import Packed

__all__ = ["Emission", "InputItem", "ItemFailure"]

_OVERHEAD = 96
"""Bytes that an item may need on the wire besides its texts: separators and nulls of its columns."""


def _length(*texts: str | None) -> int:
    characters = 0
    for text in texts:
        if text is not None:
            characters += len(text)
    return _OVERHEAD + 6 * characters  # a character is at most 6 bytes as JSON (an escape)


class InputItem(msgspec.Struct):
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
        meta = 0 if self.meta is None else self.meta.size
        return meta + _length(self.target, self.trace_id, self.reply_to, self.source_group, self.packed.tag)


class Emission(msgspec.Struct):
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
        meta = 0 if self.meta is None else self.meta.size
        failure = 0 if self.failure is None else _length(self.failure.group, self.failure.node, self.failure.message)
        texts = _length(self.node, self.target, self.trace_id, self.reply_to, self.packed.tag, self.error)
        return self.packed.size + meta + texts + failure


class ItemFailure(msgspec.Struct, frozen=True, omit_defaults=True):
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
        return _length(self.reason, self.node, self.exception_type, self.detail)
