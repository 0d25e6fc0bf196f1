"""The order of the conversation, the same class on both ends.

Each direction has a state of its own, since both sides may speak at once. A transition that is missing in the table is a
violation; its text names the state and the message. Replies must come in the order of their commands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import get_args

import msgspec

from stream_kernel.errors import PayloadError, ProtocolViolation
from stream_kernel.protocol.framing import LineSplitter
from stream_kernel.protocol.messages import (
    FRAME_ALLOWANCE,
    ExecuteBoundaryResult,
    FromParent,
    FromWorker,
)

__all__ = ["TRANSITIONS", "Role", "Session"]


class Role(Enum):
    """Which end of the wire."""

    PARENT = "parent"
    WORKER = "worker"

    __hash__ = object.__hash__  # that of Enum is written in Python, and costs more than the table that is looked into

    @property
    def peer(self) -> Role:
        return Role.WORKER if self is Role.PARENT else Role.PARENT


# speaker -> state -> kind -> next state
TRANSITIONS: dict[Role, dict[str, dict[str, str]]] = {
    Role.PARENT: {
        "opening": {"bootstrap": "booting"},
        "booting": {"start_work": "working", "ping": "booting", "stop": "over"},
        "working": {"execute_boundary": "working", "cancel": "working", "ping": "working", "stop": "over"},
        "over": {},
    },
    Role.WORKER: {
        "opening": {"hello": "greeted"},
        "greeted": {"ready": "ready", "bootstrap_error": "over", "pong": "greeted", "stopped": "over"},
        "ready": {"execute_boundary_result": "ready", "execute_boundary_error": "ready", "pong": "ready", "stopped": "over"},
        "over": {},
    },
}

_ENCODER = msgspec.json.Encoder()
_REPLIES = frozenset({"execute_boundary_result", "execute_boundary_error"})
_KINDS: dict[type, str] = {cls: str(cls.__struct_config__.tag) for cls in (*get_args(FromWorker), *get_args(FromParent))}


class Session:
    """One conversation, seen from `role`. Feed it bytes, take messages; give it messages, take bytes.

    After a `ProtocolViolation` the session is over: it is never resynchronised.
    """

    def __init__(self, role: Role, max_frame_bytes: int) -> None:
        self.role = role
        self._states = {Role.PARENT: "opening", Role.WORKER: "opening"}
        self._splitter = LineSplitter(max_frame_bytes + FRAME_ALLOWANCE)
        self._limit = max_frame_bytes + FRAME_ALLOWANCE
        self._peer = role.peer
        self._decoder = _decoder_of(role.peer)
        self._is_broken = False
        self.outstanding: deque[str] = deque()
        """Ids of the commands that have not had their (last) reply, oldest first."""

    def send(self, message: FromWorker | FromParent) -> bytes:
        """The frame of `message`.

        Raises `ProtocolViolation` when it is not our turn to say that, and `PayloadError` when it cannot be encoded or is too large: then
        nothing has been said, and the conversation goes on.
        """
        frame = _encode(message)
        if len(frame) > self._limit:
            raise PayloadError(f"is a frame of {len(frame)} bytes, over the limit of {self._limit}")
        self._advance(self.role, message)
        return frame

    def receive(self, data: bytes) -> Iterator[FromWorker | FromParent]:
        """The messages that `data` completes, one by one: those before a violation still arrive."""
        if self._is_broken:
            raise ProtocolViolation("the session is over: the peer has broken the protocol before")
        try:
            for line in self._splitter.feed(data):
                message = self._decode(line)
                self._advance(self._peer, message)
                yield message
        except ProtocolViolation:
            self._is_broken = True
            raise

    def receive_eof(self) -> None:
        """The peer's stream ended. Raises `ProtocolViolation` when it ended inside a frame."""
        if self._splitter.torn:
            raise ProtocolViolation("the stream ended inside a frame")

    def _decode(self, line: bytes) -> FromWorker | FromParent:
        try:
            if not line.isascii():
                line.decode("utf-8")  # payloads stay raw, and msgspec does not look into what it skips
            return self._decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            problem = _describe(error)
        raise ProtocolViolation(problem)

    def _advance(self, speaker: Role, message: FromWorker | FromParent) -> None:
        kind = _KINDS[type(message)]
        state = self._states[speaker]
        following = TRANSITIONS[speaker][state].get(kind)
        if following is None:
            raise ProtocolViolation(f"the {speaker.value} may not say '{kind}' in state '{state}'")
        if kind == "execute_boundary":
            self.outstanding.append(message.correlation_id)  # type: ignore[union-attr]
        elif kind in _REPLIES:
            if not self.outstanding or self.outstanding[0] != message.correlation_id:  # type: ignore[union-attr]
                raise ProtocolViolation(f"'{kind}' does not answer the oldest command outstanding")
            if not (isinstance(message, ExecuteBoundaryResult) and message.more):
                self.outstanding.popleft()
        self._states[speaker] = following


@cache
def _decoder_of(speaker: Role) -> msgspec.json.Decoder[FromWorker | FromParent]:
    """Made when it is asked for: to make one takes a good half of a millisecond, and a worker hears its parent only."""
    return msgspec.json.Decoder(FromParent if speaker is Role.PARENT else FromWorker)


def _encode(message: FromWorker | FromParent) -> bytes:
    try:
        return _ENCODER.encode(message) + b"\n"
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
        problem = type(error).__name__
    raise PayloadError(f"cannot be encoded as a frame ({problem})")


def _describe(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "a frame is not UTF-8"
    if isinstance(error, RecursionError):
        return "a frame is nested too deeply"
    if isinstance(error, msgspec.ValidationError):
        return "a frame is not a message of this protocol"
    return "a frame is not JSON"
