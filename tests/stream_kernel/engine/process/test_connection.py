"""A session over pipes: messages in, messages out, and one reason why it is over."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from stream_kernel.engine.process.child import Child
from stream_kernel.engine.process.connection import Connection
from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.messages import Bootstrap, FromParent, FromWorker, Hello, Limits, Ping, Pong, Stop
from waiting import in_thread

HELLO = '{"kind":"hello","protocols":[1],"pid":1,"sdk_version":"0","language":"x"}'
PONG = '{"kind":"pong","token":5}'
Message = FromWorker | FromParent


class Peer:
    """A connection to a small program, and what came from it."""

    def __init__(self, child: Child) -> None:
        """Not open yet."""
        self.child = child
        self.messages: list[Message] = []
        self.pauses: list[int] = []
        """How many messages there were at each pause."""
        self.connection = Connection(child, 4096, self.messages.append, lambda: self.pauses.append(len(self.messages)))

    async def over(self) -> str:
        async with asyncio.timeout(20):
            return await self.connection.over

    async def until(self, count: int) -> None:
        """Wait for so many messages."""
        async with asyncio.timeout(20):
            while len(self.messages) < count:
                await asyncio.sleep(0.002)


Connect = Callable[[str], Awaitable[Peer]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open a connection to a Python program; all are ended after the test."""
    peers: list[Peer] = []

    async def make(program: str) -> Peer:
        code = f"import os, sys, time\ndef say(text): os.write(1, text.encode())\n{program}"
        arguments = [sys.executable, "-S", "-c", code]
        peer = Peer(await Child.spawn(lambda lifeline, black_box: arguments, dict(os.environ), group="g", worker_id="g#0"))
        peers.append(peer)
        peer.connection.open()
        return peer

    yield make
    for peer in peers:
        peer.child.kill_tree()
        await peer.child.reap(20)
        peer.connection.close()
        peer.connection.close()
        peer.child.close()


async def test_messages_arrive_and_the_end_of_the_process_is_the_end(connect: Connect) -> None:
    peer = await connect(f"say('''{HELLO}\\n{PONG}\\n''')")
    assert await peer.over() in ("it ended", "its stdout was closed")
    peer.connection.pump()
    assert peer.messages == [Hello(protocols=[1], pid=1, sdk_version="0", language="x"), Pong(token=5)]
    assert not peer.connection.is_sound
    assert not peer.connection.broke_protocol


async def test_there_is_one_pause_after_messages_that_came_together(connect: Connect) -> None:
    peer = await connect(f"say('''{HELLO}\\n{PONG}\\n''')")
    await peer.over()
    peer.connection.pump()
    assert peer.pauses == [2]


async def test_there_is_no_pause_before_a_violation_that_came_with_a_message(connect: Connect) -> None:
    peer = await connect(f"say('''{HELLO}\\nnonsense\\n'''); time.sleep(60)")
    assert await peer.over() == "protocol violation: a frame is not JSON"
    assert (len(peer.messages), peer.pauses) == (1, [])


@pytest.mark.asyncio_loop(reason="on uvloop a program that is no worker keeps copies of its pipes")
async def test_a_closed_stdout_ends_it_although_the_process_lives(connect: Connect) -> None:
    peer = await connect("os.close(1); time.sleep(600)")
    assert await peer.over() == "its stdout was closed"


@pytest.mark.asyncio_loop(reason="on uvloop a program that is no worker keeps copies of its pipes")
async def test_a_closed_stdin_ends_it_although_the_process_lives(connect: Connect) -> None:
    peer = await connect("os.close(0); time.sleep(600)")
    assert await peer.over() == "its stdin was closed"


async def test_nothing_is_taken_after_a_violation(connect: Connect) -> None:
    peer = await connect(f"say('''{HELLO}\\ngarbage\\n'''); os.read(0, 1); say('''{PONG}\\n'''); os.close(1); time.sleep(600)")
    assert (await peer.over()).startswith("protocol violation: ")
    assert peer.connection.broke_protocol
    peer.child.write(b"go on\n")
    assert await arrived(peer.child._stdout)
    peer.connection.pump()
    assert [type(message) for message in peer.messages] == [Hello]


async def arrived(fd: int) -> bool:
    """Wait until there is something to read."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, readable.set)
    async with asyncio.timeout(20):
        await readable.wait()
    loop.remove_reader(fd)
    return True


async def test_a_violation_that_the_receiver_finds_ends_it_too(connect: Connect) -> None:
    peer = await connect(f"os.read(0, 1); say('''{HELLO}\n'''); os.read(0, 1); say('''{PONG}\n'''); time.sleep(600)")
    refused: list[Message] = []

    def refuse(message: Message) -> None:
        refused.append(message)
        raise ProtocolViolation("not this one")

    peer.connection._on_message = refuse
    peer.child.write(b"1")
    assert await peer.over() == "protocol violation: not this one"
    assert peer.connection.broke_protocol
    peer.child.write(b"2")
    assert await arrived(peer.child._stdout)
    peer.connection.pump()
    assert [type(message) for message in refused] == [Hello]


def bootstrap(padding: int = 0) -> Bootstrap:
    return Bootstrap(
        worker_id="g#0",
        worker_index=0,
        generation=1,
        process_group="g",
        scenario_id="x" * padding,
        discovery_modules=[],
        nodes=[],
        settings={},
        import_path=[],
        limits=Limits(4096, 64),
    )


async def test_what_the_pipe_does_not_take_at_once_goes_later_and_in_order(connect: Connect) -> None:
    program = f"""
sys.stderr.write('up'); sys.stderr.flush()
say('''{HELLO}\\n''')
lines = [sys.stdin.readline() for _ in range(3)]
assert [('bootstrap' in lines[0]), ('ping' in lines[1]), ('stop' in lines[2])] == [True] * 3
say('''{PONG}\\n''')
time.sleep(600)
"""
    peer = await connect(program)
    assert peer.connection.send(bootstrap(900_000))
    assert peer.connection.send(Ping(token=5))
    assert peer.connection.send(Stop())
    await peer.until(2)
    assert peer.messages[1] == Pong(token=5)
    assert peer.connection.is_sound


async def test_the_end_of_stdin_is_no_hang_up(connect: Connect, make_fifo: Callable[[str], Any]) -> None:
    gate = make_fifo("gate")
    wait = f"open({gate.path!r}).read()"
    peer = await connect(f"sys.stdin.read(); os.close(0); say('''{HELLO}\\n'''); {wait}; say('''{PONG}\\n'''); sys.exit(3)")
    peer.connection.close_stdin()
    assert not peer.connection.send(bootstrap())
    await peer.until(1)
    assert peer.connection.is_sound
    await in_thread(gate.release)
    assert await peer.over() in ("it ended", "its stdout was closed")
    peer.connection.pump()
    assert [type(message) for message in peer.messages] == [Hello, Pong]


async def test_the_end_of_stdin_comes_at_once_even_behind_a_full_pipe(connect: Connect, make_fifo: Callable[[str], Any]) -> None:
    gate = make_fifo("gate")
    peer = await connect(f"open({gate.path!r}).read(); say(str(len(sys.stdin.read())))")
    assert peer.connection.send(bootstrap(900_000))
    peer.child.unwatch_stdout()
    peer.connection.close_stdin()
    await in_thread(gate.release)
    assert await arrived(peer.child._stdout)
    assert 0 < int(peer.child.read() or b"") < 900_000


async def test_a_violation_found_after_the_end_is_told_all_the_same(connect: Connect) -> None:
    peer = await connect(f"say('''{HELLO}\\ngarbage\\n''')")
    peer.child.unwatch_stdout()
    assert await peer.over() == "it ended"
    peer.connection.pump()
    assert peer.connection.broke_protocol
    assert [type(message) for message in peer.messages] == [Hello]


async def test_what_can_reach_nobody_is_told(connect: Connect) -> None:
    peer = await connect("os.close(0); say('x'); time.sleep(600)")
    peer.connection.close()
    assert await arrived(peer.child._stdout)  # its stdin is closed by now
    assert not peer.connection.send(bootstrap())
