"""The worker process that is none: what its parent sees of it, and what a test sees of the parent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from stream_kernel.engine.process.worker_process import ExitStatus, Launch, WorkerProcess
from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.breadcrumb import Progress
from stream_kernel.protocol.columns import outputs_from_columns
from stream_kernel.protocol.messages import (
    BootstrapError,
    Cancel,
    ExecuteBoundaryError,
    ExecuteBoundaryResult,
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
from stream_kernel.protocol.session import Role, Session
from stream_kernel.routing.items import Emission, ItemFailure
from stream_kernel.routing.router import NodeRoute
from stream_kernel.testing import FakeChild, FakeLaunch
from stream_kernel.testing.fake_child import output
from stream_kernel.testing.fake_process import ChildTraits
from stream_kernel.testing.protocol_pair import BOOTSTRAP, command
from virtual_clock import on_virtual_clock


class Parent:
    """The least that a parent does: it watches, reads what comes, and notes what it is called for."""

    def __init__(self, child: FakeChild) -> None:
        """Watch it."""
        self.child = child
        self.session = Session(Role.PARENT, 1 << 16)
        self.heard: list[FromWorker | FromParent] = []
        self.events: list[str] = []
        self.is_inside = False
        child.watch(on_readable=self.on_readable, on_hang_up=self.on_hang_up, on_exit=self.on_exit)

    def on_readable(self) -> None:
        self._note("readable")
        data = self.child.read()
        if data:
            self.heard += self.session.receive(data)
        else:
            assert data == b""
            self.events.append("end of stdout")
            self.child.unwatch_stdout()

    def on_hang_up(self) -> None:
        self._note("hang up")
        self.child.unwatch_stdin()

    def on_exit(self) -> None:
        self._note("exit")

    def _note(self, event: str) -> None:
        assert not self.is_inside, "called back inside a call of its own"
        self.events.append(event)

    def says(self, *messages: FromParent) -> None:
        self.is_inside = True
        for message in messages:
            frame = self.session.send(message)
            assert self.child.write(frame) == len(frame)
        self.is_inside = False

    def calls(self, method: Callable[[], None]) -> None:
        self.is_inside = True
        method()
        self.is_inside = False

    def kinds(self) -> list[str]:
        return [str(message.__struct_config__.tag) for message in self.heard]


async def launched(launch: FakeLaunch, worker_id: str = "g#0") -> FakeChild:
    return await launch(lambda lifeline, box: [str(lifeline), str(box)], {"A": "b"}, group="g", worker_id=worker_id)


async def passes(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def working(traits: ChildTraits | None = None) -> tuple[FakeChild, Parent]:
    """A child that takes commands, and its parent."""
    child = await launched(FakeLaunch(traits))
    parent = Parent(child)
    parent.says(BOOTSTRAP, StartWork(routes=[]))
    await passes(100)
    assert parent.kinds() == ["hello", "ready"]
    parent.heard.clear()
    parent.events.clear()
    child.log.clear()
    return child, parent


def rows(reply: FromWorker | FromParent) -> list[Emission | ItemFailure]:
    assert isinstance(reply, ExecuteBoundaryResult)
    return [*outputs_from_columns(reply.terminal_outputs, terminal=True), *outputs_from_columns(reply.outputs, terminal=False)]


@on_virtual_clock
async def test_it_is_what_a_slot_needs() -> None:
    launch: Launch = FakeLaunch()
    child: WorkerProcess = await launch(lambda lifeline, box: [], {}, group="g", worker_id="g#0")
    assert isinstance(child, FakeChild)


# -- birth


@on_virtual_clock
async def test_a_worker_introduces_itself_and_is_ready_when_it_knows_what_it_is() -> None:
    launch = FakeLaunch(ChildTraits(routes=(NodeRoute("n", "g", stateful=True),)))
    child = await launched(launch)
    parent = Parent(child)
    await passes()
    assert parent.kinds() == ["hello"]
    parent.says(BOOTSTRAP)
    await passes()
    assert parent.heard[1:] == [Ready(nodes=[NodeRoute("n", "g", stateful=True)])]
    assert child.bootstrap == BOOTSTRAP
    assert (child.arguments, child.environment, child.log) == (["3", "4"], {"A": "b"}, ["bootstrap"])


@on_virtual_clock
async def test_a_worker_that_does_not_boot_by_itself_says_what_it_is_told_to() -> None:
    child = await launched(FakeLaunch(ChildTraits(boots=False)))
    parent = Parent(child)
    parent.says(BOOTSTRAP)
    await passes()
    assert parent.heard == []
    child.hello(1, 2)
    child.refuse("no such node")
    await passes()
    hello, refusal = parent.heard
    assert isinstance(hello, Hello) and hello.protocols == [1, 2]
    assert refusal == BootstrapError(category="bootstrap", message="no such node")
    assert child.status == ExitStatus(exit_code=3)


@on_virtual_clock
async def test_spawning_waits_fails_and_is_counted_as_the_test_says() -> None:
    launch = FakeLaunch()
    launch.may_spawn.clear()
    spawning = asyncio.create_task(launched(launch))
    await passes()
    assert not spawning.done()
    launch.may_spawn.set()
    first = await spawning
    launch.failures.append(OSError(24, "Too many open files"))
    with pytest.raises(OSError, match="Too many open files"):
        await launched(launch)
    waiting = asyncio.create_task(launch.child(3))
    second, third = await launched(launch, "g#1"), await launched(launch)
    assert launch.children == [first, second, third] and await waiting is third
    assert launch.of("g#0") == [first, third]
    first.die(exit_code=0)
    assert launch.alive == [second, third]
    assert len({child.pid for child in launch.children}) == 3


# -- work


@on_virtual_clock
async def test_a_command_is_echoed_by_default() -> None:
    child, parent = await working()
    parent.says(command("a", {"v": 1}, "two"))
    assert await child.next_command() == command("a", {"v": 1}, "two")
    await asyncio.sleep(2)
    child.answer()
    await passes()
    (reply,) = parent.heard
    assert [bytes(row.packed.data) for row in rows(reply) if isinstance(row, Emission) and row.terminal] == [b'{"v":1}', b'"two"']
    assert isinstance(reply, ExecuteBoundaryResult) and reply.executing_ms == pytest.approx(2000)
    assert child.log == ["execute_boundary a"]


@on_virtual_clock
async def test_answers_are_what_the_test_says_in_parts_if_it_wants() -> None:
    child, parent = await working()
    parent.says(command("a"), command("b"))
    await child.told("execute_boundary b")
    failure = ItemFailure(0, "execution", "it raised", "n")
    child.answer([output(0, 1), output(0, {"on": True}, target="m")], more=True)
    child.answer([failure])
    child.answer([])
    await passes()
    first, last, empty = parent.heard
    assert [row.target for row in rows(first) if isinstance(row, Emission)] == [None, "m"]
    assert rows(last) == [failure] and rows(empty) == []
    assert not child.unanswered and not parent.session.outstanding
    assert [each.correlation_id for each in child.commands] == ["a", "b"]


@on_virtual_clock
async def test_a_command_fails_as_a_whole() -> None:
    child, parent = await working()
    parent.says(command("a"))
    await child.next_command()
    child.fail("it does not fit", node="n", executed=False)
    await passes()
    (reply,) = parent.heard
    assert isinstance(reply, ExecuteBoundaryError)
    assert (reply.failure().category, reply.reason, reply.node) == ("input", "it does not fit", "n")


@on_virtual_clock
async def test_a_worker_that_answers_by_itself_keeps_the_order() -> None:
    _, parent = await working(ChildTraits(answers=True))
    parent.says(command("a"), command("b"), command("c"))
    await passes()
    assert [message.correlation_id for message in parent.heard if isinstance(message, ExecuteBoundaryResult)] == ["a", "b", "c"]


@on_virtual_clock
async def test_cancels_and_questions_are_heard_and_questions_answered() -> None:
    child, parent = await working()
    parent.says(command("a"), Cancel(correlation_id="a"), Ping(token=9))
    await passes()
    assert child.cancels == ["a"] and child.log == ["execute_boundary a", "cancel a", "ping"]
    assert parent.heard == [Pong(token=9)]


@on_virtual_clock
async def test_what_it_is_deaf_to_it_does_not_obey() -> None:
    child, parent = await working(ChildTraits(ignores=frozenset({"ping", "stop", "end of stdin", "terminate", "kill"})))
    parent.says(Ping(), Stop())
    parent.calls(child.close_stdin)
    parent.calls(child.terminate_tree)
    parent.calls(child.kill_tree)
    assert await child.reap(5.0) == ExitStatus()
    assert child.is_alive and parent.heard == [] and parent.events == []
    assert child.log == ["terminate", "kill", "reap", "ping", "stop", "end of stdin"]


@on_virtual_clock
async def test_the_breadcrumb_says_what_the_test_says_and_when_the_command_began() -> None:
    child, parent = await working()
    assert (child.progress(), child.begun()) == (None, None)
    before = time.monotonic()
    parent.says(command("a"), command("b"))
    await child.told("execute_boundary b")
    assert child.begun() == before
    child.note_progress(index=3, node=1)
    assert child.progress() == Progress(1, 3, 1)
    await asyncio.sleep(2)
    child.answer()
    following = child.begun()
    assert following == before + 2
    assert child.progress() is None
    child.note_progress()
    child.die(signal="SIGKILL")
    assert (child.progress(), child.begun()) == (Progress(2, 0, 0), following)
    child.note_progress(command=5)
    assert child.progress() == Progress(5, 0, 0)


# -- misbehaviour


@on_virtual_clock
@pytest.mark.parametrize("exit_comes_first", [False, True])
async def test_an_end_is_told_once_and_what_was_written_before_can_be_read(exit_comes_first: bool) -> None:
    child, parent = await working(ChildTraits(exit_comes_first=exit_comes_first))
    parent.says(command("a"))
    await child.next_command()
    child.answer()
    child.die(signal="SIGKILL")
    assert parent.events == []
    await passes()
    assert parent.kinds() == ["execute_boundary_result"]
    assert sorted(parent.events) == ["end of stdout", "exit", "hang up", "readable", "readable"]
    assert parent.events[0] == ("exit" if exit_comes_first else "readable")
    with pytest.raises(BrokenPipeError):
        child.write(b"x")
    assert await child.reap(5.0) == ExitStatus(signal="SIGKILL")


@on_virtual_clock
async def test_a_grandchild_may_hold_the_pipes_of_the_dead() -> None:
    child, parent = await working()
    child.die(exit_code=3, pipes_stay_open=True)
    await passes()
    assert parent.events == ["exit"]


@on_virtual_clock
async def test_a_torn_reply_is_torn() -> None:
    child, parent = await working()
    parent.says(command("a"))
    await child.next_command()
    child.answer(first_bytes=20)
    child.die(signal="SIGSEGV")
    await passes()
    assert parent.heard == []
    with pytest.raises(ProtocolViolation, match="ended inside a frame"):
        parent.session.receive_eof()


@on_virtual_clock
@pytest.mark.parametrize(
    ("misbehave", "says"),
    [
        (FakeChild.send_garbage, "not JSON"),
        (FakeChild.duplicate, "does not answer the oldest command"),
        (lambda child: child.send_bytes(b'{"kind":"nonsense"}\n'), "not a message"),
    ],
)
async def test_what_the_protocol_forbids_can_be_sent(misbehave: Callable[[FakeChild], None], says: str) -> None:
    child, parent = await working()
    parent.says(command("a"))
    await child.next_command()
    child.answer()
    await passes()
    misbehave(child)
    data = child.read()
    with pytest.raises(ProtocolViolation, match=says):
        list(parent.session.receive(data or b""))


@on_virtual_clock
async def test_closed_pipes_of_the_living_are_seen() -> None:
    child, parent = await working()
    child.close_stdout()
    await passes()
    assert parent.events == ["readable", "end of stdout"]
    child.hang_up()
    await passes()
    assert parent.events[2:] == ["hang up"] and child.is_alive
    with pytest.raises(BrokenPipeError):
        child.write(b"x")


@on_virtual_clock
async def test_a_worker_that_does_not_read_has_a_full_pipe() -> None:
    child, parent = await working(ChildTraits(stdin_bytes=512))
    child.stop_reading()
    frame = parent.session.send(command("a", "x" * 2000))
    assert (child.write(frame), child.write(frame[512:])) == (512, 0)
    came: list[int] = []

    def on_writable() -> None:
        came.append(child.write(frame[512 + sum(came) :]))
        if 512 + sum(came) == len(frame):
            child.watch_writable(None)

    child.watch_writable(on_writable)
    await passes()
    assert came == []
    child.read_on()
    assert (await child.next_command()).correlation_id == "a"
    assert sum(came) == len(frame) - 512 and max(came) <= 512


@on_virtual_clock
async def test_its_output_comes_in_chunks_of_the_chosen_size() -> None:
    child, parent = await working(ChildTraits(chunk_bytes=7))
    parent.says(command("a"))
    await child.next_command()
    child.answer()
    await passes(100)
    assert parent.kinds() == ["execute_boundary_result"] and len(parent.events) > 5


@on_virtual_clock
async def test_a_parent_that_breaks_the_protocol_is_found_out() -> None:
    child, _ = await working()
    child.write(b"nonsense\n")
    await passes()
    assert "not JSON" in str(child.violation)
    assert child.status == ExitStatus(exit_code=4)


# -- the end


@on_virtual_clock
async def test_stop_ends_it_after_what_it_has() -> None:
    child, parent = await working()
    parent.says(command("a"), Stop())
    await passes()
    assert child.is_alive
    child.answer()
    await passes()
    assert parent.kinds() == ["execute_boundary_result", "stopped"] and parent.heard[-1] == Stopped()
    assert child.status == ExitStatus(exit_code=0)


@on_virtual_clock
async def test_the_end_of_its_stdin_ends_it_without_a_word() -> None:
    child, parent = await working()
    parent.calls(child.close_stdin)
    await passes()
    assert child.log == ["end of stdin"] and child.status == ExitStatus(exit_code=0)
    assert parent.heard == []
    with pytest.raises(BrokenPipeError):
        child.write(b"x")


@on_virtual_clock
@pytest.mark.parametrize(("signalled", "name"), [(FakeChild.terminate_tree, "SIGTERM"), (FakeChild.kill_tree, "SIGKILL")])
async def test_a_signal_ends_it_in_a_later_pass(signalled: Callable[[FakeChild], None], name: str) -> None:
    child, parent = await working()
    parent.calls(lambda: signalled(child))
    assert child.is_alive
    assert await child.reap(5.0) == ExitStatus(signal=name)
    parent.calls(lambda: signalled(child))
    await passes()
    assert child.status == ExitStatus(signal=name)


@on_virtual_clock
async def test_after_its_close_nothing_is_told_and_nothing_may_be_asked_but_what_was_known() -> None:
    child, parent = await working()
    child.stderr.append("last words")
    child.stack, child.rss_bytes, child.memory_kill = "File 'n.py'", 5 << 20, "likely"
    assert (child.stacks(), child.resident_bytes()) == ("", 5 << 20)
    child.end_with_stacks()
    child.kill_tree()
    status = await child.reap(5.0)
    parent.events.clear()
    child.close()
    child.close()
    await passes()
    assert parent.events == []
    assert child.log == ["stacks", "kill", "reap", "close"]
    assert (child.stderr_tail(), child.stacks(), child.peak_rss_bytes()) == (("last words",), "File 'n.py'", 5 << 20)
    assert child.out_of_memory(status) == "likely" and child.resident_bytes() is None
    with pytest.raises(AssertionError, match="used after its close"):
        child.read()


@on_virtual_clock
async def test_a_script_that_makes_no_sense_is_found_out() -> None:
    child, _ = await working()
    with pytest.raises(AssertionError, match="has no command to answer"):
        child.answer()
    with pytest.raises(AssertionError, match="by an exit code or by a signal"):
        child.die()
    child.die(exit_code=0)
    with pytest.raises(AssertionError, match="has ended before"):
        child.die(exit_code=0)
    with pytest.raises(TimeoutError, match="a command for <FakeChild g#0 pid"):
        await child.next_command(timeout_seconds=1)


@on_virtual_clock
async def test_what_it_would_say_into_a_closed_stdout_ends_it() -> None:
    child, parent = await working()
    child.close_stdout()
    parent.says(Ping())
    await passes()
    assert child.status == ExitStatus(exit_code=5)


@on_virtual_clock
async def test_a_stdout_that_is_closed_before_it_introduces_itself_ends_it() -> None:
    child = await launched(FakeLaunch())
    parent = Parent(child)
    child.close_stdout()
    await passes()
    assert (child.status, parent.heard) == (ExitStatus(exit_code=5), [])
