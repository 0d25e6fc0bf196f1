"""Lines come out of any chunking as they went in, and memory stays bounded."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.framing import LineSplitter


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.fault("FAULT-19")
@given(
    st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.lists(st.integers(min_value=0), max_size=12)
)
def test_any_chunking_gives_the_same_lines(lines: list[bytes], cuts: list[int]) -> None:
    splitter = LineSplitter(40)
    stream = b"".join(line + b"\n" for line in lines)
    assert [line for chunk in chunked(stream, cuts) for line in splitter.feed(chunk)] == lines
    assert splitter.torn == 0


@pytest.mark.fault("FAULT-19")
def test_a_frame_may_be_split_at_every_byte() -> None:
    splitter = LineSplitter(100)
    stream = "a\r\n\u2028\x00\n\nend\n".encode()
    assert [line for byte in stream for line in splitter.feed(bytes([byte]))] == [b"a\r", "\u2028\x00".encode(), b"", b"end"]


def test_bytes_without_a_newline_are_a_torn_line() -> None:
    splitter = LineSplitter(100)
    assert splitter.feed(b"whole\nto") == [b"whole"]
    assert splitter.torn == 2
    assert splitter.feed(b"rn") == []
    assert splitter.torn == 4
    assert splitter.feed(b"\n") == [b"torn"]
    assert splitter.torn == 0


@pytest.mark.parametrize("chunk", [1, 3, 11, 100])
def test_a_line_over_the_limit_is_a_violation_with_or_without_its_end(chunk: int) -> None:
    splitter = LineSplitter(10)
    stream = b"x" * 10 + b"\n" + b"y" * 11 + b"\n"
    lines: list[bytes] = []

    def feed_all() -> None:
        for at in range(0, len(stream), chunk):
            lines.extend(splitter.feed(stream[at : at + chunk]))

    with pytest.raises(ProtocolViolation, match="longer than 10 bytes"):
        feed_all()
    assert lines == ([] if chunk == 100 else [b"x" * 10])


def test_an_endless_line_is_refused_before_it_is_held() -> None:
    splitter = LineSplitter(1000)
    for _ in range(10):
        splitter.feed(b"z" * 100)
    with pytest.raises(ProtocolViolation):
        splitter.feed(b"z")
