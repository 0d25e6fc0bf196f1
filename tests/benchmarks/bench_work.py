"""What the benchmark runs in worker processes: plain functions, and the same as nodes.

Peers and workers of the kernel import this module by name; it imports nothing that would make a worker larger.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from stream_kernel import Envelope, NodeContext, node

Record = dict[str, Any]


def work(message: Record) -> Record:
    """A record in, a record out; as little work as shows that it ran."""
    number = int(message["n"])
    return {"n": number, "square": number * number, "key": message["key"]}


def work_many(messages: list[Record]) -> list[Record]:
    """The same for a batch."""
    return [work(message) for message in messages]


def decide(message: Record) -> Record:
    """A record of eight fields in, the same with one of them decided out."""
    return {**message, "accepted": message["attempt"] < 3}


def decide_many(messages: list[Record]) -> list[Record]:
    """The same for a batch."""
    return [decide(message) for message in messages]


def give_back(message: Record) -> Record:
    """What came goes back: the way there and back is all that is measured."""
    return message


def burn(message: Record) -> Record:
    """Holds a CPU for as many turns as the message says."""
    total = int(message["n"])
    for step in range(int(message["turns"])):
        total = (total * 1103515245 + step) % 2147483648
    return {"n": message["n"], "total": total}


def own_pid(message: Record) -> Record:
    """Which process it is."""
    return {"pid": os.getpid()}


def hop_many(messages: list[Record]) -> list[Record]:
    """One link of a chain, as a pool would have it: a list in, a list out."""
    return [{"n": message["n"], "key": message["key"], "last": message["last"]} for message in messages]


async def in_a_coroutine(function: Callable[[Any], Any], payload: Any) -> Any:
    """For peers that take coroutine functions only."""
    return function(payload)


@node(name="work")
def work_node(message: Record, ctx: NodeContext) -> Record:
    return work(message)


@node(name="decide")
def decide_node(message: Record, ctx: NodeContext) -> Record:
    return decide(message)


@node(name="give_back")
def give_back_node(message: Record, ctx: NodeContext) -> Record:
    return message


@node(name="burn")
def burn_node(message: Record, ctx: NodeContext) -> Record:
    return burn(message)


def _hop(number: int) -> Callable[[Record, NodeContext], Record | Envelope]:
    """One link of a chain, as a node: the record goes to the next link, from the last one to the caller."""
    following = f"hop_{number + 1}"

    @node(name=f"hop_{number}", sends_to=[following])
    def hop(message: Record, ctx: NodeContext) -> Record | Envelope:
        passed = {"n": message["n"], "key": message["key"], "last": message["last"]}
        return passed if message["last"] == number else Envelope(passed, target=following)

    return hop


hop_1, hop_2, hop_3, hop_4, hop_5, hop_6, hop_7, hop_8 = map(_hop, range(1, 9))
