"""What goes into a call: one input for one node of one dispatch group."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_kernel.routing.envelope import make_exact

__all__ = ["BoundaryDispatchInput"]


class BoundaryDispatchInput(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to `target` in `dispatch_group`.

    `payload` is plain JSON (dict, list, str, int within 64 bit, finite float, bool, None) or an instance of a class that the target
    consumes. A missing or unknown `dispatch_group` is no construction error: it fails the call, as transport.

    The garbage collector does not look into it, as thousands may be alive. A payload that holds its own input would never be freed.
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
        if not (
            (self.dispatch_group is None or self.dispatch_group.__class__ is str)
            and (self.target is None or self.target.__class__ is str)
            and (self.trace_id is None or self.trace_id.__class__ is str)
            and (self.reply_to is None or self.reply_to.__class__ is str)
            and (self.source_group is None or self.source_group.__class__ is str)
        ):
            make_exact(self, "dispatch_group", "target", "trace_id", "reply_to", "source_group")
        if self.route_hop is not None and type(self.route_hop) is not int:
            raise TypeError(f"BoundaryDispatchInput.route_hop must be an int or None, not {type(self.route_hop).__name__}")
        if not isinstance(self.meta, dict):
            raise TypeError(f"BoundaryDispatchInput.meta must be a dict, not {type(self.meta).__name__}")
