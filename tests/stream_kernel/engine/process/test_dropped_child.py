"""A process whose handle was dropped instead of closed, and that does not care for the ends of its pipes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal

from processes import ends, watched
from stream_kernel.engine.process.child import Child


async def test_a_dropped_child_is_killed_although_it_reads_nothing() -> None:
    child = await Child.spawn(lambda lifeline, black_box: ["sleep", "600"], dict(os.environ), group="g", worker_id="g#0")
    with watched(child.pid) as pidfd:
        del child
        gc.collect()
        has_ended = ends(pidfd, 10)
        if not has_ended:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert has_ended
        await asyncio.sleep(0.01)  # asyncio takes note of it in a later pass
