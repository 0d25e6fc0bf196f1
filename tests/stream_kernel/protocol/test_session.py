"""Who may say what when; everything else ends the session with one error."""

from __future__ import annotations

import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_kernel.errors import PayloadError, ProtocolViolation
from stream_kernel.protocol.messages import (
    FRAME_ALLOWANCE,
    BootstrapError,
    Cancel,
    ExecuteBoundary,
    ExecuteBoundaryError,
    FromParent,
    FromWorker,
    Hello,
    Ping,
    Pong,
    Ready,
    StartWork,
    Stop,
    Stopped,
)
from stream_kernel.protocol.session import TRANSITIONS, Role, Session
from stream_kernel.testing.protocol_pair import BOOTSTRAP, HELLO, ProtocolPair, command, every, result

FROM_PARENT: list[FromParent] = [BOOTSTRAP, StartWork(routes=[]), command("1"), Cancel(correlation_id="1"), Ping(), Stop()]
FROM_WORKER: list[FromWorker] = [
    HELLO,
    Ready(nodes=[]),
    BootstrapError(category="c", message="m"),
    result("1"),
    ExecuteBoundaryError(correlation_id="1", category="execution", message="m"),
    Pong(),
    Stopped(),
]
MESSAGES: dict[Role, dict[str, FromParent | FromWorker]] = {
    Role.PARENT: {str(message.__struct_config__.tag): message for message in FROM_PARENT},
    Role.WORKER: {str(message.__struct_config__.tag): message for message in FROM_WORKER},
}
WAYS: dict[Role, dict[str, list[str]]] = {
    Role.PARENT: {
        "opening": [],
        "booting": ["bootstrap"],
        "working": ["bootstrap", "start_work"],
        "over": ["bootstrap", "stop"],
    },
    Role.WORKER: {
        "opening": [],
        "greeted": ["hello"],
        "ready": ["hello", "ready"],
        "over": ["hello", "stopped"],
    },
}
EVERY = [(role, state, kind) for role in Role for state in TRANSITIONS[role] for kind in MESSAGES[role]]


def encoded(message: FromParent | FromWorker) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def hearer_of(role: Role, state: str) -> Session:
    """The peer of a speaker that has come to this state; one command is outstanding where commands can be."""
    hearer = Session(role.peer, 4096)
    if role is Role.WORKER:
        for kind in ("bootstrap", "start_work", "execute_boundary"):
            hearer.send(MESSAGES[Role.PARENT][kind])
    for kind in WAYS[role][state]:
        assert len(list(hearer.receive(encoded(MESSAGES[role][kind])))) == 1
    return hearer


@pytest.mark.parametrize(("role", "state", "kind"), EVERY, ids=lambda value: getattr(value, "value", value))
def test_every_pair_of_state_and_message_is_in_the_table_or_refused_by_name(role: Role, state: str, kind: str) -> None:
    hearer = hearer_of(role, state)
    line = encoded(MESSAGES[role][kind])
    if kind in TRANSITIONS[role][state]:
        assert list(hearer.receive(line)) == [MESSAGES[role][kind]]
    else:
        with pytest.raises(ProtocolViolation, match=f"the {role.value} may not say '{kind}' in state '{state}'"):
            list(hearer.receive(line))


def test_the_table_knows_exactly_the_messages_of_the_protocol() -> None:
    for role in Role:
        assert {kind for state in TRANSITIONS[role].values() for kind in state} == set(MESSAGES[role])
        assert {following for state in TRANSITIONS[role].values() for following in state.values()} <= set(TRANSITIONS[role])


@pytest.mark.parametrize(("role", "state", "kind"), EVERY, ids=lambda value: getattr(value, "value", value))
def test_what_a_hearer_refuses_a_speaker_cannot_send(role: Role, state: str, kind: str) -> None:
    speaker = Session(role, 4096)
    if role is Role.WORKER:
        for order in (BOOTSTRAP, StartWork(routes=[]), command("1")):
            list(speaker.receive(encoded(order)))
    for before in WAYS[role][state]:
        speaker.send(MESSAGES[role][before])
    if kind in TRANSITIONS[role][state]:
        assert speaker.send(MESSAGES[role][kind]) == encoded(MESSAGES[role][kind])
    else:
        with pytest.raises(ProtocolViolation, match=f"'{kind}' in state '{state}'"):
            speaker.send(MESSAGES[role][kind])


def test_a_direction_has_only_its_own_messages() -> None:
    for role in Role:
        for message in MESSAGES[role.peer].values():
            with pytest.raises(ProtocolViolation, match="not a message of this protocol"):
                list(Session(role.peer, 4096).receive(encoded(message)))


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_two_peers_hold_a_whole_conversation_over_any_chunking(chunk: int) -> None:
    pair = ProtocolPair(split=every(chunk)).open()
    commands = [command("a"), command("b")]
    assert pair.parent_says(*commands, Ping(token=3)) == [*commands, Ping(token=3)]
    assert list(pair.worker.outstanding) == list(pair.parent.outstanding) == ["a", "b"]
    replies: list[FromWorker] = [Pong(token=3), result("a", more=True), result("a"), result("b")]
    assert pair.worker_says(*replies) == replies
    assert not pair.worker.outstanding and not pair.parent.outstanding
    assert pair.parent_says(Stop()) == [Stop()]
    assert pair.worker_says(Stopped()) == [Stopped()]
    pair.parent.receive_eof()


def test_a_worker_answers_what_is_outstanding_after_the_parent_said_stop() -> None:
    pair = ProtocolPair().open()
    pair.parent_says(command("a"), Stop())
    assert pair.worker_says(result("a"), Stopped()) == [result("a"), Stopped()]


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize("reply", [result("b"), result("never"), ExecuteBoundaryError(correlation_id="b", category="timeout", message="m")])
def test_a_reply_out_of_order_or_with_an_unknown_id_is_a_violation(reply: FromWorker) -> None:
    pair = ProtocolPair().open()
    pair.parent_says(command("a"), command("b"))
    with pytest.raises(ProtocolViolation, match="does not answer the oldest command"):
        list(pair.parent.receive(encoded(reply)))


@pytest.mark.fault("FAULT-18")
def test_a_second_reply_to_the_same_command_is_a_violation() -> None:
    pair = ProtocolPair().open()
    pair.parent_says(command("a"))
    pair.worker_says(result("a"))
    with pytest.raises(ProtocolViolation, match="does not answer"):
        list(pair.parent.receive(encoded(result("a"))))


def test_the_head_stays_outstanding_until_the_last_part_of_its_reply() -> None:
    pair = ProtocolPair().open()
    pair.parent_says(command("a"), command("b"))
    pair.worker_says(result("a", more=True))
    with pytest.raises(ProtocolViolation, match="does not answer"):
        list(pair.parent.receive(encoded(result("b"))))
    assert list(pair.parent.outstanding) == ["a", "b"]


def test_messages_before_a_violation_still_arrive() -> None:
    session = Session(Role.PARENT, 4096)
    arriving = session.receive(encoded(HELLO) + b"garbage\n")
    assert next(arriving) == HELLO
    with pytest.raises(ProtocolViolation):
        next(arriving)


def test_after_a_violation_the_session_is_over() -> None:
    session = Session(Role.PARENT, 4096)
    with pytest.raises(ProtocolViolation):
        list(session.receive(b"garbage\n"))
    with pytest.raises(ProtocolViolation, match="the session is over"):
        list(session.receive(encoded(HELLO)))


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize("torn", [b"x", encoded(HELLO)[:-1]])
def test_a_stream_that_ends_inside_a_frame_is_a_violation_even_when_the_bytes_would_parse(torn: bytes) -> None:
    session = Session(Role.PARENT, 4096)
    assert list(session.receive(torn)) == []
    with pytest.raises(ProtocolViolation, match="ended inside a frame"):
        session.receive_eof()


@pytest.mark.fault("FAULT-20")
def test_the_sender_refuses_a_frame_over_the_limit_before_a_byte_leaves() -> None:
    session = Session(Role.WORKER, 1024)
    huge = BootstrapError(category="c", message="x" * (1024 + FRAME_ALLOWANCE))
    session.send(HELLO)
    with pytest.raises(PayloadError, match=f"over the limit of {1024 + FRAME_ALLOWANCE}"):
        session.send(huge)
    # Nothing has been said: the conversation goes on.
    assert session.send(BootstrapError(category="c", message="small"))


def test_a_command_that_cannot_be_encoded_is_not_outstanding() -> None:
    pair = ProtocolPair().open()
    with pytest.raises(PayloadError, match="cannot be encoded as a frame"):
        pair.parent.send(command("\ud800"))
    assert not pair.parent.outstanding


@pytest.mark.fault("FAULT-20")
def test_the_largest_frame_that_may_be_sent_is_taken() -> None:
    pair = ProtocolPair(max_frame_bytes=1024, split=every(1 << 16))
    pair.worker_says(HELLO)
    room = 1024 + FRAME_ALLOWANCE - len(encoded(BootstrapError(category="c", message="")))
    largest = BootstrapError(category="c", message="x" * room)
    assert pair.worker_says(largest) == [largest]
    with pytest.raises(ProtocolViolation):
        list(Session(Role.PARENT, 1024).receive(encoded(BootstrapError(category="c", message="x" * (room + 2)))))


def test_unknown_fields_are_ignored() -> None:
    line = json.dumps({"kind": "ping", "token": 5, "later": {"deep": [1, 2]}}).encode() + b"\n"
    session = hearer_of(Role.PARENT, "booting")
    assert list(session.receive(line)) == [Ping(token=5)]


@pytest.mark.fault("FAULT-18")
@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"", "not JSON"),
        (b"\r", "not JSON"),
        (b"garbage", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a message of this protocol"),
        (b"{}", "not a message of this protocol"),
        (b'{"kind":"nonsense"}', "not a message of this protocol"),
        (b'{"kind":7}', "not a message of this protocol"),
        (b'{"kind":"hello"}', "not a message of this protocol"),
        (b'{"kind":"hello","protocols":["1"],"pid":1,"sdk_version":"","language":""}', "not a message of this protocol"),
        (b'{"kind":"hello","protocols":[1],"pid":NaN,"sdk_version":"","language":""}', "a frame is not"),
        (b'{"kind":"hello","protocols":[1],"pid":1,"sdk_version":"\xff","language":""}', "not UTF-8"),
        (b'{"kind":"hello","protocols":[1],"pid":1,"sdk_version":"\\ud800","language":""}', "not JSON"),
        (b'{"kind":"hello","x":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", "nested too deeply"),
    ],
    ids=lambda value: repr(value[:60]),
)
@pytest.mark.fault("FAULT-19")
def test_what_is_no_message_is_one_violation_that_quotes_nothing(line: bytes, what: str) -> None:
    with pytest.raises(ProtocolViolation, match=what) as caught:
        list(Session(Role.PARENT, 8 << 20).receive(line + b"\n"))
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert str(caught.value) in (
        "a frame is not JSON",
        "a frame is not UTF-8",
        "a frame is nested too deeply",
        "a frame is not a message of this protocol",
    )


@pytest.mark.fault("FAULT-19")
def test_invalid_utf_8_is_found_inside_a_payload_that_stays_encoded() -> None:
    session = hearer_of(Role.PARENT, "working")
    line = encoded(command("1")).replace(b'"payload":[1]', b'"payload":["\xff"]')
    with pytest.raises(ProtocolViolation, match="not UTF-8"):
        list(session.receive(line))


@pytest.mark.fault("FAULT-19")
def test_an_integer_of_30_digits_arrives_exactly() -> None:
    line = b'{"kind":"hello","protocols":[1],"pid":' + b"1" * 30 + b',"sdk_version":"","language":""}\n'
    (hello,) = Session(Role.PARENT, 4096).receive(line)
    assert isinstance(hello, Hello) and hello.pid == int("1" * 30)


@pytest.mark.fault("FAULT-19")
def test_the_last_of_two_equal_keys_counts_however_the_frame_is_cut() -> None:
    line = b'{"kind":"ping","token":1,"token":2}\n'
    for cut in range(len(line)):
        session = hearer_of(Role.PARENT, "booting")
        assert [*session.receive(line[:cut]), *session.receive(line[cut:])] == [Ping(token=2)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.none() | st.text(max_size=8) | st.lists(st.none() | st.text(max_size=4), max_size=3)


@pytest.mark.fault("FAULT-19")
@given(st.binary(max_size=200), st.sampled_from(Role))
def test_arbitrary_bytes_are_messages_or_a_violation(data: bytes, role: Role) -> None:
    feed(Session(role, 4096), data + b"\n")


@pytest.mark.fault("FAULT-19")
@given(JSON, st.sampled_from(Role))
def test_arbitrary_json_is_a_message_or_a_violation(value: object, role: Role) -> None:
    feed(Session(role, 4096), json.dumps(value).encode() + b"\n")


@pytest.mark.fault("FAULT-19")
@given(st.data(), st.sampled_from(EVERY))
def test_a_mutated_message_is_a_message_or_a_violation(data: st.DataObject, place: tuple[Role, str, str]) -> None:
    role, state, kind = place
    frame = json.loads(encoded(MESSAGES[role][kind]))
    key = data.draw(st.sampled_from(sorted(frame)))
    frame[key] = data.draw(JSON)
    feed(hearer_of(role, state), json.dumps(frame).encode() + b"\n")


@pytest.mark.fault("FAULT-19")
@given(st.data(), st.sampled_from(EVERY))
def test_a_message_with_other_bytes_in_it_is_a_message_or_a_violation(data: st.DataObject, place: tuple[Role, str, str]) -> None:
    role, state, kind = place
    line = bytearray(encoded(MESSAGES[role][kind]))
    for _ in range(data.draw(st.integers(1, 4))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    feed(hearer_of(role, state), bytes(line))


@pytest.mark.fault("FAULT-19")
@given(st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=30))
def test_any_chunking_of_a_conversation_gives_the_same_messages(sizes: list[int]) -> None:
    orders: list[FromParent] = [BOOTSTRAP, StartWork(routes=[]), command("ä"), Ping(token=1), command("b"), Stop()]
    stream = b"".join(map(encoded, orders))
    session = Session(Role.WORKER, 4096)
    heard: list[FromWorker | FromParent] = []
    at = 0
    for size in itertools.cycle(sizes):
        heard.extend(session.receive(stream[at : at + size]))
        at += size
        if at >= len(stream):
            break
    assert heard == orders
    assert [message.correlation_id for message in heard if isinstance(message, ExecuteBoundary)] == ["ä", "b"]


def feed(session: Session, data: bytes) -> None:
    """Receive; the one documented error is all that may come."""
    try:
        for message in session.receive(data):
            assert str(message.__struct_config__.tag) in MESSAGES[session.role.peer]
    except ProtocolViolation:
        return
