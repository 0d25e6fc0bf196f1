"""The pytest plugin: fixtures with nodes that misbehave. Found by pytest itself where stream_kernel is installed.

Every run of pytest imports this module, so it imports next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stream_kernel.testing.misbehaviour import CrashingNode, HangingNode, LeakingNode

__all__ = ["crashing_node", "hanging_node", "leaking_node"]


@pytest.fixture
def crashing_node() -> CrashingNode:
    """A node that ends its worker process, by an exit code or a signal."""
    from stream_kernel.testing.misbehaviour import CrashingNode

    return CrashingNode()


@pytest.fixture
def hanging_node() -> HangingNode:
    """A node that never comes back, in Python, asleep, or in C code that holds the GIL."""
    from stream_kernel.testing.misbehaviour import HangingNode

    return HangingNode()


@pytest.fixture
def leaking_node() -> LeakingNode:
    """A node that takes memory and never gives it back."""
    from stream_kernel.testing.misbehaviour import LeakingNode

    return LeakingNode()
