"""Nodes that mean no good: what they raise, give and do to their event loop must cost their own call only."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

from stream_kernel import BoundaryFailure, Envelope, NodeContext, TerminalEvent, node

SURROGATE = "bad \udcff name"


class Unprintable(Exception):
    """Raises when it is formatted, and cannot be given another traceback."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def with_traceback(self, tb: Any) -> Any:
        raise RuntimeError("no traceback")


@node(name="raises")
def raises(message: str, ctx: NodeContext) -> Any:
    if message == "surrogate":
        raise ValueError(SURROGATE)
    if message == "unprintable":
        raise Unprintable
    if message == "odd name":
        raise type(SURROGATE, (Exception,), {})
    return message


@node(name="gives")
def gives(message: str, ctx: NodeContext) -> Any:
    large = "x" * 100_000
    return {
        "surrogate trace": Envelope(1, trace_id=SURROGATE),
        "large trace": Envelope(1, trace_id=large),
        "large meta": Envelope(1, meta={"large": large}),
        "large error": TerminalEvent("error", error=large),
        "surrogate error": TerminalEvent("error", error=SURROGATE),
        "surrogate failure": TerminalEvent("error", failure=BoundaryFailure("execution", "executed", "g", "n", SURROGATE)),
        "foreign type": Envelope({"n": 1}, type="elsewhere:Order"),
        "fine": 1,
    }[message]


@node(name="upsets_its_loop")
async def upsets_its_loop(message: str, ctx: NodeContext) -> Any:
    if message == "exit in a task":

        async def leave() -> None:
            sys.exit(3)

        await asyncio.gather(asyncio.create_task(leave()))
    task = asyncio.current_task()
    assert task is not None
    if message == "cancels itself":
        task.cancel()
        await asyncio.sleep(0)
    if message == "cancels itself and returns":
        task.cancel()
    return message


@node(name="imports_late")
class ImportsLate:
    def __init__(self, password: str) -> None:
        raise ImportError(f"cannot connect with {password}")

    def __call__(self, message: Any, ctx: NodeContext) -> None: ...


@dataclass(frozen=True)
class Part:
    n: int


@dataclass(frozen=True)
class Whole:
    n: int


@node(name="split", emits=[Part, Whole])
def split(message: dict[str, Any], ctx: NodeContext) -> Any:
    """A part for the stateful group, a whole for the group before it, and a plain output of its own."""
    if message.get("fail"):
        raise ValueError
    return [Part(message["n"]), Whole(message["n"]), "plain"]


@node(name="relay", consumes=[Whole], emits=[Part])
def relay(message: Whole, ctx: NodeContext) -> str:
    """It could feed the stateful group, which therefore waits for it; it gives something else."""
    return "relayed"


@node(name="gather", consumes=[Part], stateful=True)
def gather(message: Part, ctx: NodeContext) -> int:
    return message.n
