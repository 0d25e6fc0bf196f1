"""One call in steps, each to be taken where it belongs: checked and packed in the caller's thread, run on the supervisor's loop,
decoded in the caller's thread again. Both faces take the same steps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from math import inf
from typing import Literal, Protocol

from stream_kernel.config.model import RuntimeConfig
from stream_kernel.engine.base import Engine, Outcome, PayloadCodec, Ticket
from stream_kernel.engine.boundary import BoundaryCall
from stream_kernel.engine.preparation import Prepared, prepare, refuse_all
from stream_kernel.engine.settlement import Finished, PlainOutputs, Settled, finish
from stream_kernel.engine.turns import RunOrder
from stream_kernel.errors import WorkerBootstrapError
from stream_kernel.reports import Category, CommandReport
from stream_kernel.routing.dispatch import BoundaryDispatchInput
from stream_kernel.routing.text import is_utf8

__all__ = ["MAX_TIMEOUT_SECONDS", "CallHost", "CallRequest", "OnError", "check_seconds"]

OnError = Literal["raise", "collect"]
_MAX_ID_CHARS = 1024
MAX_TIMEOUT_SECONDS = 1e9


class CallHost(Protocol):
    """What a call needs of its supervisor."""

    config: RuntimeConfig
    engine: Engine
    group_names: frozenset[str]

    @property
    def codec(self) -> PayloadCodec: ...

    def refusal(self) -> str | None:
        """Why no call is admitted now, or None."""

    async def pass_gate(self) -> None:
        """Wait until all groups are ready, or until no call is admitted any more. Raises `WorkerBootstrapError`."""

    def call_entered(self) -> None: ...

    def call_left(self) -> None: ...

    def next_id(self) -> str: ...


class CallRequest:
    """A call from its arguments to its outputs: (`pass_gate` if `waits`), `pack`, then `conclude` if `is_settled`, else `run` (or `begin`);
    `finish`.
    """

    def __init__(
        self,
        host: CallHost,
        inputs: Sequence[BoundaryDispatchInput],
        *,
        run_id: str,
        scenario_id: str,
        timeout_seconds: float | None,
        on_error: OnError,
        order: RunOrder | None = None,
        limit_seconds: float = inf,
        first: int = 0,
    ) -> None:
        """`first` is the position of the first input in the stream that the call is a part of."""
        timeout = host.config.execution_ipc.boundary_timeout_seconds if timeout_seconds is None else timeout_seconds
        _check_arguments(inputs, run_id, scenario_id, timeout, on_error)
        self._host = host
        self._inputs = inputs
        self._first = first
        self._run_id = run_id if type(run_id) is str else str.__str__(run_id)
        self._scenario_id = scenario_id if type(scenario_id) is str else str.__str__(scenario_id)
        self._on_error: OnError = on_error
        self._deadline = time.monotonic() + timeout
        self._refusal: tuple[Category, str] | None = None
        self._prepared = Prepared([], [])
        self._limit_seconds = limit_seconds
        self._turn = None if order is None else order.turn()
        self._running: BoundaryCall | None = None

    @property
    def waits(self) -> bool:
        """Whether the gate is still shut, so that the call has to wait for it first."""
        return not self._host.engine.is_open and self._host.refusal() is None

    @property
    def is_settled(self) -> bool:
        """After `pack`: nothing is left to do on the loop. A call that others of its run wait for gives up its turn there."""
        return self._prepared.is_empty and self._turn is None

    async def pass_gate(self) -> None:
        """Wait, within the deadline, until all groups are ready."""
        try:
            async with asyncio.timeout_at(self._loop_deadline()):
                await self._host.pass_gate()
        except TimeoutError:
            self._refusal = ("timeout", "the deadline passed before all groups were ready")
        except WorkerBootstrapError as error:
            self._refusal = ("transport", str(error))

    def pack(self) -> None:
        """Check and encode the inputs."""
        self._check_admission()
        if self._refusal is not None:
            self._refuse(*self._refusal)
            return
        router, groups = self._host.engine.router, self._host.group_names
        self._prepared = prepare(self._inputs, codec=self._host.codec, router=router, groups=groups, first=self._first)

    def refuse(self, reason: str) -> None:
        """Give up what was packed: nothing of it has been dispatched."""
        self._refuse("transport", reason)

    def conclude(self) -> Settled | PlainOutputs:
        """What a settled call gives; raises its error under `raise`."""
        return self._call(0.0).conclude()

    async def run(self) -> Settled | PlainOutputs:
        """Dispatch what was packed, and all hops, or what is left after `begin`; on the supervisor's loop."""
        call = self._running or self._enter()
        try:
            return await call.run()
        finally:
            self._host.call_left()

    def begin(self) -> Ticket | None:
        """The way without a task, on the supervisor's loop: hand over the first hop, where it is one command. `land` takes its outcome;
        then comes `end`, or `run` where there is more to do. None: `run` does it all.
        """
        call = self._enter()
        try:
            return None if self._turn is not None or call.is_over else call.begin()
        except BaseException:  # a mistake of ours: who drains must not wait for it
            self._host.call_left()
            raise

    def land(self, outcome: Outcome) -> bool:
        """Take what became of the command that was begun; whether that was all."""
        assert self._running is not None
        try:
            self._running.land(outcome)
        except BaseException:  # the same
            self._host.call_left()
            raise
        return self._running.is_over

    def end(self) -> Settled | PlainOutputs:
        """What a call came to that was begun and is over; raises its error under `raise`."""
        assert self._running is not None
        try:
            return self._running.conclude()
        finally:
            self._host.call_left()

    def abandon(self) -> None:
        """Nobody waits for a call that was begun."""
        self._host.call_left()

    def _enter(self) -> BoundaryCall:
        self._check_admission()
        if self._refusal is not None:  # it has been closed while the inputs were encoded
            self._refuse(*self._refusal)
        call = self._call(self._loop_deadline())
        self._host.call_entered()
        self._running = call
        return call

    @property
    def reports(self) -> Sequence[CommandReport]:
        """After `run`: what became of each command."""
        return () if self._running is None else self._running.reports

    def finish(self, settled: Settled | PlainOutputs) -> list[Finished]:
        """Decode the outputs; under `raise`, one that cannot be decoded raises."""
        finished = finish(settled, self._host.codec)
        if self._on_error == "raise":
            for one in finished:
                if one.error is not None:
                    raise one.error
        return finished

    def _refuse(self, category: Category, reason: str) -> None:
        self._prepared = refuse_all(self._inputs, category, reason, first=self._first)

    def _check_admission(self) -> None:
        reason = self._host.refusal()
        if self._refusal is None and reason is not None:
            self._refusal = ("transport", reason)

    def _call(self, deadline: float) -> BoundaryCall:
        return BoundaryCall(
            self._host.engine,
            self._prepared,
            run_id=self._run_id,
            scenario_id=self._scenario_id,
            on_error=self._on_error,
            deadline=deadline,
            max_frame_bytes=self._host.config.execution_ipc.max_frame_bytes,
            next_id=self._host.next_id,
            turn=self._turn,
            limit_seconds=self._limit_seconds,
        )

    def _loop_deadline(self) -> float:
        # The deadline was taken in the caller's thread; an event loop may keep another clock.
        return asyncio.get_running_loop().time() + self._deadline - time.monotonic()


def check_seconds(name: str, value: float | None, most: float = inf) -> None:
    """Raise `ValueError` for an argument that is no span of time; None leaves it to the configuration."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most):
        raise ValueError(f"{name} must be a number from 0 to {most:g}, not {value!r}")


def _check_arguments(inputs: Sequence[BoundaryDispatchInput], run_id: str, scenario_id: str, timeout: float, on_error: OnError) -> None:
    if not (_is_id(run_id) and _is_id(scenario_id)):
        name = "scenario_id" if _is_id(run_id) else "run_id"
        raise ValueError(f"{name} must be a string of at most {_MAX_ID_CHARS} characters, without lone surrogates")
    check_seconds("timeout_seconds", timeout, MAX_TIMEOUT_SECONDS)
    if on_error not in ("raise", "collect"):
        raise ValueError(f"on_error must be 'raise' or 'collect', not {on_error!r}")
    if type(inputs) is not list and not isinstance(inputs, Sequence):
        raise TypeError(f"inputs must be a sequence of BoundaryDispatchInput, not {type(inputs).__name__}")
    if set(map(type, inputs)) <= {BoundaryDispatchInput}:
        return
    for position, given in enumerate(inputs):
        if not isinstance(given, BoundaryDispatchInput):
            raise TypeError(f"inputs[{position}] must be a BoundaryDispatchInput, not {type(given).__name__}")


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_ID_CHARS and (value.isascii() or is_utf8(value))
