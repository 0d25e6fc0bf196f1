"""Payloads to bytes and back, by an allow-list of message classes.

A payload is plain JSON, or an instance of a registered class that travels with its tag. Nothing is ever imported by a name from the
wire: a tag that is not registered is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from stream_kernel.errors import PayloadError, WorkerBootstrapError
from stream_kernel.protocol.fields import UnsupportedType, is_message_class
from stream_kernel.protocol.plain import PLAIN_TYPES, decode_plain, decode_plain_all, encode_plain, encode_plain_all, refusal_of
from stream_kernel.routing.packed import Packed
from stream_kernel.routing.tags import type_tag

if TYPE_CHECKING:
    from stream_kernel.protocol.typed import TypedCodec

__all__ = ["Codec"]


class Codec:
    """The payload codec of one process.

    `classes` are encoded and decoded. `tags` are types that others declared: an instance of such a class is encoded too, since whoever
    holds one has imported its class by himself; but nothing is decoded into it.
    """

    def __init__(self, classes: Iterable[type] = (), *, tags: Iterable[str] = (), max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._tags = frozenset(tags)
        self._by_class: dict[type, tuple[str, TypedCodec]] = {}
        self._by_tag: dict[str, TypedCodec] = {}
        for cls in classes:
            self.register(cls)

    @classmethod
    def of_nodes(cls, group: str, declared: Mapping[str, Iterable[type]], *, max_bytes: int) -> Codec:
        """The codec for the classes that nodes declare; raises `WorkerBootstrapError` for one that cannot cross a boundary."""
        codec = cls(max_bytes=max_bytes)
        for node, classes in declared.items():
            try:
                for each in classes:
                    codec.register(each)
            except UnsupportedType as error:
                problem = f"group '{group}': node '{node}': {error}"
            else:
                continue
            raise WorkerBootstrapError(problem, group=group)
        return codec

    def register(self, cls: type) -> None:
        """Allow instances of `cls`; raises `UnsupportedType` when a field of it cannot cross a boundary."""
        if type_tag(cls) not in self._by_tag:
            tag, codec = type_tag(cls), _typed_codec(cls)
            self._by_class[cls] = (tag, codec)
            self._by_tag[tag] = codec

    def knows(self, tag: str | None) -> bool:
        """Whether payloads with this tag are decoded into a class here."""
        return tag in self._by_tag

    def tag_of(self, payload: Any) -> str | None:
        """The tag that a payload travels with; None for plain JSON. Raises `PayloadError` for a value that is neither."""
        return None if type(payload) in PLAIN_TYPES else self._known(payload)[0]

    def pack(self, payload: Any) -> Packed:
        """Encode a payload; raises `PayloadError`."""
        tag = None
        if type(payload) in PLAIN_TYPES:
            data = encode_plain(payload)
        else:
            tag, codec = self._known(payload)
            data = codec.encode(payload)
        size = len(data)
        if size > self._max_bytes:
            raise PayloadError(
                f"is {size} bytes encoded, over execution_ipc.max_frame_bytes = {self._max_bytes}: raise the limit or pass a path"
            )
        return Packed(Raw(data), tag, size)

    def pack_all(self, payloads: list[Any]) -> tuple[list[Raw], str | None] | None:
        """Encode payloads in one go, all of them plain or all of one class; gives their tag too. None when they are not, or when one cannot
        be encoded: `pack` says which one, and why.
        """
        kinds = set(map(type, payloads))
        tag = None
        if kinds <= PLAIN_TYPES:
            encoded = encode_plain_all(payloads)
        else:
            tag, encoded = self._encode_class(kinds, payloads)
        if encoded is None or max(map(len, encoded), default=0) > self._max_bytes:
            return None
        return encoded, tag

    def _encode_class(self, kinds: set[type], payloads: list[Any]) -> tuple[str | None, list[Raw] | None]:
        known = self._by_class.get(next(iter(kinds))) if len(kinds) == 1 else None
        if known is None:
            return None, None
        tag, codec = known
        try:
            return tag, [Raw(codec.encode(payload)) for payload in payloads]
        except PayloadError:
            return tag, None

    def unpack_all(self, encoded: list[Raw], tag: str | None) -> list[Any] | None:
        """Decode payloads of one tag in one go, as plain JSON where the tag is not known; None when one of them cannot be decoded."""
        codec = None if tag is None else self._by_tag.get(tag)
        try:
            return decode_plain_all(encoded) if codec is None else [codec.decode(data) for data in encoded]
        except PayloadError:
            return None

    def unpack(self, packed: Packed, wanted: str | None = None) -> Any:
        """Decode a payload. An untagged one becomes an instance of the `wanted` class, where one is named; raises `PayloadError`."""
        if packed.tag is None:
            return decode_plain(packed.data) if wanted is None else self._by_tag[wanted].adopt(packed.data)
        codec = self._by_tag.get(packed.tag)
        if codec is None:
            raise PayloadError(f"has the type tag '{packed.tag}', which no node here declares")
        return codec.decode(packed.data)

    def plain(self, packed: Packed) -> Any:
        """The payload as plain JSON, whatever its class."""
        return decode_plain(packed.data)

    def _known(self, payload: Any) -> tuple[str, TypedCodec]:
        """Tag and codec of its class; raises `PayloadError` for a class that is none of the messages."""
        known = self._by_class.get(type(payload)) or self._learn(type(payload))
        if known is None:
            raise refusal_of(payload)
        return known

    def _learn(self, cls: type) -> tuple[str, TypedCodec] | None:
        if not self._tags or not is_message_class(cls) or type_tag(cls) not in self._tags:
            return None
        try:
            known = self._by_class[cls] = (type_tag(cls), _typed_codec(cls))
        except UnsupportedType as error:
            problem = str(error)
        else:
            return known
        raise PayloadError(problem)


def _typed_codec(cls: type) -> TypedCodec:
    # Imported here: a worker whose nodes take plain JSON does without it.
    from stream_kernel.protocol.typed import TypedCodec

    return TypedCodec(cls)
