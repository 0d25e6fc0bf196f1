"""A module of nodes that sets the clock on the wall of its process to another day each time that somebody looks at it."""

from __future__ import annotations

import itertools
import time
from typing import Any

from stream_kernel import NodeContext, node

_days = itertools.cycle((86400.0, -86400.0, 0.0))
_real = time.time
time.time = lambda: _real() + next(_days)


@node(name="on_the_clock")
def on_the_clock(message: Any, ctx: NodeContext) -> dict[str, Any]:
    """What is left of its time, and three looks at the clock on the wall."""
    return {"remaining": ctx.remaining_seconds(), "looks": [time.time() for _ in range(3)]}
