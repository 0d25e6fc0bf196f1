"""The command line `stream-kernel`, which needs the extra `cli`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command that `sys.argv` names; returns the exit code."""
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
