"""One call, from group to group: one batch per group and hop, all groups of a hop at once, until only terminal outputs are left.

A call has three steps, so that each can run where it belongs: `prepare` and `finish` in the caller's thread (they encode and decode
payloads), `BoundaryCall.run` here, on the engine's loop. The order of everything is its `Place` and never depends on timing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from operator import attrgetter
from typing import Literal

import msgspec

from stream_kernel.engine.admission import release_room, reserve_room
from stream_kernel.engine.base import Answer, Command, Engine, Loss, Outcome, Ticket
from stream_kernel.engine.batches import by_group, cut
from stream_kernel.engine.failing import item_failure, loss_of, overloaded
from stream_kernel.engine.flight import Flight
from stream_kernel.engine.preparation import Prepared
from stream_kernel.engine.retrying import after_loss, pause_before_retry
from stream_kernel.engine.settlement import Failure, Output, PlainOutputs, Settled, Step
from stream_kernel.engine.turns import Turn
from stream_kernel.errors import BoundaryError, BoundaryInputError, handoff_sentence
from stream_kernel.observability.quiet import QuietLogger
from stream_kernel.protocol.columns import InputRows
from stream_kernel.reports import CommandReport, Delivery
from stream_kernel.routing.items import Emission, InputItem

__all__ = ["BoundaryCall"]

_logger = QuietLogger("stream_kernel.boundary")
_place_of = attrgetter("place")


class BoundaryCall:
    """The hops of one call."""

    def __init__(
        self,
        engine: Engine,
        prepared: Prepared,
        *,
        run_id: str,
        scenario_id: str,
        on_error: Literal["raise", "collect"],
        deadline: float,
        max_frame_bytes: int,
        next_id: Callable[[], str],
        turn: Turn | None = None,
        limit_seconds: float = inf,
    ) -> None:
        """`turn` is the call's place among those of its run, where it belongs to one. `limit_seconds` is how long a worker may have one
        command of the call, within the deadline.
        """
        self._engine = engine
        self._pending = prepared.steps
        self._bulk = prepared.bulk
        """What goes side by side; then nothing else is pending."""
        self._plain: PlainOutputs | None = None
        self._run_id = run_id
        self._scenario_id = scenario_id
        self._raises = on_error == "raise"
        self._on_error: Literal["raise", "collect"] = on_error
        self._deadline = deadline
        self._max_frame_bytes = max_frame_bytes
        self._limit_seconds = limit_seconds
        self._next_id = next_id
        self._turn = turn
        self._has_entered = False
        self._failures = list(prepared.refused)
        self._outputs: list[Output] = []
        self._outcomes: list[Outcome] = []

    @property
    def reports(self) -> list[CommandReport]:
        """What became of each command, in order of hand-over."""
        return [outcome.report for outcome in self._outcomes]

    async def run(self) -> Settled | PlainOutputs:
        """Run all hops and conclude."""
        try:
            # Under `raise` nothing is dispatched unless every input was accepted.
            while not self.is_over:
                ticket = self.begin()
                if ticket is not None:
                    try:
                        outcome = await ticket.future
                    except asyncio.CancelledError:
                        ticket.cancel()
                        raise
                    self.land(outcome)
                    continue
                if self._bulk is not None:
                    self._pending, self._bulk = self._bulk.steps(), None
                released = self._release()
                if not released and self._turn is not None:
                    await self._turn.change(self._deadline)
                    continue
                following = await self._hop(released)
                if following:
                    self._pending = sorted([*self._pending, *following], key=_place_of)
        finally:
            if self._turn is not None:
                self._turn.leave()
        return self.conclude()

    def conclude(self) -> Settled | PlainOutputs:
        """Everything that is terminal, in order. Under `raise` the first failure is raised as its error."""
        if self._raises and self._failures:
            raise self._error(min(self._failures, key=_place_of))
        if self._plain is not None:
            return self._plain
        settled: Settled = [*self._outputs, *self._failures]
        if len(settled) > 1:
            settled.sort(key=_place_of)
        return settled

    def _release(self) -> dict[str, list[Step]]:
        """The steps that may go now, by their groups: a stateful group waits until no group upstream of it has work left in this call, and
        for its turn among the calls of the run."""
        batches = by_group(self._pending)
        held = self._held(batches) if self._engine.router.stateful_groups else ()
        self._pending = [step for step in self._pending if step.group in held] if held else []
        return {group: batch for group, batch in batches.items() if group not in held} if held else batches

    def _held(self, batches: Mapping[str, list[Step]]) -> set[str]:
        router, working = self._engine.router, batches.keys()
        stateful = working & router.stateful_groups
        held = {group for group in stateful if router.upstream(group) & working}
        if held == working:  # stateful groups in a circle: the first in order that waits for its own circle only goes on
            held.discard(
                next(group for group in batches if all(group in router.upstream(other) for other in router.upstream(group) & working))
            )
        # Past the deadline, who still waits for a turn hears of that instead.
        if self._turn is not None and asyncio.get_running_loop().time() < self._deadline:
            held |= {group for group in stateful if not self._turn.has_come(group)}
        return held

    async def _hop(self, batches: Mapping[str, list[Step]]) -> list[Step]:
        """Run one batch per group, all groups at once; returns the steps that follow."""
        parts: list[list[Step]] = []
        commands: list[Command] = []
        for group, batch in batches.items():
            for part, size in cut(batch, self._engine.pieces(group) if len(batch) > 1 else 1, self._max_frame_bytes):
                parts.append(part)
                commands.append(self._command(part[0].group, [step.item for step in part], size))
        if not self._has_entered:
            self._has_entered = True
            parts, commands = await self._enter(parts, commands)
        following: list[Step] = []
        flight = Flight(self._engine.submit, partial(self._judge, following), self._renewed, self._pause)
        for part, command in zip(parts, commands, strict=True):
            flight.launch(part, command)
        if self._turn is not None:
            self._turn.pass_by(self._passed(batches.keys()))
        self._outcomes += await flight.settled()
        return following

    def begin(self) -> Ticket | None:
        """Hand over all that is pending at once, where it is a bulk or one step, and can go as one command: `land` takes what became of it.

        None where it may need more than that: several commands, a turn, a retry, room in the queue. `run` then does.
        """
        bulk = self._bulk
        if bulk is not None:
            return self._submit_at_once(bulk.group, InputRows(bulk.columns), bulk.weight)
        if len(self._pending) != 1:
            return None
        (step,) = self._pending
        return self._submit_at_once(step.group, [step.item], step.weight)

    def land(self, outcome: Outcome) -> None:
        """Take what became of that. Whether there is more to do, `is_over` says."""
        self._outcomes.append(outcome)
        bulk, self._bulk = self._bulk, None
        if bulk is not None and isinstance(outcome, Answer) and not outcome.failures:
            self._bulk = bulk.following(outcome.emissions, self._engine.router)
            self._plain = bulk.outputs(outcome.emissions)
            if self._bulk is not None or self._plain is not None:
                return
        part = self._pending if bulk is None else bulk.steps()
        self._pending = []
        if isinstance(outcome, Loss):
            self._lost(part, outcome)
        else:
            self._pending += self._answered(part, outcome)

    @property
    def is_over(self) -> bool:
        """Nothing is pending, or nothing of it will go: under `raise`, nothing is dispatched after a failure."""
        return not (self._pending or self._bulk is not None) or (self._raises and bool(self._failures))

    def _submit_at_once(self, group: str, items: Sequence[InputItem], size: int) -> Ticket | None:
        engine = self._engine
        if engine.router.stateful_groups or engine.retries(group):
            return None
        if len(items) > 1 and (size > self._max_frame_bytes or engine.pieces(group) > 1):
            return None
        if self._has_entered:
            is_admitted = False
        elif engine.reserve(group, 1, size):
            self._has_entered = is_admitted = True
        else:
            return None
        command = self._command(group, items, size)
        command.is_admitted = is_admitted
        return engine.submit(command)

    def _judge(self, following: list[Step], flight: Flight, part: list[Step], outcome: Outcome) -> list[list[Step]]:
        """Take note of what became of a command; gives what is to be run again. Under `raise` the first failure ends that, and takes back
        what has not begun.
        """
        had_failed = bool(self._failures)
        again: list[list[Step]] = []
        if self._raises and had_failed and outcome.report.outcome == "withdrawn":
            return []  # it was taken back for that failure, and is none itself
        if isinstance(outcome, Loss):
            again = self._lost(part, outcome)
        else:
            following += self._answered(part, outcome)
        if not (self._raises and self._failures):
            return again
        if not had_failed:
            flight.withdraw("another command of the call had failed")
        return []

    def _renewed(self, part: list[Step]) -> Command:
        """A command for steps that are run again."""
        command = self._command(part[0].group, [step.item for step in part], sum(step.weight for step in part))
        command.is_trial = len(part) == 1 and part[0].deaths > 0
        return command

    def _pause(self, parts: list[list[Step]]) -> float:
        """Seconds before steps are run again."""
        return min(pause_before_retry(max(step.losses for part in parts for step in part)), self._remaining)

    @property
    def _remaining(self) -> float:
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    async def _enter(self, parts: list[list[Step]], commands: list[Command]) -> tuple[list[list[Step]], list[Command]]:
        """Find room in the queues for the first commands of the call; gives those that have it. Past the deadline they go on without, and
        hear of that.
        """
        # A batch of a stream was sent ahead of its turn: what is in its way may be those before it, and its source waits with it.
        refused = await reserve_room(self._engine, commands, self._deadline, is_patient=self._turn is not None)
        for part, command in zip(parts, commands, strict=True):
            if command.group in refused:
                self._failures += [overloaded(step) for step in part]
        if refused and self._raises:
            release_room(self._engine, [command for command in commands if command.group not in refused])
            return [], []
        if not refused:
            return parts, commands
        kept = [(part, command) for part, command in zip(parts, commands, strict=True) if command.group not in refused]
        return [part for part, _ in kept], [command for _, command in kept]

    def _passed(self, in_flight: Collection[str]) -> Iterable[str]:
        """The stateful groups that this call will hand nothing to any more."""
        router = self._engine.router
        waiting = {step.group for step in self._pending}
        working = waiting.union(in_flight)
        for group in router.stateful_groups - waiting:
            comes_back = group in working and router.circle_of(group)
            if not comes_back and not working & router.upstream(group):
                yield group

    def _command(self, group: str, items: Sequence[InputItem], size: int) -> Command:
        return Command(
            correlation_id=self._next_id(),
            group=group,
            run_id=self._run_id,
            scenario_id=self._scenario_id,
            on_error=self._on_error,
            deadline=self._deadline,
            items=items,
            limit_seconds=self._limit_seconds,
            size=size,
            call=id(self),
        )

    def _answered(self, part: list[Step], answer: Answer) -> Iterable[Step]:
        """Take what a command came to; gives the steps that follow."""
        failures = answer.failures
        if failures and answer.report.outcome == "failed" and not self._raises:
            # It failed as a whole: none of its items has an output, and each is to hear why.
            failures = [msgspec.structs.replace(failures[0], index=index) for index in range(len(part))]
        for failed in failures:
            failure = item_failure(part[failed.index], failed, answer.report)
            # The traceback may quote what the node's exception quotes: it is for those who turn debugging on.
            _logger.info("%s: %s", failure.sentence, failure.report.reason)
            _logger.debug("traceback of node '%s':\n%s", failure.node, failure.report.detail)
            self._failures.append(failure)
        outputs, following = self._outputs, []
        for emission in answer.emissions:
            step = part[emission.index]
            rank, position, hop, path = step.place
            path = (*path, step.emitted)
            step.emitted += 1
            if emission.terminal:
                outputs.append(Output((rank, position, hop, path), step, emission))
            else:
                following += self._follow(step, emission, path)
        return following

    def _lost(self, part: list[Step], loss: Loss) -> list[list[Step]]:
        """Record what is lost for good; gives what is to be run again."""
        _logger.info("%s: %s", handoff_sentence(loss.category, part[0].group), loss.reason)
        # Without an end of a worker it was given up, not lost.
        retries = self._engine.retries(part[0].group) if self._remaining > 0 and loss.exit is not None else 0
        aftermath = after_loss(part, loss, retries=retries)
        failed = {id(step) for step in aftermath.failed}
        for index, step in enumerate(part):
            failure = loss_of(part, index, loss)
            if id(step) in failed:
                self._failures.append(failure)
            else:
                step.lost_before = failure
        return aftermath.again

    def _follow(self, step: Step, emission: Emission, path: tuple[int, ...]) -> list[Step]:
        rank, position, hop, _ = step.place
        item, following = step.item, []
        for branch, route in enumerate(self._engine.router.beyond(step.group, emission.target, emission.packed.tag)):
            next_item = InputItem(
                packed=emission.packed,
                target=route.name,
                trace_id=item.trace_id if emission.trace_id is None else emission.trace_id,
                reply_to=item.reply_to if emission.reply_to is None else emission.reply_to,
                meta=emission.meta or item.meta,
                source_group=step.group,
                route_hop=hop + 1,
                steps=emission.steps,
            )
            place = (rank, position, hop + 1, (*path, branch))
            following.append(Step(place, step.root, route.group, next_item, next_item.size, emitter=(step.group, emission.node)))
        return following

    def _error(self, first: Failure) -> BoundaryError | BoundaryInputError:
        """The error of the whole call: the first failure, with the delivery of all its commands."""
        reports = tuple(self.reports)
        deliveries = {report.delivery for report in reports}
        delivery: Delivery = "not_executed"
        if "maybe_executed" in deliveries:
            delivery = "maybe_executed"
        elif "executed" in deliveries:
            delivery = "executed"
        traces = dict.fromkeys(failure.trace_id for failure in sorted(self._failures, key=lambda failure: failure.place))
        return first.error(delivery, tuple(trace for trace in traces if trace is not None), reports)
