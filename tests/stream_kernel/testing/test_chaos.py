"""Faults as a test orders them: what is built, what is refused, and that workers agree with both."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from stream_kernel import BoundaryTransportError, ConfigurationError, MultiprocessBootstrapSupervisor, RuntimeConfig, WorkerBootstrapError
from stream_kernel.engine.process.fault_plan import PlannedFault, orders_for
from stream_kernel.protocol.faults import ACTIONS, POINTS
from stream_kernel.protocol.messages import FaultOrder
from stream_kernel.testing import chaos
from stream_kernel.testing.misbehaviour import CrashingNode
from stream_kernel.worker.faultpoints import FaultPoints
from stream_kernel.worker.stdio import Wire


class Fifo(Protocol):
    """What the fixture `make_fifo` makes."""

    path: str


def arguments_of(action: str, point: str) -> dict[str, Any]:
    """All that this fault needs."""
    given: dict[str, Any] = {action: point}
    if point == "mid_write":
        given["after_bytes"] = 7
    if action == "exit":
        given["code"] = 3
    if action == "hold":
        given["fifo"] = "/tmp/a:b"
    return given


def test_the_point_the_passage_and_the_worker_are_those_that_are_named() -> None:
    fault = chaos(kill="before_write", nth=3, group="score", worker_index=0, generation=2)
    assert fault == PlannedFault(order=FaultOrder(point="before_write", action="kill", nth=3), group="score", worker_index=0, generation=2)


def test_a_replacement_is_healthy_unless_every_incarnation_is_asked_for() -> None:
    once, always = chaos(kill="in_node"), chaos(segv="in_node", generation=None)
    assert orders_for([once, always], "g", 0, 1) == (once.order, always.order)
    assert orders_for([once, always], "g", 0, 2) == (always.order,)


@pytest.mark.parametrize(
    ("given", "argument"),
    [
        ({"exit": "in_node", "code": 0}, "0"),
        ({"hold": "read", "fifo": Path("/tmp/fifo")}, "/tmp/fifo"),
        ({"kill": "mid_write", "after_bytes": 0}, "0"),
        ({"exit": "mid_write", "after_bytes": 12, "code": 4}, "12:4"),
        ({"hold": "mid_write", "after_bytes": 12, "fifo": "/tmp/a:b"}, "12:/tmp/a:b"),
        ({"hang_c": "in_node"}, ""),
    ],
)
def test_what_an_action_needs_travels_in_its_argument(given: dict[str, Any], argument: str) -> None:
    assert chaos(**given).order.argument == argument


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_can_follow_exactly_what_can_be_ordered(action: str, point: str) -> None:
    given = arguments_of(action, point)
    wire = cast(Wire, None)  # nothing is written
    try:
        order = chaos(**given).order
    except ConfigurationError:
        argument = "7" if point == "mid_write" else ""
        with pytest.raises(WorkerBootstrapError):
            FaultPoints("g", [FaultOrder(point=point, action=action, argument=argument)], wire)
    else:
        assert (order.action, order.point) == (action, point)
        FaultPoints("g", [order], wire).reach("another point")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "name one action .*, not none"),
        ({"kill": "read", "stop": "read"}, "name one action .*, not kill, stop"),
        ({"explode": "read"}, "name one action .*, not explode"),
        ({"kill": "somewhere"}, "kill='somewhere': there is no such point .*boot"),
        (
            {"garbage": "mid_write", "after_bytes": 1},
            "garbage='mid_write': in the middle of a frame .* kill, stop, exit, hold",
        ),
        ({"duplicate": "read"}, "duplicate='read': .* only at before_write and after_write"),
        ({"exit": "read"}, "the action exit needs code="),
        ({"hold": "read"}, "the action hold needs fifo="),
        ({"hold": "read", "fifo": ""}, "the action hold needs fifo="),
        ({"kill": "mid_write"}, "the point mid_write needs after_bytes="),
        ({"kill": "read", "code": 1}, "code= is for the action exit only"),
        ({"kill": "read", "after_bytes": 1}, "after_bytes= is for the point mid_write only"),
        ({"kill": "read", "fifo": "x"}, "fifo= is for the action hold only"),
        ({"exit": "read", "code": 256}, "code must be from 0 to 255; it is 256"),
        ({"kill": "mid_write", "after_bytes": -1}, "after_bytes must be 0 or more; it is -1"),
        ({"kill": "read", "nth": 0}, "nth counts from 1; it is 0"),
        ({"kill": "read", "worker_index": -1}, "worker_index counts from 0; it is -1"),
        ({"kill": "read", "generation": 0}, "generation counts from 1; it is 0"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^chaos: {says}"):
        chaos(**given)


@pytest.fixture
def supervise() -> Callable[..., MultiprocessBootstrapSupervisor]:
    """A supervisor of two workers with a node that echoes, and faults for them."""

    def make(*faults: PlannedFault) -> MultiprocessBootstrapSupervisor:
        mapping = CrashingNode().mapping(workers=2, env_passthrough=["COVERAGE_*"])
        return MultiprocessBootstrapSupervisor(RuntimeConfig.from_mapping(mapping), chaos=faults)

    return make


def test_only_the_named_worker_is_harmed_and_only_once(supervise: Callable[..., MultiprocessBootstrapSupervisor]) -> None:
    with supervise(chaos(exit="in_node", code=7, worker_index=1)) as supervisor:
        outcomes: list[object] = []
        for n in range(6):
            try:
                outcomes.append(supervisor.call("crashing_node", n))
            except BoundaryTransportError as lost:
                end = lost.report.exit
                outcomes.append(end and (end.worker_id, end.generation, end.exit_code))
        assert outcomes == [0, ("crashing#1", 1, 7), 2, 3, 4, 5]


def test_a_held_worker_goes_on_when_the_test_lets_it(
    supervise: Callable[..., MultiprocessBootstrapSupervisor], make_fifo: Callable[[str], Fifo]
) -> None:
    fifo = make_fifo("held")
    with supervise(chaos(hold="before_write", fifo=fifo.path)) as supervisor, ThreadPoolExecutor(1) as threads:
        calling = threads.submit(supervisor.call, "crashing_node", "held back")
        with Path(fifo.path).open("w"):  # opens when the worker has come to the point
            assert not calling.done()
        assert calling.result(timeout=20) == "held back"
