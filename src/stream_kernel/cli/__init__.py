"""The command line `stream-kernel`, which needs the extra `cli`."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

from stream_kernel.cli.signals import Interrupter, deafen, end_at_once, hear_with

__all__ = ["main"]


def main() -> int:
    """Run the command that `sys.argv` names; returns the exit code. From here on signals are this command's: it is all that runs."""
    hear_with(end_at_once)
    atexit.register(deafen)  # what is registered first is called last
    try:
        from stream_kernel.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        missing = error.name
    else:
        code = _code_of(app)
        hear_with(lambda number, frame: os._exit(code))  # a thread that a node has left may keep the interpreter from its end
        return code
    sys.stderr.write(f"stream-kernel: the command line needs '{missing}': pip install 'stream-kernel[cli]'\n")
    return 2


def _code_of(app: Callable[[], object]) -> int:
    interrupter = Interrupter()
    hear_with(interrupter)
    code = 0
    try:
        app()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        code = end.code
    except KeyboardInterrupt:
        code = 130  # as `ExitCode.INTERRUPTED`
    return code if interrupter.number is None else 128 + interrupter.number
