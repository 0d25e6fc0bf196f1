"""Runs one input through a group: the node it names, and depth first every node of the group that its outputs lead to.

The same code serves the worker and the inline engine. It is written as coroutines; where no node is async they never suspend, and
the worker drives them without an event loop. What differs is the `Carrier`: how a payload is made unchangeable and read again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from time import perf_counter
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Protocol

import msgspec

from stream_kernel.errors import PayloadError
from stream_kernel.nodes.context import NodeContext
from stream_kernel.nodes.failure import NodeFailure, exception_name
from stream_kernel.nodes.registry import BuiltNode
from stream_kernel.reports import NodeTiming
from stream_kernel.routing.envelope import Envelope, TerminalEvent
from stream_kernel.routing.items import Emission, InputItem, ItemFailure
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.router import NodeRoute, Router
from stream_kernel.routing.text import is_utf8

__all__ = ["CallScope", "Carrier", "GroupRunner"]

_MAX_HEADER_BYTES = 65_536
"""What an output's trace_id, reply_to, meta and error may come to."""


class Carrier(Protocol):
    """Makes payloads unchangeable and reads them again; both raise `PayloadError`."""

    def pack(self, payload: Any) -> Packed: ...

    def unpack(self, packed: Packed, wanted: str | None = None) -> Any: ...


class CallScope(msgspec.Struct, frozen=True):
    """What the items of one command share. `deadline` is a point on `time.monotonic()`."""

    run_id: str
    scenario_id: str
    deadline: float | None


class _Trail(msgspec.Struct):
    """What one message in a chain inherits."""

    index: int
    trace_id: str | None
    reply_to: str | None
    meta: Packed | None
    steps: int
    own_trace_id: str | None = None
    own_reply_to: str | None = None
    own_meta: Packed | None = None


class _Sending(msgspec.Struct):
    """An output that has been packed and routed, and goes to nobody yet."""

    emission: Emission | None
    local: tuple[tuple[BuiltNode, Any], ...]
    trail: _Trail


class GroupRunner:
    """The nodes of one group and the way between them."""

    def __init__(
        self, *, group: str, worker_index: int, nodes: Iterable[BuiltNode], router: Router, carrier: Carrier, max_hops: int
    ) -> None:
        self._group = group
        self._worker_index = worker_index
        self._nodes: Mapping[str, BuiltNode] = {node.spec.name: node for node in nodes}
        self._router = router
        self._carrier = carrier
        self._max_hops = max_hops
        self._is_own_cancel: Callable[[BaseException], bool] = lambda _: False
        self._between_items: Callable[[], Awaitable[None]] = _nothing
        self._on_exception: Callable[[BaseException], None] = lambda _: None
        self._note_progress: Callable[[int, str], None] | None = None
        self._on_return: Callable[[], None] | None = None
        self._spent: dict[str, tuple[int, float]] = {}

    def watch_cancel(self, is_own_cancel: Callable[[BaseException], bool]) -> None:
        """Tell what comes out of an async node because the task around it is being cancelled: that is passed on."""
        self._is_own_cancel = is_own_cancel

    def _load(self, index: int, item: InputItem) -> Any:
        """The message of an input item; an `ItemFailure` of category `input` when it does not fit its node."""
        node = self._nodes.get(item.target)
        if node is None:
            return self._refused(index, item, f"node '{item.target}' is not in group '{self._group}'")
        refusal = node.route.refusal(item.packed.tag)
        if refusal is not None:
            return self._refused(index, item, refusal)
        try:
            return self._unpack(node.route, item.packed)
        except PayloadError as error:
            return self._refused(index, item, f"input for node '{item.target}' {error}")

    def pause_between_items(self, pause: Callable[[], Awaitable[None]]) -> None:
        """Await this before each item but the first: where nodes share an event loop with what may end them."""
        self._between_items = pause

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
        return tuple(NodeTiming(name, runs, round(seconds * 1000, 3)) for name, (runs, seconds) in self._spent.items())

    def _spend(self, name: str, started: float, runs: int) -> None:
        count, seconds = self._spent.get(name, (0, 0.0))
        self._spent[name] = (count + runs, seconds + perf_counter() - started)
        if self._on_return is not None:
            self._on_return()

    async def run_batch(
        self,
        items: Sequence[InputItem],
        scope: CallScope,
        *,
        stop_at_failure: bool,
        take: Callable[[list[Emission] | ItemFailure], None],
        is_cancelled: Callable[[], bool],
    ) -> ItemFailure | None:
        """Run items in order; `take` gets what each one gave. Returns the failure that ended the batch, or None.

        All are decoded before the first node runs: an input that does not fit must not leave half a batch done.
        """
        self._spent = {}
        loaded = [self._load(index, item) for index, item in enumerate(items)]
        if stop_at_failure:
            refused = next((message for message in loaded if isinstance(message, ItemFailure)), None)
            if refused is not None:
                return refused
        for index, (item, message) in enumerate(zip(items, loaded, strict=True)):
            if index:
                await self._between_items()
            if is_cancelled():
                return ItemFailure(index, "transport", "cancelled by the caller", None, index > 0)
            outcome = message if isinstance(message, ItemFailure) else await self._run(index, item, message, scope)
            if stop_at_failure and isinstance(outcome, ItemFailure):
                return outcome
            take(outcome)
        return None

    async def _run(self, index: int, item: InputItem, message: Any, scope: CallScope) -> list[Emission] | ItemFailure:
        """The chain of one item: its emissions, in order, or its failure (then its emissions are dropped)."""
        emissions: list[Emission] = []
        trail = _Trail(index, item.trace_id, item.reply_to, item.meta, item.steps)
        try:
            await self._visit(self._nodes[item.target], message, trail, scope, emissions)
        except NodeFailure as failed:
            return ItemFailure(index, "execution", failed.reason, failed.node, True, failed.exception_type, failed.detail)
        return emissions

    async def _visit(self, node: BuiltNode, message: Any, trail: _Trail, scope: CallScope, out: list[Emission]) -> None:
        name = node.spec.name
        context = NodeContext(
            trace_id=trail.trace_id,
            reply_to=trail.reply_to,
            run_id=scope.run_id,
            scenario_id=scope.scenario_id,
            group=self._group,
            worker_index=self._worker_index,
            node=name,
            meta=None if trail.meta is None else self._carrier.unpack(trail.meta),
            deadline=scope.deadline,
        )
        started = perf_counter()
        if self._note_progress is not None:
            self._note_progress(trail.index, name)
        try:
            result = node.call(message, context)
            if node.is_async and type(result) is not AsyncGeneratorType:
                result = await result
        except BaseException as error:  # noqa: BLE001  user code: whatever it raises, SystemExit included, is this item's failure
            raise self._raised(name, error) from None
        finally:
            self._spend(name, started, 1)
        kind = type(result)
        if kind is GeneratorType or kind is AsyncGeneratorType:
            await self._stream(node, result, trail, scope, out)
            return
        outputs = result if kind is list or kind is tuple else (result,)
        # All are packed before the first goes on: the next node must not change what this one has returned.
        for sending in [self._pack(node, output, trail) for output in outputs if output is not None]:
            await self._forward(sending, scope, out)

    async def _stream(self, node: BuiltNode, produced: Any, trail: _Trail, scope: CallScope, out: list[Emission]) -> None:
        name = node.spec.name
        outputs = _Outputs(produced)
        try:
            while True:
                started = perf_counter()
                if self._note_progress is not None:
                    self._note_progress(trail.index, name)
                try:
                    output = await anext(outputs)
                except StopAsyncIteration:
                    return
                except BaseException as error:  # noqa: BLE001  user code
                    raise self._raised(name, error) from None
                finally:
                    self._spend(name, started, 0)
                if output is not None:
                    await self._forward(self._pack(node, output, trail), scope, out)
        finally:
            if not outputs.have_ended:
                await self._leave(name, trail.index, outputs)

    async def _leave(self, name: str, index: int, outputs: _Outputs) -> None:
        started = perf_counter()
        if self._note_progress is not None:
            self._note_progress(index, name)
        try:
            await outputs.close()
        except BaseException as error:  # noqa: BLE001  user code: what follows a yield
            raise self._raised(name, error) from None
        finally:
            self._spend(name, started, 0)

    def _raised(self, name: str, error: BaseException) -> BaseException:
        if isinstance(error, NodeFailure) or self._is_own_cancel(error):
            return error
        self._on_exception(error)
        return NodeFailure(name, f"node '{name}' raised {exception_name(error)}", error, __file__)

    def _pack(self, node: BuiltNode, output: Any, trail: _Trail) -> _Sending:
        name = node.spec.name
        envelope = output if isinstance(output, Envelope) else Envelope(output)
        event = envelope.payload if isinstance(envelope.payload, TerminalEvent) else None
        try:
            packed = self._carrier.pack(envelope.payload if event is None else event.payload)
            meta = self._carrier.pack(envelope.meta) if envelope.meta else None
        except PayloadError as error:
            raise NodeFailure(name, f"output of node '{name}' {error}") from None
        if packed.tag is not None and packed.tag not in node.route.emits:
            raise NodeFailure(name, f"node '{name}' gave a {packed.tag}, which is not in its emits")
        if envelope.type is not None and envelope.type != packed.tag:
            raise NodeFailure(name, f"node '{name}' set an Envelope.type that is not its payload's: leave it out")
        following = _Trail(
            trail.index,
            _first(envelope.trace_id, trail.trace_id),
            _first(envelope.reply_to, trail.reply_to),
            meta or trail.meta,
            trail.steps + 1,
            _first(envelope.trace_id, trail.own_trace_id),
            _first(envelope.reply_to, trail.own_reply_to),
            meta or trail.own_meta,
        )
        if event is not None and envelope.target is not None:
            raise NodeFailure(name, f"node '{name}' gave a TerminalEvent a target: it ends the chain")
        routes = () if event is not None else self._routes(node, envelope, packed)
        if routes and following.steps >= self._max_hops:
            raise NodeFailure(name, f"the chain exceeds max_hops = {self._max_hops} steps at node '{name}'")
        local = tuple((self._nodes[route.name], self._fitting(name, route, packed)) for route in routes if self._is_local(route))
        emission = None
        if len(local) < len(routes) or not routes:
            emission = Emission(
                index=trail.index,
                node=name,
                packed=packed,
                terminal=not routes,
                target=envelope.target,
                trace_id=following.own_trace_id,
                reply_to=following.own_reply_to,
                meta=following.own_meta,
                steps=following.steps,
                status=None if event is None else event.status,
                error=None if event is None else event.error,
                failure=None if event is None else event.failure,
            )
            self._check_header(name, emission)
        return _Sending(emission, local, following)

    def _check_header(self, name: str, emission: Emission) -> None:
        """Refuse what could not be sent around the payload."""
        failure = emission.failure
        own = (emission.trace_id, emission.reply_to, emission.error)
        if not is_utf8(*own, *(() if failure is None else (failure.group, failure.node, failure.message))):
            raise NodeFailure(name, f"output of node '{name}' has a trace_id, reply_to or error with lone surrogates")
        if emission.size - emission.packed.size > _MAX_HEADER_BYTES:
            raise NodeFailure(
                name, f"output of node '{name}' has a trace_id, reply_to, meta and error of more than {_MAX_HEADER_BYTES} bytes"
            )

    def _routes(self, node: BuiltNode, envelope: Envelope, packed: Packed) -> tuple[NodeRoute, ...]:
        target = envelope.target
        if target is None:
            return self._router.consumers(packed.tag)
        name = node.spec.name
        route = self._router.find(target)
        if route is None:
            raise NodeFailure(name, f"node '{name}' names the target '{target}', which no group has")
        if target not in node.spec.sends_to:
            self._check_undeclared(name, route)
        refusal = route.refusal(packed.tag)
        if refusal is not None:
            raise NodeFailure(name, f"output of node '{name}' does not fit: {refusal}")
        return (route,)

    def _check_undeclared(self, name: str, route: NodeRoute) -> None:
        """Refuse an undeclared target where the order of a stateful group hangs on what is declared."""
        if route.group in self._router.stateful_groups:
            raise NodeFailure(
                name, f"node '{name}' names '{route.name}' of the stateful group '{route.group}', which its sends_to does not list"
            )
        if route.group in self._router.ordered_groups and not self._is_local(route):
            raise NodeFailure(
                name,
                f"node '{name}' names '{route.name}' of group '{route.group}', which leads to a stateful group, and its sends_to does not "
                "list it",
            )

    def _fitting(self, name: str, route: NodeRoute, packed: Packed) -> Any:
        try:
            return self._unpack(route, packed)
        except PayloadError as error:
            raise NodeFailure(name, f"output of node '{name}' does not fit node '{route.name}' {error}") from None

    async def _forward(self, sending: _Sending, scope: CallScope, out: list[Emission]) -> None:
        if sending.emission is not None:
            out.append(sending.emission)
        for node, message in sending.local:
            await self._visit(node, message, sending.trail, scope, out)

    def _is_local(self, route: NodeRoute) -> bool:
        return route.group == self._group

    def _unpack(self, route: NodeRoute, packed: Packed) -> Any:
        wanted = route.consumes[0] if packed.tag is None and route.consumes else None
        return self._carrier.unpack(packed, wanted)

    def _refused(self, index: int, item: InputItem, reason: str) -> ItemFailure:
        return ItemFailure(index, "input", reason, item.target, executed=False)


class _Outputs(AsyncIterator[Any]):
    """The outputs of a generator, async or not, one at a time."""

    def __init__(self, produced: Any) -> None:
        self._produced = produced
        self._is_async = type(produced) is AsyncGeneratorType

    async def __anext__(self) -> Any:
        if self._is_async:
            return await anext(self._produced)
        try:
            return next(self._produced)
        except StopIteration:
            pass
        raise StopAsyncIteration

    @property
    def have_ended(self) -> bool:
        """Whether none of its code is left to run."""
        return (self._produced.ag_frame if self._is_async else self._produced.gi_frame) is None

    async def close(self) -> None:
        if self._is_async:
            await self._produced.aclose()
        else:
            self._produced.close()


async def _nothing() -> None:
    """A worker has nobody to wait for between two items."""


def _first(own: str | None, inherited: str | None) -> str | None:
    return inherited if own is None else own
