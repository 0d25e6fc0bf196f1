"""`python -m stream_kernel` is the command line, where the script is not on the path."""

from __future__ import annotations

import sys

from stream_kernel.cli import main

if __name__ == "__main__":
    sys.exit(main())
