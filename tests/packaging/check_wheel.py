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
    program = next(block for block in blocks(ROOT / "README.md", "python") if '"square"' in block.text)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "first.py")
        script.write_text(program.text, encoding="utf-8")
        done = subprocess.run([sys.executable, "-P", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    sys.stderr.write(done.stderr)
    sys.stdout.write(done.stdout)
    if done.returncode or "49" not in done.stdout:
        sys.exit("the first program of the README failed")
    _check_command_line(home)


def _check_command_line(home: Path) -> None:
    """Without the extra, the script says what brings it; what it needs for the examples is there."""
    done = subprocess.run(
        [Path(sysconfig.get_path("scripts"), "stream-kernel"), "demo"], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 2 or "pip install 'stream-kernel[cli]'" not in done.stderr or "Traceback" in done.stderr:
        sys.exit(f"without its extra, the command line does not say what is missing: {done.stderr}")
    for profile in ("baseline", "sanctions"):
        if not (home / "examples" / "fund_load" / f"{profile}.toml").exists():
            sys.exit(f"the wheel has no {profile}.toml")


if __name__ == "__main__":
    main()
