"""Nodes that misbehave, for tests on real workers."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from stream_kernel import NodeContext, node


def announce(message: dict[str, Any]) -> None:
    """Say through the FIFO `started`, where one is named, that this runs now, with the pid."""
    if "started" in message:
        with Path(message["started"]).open("w") as started:
            started.write(str(os.getpid()))


def await_release(message: dict[str, Any]) -> None:
    """Wait until somebody opens the FIFO `release` for writing, where one is named."""
    if "release" in message:
        with Path(message["release"]).open() as release:
            release.read()


def note(message: dict[str, Any]) -> None:
    """Leave one line in the file `journal`: proof that this ran, and how often."""
    if "journal" in message:
        with Path(message["journal"]).open("a") as journal:
            journal.write(f"{os.getpid()}\n")


class OwnError(Exception):
    """An exception class that only the worker knows."""


@node(name="end")
def end(message: dict[str, Any], ctx: NodeContext) -> None:
    """End the process in the way that `how` names, after a last word on stderr."""
    note(message)
    sys.stderr.write("these are my last words\n")
    how = message["how"]
    if how == "exit":
        os._exit(message.get("code", 0))
    elif how == "abort":
        os.abort()
    elif how == "segv":
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


@node(name="throw")
def throw(message: str, ctx: NodeContext) -> None:
    """Raise what `message` names."""
    if message == "sys.exit":
        sys.exit(3)
    raise {
        "SystemExit": SystemExit,
        "KeyboardInterrupt": KeyboardInterrupt,
        "TimeoutError": TimeoutError,
        "ConnectionError": ConnectionResetError,
        "GeneratorExit": GeneratorExit,
        "CancelledError": asyncio.CancelledError,
        "RecursionError": RecursionError,
        "MemoryError": MemoryError,
        "OwnError": OwnError,
    }[message]("hunter2")


@node(name="async_throw")
async def async_throw(message: str, ctx: NodeContext) -> None:
    """The same from an async node, after it has really waited."""
    await asyncio.sleep(0)
    throw(message, ctx)


@node(name="busy")
def busy(message: dict[str, Any], ctx: NodeContext) -> None:
    """Announce itself, then never come back, in the way that `how` names."""
    note(message)
    how = message["how"]
    announce(message)
    for _ in range(message.get("threads", 0)):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    if how == "python":
        while True:
            pass
    elif how == "sleep":
        while True:
            time.sleep(60)
    elif how == "gil":
        while True:  # a signal that is handled ends a sleep
            ctypes.PyDLL(None).sleep(600)  # PyDLL keeps the GIL
    elif how == "pause":
        ctypes.CDLL(None).pause()  # until a signal is handled
        note(message)
    elif how == "sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)


@node(name="journaled")
def journaled(message: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
    """Announce, wait for the release, note that it ran."""
    announce(message)
    await_release(message)
    note(message)
    return {"pid": os.getpid(), "n": message.get("n")}


@node(name="chatter")
def chatter(message: str, ctx: NodeContext) -> str:
    """Write to what looks like stdout, in the way that `message` names."""
    if message == "print":
        print('{"kind":"pong"}', flush=True)
    elif message == "os.write":
        os.write(1, b'{"kind":"pong"}\n')
    elif message == "c":
        libc = ctypes.CDLL(None)
        libc.puts(b'{"kind":"pong"}')
        libc.fflush(None)
    elif message == "child":
        subprocess.run(["/bin/echo", '{"kind":"pong"}'], check=True)
    elif message == "partial":
        os.write(1, b"half a line")
    return message


@node(name="listen")
def listen(message: str, ctx: NodeContext) -> str:
    """Read from what looks like stdin."""
    if message == "input":
        return input()
    if message == "child":
        return subprocess.run(["/bin/cat"], check=True, capture_output=True, text=True).stdout
    if message == "breakpoint":
        breakpoint()
    return sys.stdin.read()


@node(name="fork")
def fork(message: dict[str, Any], ctx: NodeContext) -> dict[str, Any] | None:
    """Fork. The child does what `child` says: it returns into the kernel, or lives on for itself."""
    note(message)
    if "plain" in message:
        return {"pid": os.getpid()}
    pid = os.fork()
    if pid == 0 and message["child"] == "lives":
        signal.pause()
    if pid and message["child"] == "returns":
        os.waitpid(pid, 0)
    if message.get("gives") == "nothing":
        return None
    return {"pid": os.getpid()}


@node(name="after_fork", consumes=[])
def after_fork(message: dict[str, Any], ctx: NodeContext) -> None:
    """Note that it ran."""
    note(message)


@node(name="fork_and_emit")
def fork_and_emit(message: dict[str, Any], ctx: NodeContext) -> Any:
    """Fork, and in both processes send the message on to `after_fork`."""
    from stream_kernel import Envelope

    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return Envelope(message, target="after_fork")


@node(name="adopt")
def adopt(message: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
    """Start a grandchild that inherits every descriptor it can, and leave it alive; then end the worker if `code` is given."""
    connected = "import socket,sys,time\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ntime.sleep(600)"
    grandchild = subprocess.Popen([sys.executable, "-S", "-c", connected, message["socket"]], close_fds=False)
    if "code" in message:
        await_release(message)
        os._exit(message["code"])
    return {"pid": grandchild.pid}


@node(name="close_descriptors")
def close_descriptors(message: dict[str, Any], ctx: NodeContext) -> str:
    """Close what does not belong to it: every descriptor, or one end of the wire; then live on."""
    what = message["what"]
    pipes = [fd for fd in range(3, 64) if _is_pipe(fd)]
    if what == "all":
        os.closerange(3, 256)
    elif what == "stdout":
        for fd in pipes:
            if _access(fd) == os.O_WRONLY:
                os.close(fd)
    elif what == "stdin":
        for fd in pipes:
            if _access(fd) == os.O_RDONLY:
                os.close(fd)
    elif what == "standard":
        os.closerange(0, 3)
        return "closed"
    if message.get("lives"):
        while True:
            time.sleep(60)
    return "closed"


def _is_pipe(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
    except OSError:
        return False


def _access(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE


@node(name="surroundings")
def surroundings(message: Any, ctx: NodeContext) -> dict[str, Any]:
    """What this process sees of the one that started it."""
    descriptors = {}
    for fd in range(256):
        try:
            descriptors[str(fd)] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return {
        "environment": dict(os.environ),
        "descriptors": descriptors,
        "arguments": Path("/proc/self/cmdline").read_text().split("\0"),
        "session": os.getsid(0),
        "pid": os.getpid(),
        "sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    }


@node(name="blob")
def blob(message: int, ctx: NodeContext) -> str:
    """A text of that many characters."""
    return "x" * message


@node(name="stderr_flood")
def stderr_flood(message: dict[str, Any], ctx: NodeContext) -> str:
    """Write `text` to stderr `times` times."""
    text = message["text"].encode()
    for _ in range(message["times"]):
        os.write(2, text)
    return "written"


@node(name="keeper", stateful=True)
class Keeper:
    """Adds up what it was given; ends the process when told to."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.total = 0

    def __call__(self, message: Any, ctx: NodeContext) -> int:
        """Add a number, or do as `busy` and `end` do."""
        if isinstance(message, dict):
            announce(message)
            if message["how"] == "hang":
                while True:
                    time.sleep(60)
            os._exit(1)
        self.total += int(message)
        return self.total


@node(name="bad_constructor")
class BadConstructor:
    """Cannot be built."""

    def __init__(self) -> None:
        """Raise."""
        raise OwnError("hunter2")

    def __call__(self, message: Any, ctx: NodeContext) -> None:
        """Never called."""


@node(name="second_life")
class SecondLife:
    """Can be built as long as the file `alive` exists."""

    def __init__(self, alive: str) -> None:
        """`alive` comes from the settings."""
        if not Path(alive).exists():
            raise OwnError("the file is gone")

    def __call__(self, message: Any, ctx: NodeContext) -> int:
        """Tell the pid."""
        return os.getpid()


@node(name="bad_exit")
class BadExit:
    """Raises, or hangs, when its context is left."""

    def __init__(self, how: str, started: str | None = None) -> None:
        """`how` comes from the settings."""
        self.how = how
        self.started = started

    def __enter__(self) -> BadExit:
        """Nothing to load."""
        return self

    def __exit__(self, *_: object) -> None:
        """Misbehave."""
        if self.how == "raise":
            raise OwnError("while leaving")
        while True:
            time.sleep(60)

    def __call__(self, message: Any, ctx: NodeContext) -> str:
        """Work."""
        return "worked"


@node(name="threaded")
def threaded(message: Any, ctx: NodeContext) -> str:
    """Leave a thread behind that never ends."""
    import threading

    threading.Thread(target=threading.Event().wait, daemon=False).start()
    return "started"
