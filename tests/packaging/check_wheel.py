"""Runs the README's first program in another folder, with the package as a wheel installs it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Check where the package comes from, then run the program."""
    sys.path.append(str(ROOT / "tests" / "support"))
    import stream_kernel
    from documents import blocks

    home = Path(stream_kernel.__file__).parent
    if not home.is_relative_to(sysconfig.get_path("purelib")):
        sys.exit(f"stream_kernel was imported from {home}, not from the wheel")
    if not (home / "py.typed").exists():
        sys.exit("the wheel has no py.typed")
    if version("stream-kernel") != stream_kernel.__version__:
        sys.exit("the wheel's version is not the package's")
    for name in stream_kernel.__all__:
        getattr(stream_kernel, name)
    program = blocks(ROOT / "README.md", "python")[0]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "first.py")
        script.write_text(program.text, encoding="utf-8")
        done = subprocess.run([sys.executable, "-P", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    sys.stderr.write(done.stderr)
    sys.stdout.write(done.stdout)
    if done.returncode or "49" not in done.stdout:
        sys.exit("the first program of the README failed")


if __name__ == "__main__":
    main()
