"""The faults that a supervisor built for tests has its workers bring about."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from stream_kernel.protocol.messages import FaultOrder

__all__ = ["PlannedFault", "orders_for"]


class PlannedFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault, and in which workers it happens: None matches all."""

    order: FaultOrder
    group: str | None = None
    worker_index: int | None = None
    generation: int | None = None

    def concerns(self, group: str, worker_index: int, generation: int) -> bool:
        """Whether that incarnation of that worker is to bring it about."""
        wanted = (self.group, self.worker_index, self.generation)
        return all(mine in (None, its) for mine, its in zip(wanted, (group, worker_index, generation), strict=True))


def orders_for(faults: Iterable[PlannedFault], group: str, worker_index: int, generation: int) -> tuple[FaultOrder, ...]:
    """The orders for one incarnation of a worker."""
    return tuple(fault.order for fault in faults if fault.concerns(group, worker_index, generation))
