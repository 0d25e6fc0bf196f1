"""A call leaves nothing behind that only the collector could free: it would look through all that is in flight, again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from fixture_types import MakeConfig
from stream_kernel import AsyncBoundarySupervisor, BoundaryDispatchInput, MultiprocessBootstrapSupervisor

CALLS = 20
NODES = {"g": ["echo", "fail_if_asked"]}


@contextmanager
def leaving_fewer_than(objects: int) -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
        assert gc.collect() < objects
    finally:
        gc.enable()


def batch() -> list[BoundaryDispatchInput]:
    return [BoundaryDispatchInput(number, "g", "echo") for number in range(10)]


async def test_of_calls_of_one_input(make_config: MakeConfig) -> None:
    async with AsyncBoundarySupervisor(make_config(NODES)) as supervisor:
        await supervisor.call("echo", 0)
        with leaving_fewer_than(CALLS):
            for number in range(CALLS):
                assert await supervisor.call("echo", number) == {"value": number}


async def test_of_calls_of_many(make_config: MakeConfig) -> None:
    async with AsyncBoundarySupervisor(make_config(NODES)) as supervisor:
        await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=batch())
        with leaving_fewer_than(CALLS):
            for _ in range(CALLS):
                result = await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=batch())
                assert [output.payload for output in result.terminal_outputs] == [{"value": number} for number in range(10)]
            del result


def test_of_calls_from_another_thread(make_config: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(make_config(NODES)) as supervisor:
        supervisor.call("echo", 0)
        with leaving_fewer_than(CALLS):
            for number in range(CALLS):
                assert supervisor.call("echo", number) == {"value": number}


async def test_of_failures_that_were_collected(make_config: MakeConfig) -> None:
    failing = [BoundaryDispatchInput({"fail": True}, "g", "fail_if_asked") for _ in range(2)]
    async with AsyncBoundarySupervisor(make_config(NODES)) as supervisor:
        await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=failing, on_error="collect")
        with leaving_fewer_than(CALLS):
            for _ in range(CALLS):
                result = await supervisor.execute_boundary(run_id="r", scenario_id="s", inputs=failing, on_error="collect")
                assert [output.payload.status for output in result.terminal_outputs] == ["error", "error"]
            del result
