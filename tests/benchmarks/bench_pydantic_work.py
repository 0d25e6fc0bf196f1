"""A node that takes pydantic models: its worker imports pydantic."""

from __future__ import annotations

from pydantic import BaseModel

from stream_kernel import NodeContext, node


class Attempt(BaseModel):
    number: int
    customer: str
    amount: str


@node(name="keep", consumes=[Attempt], emits=[Attempt])
def keep_node(message: Attempt, ctx: NodeContext) -> Attempt:
    return message
