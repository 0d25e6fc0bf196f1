"""An async node: its worker runs an event loop."""

from __future__ import annotations

from bench_work import Record, work

from stream_kernel import NodeContext, node


@node(name="work_async")
async def work_async_node(message: Record, ctx: NodeContext) -> Record:
    return work(message)
