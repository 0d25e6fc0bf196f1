"""Nodes for runs of lines. What a message wants of a node, it says under the node's name: `{"n": 1, "work": {"do": "raise"}}`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from stream_kernel import Envelope, NodeContext, TerminalEvent, node

Message = dict[str, Any]


def _obey(message: Message, ctx: NodeContext) -> None:
    """Announce this process through the FIFO `started`, wait for the FIFO `release`, then do what the message wants of this node."""
    wish = message.get(ctx.node, {})
    if "started" in wish:
        with Path(wish["started"]).open("w") as started:
            started.write(str(os.getpid()))
    if "release" in wish:
        with Path(wish["release"]).open() as release:
            release.read()
    match wish.get("do"):
        case "raise":
            secret = "hunter2"
            raise ValueError(secret)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            while True:
                time.sleep(60)
        case "take":
            time.sleep(wish["seconds"])


@node(name="work")
def work(message: Message, ctx: NodeContext) -> Message:
    """Give the number of the line back."""
    _obey(message, ctx)
    return {"n": message["n"]}


@node(name="feature", sends_to=["tally"])
def feature(message: Message, ctx: NodeContext) -> Envelope:
    """Hand the message to `tally`."""
    _obey(message, ctx)
    return Envelope(message, target="tally")


@node(name="tally", stateful=True)
class Tally:
    """Counts the messages it has seen."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self, message: Message, ctx: NodeContext) -> Message:
        """Give the number of the line, and how many have come so far."""
        _obey(message, ctx)
        self._seen += 1
        return {"n": message["n"], "seen": self._seen}


@node(name="relay", sends_to=["work"])
def relay(message: Message, ctx: NodeContext) -> Envelope:
    """Hand the message to `work`."""
    _obey(message, ctx)
    return Envelope(message, target="work")


@node(name="stray")
def stray(message: Message, ctx: NodeContext) -> Envelope:
    """Name a node of a stateful group without having declared it."""
    return Envelope(message, target="tally")


@node(name="forth", sends_to=["back"], stateful=True)
def forth(message: Message, ctx: NodeContext) -> Envelope:
    """Send the message to `back`."""
    return Envelope(message, target="back")


@node(name="back", sends_to=["forth"])
def back(message: Message, ctx: NodeContext) -> Envelope:
    """Send the message to where it came from."""
    return Envelope(message, target="forth")


@node(name="orphan")
def orphan(message: Message, ctx: NodeContext) -> Message:
    """Leave a process behind whose parent has gone; it announces itself as `started`, and ends when `release` is opened."""
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            _obey(message, ctx)
        os._exit(0)
    os.waitpid(child, 0)
    return {"n": message["n"]}


@node(name="repeat")
def repeat(message: Message, ctx: NodeContext) -> list[Any]:
    """Give as many outputs as `times` says."""
    return [{"n": message["n"], "copy": copy} for copy in range(message["times"])]


@node(name="event")
def event(message: Message, ctx: NodeContext) -> TerminalEvent:
    """End the chain as `status` says."""
    return TerminalEvent(message["status"], payload={"n": message["n"]}, error="hunter2" if message["status"] != "success" else None)


@node(name="shout")
def shout(message: str, ctx: NodeContext) -> str:
    """A text for a text, in capitals; `|` becomes a line break."""
    return message.upper().replace("|", "\n")


@node(name="broken")
class Broken:
    """Cannot be built."""

    def __init__(self) -> None:
        raise ValueError("hunter2")

    def __call__(self, message: Any, ctx: NodeContext) -> None:
        """Never called."""


@node(name="slow_start")
class SlowStart:
    """Announces through the FIFO `started` that it is being built, and is not done before the FIFO `release` is opened."""

    def __init__(self, started: str, release: str) -> None:
        with Path(started).open("w") as fifo:
            fifo.write(str(os.getpid()))
        with Path(release).open() as fifo:
            fifo.read()

    def __call__(self, message: Any, ctx: NodeContext) -> Any:
        """Give back what came."""
        return message


@node(name="slow_end")
class SlowEnd:
    """Announces through the FIFO `started` that it is being closed, and is not done before the FIFO `release` is opened."""

    def __init__(self, started: str, release: str) -> None:
        self._started = Path(started)
        self._release = Path(release)

    def __enter__(self) -> SlowEnd:
        return self

    def __exit__(self, *_: object) -> None:
        with self._started.open("w") as fifo:
            fifo.write(str(os.getpid()))
        with self._release.open() as fifo:
            fifo.read()

    def __call__(self, message: Any, ctx: NodeContext) -> Any:
        """Give back what came."""
        return message
