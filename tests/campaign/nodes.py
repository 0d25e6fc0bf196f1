"""The nodes of the campaign, run in its workers. Each first notes the token of its input in a journal that survives a SIGKILL."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from tests.campaign.history import answer_of

from stream_kernel import NodeContext, node

Message = dict[str, Any]

_KEPT = 3
_children: list[subprocess.Popen[bytes]] = []
_journal = -1


def _note(message: Message) -> None:
    """One write to a file of this process: there, whatever becomes of the process next."""
    global _journal
    if _journal < 0:
        path = os.path.join(os.environ["CAMPAIGN_JOURNALS"], f"{os.getpid()}-{time.monotonic_ns()}")
        _journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    os.write(_journal, b"%d\n" % message["token"])


def _private_pipes(access: int) -> list[int]:
    """The descriptors of the wire, as a hostile node finds them."""
    found = []
    for fd in range(3, 64):
        try:
            is_pipe = os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
        except OSError:
            continue
        if is_pipe and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == access:
            found.append(fd)
    return found


def _hang_sleep() -> None:
    while True:
        time.sleep(60)


def _hang_python() -> None:
    while True:
        pass


def _hang_c() -> None:
    ctypes.PyDLL(None).sleep(600)  # PyDLL keeps the GIL


def _segv() -> None:
    ctypes.string_at(0)


def _close(access: int) -> None:
    for fd in _private_pipes(access):
        os.close(fd)


def _close_out_lives() -> None:
    _close(os.O_WRONLY)
    _hang_sleep()


def _garbage() -> None:
    forms = (
        b"this is no frame\n",
        b"\xff\xfe\x00\n",
        b'{"kind":"nonsense"}\n',
        b'{"kind":"pong"',
        b'{"kind":"execute_boundary_result","correlation_id":"never-issued","terminal_outputs":{}}\n',
        b"[" * 5000 + b"\n",
    )
    for fd in _private_pipes(os.O_WRONLY):
        os.write(fd, forms[time.monotonic_ns() // 1000 % len(forms)])


def _flood() -> None:
    """A MiB on stderr, with control characters; some lines are longer than any reader likes."""
    os.write(2, (b"\x1b[31mflood\x00 " * 90 + b"\n") * 900 + b"x" * 120_000 + b"\n")


def _adopt() -> None:
    """Start a child that holds all that it can inherit, the wire included, and does not end by itself."""
    while len(_children) >= _KEPT:
        oldest = _children.pop(0)
        oldest.kill()
        oldest.wait()
    copies = [os.dup(fd) for fd in (*_private_pipes(os.O_WRONLY), *_private_pipes(os.O_RDONLY))]
    for copy in copies:
        os.set_inheritable(copy, True)
    _children.append(subprocess.Popen(["/bin/sleep", "3600"], close_fds=False))
    for copy in copies:
        os.close(copy)


def _adopt_exit() -> None:
    _adopt()
    os._exit(5)


def _fail() -> None:
    raise ValueError("a node may fail")


ORDERS: dict[str, Callable[[], None]] = {
    "work": lambda: None,
    "fail": _fail,
    "exit": lambda: os._exit(7),
    "abort": os.abort,
    "segv": _segv,
    "hang_sleep": _hang_sleep,
    "hang_python": _hang_python,
    "hang_c": _hang_c,
    "garbage": _garbage,
    "close_out": lambda: _close(os.O_WRONLY),
    "close_out_lives": _close_out_lives,
    "close_in": lambda: _close(os.O_RDONLY),
    "flood": _flood,
    "adopt": _adopt,
    "adopt_exit": _adopt_exit,
}


def _serve(message: Message) -> Message:
    _note(message)
    ORDERS[message["order"]]()
    return {"token": message["token"], "value": answer_of(message["token"]), "pid": os.getpid()}


@node(name="fast")
def fast(message: Message, ctx: NodeContext) -> Message:
    """As little work as shows that it ran."""
    return _serve(message)


@node(name="deep")
def deep(message: Message, ctx: NodeContext) -> Message:
    """The same, in a group whose workers have several commands at a time."""
    return _serve(message)


@node(name="again", idempotent=True)
def again(message: Message, ctx: NodeContext) -> Message:
    """The same, and it may run again."""
    return _serve(message)


@node(name="slow")
def slow(message: Message, ctx: NodeContext) -> Message:
    """Takes 20 ms, so that its workers are mostly busy."""
    served = _serve(message)
    time.sleep(0.02)
    return served


@node(name="parent")
def parent(message: Message, ctx: NodeContext) -> Message:
    """Its workers have children of their own from their first message on. It takes 10 ms."""
    if not _children:
        _adopt()
    served = _serve(message)
    time.sleep(0.01)
    return served


@node(name="keeper", stateful=True)
class Keeper:
    """Counts what it was given."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, message: Message, ctx: NodeContext) -> Message:
        self.count += 1
        return _serve(message) | {"count": self.count}


@node(name="doomed")
def doomed(message: Message, ctx: NodeContext) -> Message:
    """Of the group that is driven into a crash loop."""
    return _serve(message)
