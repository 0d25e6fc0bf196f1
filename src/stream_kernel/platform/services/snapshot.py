"""What can be seen of a supervisor."""

from __future__ import annotations

import msgspec

from stream_kernel.engine.base import GroupSnapshot

__all__ = ["SupervisorSnapshot"]


class SupervisorSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A supervisor at one moment."""

    state: str
    """new, running, draining, stopped or closed."""
    active_calls: int
    groups: tuple[GroupSnapshot, ...]
