"""`python -P -m stream_kernel.worker --lifeline FD --max-frame-bytes N --black-box FD`: started by a supervisor, never by hand."""

from __future__ import annotations

import contextlib
import gc
import os
import sys


def main() -> None:
    """Claim the wire, tie the process to its parent, serve."""
    if sys.argv[1::2] != ["--lifeline", "--max-frame-bytes", "--black-box"] or len(sys.argv) != 7:
        sys.exit("stream_kernel.worker is started by a supervisor: see the README for how to start one")
    gc.disable()  # until all is imported that stays for life: a collection would find nothing
    from stream_kernel.worker.stdio import claim_wire, drop_inherited

    wire = claim_wire()
    drop_inherited({int(sys.argv[2]), int(sys.argv[6])})
    from stream_kernel.worker.signals import own_signals

    own_signals()
    from stream_kernel.worker.lifeline import hold_lifeline

    hold_lifeline(int(sys.argv[2]))
    from stream_kernel.worker.black_box import BlackBox

    black_box = BlackBox(int(sys.argv[6]))
    black_box.keep_stacks()
    max_frame_bytes = int(sys.argv[4])
    del sys.argv[1:]  # user modules must not take our arguments for theirs
    from stream_kernel.worker.host import serve

    gc.freeze()  # nor will a later one that looks at what the nodes leave
    gc.enable()
    code = serve(wire, max_frame_bytes, black_box)
    with contextlib.suppress(ValueError, OSError):  # a node may have closed them
        sys.stdout.flush()
        sys.stderr.flush()
    # Threads that a node left behind must not keep the process: the parent waits for its end.
    os._exit(code) if _foreign_threads() else sys.exit(code)


def _foreign_threads() -> bool:
    threading = sys.modules.get("threading")
    return threading is not None and len(threading.enumerate()) > 1


if __name__ == "__main__":
    main()
