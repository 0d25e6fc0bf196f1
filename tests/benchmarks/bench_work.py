"""What the benchmark runs in worker processes: one function, as a node and as a plain function."""

from __future__ import annotations

from stream_kernel import NodeContext, node

Record = dict[str, int | str]


def work(message: Record) -> Record:
    """A record in, a record out; as little work as shows that it ran."""
    number = int(message["n"])
    return {"n": number, "square": number * number, "key": message["key"]}


def work_many(messages: list[Record]) -> list[Record]:
    """The same for a batch."""
    return [work(message) for message in messages]


@node(name="work")
def work_node(message: Record, ctx: NodeContext) -> Record:
    """The same as a node."""
    return work(message)
