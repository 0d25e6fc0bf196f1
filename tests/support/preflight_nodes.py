"""Nodes that are sound one by one, and wrong in a configuration that a test makes of them; and messages that cannot travel."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from pydantic import BaseModel, RootModel, model_validator

from message_nodes import Order, Quote
from stream_kernel import NodeContext, node


class Line(RootModel[str]):
    """A message that is made of one string."""


class Fields(BaseModel):
    """A message that takes itself out of a line."""

    words: list[str]

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        return {"words": given.split()} if isinstance(given, str) else given


class Checked(BaseModel):
    """A message that looks at itself only when it has been built."""

    n: int

    @model_validator(mode="after")
    def _check(self) -> Checked:
        return self


@dataclasses.dataclass
class Handle:
    """Cannot travel: nobody knows what is in its field."""

    file: object


@dataclasses.dataclass
class Wave:
    """Cannot travel: JSON has no complex numbers."""

    amplitude: complex


@dataclasses.dataclass
class Misspelt:
    """Cannot travel: the type of its field cannot be had."""

    at: datetime.datetim  # type: ignore[name-defined]


class Opaque:
    """Cannot travel: it is no message class."""


@node(name="take_line", consumes=[Line])
def take_line(message: Line, ctx: NodeContext) -> str:
    return message.root


@node(name="take_fields", consumes=[Fields])
def take_fields(message: Fields, ctx: NodeContext) -> list[str]:
    return message.words


@node(name="take_checked", consumes=[Checked])
def take_checked(message: Checked, ctx: NodeContext) -> int:
    return message.n


@node(name="handle", consumes=[Handle, Order], emits=[Wave, Misspelt])
def handle(message: Handle, ctx: NodeContext) -> None: ...


@node(name="handle_too", consumes=[Handle], emits=[Opaque])
def handle_too(message: Handle, ctx: NodeContext) -> None: ...


@node(name="one_argument")
def one_argument(message: Any) -> None: ...


@node(name="receive", emits=[Order])
def receive(message: dict[str, Any], ctx: NodeContext) -> Order:
    return Order(**message)


@node(name="book", consumes=[Quote], stateful=True)
def book(message: Quote, ctx: NodeContext) -> None: ...


@node(name="reprice", consumes=[Quote], emits=[Order], idempotent=True)
def reprice(message: Quote, ctx: NodeContext) -> Order:
    return Order(message.n)


@node(name="settle", consumes=[Quote], emits=[Order], stateful=True)
def settle(message: Quote, ctx: NodeContext) -> Order:
    return Order(message.n)


@node(name="into_the_void", sends_to=["nowhere"])
def into_the_void(message: Any, ctx: NodeContext) -> None: ...


@node(name="to_both", sends_to=["both"])
def to_both(message: Any, ctx: NodeContext) -> None: ...


@node(name="to_price", sends_to=["price"])
def to_price(message: Any, ctx: NodeContext) -> None: ...


@node(name="order_to_bill", emits=[Order], sends_to=["bill", "book", "counter"])
def order_to_bill(message: Any, ctx: NodeContext) -> None: ...
