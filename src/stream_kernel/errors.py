"""Every error of stream_kernel.

The tree::

    StreamKernelError
    ├── ConfigurationError          (ValueError)       the configuration cannot work; names the file and the key path
    ├── UsageError                  (RuntimeError)     the supervisor was called from a place it cannot serve
    ├── WorkerBootstrapError        (RuntimeError)     a worker could not start; names group, module, node and cause
    ├── PayloadError                (ValueError)       a value that cannot cross a boundary unchanged; names the path
    ├── ProtocolViolation                              a peer broke the wire protocol
    ├── BoundaryInputError          (ValueError)       the input of a call was refused; no node ran for it
    ├── BoundaryError                                  one of the three categories of a failed call:
    │   ├── BoundaryTransportError  (ConnectionError)  the work could not be handed over, or its worker was lost
    │   │   └── BoundaryOverloadedError                the queue of the group is full, and the group refuses instead of waiting
    │   ├── BoundaryTimeoutError    (TimeoutError)     the deadline passed
    │   └── BoundaryExecutionError  (RuntimeError)     the node failed
    └── RuntimeWorkerFailedError    (RuntimeError)     the three categories as one type, for runtimes that want one

The text of a boundary error is one fixed sentence; what happened in detail is in `report`, never in the text, so that no payload,
setting or exception text of a node reaches a log by accident.
"""

from __future__ import annotations

from stream_kernel.reports import Category, Delivery, FailureReport

__all__ = [
    "BoundaryError",
    "BoundaryExecutionError",
    "BoundaryInputError",
    "BoundaryOverloadedError",
    "BoundaryTimeoutError",
    "BoundaryTransportError",
    "ConfigurationError",
    "PayloadError",
    "ProtocolViolation",
    "RuntimeWorkerFailedError",
    "StreamKernelError",
    "UsageError",
    "WorkerBootstrapError",
    "boundary_error",
    "handoff_sentence",
]


class StreamKernelError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigurationError(StreamKernelError, ValueError):
    """The configuration cannot work. The text names the file, where there is one, and the path of the key."""


class UsageError(StreamKernelError, RuntimeError):
    """A supervisor was used where it cannot work: the sync one in a running event loop, or any after a fork."""


class WorkerBootstrapError(StreamKernelError, RuntimeError):
    """A worker could not be started. `detail` holds its traceback as text, which may quote settings."""

    def __init__(self, message: str, *, group: str | None = None, detail: str | None = None) -> None:
        super().__init__(message)
        self.group = group
        self.detail = detail


class PayloadError(StreamKernelError, ValueError):
    """A value that JSON would change or that its class does not allow. `path` leads to it, starting with `$`."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path

    def below(self, step: str) -> PayloadError:
        """The same error, seen from one container further out."""
        self.path = step + self.path
        return self

    @property
    def sentence(self) -> str:
        """The reason, with the path where it is not the value as a whole."""
        return str(self) if self.path else self.reason

    def __str__(self) -> str:
        path = self.path if len(self.path) <= 120 else f"{self.path[:60]} … {self.path[-40:]}"
        return f"at ${path}: {self.reason}"


class ProtocolViolation(StreamKernelError):
    """The peer sent what the protocol forbids; the session is over. The text never quotes the bytes."""


class _CallFailure(StreamKernelError):
    """What every failure of a call carries besides its text."""

    category: Category

    def __init__(
        self,
        message: str,
        *,
        delivery: Delivery = "not_executed",
        group: str | None = None,
        trace_ids: tuple[str, ...] = (),
        correlation_id: str | None = None,
        report: FailureReport | None = None,
    ) -> None:
        super().__init__(message)
        self.delivery: Delivery = delivery
        self.group = group
        self.trace_ids = trace_ids
        self.correlation_id = correlation_id
        self.report = report if report is not None else FailureReport()


class BoundaryInputError(_CallFailure, ValueError):
    """An input cannot be handed over as it is: not representable, too large, or not what the node consumes."""

    category: Category = "input"


class BoundaryError(_CallFailure):
    """A call failed. `delivery` says whether node code ran for it."""


class BoundaryTransportError(BoundaryError, ConnectionError):
    """The work could not be handed over, or the worker was lost while it had it."""

    category: Category = "transport"


class BoundaryOverloadedError(BoundaryTransportError):
    """The queue of the group is full, and `overflow = "refuse"`: nothing was dispatched, and a later call may find room."""


class BoundaryTimeoutError(BoundaryError, TimeoutError):
    """The deadline of the call passed. Where its work was running, the worker that ran it has been killed."""

    category: Category = "timeout"


class BoundaryExecutionError(BoundaryError, RuntimeError):
    """The node raised, or gave an output that cannot go on."""

    category: Category = "execution"


class RuntimeWorkerFailedError(_CallFailure, RuntimeError):
    """A worker group failed a runtime: transport, timeout and execution as one type. `category` tells which."""

    def __init__(
        self,
        message: str,
        *,
        category: Category = "execution",
        delivery: Delivery = "not_executed",
        group: str | None = None,
        trace_ids: tuple[str, ...] = (),
        correlation_id: str | None = None,
        report: FailureReport | None = None,
    ) -> None:
        super().__init__(message, delivery=delivery, group=group, trace_ids=trace_ids, correlation_id=correlation_id, report=report)
        self.category: Category = category


_VERBS: dict[Category, str] = {
    "transport": "transport failed",
    "timeout": "timed out",
    "execution": "failed",
    "input": "refused an input",
}

_CLASSES: dict[Category, type[BoundaryTransportError | BoundaryTimeoutError | BoundaryExecutionError | BoundaryInputError]] = {
    "transport": BoundaryTransportError,
    "timeout": BoundaryTimeoutError,
    "execution": BoundaryExecutionError,
    "input": BoundaryInputError,
}


def handoff_sentence(category: Category, group: str | None) -> str:
    """The one fixed sentence for a failure of `category` in `group`."""
    return f"remote handoff {_VERBS[category]} for group '{group}'"


def boundary_error(
    category: Category,
    *,
    group: str | None,
    delivery: Delivery,
    message: str | None = None,
    trace_ids: tuple[str, ...] = (),
    correlation_id: str | None = None,
    report: FailureReport | None = None,
    is_overloaded: bool = False,
) -> BoundaryTransportError | BoundaryTimeoutError | BoundaryExecutionError | BoundaryInputError:
    """Build (not raise) the error of `category`; `message` is for `input` only, whose text names node and path."""
    chosen = BoundaryOverloadedError if is_overloaded else _CLASSES[category]
    return chosen(
        message or handoff_sentence(category, group),
        delivery=delivery,
        group=group,
        trace_ids=trace_ids,
        correlation_id=correlation_id,
        report=report,
    )
