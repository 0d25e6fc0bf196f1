"""stream_kernel: the steps of a program in supervised worker processes.

The public names, loaded on first use: a worker process imports this package too, and pays only for what its nodes touch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from stream_kernel._version import __version__ as __version__

__all__ = [
    "AsyncBoundarySupervisor",
    "BoundaryDispatchInput",
    "BoundaryError",
    "BoundaryExecutionError",
    "BoundaryFailure",
    "BoundaryInputError",
    "BoundaryOverloadedError",
    "BoundaryTimeoutError",
    "BoundaryTransportError",
    "ConfigurationError",
    "Envelope",
    "LocalBootstrapSupervisor",
    "MultiprocessBootstrapSupervisor",
    "NodeContext",
    "RoutingResult",
    "RuntimeConfig",
    "StreamKernelError",
    "TerminalEvent",
    "UsageError",
    "WorkerBootstrapError",
    "create_supervisor",
    "node",
]

if TYPE_CHECKING:
    from stream_kernel.config.model import RuntimeConfig
    from stream_kernel.errors import (
        BoundaryError,
        BoundaryExecutionError,
        BoundaryInputError,
        BoundaryOverloadedError,
        BoundaryTimeoutError,
        BoundaryTransportError,
        ConfigurationError,
        StreamKernelError,
        UsageError,
        WorkerBootstrapError,
    )
    from stream_kernel.nodes.context import NodeContext
    from stream_kernel.nodes.decorator import node
    from stream_kernel.platform.services.async_supervisor import AsyncBoundarySupervisor
    from stream_kernel.platform.services.bootstrap import (
        LocalBootstrapSupervisor,
        MultiprocessBootstrapSupervisor,
        create_supervisor,
    )
    from stream_kernel.routing.dispatch import BoundaryDispatchInput
    from stream_kernel.routing.envelope import BoundaryFailure, Envelope, RoutingResult, TerminalEvent

_HOMES = {
    "errors": (
        "BoundaryError",
        "BoundaryExecutionError",
        "BoundaryInputError",
        "BoundaryOverloadedError",
        "BoundaryOverloadedError",
        "BoundaryTimeoutError",
        "BoundaryTransportError",
        "ConfigurationError",
        "StreamKernelError",
        "UsageError",
        "WorkerBootstrapError",
    ),
    "config.model": ("RuntimeConfig",),
    "nodes.context": ("NodeContext",),
    "nodes.decorator": ("node",),
    "platform.services.async_supervisor": ("AsyncBoundarySupervisor",),
    "platform.services.bootstrap": ("LocalBootstrapSupervisor", "MultiprocessBootstrapSupervisor", "create_supervisor"),
    "routing.dispatch": ("BoundaryDispatchInput",),
    "routing.envelope": ("BoundaryFailure", "Envelope", "RoutingResult", "TerminalEvent"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
