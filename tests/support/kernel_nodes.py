"""Nodes that tests run in workers. Imported by name: the folder is on the import path of the tests, and so of their workers."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from stream_kernel import Envelope, NodeContext, TerminalEvent, node


@node(name="echo")
def echo(message: Any, ctx: NodeContext) -> Any:
    """Give back what came, wrapped so that any JSON value is one output."""
    return {"value": message}


@node(name="whoami")
def whoami(message: Any, ctx: NodeContext) -> dict[str, Any]:
    """Tell which process and which call this is."""
    return {
        "pid": os.getpid(),
        "trace_id": ctx.trace_id,
        "reply_to": ctx.reply_to,
        "run_id": ctx.run_id,
        "scenario_id": ctx.scenario_id,
        "group": ctx.group,
        "worker_index": ctx.worker_index,
        "node": ctx.node,
        "meta": ctx.meta,
    }


@node(name="fail_if_asked")
def fail_if_asked(message: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
    """Raise for `{"fail": true}`; otherwise append to the file `log`, where one is named, and echo."""
    if message.get("fail"):
        raise ValueError("hunter2 is the password")
    if "log" in message:
        with Path(message["log"]).open("a") as log:
            log.write(f"{message['n']}\n")
    return {"n": message["n"]}


@node(name="hold")
def hold(message: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
    """Say through the FIFO `started` that this runs now, with the pid; then wait until the FIFO `release` is opened for writing."""
    if "started" in message:
        with Path(message["started"]).open("w") as started:
            started.write(str(os.getpid()))
    if "release" in message:
        with Path(message["release"]).open() as release:
            release.read()
    return {"pid": os.getpid()}


@node(name="hang")
def hang(message: dict[str, Any], ctx: NodeContext) -> None:
    """Say through the FIFO `started` that this runs now; never return."""
    if "started" in message:
        with Path(message["started"]).open("w") as started:
            started.write(str(os.getpid()))
    while True:
        time.sleep(60)


@node(name="many")
def many(message: int, ctx: NodeContext) -> list[int]:
    """As many outputs as the message says."""
    return list(range(message))


@node(name="generate")
def generate(message: int, ctx: NodeContext) -> Iterator[dict[str, int]]:
    """The same from a generator that changes what it has yielded."""
    record = {"n": 0}
    for index in range(message):
        record["n"] = index
        yield record


@node(name="async_echo")
async def async_echo(message: Any, ctx: NodeContext) -> Any:
    """An async node that really waits."""
    import asyncio

    await asyncio.sleep(0)
    return {"value": message}


@node(name="async_generate")
async def async_generate(message: int, ctx: NodeContext) -> AsyncIterator[int]:
    """An async generator node."""
    for index in range(message):
        yield index


@node(name="enveloped")
def enveloped(message: dict[str, Any], ctx: NodeContext) -> Envelope:
    """Give an envelope with the fields that the message names."""
    return Envelope(**message)


@node(name="ending")
def ending(message: dict[str, Any], ctx: NodeContext) -> TerminalEvent:
    """End the chain with the event that the message describes."""
    return TerminalEvent(**message)


@node(name="remaining")
def remaining(message: Any, ctx: NodeContext) -> float:
    """Seconds until the deadline."""
    return ctx.remaining_seconds()


@node(name="bad_output")
def bad_output(message: str, ctx: NodeContext) -> Any:
    """Give what JSON cannot carry."""
    return {"tuple": (1, 2), "nan": float("nan"), "set": {1}, "class": object()}[message]


@node(name="counter", stateful=True)
class Counter:
    """Counts the messages it has seen, from `start`."""

    def __init__(self, start: int = 0) -> None:
        """`start` comes from the settings."""
        self.count = start

    def __call__(self, message: Any, ctx: NodeContext) -> int:
        """Count one more."""
        self.count += 1
        return self.count


@node(name="resource")
class Resource:
    """Holds a resource while the worker lives: writes what happens to it to the file `journal`."""

    def __init__(self, journal: str) -> None:
        """`journal` comes from the settings."""
        self.journal = Path(journal)

    def _note(self, what: str) -> None:
        with self.journal.open("a") as journal:
            journal.write(what + "\n")

    def __enter__(self) -> Resource:
        """Load."""
        self._note("entered")
        return self

    def __exit__(self, *_: object) -> None:
        """Release."""
        self._note("left")

    def __call__(self, message: Any, ctx: NodeContext) -> str:
        """Use it."""
        self._note("used")
        return "used"
