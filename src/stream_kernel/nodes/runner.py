"""Runs one input through a group: the node it names, and depth first every node of the group that its outputs lead to.

The same code serves the worker and the inline engine. It is written as coroutines; where no node is async they never suspend, and
the worker drives them without an event loop. What differs is the `Carrier`: how a payload is made unchangeable and read again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import inf
from time import perf_counter
from types import AsyncGeneratorType, GeneratorType
from typing import Any

import msgspec

from stream_kernel.errors import PayloadError
from stream_kernel.nodes.context import NodeContext
from stream_kernel.nodes.failure import NodeFailure, exception_name
from stream_kernel.nodes.outputs import Carrier, Outputs, Trail, Work, wanted_of
from stream_kernel.nodes.registry import BuiltNode
from stream_kernel.reports import NodeTiming
from stream_kernel.routing.items import Emission, InputItem, ItemFailure, Way
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import Router

__all__ = ["CallScope", "GroupRunner"]

_END = object()


class CallScope(msgspec.Struct, frozen=True):
    """What the items of one command share. `deadline` is a point on `time.monotonic()`."""

    run_id: str
    scenario_id: str
    deadline: float | None


class GroupRunner:
    """The nodes of one group and the way between them."""

    def __init__(
        self, *, group: str, worker_index: int, nodes: Iterable[BuiltNode], router: Router, carrier: Carrier, max_hops: int
    ) -> None:
        self._group = group
        self._worker_index = worker_index
        self._works: Mapping[str, Work] = {node.spec.name: Work(node, node.spec.name, node.call, node.is_async) for node in nodes}
        self._carrier = carrier
        self._outputs = Outputs(self._works, group, router, carrier, max_hops)
        self._is_own_cancel: Callable[[BaseException], bool] = lambda _: False
        self._between_items: Callable[[], Awaitable[None]] | None = None
        self._look_seconds = 0.0
        self._on_exception: Callable[[BaseException], None] = lambda _: None
        self._note_progress: Callable[[int, str], None] | None = None
        self._on_return: Callable[[], None] | None = None
        self._ran: list[Work] = []
        self._now = 0.0

    def watch_cancel(self, is_own_cancel: Callable[[BaseException], bool]) -> None:
        """Tell what comes out of an async node because the task around it is being cancelled: that is passed on."""
        self._is_own_cancel = is_own_cancel

    def pause_between_items(self, pause: Callable[[], Awaitable[None]]) -> None:
        """Await this before each item but the first: where nodes share an event loop with what may end them."""
        self._between_items = pause

    def look_for_cancels_every(self, seconds: float) -> None:
        """Ask whether a batch is cancelled before its first item, and then only when so much time has passed."""
        self._look_seconds = seconds

    def watch_exceptions(self, on_exception: Callable[[BaseException], None]) -> None:
        """Show what a node raised, its frames still there, before it becomes the failure of its item."""
        self._on_exception = on_exception

    def watch_progress(self, note: Callable[[int, str], None]) -> None:
        """Call this with the index of the input and the name of the node whenever a node is about to work.

        That is before each call, before each step of a generator, whose node is at work again after those behind it, and before what
        follows the yield of a generator that is left early.
        """
        self._note_progress = note

    def watch_returns(self, on_return: Callable[[], None]) -> None:
        """Call this whenever a node has given control back, with an output, with an exception, or at its end."""
        self._on_return = on_return

    @property
    def timing(self) -> tuple[NodeTiming, ...]:
        """The nodes that ran in the last batch."""
        return tuple([NodeTiming(work.name, work.runs, round(work.seconds * 1000, 3)) for work in self._ran])

    async def run_batch(
        self,
        items: Sequence[InputItem],
        scope: CallScope,
        *,
        stop_at_failure: bool,
        take: Callable[[list[Emission] | ItemFailure], None],
        is_cancelled: Callable[[], bool],
        take_one: Callable[[int, Packed, Way, int], None] | None = None,
    ) -> ItemFailure | None:
        """Run items in order; `take` gets what each one gave. Returns the failure that ended the batch, or None.

        All are decoded before the first node runs: an input that does not fit must not leave half a batch done. What an item gave goes to
        `take_one`, where there is one, if it is one output that inherits everything and takes a known way out of the group: its index,
        payload, way, and steps.
        """
        self._forget()
        loaded, refused = self._load(items)
        if stop_at_failure and refused is not None:
            return refused
        pause, leave = self._between_items, self._outputs.leave
        look = -inf
        for index, (item, message) in enumerate(zip(items, loaded, strict=True)):
            if pause is not None and index:
                await pause()
            if self._now >= look:
                if is_cancelled():
                    return ItemFailure(index, "transport", "cancelled by the caller", None, index > 0)
                look = perf_counter() + self._look_seconds
            if refused is not None and type(message) is ItemFailure:
                take(message)
                continue
            work = self._works[item.target]
            try:
                result = self._call(work, message, index, item, scope)
                if work.is_async:
                    result = await self._await(work, result)
                if take_one is not None:
                    steps = item.steps + 1
                    leaving = leave(work, result, steps)
                    if leaving is not None:
                        packed, way = leaving
                        take_one(index, packed, way, steps)
                        continue
                outcome = [] if result is None else await self._follow(work, result, index, item, scope)
            except NodeFailure as failed:
                failure = ItemFailure(index, "execution", failed.reason, failed.node, True, failed.exception_type, failed.detail)
                if stop_at_failure:
                    return failure
                take(failure)
            else:
                take(outcome)
        return None

    def _forget(self) -> None:
        for work in self._ran:
            work.runs, work.seconds = 0, 0.0
        self._ran.clear()

    def _load(self, items: Sequence[InputItem]) -> tuple[list[Any], ItemFailure | None]:
        """The messages of all items, where one does not fit its node an `ItemFailure` of category `input`; the first of these."""
        loaded: list[Any] = []
        first: ItemFailure | None = None
        target: str | None = None
        tag = wanted = refusal = None
        unpack = self._carrier.unpack
        for index, item in enumerate(items):
            packed = item.packed
            if item.target is not target or packed.tag is not tag:  # in most batches all are alike
                target, tag = item.target, packed.tag
                refusal, wanted = self._reading(target, tag)
            reason = refusal
            if reason is None:
                try:
                    loaded.append(unpack(packed, wanted))
                except PayloadError as error:
                    reason = f"input for node '{target}' {error}"
                else:
                    continue
            failure = ItemFailure(index, "input", reason, target, executed=False)
            first = first or failure
            loaded.append(failure)
        return loaded, first

    def _reading(self, target: str, tag: str | None) -> tuple[str | None, str | None]:
        """Why messages with this tag are nothing for the node, or None; and the class that is wanted of them."""
        work = self._works.get(target)
        if work is None:
            return f"node '{target}' is not in group '{self._group}'", None
        return work.node.route.refusal(tag), wanted_of(work.node.route, tag)

    async def _follow(self, work: Work, result: Any, index: int, item: InputItem, scope: CallScope) -> list[Emission]:
        """What an item gives, in order, once its first node has given `result`."""
        emissions: list[Emission] = []
        trail = Trail(index, item.trace_id, item.reply_to, item.meta, item.steps)
        await self._send(work, result, trail, scope, emissions)
        return emissions

    async def _visit(self, work: Work, message: Any, trail: Trail, scope: CallScope, out: list[Emission]) -> None:
        result = self._call(work, message, trail.index, trail, scope)
        if work.is_async:
            result = await self._await(work, result)
        await self._send(work, result, trail, scope, out)

    def _call(self, work: Work, message: Any, index: int, source: InputItem | Trail, scope: CallScope) -> Any:
        """Run a node. Of an async one this makes what `_await` runs."""
        context = NodeContext(
            trace_id=source.trace_id,
            reply_to=source.reply_to,
            run_id=scope.run_id,
            scenario_id=scope.scenario_id,
            group=self._group,
            worker_index=self._worker_index,
            node=work.name,
            meta={} if source.meta is None else self._carrier.unpack(source.meta),
            deadline=scope.deadline,
        )
        if not work.runs:
            self._ran.append(work)
        work.runs += 1
        started = perf_counter()
        if self._note_progress is not None:
            self._note_progress(index, work.name)
        try:
            result = work.call(message, context)
        except BaseException as error:  # noqa: BLE001  user code: whatever it raises, SystemExit included, is this item's failure
            self._spend(work, started)
            raise self._raised(work.name, error) from None
        self._now = now = perf_counter()
        work.seconds += now - started
        if self._on_return is not None and not work.is_async:
            self._on_return()
        return result

    async def _await(self, work: Work, begun: Any) -> Any:
        """What an async node gives once it is through."""
        started = self._now
        try:
            return begun if type(begun) is AsyncGeneratorType else await begun
        except BaseException as error:  # noqa: BLE001  user code, as above
            raise self._raised(work.name, error) from None
        finally:
            self._spend(work, started)

    def _spend(self, work: Work, started: float) -> None:
        self._now = perf_counter()
        work.seconds += self._now - started
        if self._on_return is not None:
            self._on_return()

    async def _send(self, work: Work, result: Any, trail: Trail, scope: CallScope, out: list[Emission]) -> None:
        """Pack what a node has returned, and let it go on."""
        kind = type(result)
        if kind is GeneratorType or kind is AsyncGeneratorType:
            await self._stream(work, result, trail, scope, out)
            return
        outputs = result if kind is list or kind is tuple else (result,)
        # All are packed before the first goes on: the next node must not change what this one has returned.
        for sending in [self._outputs.prepare(work, output, trail) for output in outputs if output is not None]:
            if sending.emission is not None:
                out.append(sending.emission)
            for consumer, message in sending.local:
                await self._visit(consumer, message, sending.trail, scope, out)

    async def _stream(self, work: Work, produced: Any, trail: Trail, scope: CallScope, out: list[Emission]) -> None:
        name = work.name
        is_async = type(produced) is AsyncGeneratorType
        try:
            while True:
                started = perf_counter()
                if self._note_progress is not None:
                    self._note_progress(trail.index, name)
                try:
                    output = await anext(produced) if is_async else next(produced, _END)
                except BaseException as error:  # noqa: BLE001  user code
                    if is_async and isinstance(error, StopAsyncIteration):
                        return
                    raise self._raised(name, error) from None
                finally:
                    self._spend(work, started)
                if output is _END:
                    return
                if output is None:
                    continue
                sending = self._outputs.prepare(work, output, trail)
                if sending.emission is not None:
                    out.append(sending.emission)
                for consumer, message in sending.local:
                    await self._visit(consumer, message, sending.trail, scope, out)
        finally:
            if (produced.ag_frame if is_async else produced.gi_frame) is not None:  # some of its code is left to run
                await self._leave(work, trail.index, produced, is_async)

    async def _leave(self, work: Work, index: int, produced: Any, is_async: bool) -> None:
        started = perf_counter()
        if self._note_progress is not None:
            self._note_progress(index, work.name)
        try:
            if is_async:
                await produced.aclose()
            else:
                produced.close()
        except BaseException as error:  # noqa: BLE001  user code: what follows a yield
            raise self._raised(work.name, error) from None
        finally:
            self._spend(work, started)

    def _raised(self, name: str, error: BaseException) -> BaseException:
        if isinstance(error, NodeFailure) or self._is_own_cancel(error):
            return error
        self._on_exception(error)
        return NodeFailure(name, f"node '{name}' raised {exception_name(error)}", error, __file__)
