"""For tests of programs that use stream_kernel: faults on order, misbehaving nodes, and a worker process that is none.

Loaded on first use: workers import this package for its nodes, and every run of pytest imports it for its fixtures.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["FakeChild", "FakeLaunch", "ProtocolPair", "RecordingSink", "chaos"]

if TYPE_CHECKING:
    from stream_kernel.testing.chaos import chaos
    from stream_kernel.testing.fake_child import FakeChild
    from stream_kernel.testing.fake_launch import FakeLaunch
    from stream_kernel.testing.protocol_pair import ProtocolPair
    from stream_kernel.testing.recording import RecordingSink

_HOMES = {
    "FakeChild": "fake_child",
    "FakeLaunch": "fake_launch",
    "ProtocolPair": "protocol_pair",
    "RecordingSink": "recording",
    "chaos": "chaos",
}


def __getattr__(name: str) -> object:
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
