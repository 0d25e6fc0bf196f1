"""Typed payloads: an order with Decimal and datetime, as a dataclass, and the same as plain JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from stream_kernel import NodeContext, node


@dataclass(frozen=True)
class Position:
    article: str
    price: Decimal
    count: int


@dataclass(frozen=True)
class Order:
    number: int
    customer: str
    at: datetime
    positions: list[Position]


@dataclass(frozen=True)
class Bill:
    number: int
    customer: str
    at: datetime
    due: datetime
    sum: Decimal


def bill(order: Order) -> Bill:
    """As little work as shows that it had an order, and gave a bill."""
    return Bill(order.number, order.customer, order.at, order.at, order.positions[0].price)


def bill_plain(order: dict[str, Any]) -> dict[str, Any]:
    """The same, where amounts and times are texts."""
    return {
        "number": order["number"],
        "customer": order["customer"],
        "at": order["at"],
        "due": order["at"],
        "sum": order["positions"][0]["price"],
    }


@node(name="bill", consumes=[Order], emits=[Bill])
def bill_node(message: Order, ctx: NodeContext) -> Bill:
    return bill(message)


@node(name="bill_plain")
def bill_plain_node(message: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
    return bill_plain(message)
