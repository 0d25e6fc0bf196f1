"""The messages of wire version 1, as they are on the wire. One struct a kind, one decoder a direction.

Unknown fields are ignored, so that a later version can add some; an unknown kind is a violation. Optional fields are left out
when they have their default.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stream_kernel.protocol.columns import InputColumns, OutputColumns
from stream_kernel.reports import NodeTiming
from stream_kernel.routing.items import ItemFailure
from stream_kernel.routing.router import NodeRoute

__all__ = [
    "FRAME_ALLOWANCE",
    "PROTOCOL_VERSION",
    "Bootstrap",
    "BootstrapError",
    "Cancel",
    "ExecuteBoundary",
    "ExecuteBoundaryError",
    "ExecuteBoundaryResult",
    "FaultOrder",
    "FromParent",
    "FromWorker",
    "Hello",
    "Limits",
    "MainModule",
    "Ping",
    "Pong",
    "Ready",
    "StartWork",
    "Stop",
    "Stopped",
]

PROTOCOL_VERSION = 1
FRAME_ALLOWANCE = 1 << 20
"""How much a frame may exceed `max_frame_bytes`, which bounds one payload: the room for everything around it."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", gc=False):
    pass


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What bounds payloads, chains and waits."""

    max_frame_bytes: int
    max_hops: int
    spin_microseconds: int = 0
    """How long the worker polls its stdin before it sleeps."""


class MainModule(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to import the started script again: by module name, or by path."""

    name: str | None = None
    path: str | None = None


class FaultOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fault that a worker is to bring about. Sent only by a supervisor that was built for tests with `chaos`."""

    point: str
    """Where: one of the points of `stream_kernel.protocol.faults`."""
    action: str
    """What: one of its actions."""
    nth: int = 1
    """At which passage of the point, counted in one incarnation of the worker, from 1."""
    argument: str = ""
    """Of `exit`: the code. Of `hold`: the path of a FIFO. Of point `mid_write`: how many bytes of the frame are written before."""


class Hello(_Message, frozen=True, tag="hello"):
    """The worker introduces itself."""

    protocols: list[int]
    pid: int
    sdk_version: str
    language: str


class Bootstrap(_Message, frozen=True, tag="bootstrap"):
    """What a worker is to be."""

    worker_id: str
    worker_index: int
    generation: int
    process_group: str
    scenario_id: str
    discovery_modules: list[str]
    nodes: list[str]
    settings: dict[str, dict[str, Any]]
    import_path: list[str]
    limits: Limits
    main: MainModule | None = None
    faults: tuple[FaultOrder, ...] = ()


class Ready(_Message, frozen=True, tag="ready"):
    """The nodes are built; what they consume and emit."""

    nodes: list[NodeRoute]


class BootstrapError(_Message, frozen=True, tag="bootstrap_error"):
    """The worker cannot be what it was told to be."""

    category: str
    message: str
    detail: str = ""


class StartWork(_Message, frozen=True, tag="start_work"):
    """Every group is ready."""

    routes: list[NodeRoute]
    """All nodes of all groups, in configuration order."""


class ExecuteBoundary(_Message, frozen=True, tag="execute_boundary"):
    """A batch for the nodes of the group."""

    correlation_id: str
    run_id: str
    scenario_id: str
    remaining_ms: float
    on_error: Literal["raise", "collect"]
    inputs: InputColumns
    after_ms: float | None = None
    """How long after the command before it this one was sent, when the worker still had that one: it is read later than it came, and
    `remaining_ms` counts from its sending."""
    limit_ms: float | None = None
    """How long it may take from when it is begun; None: until its deadline."""


class ExecuteBoundaryResult(_Message, frozen=True, tag="execute_boundary_result"):
    """What a batch gave, or a part of it (`more`)."""

    correlation_id: str
    terminal_outputs: OutputColumns | None = None
    outputs: OutputColumns | None = None
    executing_ms: float = 0.0
    timing: tuple[NodeTiming, ...] = ()
    more: bool = False


class ExecuteBoundaryError(_Message, frozen=True, tag="execute_boundary_error"):
    """The command failed as a whole. The fields are those of an `ItemFailure`; `reason` is its clean sentence."""

    correlation_id: str
    category: Literal["timeout", "transport", "execution"]
    message: str
    index: int = 0
    node: str | None = None
    reason: str = ""
    executed: bool = True
    """False when an input did not fit its class: all are decoded before the first node runs."""
    exception_type: str | None = None
    detail: str | None = None
    executing_ms: float = 0.0

    def failure(self) -> ItemFailure:
        """The failed item. A command that no node ran for was refused for its input."""
        category = "input" if self.category == "execution" and not self.executed else self.category
        return ItemFailure(self.index, category, self.reason, self.node, self.executed, self.exception_type, self.detail)


class Cancel(_Message, frozen=True, tag="cancel"):
    """The caller has gone: stop between two items, if that is still possible."""

    correlation_id: str


class Ping(_Message, frozen=True, tag="ping"):
    """Are you there?"""

    token: int = 0


class Pong(_Message, frozen=True, tag="pong"):
    """The answer to a ping."""

    token: int = 0


class Stop(_Message, frozen=True, tag="stop"):
    """End after the command at work."""


class Stopped(_Message, frozen=True, tag="stopped"):
    """The last word of a worker."""


FromWorker = Hello | Ready | BootstrapError | ExecuteBoundaryResult | ExecuteBoundaryError | Pong | Stopped
FromParent = Bootstrap | StartWork | ExecuteBoundary | Cancel | Ping | Stop
