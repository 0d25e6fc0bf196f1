"""The command line `stream-kernel`, which needs the extra `cli`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

__all__ = ["main"]


def main() -> int:
    """Run the command that `sys.argv` names; returns the exit code."""
    if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        # PID 1 of a container gets no signal for which it has no handler: a stop while this starts would be lost.
        signal.signal(signal.SIGTERM, _end)
    try:
        from stream_kernel.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        missing = error.name
    except KeyboardInterrupt:
        return 130  # as `ExitCode.INTERRUPTED`
    else:
        app()
        return 0
    sys.stderr.write(f"stream-kernel: the command line needs '{missing}': pip install 'stream-kernel[cli]'\n")
    return 2


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
