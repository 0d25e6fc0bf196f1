"""What goes into a call: one input for one node of one dispatch group."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_kernel.routing.envelope import check_optional_str

__all__ = ["BoundaryDispatchInput"]


class BoundaryDispatchInput(msgspec.Struct, frozen=True):
    """One message on its way to `target` in `dispatch_group`.

    `payload` is plain JSON (dict, list, str, int within 64 bit, finite float, bool, None) or an instance of a class that the target
    consumes. A missing or unknown `dispatch_group` is no construction error: it fails the call, as transport.
    """

    payload: Any
    dispatch_group: str | None
    target: str | None
    trace_id: str | None = None
    reply_to: str | None = None
    source_group: str | None = None
    route_hop: int | None = None
    meta: dict[str, Any] = {}

    def __post_init__(self) -> None:
        check_optional_str(
            "BoundaryDispatchInput",
            dispatch_group=self.dispatch_group,
            target=self.target,
            trace_id=self.trace_id,
            reply_to=self.reply_to,
            source_group=self.source_group,
        )
        if self.route_hop is not None and type(self.route_hop) is not int:
            raise TypeError(f"BoundaryDispatchInput.route_hop must be an int or None, not {type(self.route_hop).__name__}")
        if not isinstance(self.meta, dict):
            raise TypeError(f"BoundaryDispatchInput.meta must be a dict, not {type(self.meta).__name__}")
