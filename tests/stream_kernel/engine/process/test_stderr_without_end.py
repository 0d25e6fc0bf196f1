"""A worker that writes to stderr and never ends its line."""

from __future__ import annotations

import os
import tracemalloc

from stream_kernel.engine.process.stderr import StderrDrain


async def test_a_line_without_end_is_cut_while_it_comes_and_takes_no_memory() -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    drain = StderrDrain(read_fd, group="g", worker_id="g#0")
    drain.open()
    tracemalloc.start()
    try:
        for _ in range(100):
            os.write(write_fd, b"x" * 50_000)
            drain._read_once()
        held, _ = tracemalloc.get_traced_memory()
        assert drain.tail()[-1] == "x" * 2000
        assert held < 1_000_000
    finally:
        tracemalloc.stop()
        drain.close()
        os.close(read_fd)
        os.close(write_fd)
