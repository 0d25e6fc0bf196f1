"""Two sessions wired to each other, whatever way their bytes are cut."""

from __future__ import annotations

import pytest

from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.messages import FromParent, Ping, Pong
from stream_kernel.routing.router import NodeRoute
from stream_kernel.testing import ProtocolPair
from stream_kernel.testing.protocol_pair import Split, command, every, result


@pytest.mark.parametrize("split", [every(1), every(3), lambda data: [data], lambda data: [data[:1], b"", data[1:]]])
def test_what_one_side_says_the_other_hears(split: Split) -> None:
    pair = ProtocolPair(split=split).open(NodeRoute("n", "g"))
    asked: list[FromParent] = [command("c-1", {"v": 1}, None), Ping(token=2)]
    assert pair.parent_says(*asked) == asked
    assert pair.worker_says(result("c-1"), Pong(token=2)) == [result("c-1"), Pong(token=2)]
    assert not pair.parent.outstanding and not pair.worker.outstanding


def test_pieces_that_are_lost_leave_a_torn_frame() -> None:
    pair = ProtocolPair().open()
    pair.parent_says(command("c-1"))
    pair.split = lambda data: [data[:-1]]
    assert pair.worker_says(result("c-1")) == []
    with pytest.raises(ProtocolViolation, match="ended inside a frame"):
        pair.parent.receive_eof()


def test_a_command_carries_the_payloads_it_is_given() -> None:
    assert [bytes(payload) for payload in command("c", {"a": [1]}, "x").inputs.payload] == [b'{"a":[1]}', b'"x"']
    assert [bytes(payload) for payload in command("c").inputs.payload] == [b"1"]
