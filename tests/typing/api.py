"""The whole public API as a program would use it: type-checked, never run."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any, assert_type

from stream_kernel import (
    AsyncBoundarySupervisor,
    BoundaryDispatchInput,
    BoundaryError,
    BoundaryExecutionError,
    BoundaryFailure,
    BoundaryInputError,
    BoundaryTimeoutError,
    BoundaryTransportError,
    ConfigurationError,
    Envelope,
    LocalBootstrapSupervisor,
    MultiprocessBootstrapSupervisor,
    NodeContext,
    RoutingResult,
    RuntimeConfig,
    StreamKernelError,
    TerminalEvent,
    UsageError,
    WorkerBootstrapError,
    create_supervisor,
    node,
)


@dataclasses.dataclass
class Attempt:
    amount: Decimal


@dataclasses.dataclass
class Decision:
    accepted: bool


@node(name="score", consumes=[Attempt], emits=[Decision])
def score(message: Attempt, ctx: NodeContext) -> Decision:
    ctx.log.info("%s %s", ctx.trace_id, ctx.remaining_seconds())
    return Decision(message.amount > 0)


@node(name="later", consumes=[Attempt], sends_to=["count"], idempotent=True)
async def later(message: Attempt, ctx: NodeContext) -> Envelope:
    return Envelope({"n": 1}, target="count", meta=ctx.meta)


@node(name="many")
def many(message: Any, ctx: NodeContext) -> Iterator[Any]:
    yield message


@node(name="end")
async def end(message: Any, ctx: NodeContext) -> AsyncIterator[TerminalEvent]:
    yield TerminalEvent("success", payload=message)


@node(name="count", stateful=True)
class Count:
    def __init__(self, start: int = 0) -> None:
        self.n = start

    def __call__(self, message: Any, ctx: NodeContext) -> int:
        return self.n


assert_type(score(Attempt(Decimal(1)), NodeContext(node="score", trace_id="t", meta={})), Decision)
assert_type(Count(start=1), Count)

config = RuntimeConfig.from_toml("pipeline.toml")
assert_type(config, RuntimeConfig)
assert_type(RuntimeConfig.from_mapping({}), RuntimeConfig)
inputs = [
    BoundaryDispatchInput({"v": 1}, "execution.cpu", "score", trace_id="t1", reply_to="http:req-1", source_group=None, route_hop=0, meta={})
]


def use_synchronously() -> None:
    assert_type(create_supervisor(config), MultiprocessBootstrapSupervisor | LocalBootstrapSupervisor)
    with LocalBootstrapSupervisor(config) as local:
        assert_type(local, LocalBootstrapSupervisor)
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        assert_type(supervisor.call("score", Attempt(Decimal(1)), timeout_seconds=2, trace_id="t", reply_to="r"), Any)
        assert_type(supervisor.map("score", [Attempt(Decimal(1))], batch_size=256, timeout_seconds=1), Iterator[Any])
        result = supervisor.execute_boundary(run_id="r1", scenario_id="s", inputs=inputs, timeout_seconds=10, on_error="collect")
        assert_type(result, RoutingResult)
        assert_type(result.terminal_outputs, list[Envelope])
        supervisor.start_groups(["execution.cpu"])
        assert_type(supervisor.wait_ready(5), bool)
        supervisor.stop_groups(graceful_timeout_seconds=5, drain_inflight=True)
        supervisor.force_terminate_groups(["execution.cpu"])
        supervisor.restart_group("execution.cpu")
        assert_type([worker.pid for group in supervisor.snapshot().groups for worker in group.workers], list[int | None])
        assert_type([event.kind for event in supervisor.lifecycle_events() if event.mode == "forced"][0:1] == [], bool)
        supervisor.close()


async def use_asynchronously() -> None:
    async with AsyncBoundarySupervisor(config) as supervisor:
        assert_type(await supervisor.execute_boundary(run_id="r1", scenario_id="s", inputs=inputs), RoutingResult)
        assert_type(await supervisor.call("score", 1), Any)
        async for decision in supervisor.map("score", [1, 2]):
            assert_type(decision, Any)
        assert_type(await supervisor.wait_ready(timeout_seconds=1), bool)
        assert_type(len(supervisor.lifecycle_events()) + len(supervisor.snapshot().groups), int)
        await supervisor.stop_groups(graceful_timeout_seconds=1, drain_inflight=False)
        await supervisor.force_terminate_groups()
        await supervisor.close()


def tell(error: StreamKernelError, failure: BoundaryFailure) -> str | None:
    if isinstance(error, (BoundaryTransportError, BoundaryTimeoutError, BoundaryExecutionError, BoundaryInputError)):
        assert_type(error.trace_ids, tuple[str, ...])
        return error.group or error.category or error.delivery or error.correlation_id or error.report.reason or failure.node
    if isinstance(error, (BoundaryError, ConfigurationError, WorkerBootstrapError, UsageError)):
        return str(error)
    return None
