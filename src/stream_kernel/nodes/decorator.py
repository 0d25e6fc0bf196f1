"""The `@node` mark: declares what a function or class consumes, emits and promises; changes nothing about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from stream_kernel.errors import ConfigurationError
from stream_kernel.routing.router import NodeRoute
from stream_kernel.routing.tags import type_tag

__all__ = ["NodeSpec", "node", "spec_of"]

N = TypeVar("N", bound=Callable[..., Any])
_MARK = "__stream_kernel_node__"
_PLAIN = frozenset({dict, list, str, int, float, bool, type(None), tuple, set, bytes, object})


class NodeSpec(msgspec.Struct, frozen=True):
    """What `@node` was told."""

    name: str
    consumes: tuple[type, ...]
    emits: tuple[type, ...]
    sends_to: tuple[str, ...]
    stateful: bool
    idempotent: bool

    def route(self, group: str) -> NodeRoute:
        """The same in words that may leave the process."""
        return NodeRoute(
            name=self.name,
            group=group,
            consumes=tuple(map(type_tag, self.consumes)),
            emits=tuple(map(type_tag, self.emits)),
            sends_to=self.sends_to,
            stateful=self.stateful,
            idempotent=self.idempotent,
        )


def node(
    *,
    name: str,
    consumes: Sequence[type] = (),
    emits: Sequence[type] = (),
    sends_to: Sequence[str] = (),
    stateful: bool = False,
    idempotent: bool = False,
) -> Callable[[N], N]:
    """Declare a function, async function, generator function or class as the node `name`.

    A node is called as `node(message, ctx)`; a class is built once per worker with its settings as keyword arguments, and its
    instance is called. It returns None, one output, or many: exactly a list, a tuple or a generator.

    :param consumes: message classes it takes; empty: any plain JSON payload, by explicit target only.
    :param emits: message classes it gives; plain JSON values need no entry.
    :param sends_to: nodes that it names as `Envelope.target`; required for nodes of stateful groups.
    :param stateful: it keeps state between messages; its group has one worker and is never restarted silently.
    :param idempotent: it may run twice for the same message.
    :raises ConfigurationError: an argument is not of that kind.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"@node: name must be a non-empty string, not {name!r}")
    spec = NodeSpec(name, _classes(name, "consumes", consumes), _classes(name, "emits", emits), tuple(sends_to), stateful, idempotent)

    def mark(target: N) -> N:
        if not callable(target):
            raise ConfigurationError(f"@node '{name}': marks functions and classes, not {type(target).__name__}")
        setattr(target, _MARK, spec)
        return target

    return mark


def spec_of(candidate: object) -> NodeSpec | None:
    """The spec of a marked function or class; None for anything else, subclasses of marked classes included."""
    try:
        found = vars(candidate).get(_MARK)
    except TypeError:
        return None
    return found if isinstance(found, NodeSpec) else None


def _classes(name: str, argument: str, given: Sequence[type]) -> tuple[type, ...]:
    if isinstance(given, (str, type)) or not isinstance(given, Sequence):
        raise ConfigurationError(f"@node '{name}': {argument} must be a list of classes")
    for cls in given:
        if not isinstance(cls, type):
            raise ConfigurationError(f"@node '{name}': {argument} must hold classes, not {cls!r}")
        if cls in _PLAIN:
            raise ConfigurationError(
                f"@node '{name}': {argument} names {cls.__name__}, but plain JSON needs no entry: leave it out "
                "(consumes=[] takes any plain JSON payload by target)"
            )
    return tuple(given)
