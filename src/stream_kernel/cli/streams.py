"""The files and standard streams that a command reads and writes, opened before anything is started."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress

from stream_kernel.errors import ConfigurationError

__all__ = ["STANDARD", "OpenStream", "is_standard_output", "open_input", "open_output", "refuse_same_file"]

STANDARD = "-"
"""How the command line names standard input and output."""


_ALIASES = {
    **dict.fromkeys(("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"), 0),
    **dict.fromkeys(("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"), 1),
    **dict.fromkeys(("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"), 2),
}
_NAMES = ("standard input", "standard output", "standard error")


class OpenStream:
    """A descriptor with the name that messages call it by. Leaving the block closes it; a file that nothing was to be written to is
    removed again where there was none before.
    """

    def __init__(self, descriptor: int, name: str, *, is_standard: bool = False, is_new: bool = False) -> None:
        self.descriptor = descriptor
        self.name = name
        self.is_standard = is_standard
        self._is_new = is_new

    def __enter__(self) -> OpenStream:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
        if self._is_new:
            os.unlink(self.name)

    def begin(self) -> None:
        """It is going to be written: drop what a file held before. A standard stream is the caller's, who may have opened it to append."""
        self._is_new = False
        if not self.is_standard and stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            os.ftruncate(self.descriptor, 0)


class _StandardOutput(OpenStream):
    """Standard output, kept for the outputs: what anybody else prints meanwhile goes to standard error."""

    def __enter__(self) -> OpenStream:
        if _is_open(2):
            os.dup2(2, 1)
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self.descriptor, 1)
        os.close(self.descriptor)


def is_standard_output(path: str) -> bool:
    """Whether `path` means the standard output of this process."""
    return path == STANDARD or _ALIASES.get(path) == 1


def open_input(path: str) -> OpenStream:
    """Open for reading; raises `ConfigurationError`."""
    standard = 0 if path == STANDARD else _ALIASES.get(path)
    return _open(path, os.O_RDONLY, "read") if standard is None else _open_standard(standard)


def open_output(path: str, *, standard: int = 1) -> OpenStream:
    """Open for writing, without touching what is there; `standard` is the descriptor that `-` means. Raises `ConfigurationError`."""
    number = standard if path == STANDARD else _ALIASES.get(path)
    if number is not None:
        return _open_standard(number)
    with suppress(FileExistsError):
        return _open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "written", is_new=True)
    return _open(path, os.O_WRONLY | os.O_CREAT, "written")


def refuse_same_file(*streams: OpenStream) -> None:
    """Raise `ConfigurationError` when two of them are one file: what goes into one would overwrite the other, or be read again."""
    seen: dict[tuple[int, int], OpenStream] = {}
    for stream in streams:
        status = os.fstat(stream.descriptor)
        if stat.S_ISREG(status.st_mode):
            other = seen.setdefault((status.st_dev, status.st_ino), stream)
            # `> FILE 2>&1` gives one open file to both, which they write in turn.
            if other is not stream and not (other.is_standard and stream.is_standard):
                raise ConfigurationError(f"{stream.name} and {other.name} are the same file: name different ones")


def _open_standard(number: int) -> OpenStream:
    if not _is_open(number):
        raise ConfigurationError(f"{_NAMES[number]} is closed: name a file")
    kind = _StandardOutput if number == 1 else OpenStream
    return kind(os.dup(number), _NAMES[number], is_standard=True)


def _is_open(number: int) -> bool:
    # A closed standard stream is None; its number may belong to something else by now.
    return (sys.__stdin__, sys.__stdout__, sys.__stderr__)[number] is not None


def _open(path: str, flags: int, verb: str, *, is_new: bool = False) -> OpenStream:
    try:
        descriptor = os.open(path, flags, 0o666)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            problem = ConfigurationError(f"{path}: cannot be {verb}: it is a directory")
        else:
            return OpenStream(descriptor, path, is_new=is_new)
    except FileExistsError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name holds a NUL character"
        problem = ConfigurationError(f"{path}: cannot be {verb}: {reason}")
    raise problem
