"""Nodes that pass typed messages and name each other, for tests of routes within and between groups."""

from __future__ import annotations

import dataclasses
import datetime
import os
import uuid
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

import kernel_nodes
from stream_kernel import Envelope, NodeContext, TerminalEvent, node
from stream_kernel.routing.envelope import BoundaryFailure

_ID = uuid.UUID(int=7)


class Side(Enum):
    """Of an order."""

    BUY = "buy"
    SELL = "sell"


@dataclasses.dataclass
class Order:
    """A message with the field types that JSON does not have."""

    n: int
    price: Decimal = Decimal("1.50")
    side: Side = Side.BUY
    at: datetime.datetime = datetime.datetime(2020, 2, 29, 12, tzinfo=datetime.UTC)
    id: uuid.UUID = _ID
    raw: bytes = b"\x00\xff"
    journal: str = ""


class Quote(BaseModel):
    """A message that is a pydantic model."""

    model_config = ConfigDict(frozen=True)

    n: int
    amount: Decimal
    day: datetime.date = datetime.date(2020, 2, 29)
    journal: str = ""


@dataclasses.dataclass
class Stray:
    """A class that no node consumes."""

    n: int


def _note(journal: str, what: str) -> None:
    if journal:
        with Path(journal).open("a") as file:
            file.write(what + "\n")


@node(name="parse", emits=[Order])
def parse(message: dict[str, Any], ctx: NodeContext) -> Order:
    """Plain to typed."""
    return Order(**message)


@node(name="split", emits=[Order])
def split(message: dict[str, Any], ctx: NodeContext) -> Iterator[Order]:
    """Several orders, one after the other."""
    for n in range(message["count"]):
        _note(message["journal"], f"split {n}")
        yield Order(n, journal=message["journal"])


@node(name="price", consumes=[Order], emits=[Quote])
def price(message: Order, ctx: NodeContext) -> Quote:
    """Typed to typed, a dataclass to a model."""
    _note(message.journal, f"price {message.n}")
    return Quote(n=message.n, amount=message.price * 2, journal=message.journal)


@node(name="bill", consumes=[Quote])
def bill(message: Quote, ctx: NodeContext) -> dict[str, Any]:
    """Typed to plain."""
    _note(message.journal, f"bill {message.n}")
    return {"billed": message.n, "amount": str(message.amount)}


@node(name="audit", consumes=[Order])
def audit(message: Order, ctx: NodeContext) -> dict[str, Any]:
    """A second consumer of orders; proves that every field arrived as what it was."""
    exact = (type(message.price), type(message.side), type(message.at), type(message.id), type(message.raw))
    return {"audited": message.n, "types": [kind.__name__ for kind in exact]}


@node(name="both", consumes=[Order, Quote])
def both(message: Order | Quote, ctx: NodeContext) -> str:
    """Takes two classes."""
    return type(message).__name__


@node(name="mirror", consumes=[Order], emits=[Order])
def mirror(message: Order, ctx: NodeContext) -> Envelope:
    """Send the order, counted up, back to `origin`."""
    return Envelope(dataclasses.replace(message, n=message.n + 1), target="origin")


@node(name="origin", consumes=[Order], emits=[Order])
def origin(message: Order, ctx: NodeContext) -> TerminalEvent:
    """End with the order."""
    return TerminalEvent("success", message)


def _relay(message: dict[str, Any], ctx: NodeContext) -> Any:
    seen = [*message.get("seen", []), ctx.node]
    _note(message.get("journal", ""), ctx.node)
    path = message["path"]
    if not path:
        return {"seen": seen, "trace_id": ctx.trace_id, "reply_to": ctx.reply_to, "meta": ctx.meta}
    fields = message.get("fields", {}).get(ctx.node, {})
    return Envelope({**message, "path": path[1:], "seen": seen}, target=path[0], **fields)


@node(name="relay_a", sends_to=["ledger", "relay_b"])
def relay_a(message: dict[str, Any], ctx: NodeContext) -> Any:
    """Go to the first node of `path`; at its end tell where the message has been."""
    return _relay(message, ctx)


@node(name="relay_b", sends_to=["ledger"])
def relay_b(message: dict[str, Any], ctx: NodeContext) -> Any:
    """The same under another name."""
    return _relay(message, ctx)


@node(name="relay_c")
def relay_c(message: dict[str, Any], ctx: NodeContext) -> Any:
    """The same again, but it says nothing about whom it sends to."""
    return _relay(message, ctx)


@node(name="ledger", stateful=True)
class Ledger:
    """Keeps what it has seen."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, message: dict[str, Any], ctx: NodeContext) -> list[str]:
        """Tell everything that was seen so far, as one text."""
        self.seen.append(str(ctx.trace_id))
        return [" ".join(self.seen)]


@node(name="fan", sends_to=["ledger"])
def fan(message: list[list[Any]], ctx: NodeContext) -> list[Any]:
    """One output for each pair of payload and target."""
    return [Envelope(payload, target=target) if target else payload for payload, target in message]


@node(name="stray")
def stray(message: Any, ctx: NodeContext) -> Any:
    """Give an output of a class that is not in `emits`: one that another node declares, or one that nobody does."""
    return Order(1) if message == "declared elsewhere" else Stray(1)


@node(name="keeper")
def keeper(message: dict[str, Any], ctx: NodeContext) -> Iterator[dict[str, Any]]:
    """Yield two outputs and raise, when asked to."""
    yield {"first": message["n"]}
    if message.get("fail"):
        raise ValueError("asked to")
    yield {"second": message["n"]}


@node(name="mutator")
def mutator(message: dict[str, Any], ctx: NodeContext) -> list[Any]:
    """Give one dict twice, to a node that changes what it gets and to the caller."""
    return [Envelope(message, target="changer"), message]


@node(name="changer")
def changer(message: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
    """Change the message and the context's meta in place."""
    message["changed"] = True
    ctx.meta["changed"] = True
    return message


@node(name="verdict")
def verdict(message: dict[str, Any], ctx: NodeContext) -> TerminalEvent:
    """End the chain with everything that an event can hold."""
    return TerminalEvent("error", {"code": 7}, "no funds", BoundaryFailure("execution", "executed", "elsewhere", "other", "why"))


@node(name="stubborn")
async def stubborn(message: dict[str, Any], ctx: NodeContext) -> None:
    """Wait for ever; answer a cancellation with another error."""
    import asyncio

    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        raise ValueError("not now") from None


@node(name="slow")
def slow(message: float, ctx: NodeContext) -> str:
    """Come back when the deadline of the call is over, by less than the time a caller waits for a killed worker."""
    while ctx.remaining_seconds() > 0:
        pass
    return "late"


@node(name="raiser")
def raiser(message: str, ctx: NodeContext) -> None:
    """Raise the builtin exception that the message names."""
    import builtins

    raise getattr(builtins, message)("secret")


@node(name="hold_too")
def hold_too(message: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
    """`hold` under another name, for another group."""
    return kernel_nodes.hold(message, ctx)


@node(name="late")
class Late:
    """Is ready when the FIFO `boot` is opened for writing."""

    def __init__(self, boot: str) -> None:
        with Path(boot).open() as fifo:
            fifo.read()

    def __call__(self, message: Any, ctx: NodeContext) -> str:
        """Say that it is there."""
        return "here"


@node(name="hold_and_pass")
def hold_and_pass(message: dict[str, Any], ctx: NodeContext) -> Envelope:
    """`hold`, then pass the message on to `relay_a`."""
    kernel_nodes.hold(message, ctx)
    return Envelope({"path": [], **message}, target="relay_a")


@node(name="environment")
def environment(message: str, ctx: NodeContext) -> str:
    """The value of an environment variable."""
    return os.environ[message]


@node(name="waiter")
async def waiter(message: Any, ctx: NodeContext) -> Any:
    """Wait for what never comes: only a cancellation ends it."""
    import asyncio

    return await asyncio.get_running_loop().create_future()


@node(name="sticky")
class Sticky:
    """Cannot be left in order."""

    def __enter__(self) -> Sticky:
        return self

    def __exit__(self, *_: object) -> None:
        raise OSError("stuck")

    def __call__(self, message: Any, ctx: NodeContext) -> int:
        """Be there."""
        return 1
