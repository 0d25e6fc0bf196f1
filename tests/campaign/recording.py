"""Records what happens while it happens: calls, lifecycle events, the lateness of the event loop, what the parent complains about."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from tests.campaign.checker import Answered, wrong_in
from tests.campaign.history import Call, History, Incarnation, ItemFate, Lag

from stream_kernel import (
    AsyncBoundarySupervisor,
    BoundaryDispatchInput,
    BoundaryError,
    BoundaryInputError,
    Envelope,
    RoutingResult,
    TerminalEvent,
)
from stream_kernel.observability.events import LifecycleEvent

__all__ = ["Calls", "Complaints", "Events", "spread", "watch_lag"]

_TICK_SECONDS = 0.005
_NOTEWORTHY_SECONDS = 0.0002


class Events:
    """A sink that keeps the incarnations of all workers."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._known: dict[tuple[str, int], Incarnation] = {}

    def emit(self, event: LifecycleEvent) -> None:
        key = (event.worker_id, event.generation)
        if event.kind == "worker_spawned":
            self._known[key] = found = Incarnation(event.group, event.worker_id, event.generation, event.pid or 0, event.monotonic)
            self._history.incarnations.append(found)
        elif key in self._known:
            self._note(self._known[key], event)

    def _note(self, found: Incarnation, event: LifecycleEvent) -> None:
        if event.kind == "worker_ready":
            found.ready = event.monotonic
        elif event.kind in ("worker_failed", "worker_stopped"):
            found.ended = event.monotonic
            found.endings += 1


class Complaints(logging.Handler):
    """Takes the place of the log: what is logged as an error, or reaches the event loop unhandled, goes into the history."""

    def __init__(self, history: History) -> None:
        super().__init__(logging.ERROR)
        self._history = history

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        # Not the parent's own: what a node wrote to its stderr, and groups that failed, which the checker knows of.
        if not record.name.startswith(("stream_kernel.worker.", "stream_kernel.lifecycle")):
            self._history.complaints.append(f"{record.name}: {text}")

    def unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For `loop.set_exception_handler`."""
        self._history.complaints.append(f"event loop: {context.get('message')}: {context.get('exception')!r}")


async def watch_lag(history: History) -> None:
    """Sleep 5 ms again and again, and note when that took longer."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK_SECONDS
        await asyncio.sleep(_TICK_SECONDS)
        now = loop.time()
        if now - due > _NOTEWORTHY_SECONDS:
            history.lags.append(Lag(due, now))


class Calls:
    """Makes calls with tokens of their own, and writes down what became of each."""

    def __init__(self, supervisor: AsyncBoundarySupervisor, history: History, nodes: dict[str, str]) -> None:
        """`nodes`: the node of each group."""
        self._supervisor = supervisor
        self._history = history
        self._nodes = nodes
        self._token = 1

    async def make(
        self,
        group: str,
        orders: Sequence[str] = ("work",),
        *,
        inputs: int = 1,
        on_error: Literal["raise", "collect"] = "raise",
        timeout: float = 30.0,
        cancel_after: float | None = None,
        at_once: bool = False,
    ) -> Call:
        """One call, cancelled after that many seconds if that is given; returns its record. `orders`: one for all, or one each."""
        call = self._begin(group, tuple(orders), inputs, on_error, timeout)
        call.at_once = at_once
        work = self._execute(call, timeout)
        if cancel_after is None:
            await work
            return call
        task = asyncio.ensure_future(work)
        await asyncio.wait([task], timeout=cancel_after)
        if not task.done():
            call.cancelled = True
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return call

    def _begin(self, group: str, orders: tuple[str, ...], inputs: int, on_error: str, timeout: float) -> Call:
        first = self._token
        self._token += inputs
        now = time.monotonic()
        call = Call(len(self._history.calls), group, orders, first, inputs, on_error, now, now + timeout)
        self._history.calls.append(call)
        return call

    async def _execute(self, call: Call, timeout: float) -> None:
        on_error: Literal["raise", "collect"] = "collect" if call.on_error == "collect" else "raise"
        outcome, delivery = "", ""
        try:
            call.started = time.monotonic()
            call.deadline = call.started + timeout
            result = await self._supervisor.execute_boundary(
                run_id="campaign", scenario_id="campaign", inputs=self._inputs(call), timeout_seconds=timeout, on_error=on_error
            )
            call.settled = time.monotonic()
            outcome = "result"
            self._examine(call, result)
        except asyncio.CancelledError:
            call.settled = time.monotonic()
            outcome = "cancelled"
            raise
        except (BoundaryError, BoundaryInputError) as error:
            call.settled = time.monotonic()
            outcome, delivery = error.category, error.delivery
            if outcome == "transport":
                call.lost_pid = _lost_pid(error)
        except Exception as error:  # noqa: BLE001  whatever else comes out of a call is what the checker looks for
            call.settled = time.monotonic()
            outcome = repr(error)
        finally:
            call.settlements += 1
            call.outcome, call.delivery = outcome, delivery

    def _inputs(self, call: Call) -> list[BoundaryDispatchInput]:
        node = self._nodes[call.group]
        return [
            BoundaryDispatchInput(
                {"token": token, "order": call.order(index)}, call.group, node, trace_id=f"t{token}", reply_to=f"t{token}"
            )
            for index, token in enumerate(call.tokens)
        ]

    def _examine(self, call: Call, result: RoutingResult) -> None:
        """Right and its own? Of collected failures: what they say of their input."""
        good: list[Answered] = []
        fates: list[ItemFate] = []
        for envelope in result.terminal_outputs:
            fate = _fate(call, envelope)
            if fate is None:
                good.append(_answered(envelope))
            else:
                fates.append(fate)
        call.fates = tuple(fates)
        failed = {fate.index for fate in fates}
        call.wrong = wrong_in([token for index, token in enumerate(call.tokens) if index not in failed], good)
        if call.group in self._history.lives:
            self._history.lives[call.group].extend(envelope.payload["pid"] for envelope in result.terminal_outputs if not fates)


def _fate(call: Call, envelope: Envelope) -> ItemFate | None:
    event = envelope.payload
    if not isinstance(event, TerminalEvent) or event.failure is None:
        return None
    token = int((envelope.trace_id or "t-1").removeprefix("t"))
    return ItemFate(token - call.first_token, event.failure.category, event.failure.delivery)


def _answered(envelope: Envelope) -> Answered:
    payload = envelope.payload if isinstance(envelope.payload, dict) else {}
    return Answered(envelope.trace_id, envelope.reply_to, payload.get("token"), payload.get("value"))


def _lost_pid(error: BoundaryError | BoundaryInputError) -> int:
    """The worker that was lost with the call at its head."""
    for command in error.report.commands:
        if command.outcome == "transport" and command.delivery == "maybe_executed" and command.pid is not None:
            return command.pid
    return 0


def spread(generator: random.Random, low: float, high: float) -> float:
    """A random time between two, the short ones more often."""
    return low * math.exp(math.log(high / low) * generator.random())
