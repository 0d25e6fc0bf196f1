"""The files and standard streams that a command reads and writes, opened before anything is started."""

from __future__ import annotations

import os
import stat
import sys

from stream_kernel.errors import ConfigurationError

__all__ = ["STANDARD", "OpenStream", "open_input", "open_output", "refuse_same_file"]

STANDARD = "-"
"""How the command line names standard input and output."""


class OpenStream:
    """A descriptor with the name that messages call it by. Leaving the block closes it, unless it is a standard stream."""

    def __init__(self, descriptor: int, name: str, *, is_own: bool) -> None:
        self.descriptor = descriptor
        self.name = name
        self._is_own = is_own

    def __enter__(self) -> OpenStream:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_own:
            os.close(self.descriptor)

    def empty(self) -> None:
        """Drop what a file held before. A standard stream is the caller's: it may have been opened to append."""
        if self._is_own and stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            os.ftruncate(self.descriptor, 0)


def open_input(path: str) -> OpenStream:
    """Open for reading; raises `ConfigurationError`."""
    if path == STANDARD:
        return OpenStream(_standard(sys.__stdin__, 0, "standard input"), "standard input", is_own=False)
    return _open(path, os.O_RDONLY, "read")


def open_output(path: str, *, standard: int = 1) -> OpenStream:
    """Open for writing, without touching what is there; `standard` is the descriptor that `-` means. Raises `ConfigurationError`."""
    if path == STANDARD:
        name = "standard output" if standard == 1 else "standard error"
        return OpenStream(_standard(sys.__stdout__ if standard == 1 else sys.__stderr__, standard, name), name, is_own=False)
    return _open(path, os.O_WRONLY | os.O_CREAT, "written")


def refuse_same_file(*streams: OpenStream) -> None:
    """Raise `ConfigurationError` when two of them are one file: a run would eat its own words."""
    seen: dict[tuple[int, int], OpenStream] = {}
    for stream in streams:
        status = os.fstat(stream.descriptor)
        if stat.S_ISREG(status.st_mode):
            other = seen.setdefault((status.st_dev, status.st_ino), stream)
            if other is not stream:
                raise ConfigurationError(f"{stream.name} and {other.name} are the same file: name different ones")


def _standard(stream: object, descriptor: int, name: str) -> int:
    if stream is None:
        raise ConfigurationError(f"{name} is closed: name a file")
    return descriptor


def _open(path: str, flags: int, verb: str) -> OpenStream:
    try:
        descriptor = os.open(path, flags, 0o666)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            problem = ConfigurationError(f"{path}: cannot be {verb}: it is a directory")
        else:
            return OpenStream(descriptor, path, is_own=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name holds a NUL character"
        problem = ConfigurationError(f"{path}: cannot be {verb}: {reason}")
    raise problem
