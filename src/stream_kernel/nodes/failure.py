"""A node's exception as text that can always be sent: whatever its class does when it is formatted, and whatever its text holds."""

from __future__ import annotations

import traceback
from types import TracebackType

__all__ = ["NodeFailure", "exception_name"]

_DETAIL_LIMIT = 16_384
_NAME_LIMIT = 200


class NodeFailure(Exception):
    """A node failed: unwinds the chain of its item. `reason` is a clean sentence; `detail`, the traceback, may quote anything."""

    def __init__(self, node: str, reason: str, error: BaseException | None = None, own_file: str = "") -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason
        self.exception_type = None if error is None else exception_name(error)
        self.detail = None if error is None else _detail(error, own_file)


def exception_name(error: BaseException) -> str:
    """The name of its class, fit for a sentence."""
    return _sendable(str(type(error).__name__))[:_NAME_LIMIT]


def _detail(error: BaseException, own_file: str) -> str:
    try:
        trace = _user_part(error.__traceback__, own_file)
        text = "".join(traceback.format_exception(type(error), error, trace))
    except BaseException as failure:  # noqa: BLE001  formatting runs code of the exception's class
        return f"the exception could not be formatted ({exception_name(failure)})"
    return _sendable(text[-_DETAIL_LIMIT:])


def _user_part(trace: TracebackType | None, own_file: str) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == own_file:
        trace = trace.tb_next
    return trace


def _sendable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
