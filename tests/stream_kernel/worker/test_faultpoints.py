"""Faults on purpose: each happens exactly at its point, and is what it is called."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from naming import named
from processes import is_alive, watched
from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.breadcrumb import Progress
from stream_kernel.protocol.faults import ACTIONS, POINTS
from stream_kernel.protocol.messages import (
    Bootstrap,
    BootstrapError,
    ExecuteBoundaryResult,
    FaultOrder,
    Hello,
    Ping,
    Pong,
    Ready,
    StartWork,
    Stop,
)
from worker_talk import command, plain, rows, started

MakeBootstrap = Callable[..., Bootstrap]
MakeFifo = Callable[[str], Any]


@pytest.fixture
def begin(worker: Any, make_bootstrap: MakeBootstrap) -> Callable[..., None]:
    """Start the worker with one node and some faults."""

    def start(node: str, *orders: FaultOrder, **fields: Any) -> None:
        started(worker, make_bootstrap(node, faults=orders, **fields))

    return start


def read_line(worker: Any) -> bytes:
    line: bytes = worker.process.stdout.readline()
    return line


# -- points


@pytest.mark.parametrize(
    ("point", "heard", "journal", "progress"),
    [
        ("boot", [Hello], [], None),
        ("ready", [Hello], ["entered"], None),
        ("read", [Hello, Ready], ["entered"], None),
        ("before_node", [Hello, Ready], ["entered"], None),
        ("in_node", [Hello, Ready], ["entered"], Progress(1, 0, 0)),
        ("after_node", [Hello, Ready], ["entered", "used"], Progress(1, 0, 0)),
        ("before_write", [Hello, Ready], ["entered", "used"], Progress(1, 0, 0)),
        ("after_write", [Hello, Ready, ExecuteBoundaryResult], ["entered", "used"], Progress(1, 0, 0)),
        ("stop", [Hello, Ready, ExecuteBoundaryResult], ["entered", "used"], Progress(1, 0, 0)),
    ],
)
def test_a_death_is_exactly_at_its_point(
    worker: Any, make_bootstrap: MakeBootstrap, tmp_path: Path, point: str, heard: list[type], journal: list[str], progress: Progress | None
) -> None:
    path = tmp_path / "journal"
    path.touch()
    (tmp_path / "imported.py").write_text(f"open({str(path)!r}, 'a').write('imported ')\nfrom kernel_nodes import Resource\n")
    order = make_bootstrap("resource", modules=("imported",), settings={"resource": {"journal": str(path)}})
    worker.tell(msgspec.structs.replace(order, import_path=[*order.import_path, str(tmp_path)], faults=(FaultOrder(point, "kill"),)))
    found = []
    while (message := worker.hear()) is not None:
        found.append(type(message))
        if isinstance(message, Ready):
            worker.tell(StartWork(routes=message.nodes), command("resource", b"1"))
        if isinstance(message, ExecuteBoundaryResult) and point == "stop":
            worker.tell(Stop())
    assert worker.ends() == (-signal.SIGKILL, "")
    assert (found, path.read_text().split()) == (heard, journal and ["imported", *journal])
    assert worker.words()[0] == progress
    assert (worker.words()[1] > 0) == (point not in ("boot", "ready", "read"))


@pytest.mark.parametrize("length", [0, 1, 10, 10_000])
def test_a_death_in_the_middle_of_a_reply_leaves_so_many_bytes_of_it(worker: Any, begin: Callable[..., None], length: int) -> None:
    begin("echo", FaultOrder("mid_write", "kill", argument=str(length)))
    worker.tell(command("echo", b"1"))
    written = b"".join(iter(lambda: worker.process.stdout.read(1 << 16), b""))
    whole = written.endswith(b"\n")
    assert whole == (length == 10_000)
    assert whole or len(written) == length
    assert worker.ends()[0] == -signal.SIGKILL


def test_a_fault_waits_for_its_passage(worker: Any, begin: Callable[..., None]) -> None:
    begin("echo", FaultOrder("before_node", "kill", nth=4), FaultOrder("before_write", "kill", nth=9))
    worker.tell(command("echo", b"1", b"2"))
    assert len(plain(worker.hear())) == 2
    worker.tell(command("echo", b"3", b"4", b"5", correlation_id="c-2"))
    assert worker.hear() is None
    assert worker.ends()[0] == -signal.SIGKILL
    assert worker.words()[0] == Progress(2, 0, 0)


@pytest.mark.parametrize(("nth", "replies"), [(4, 0), (5, 1), (8, 1), (9, 2)])
def test_a_generator_passes_the_points_of_a_node_when_it_is_called_and_with_each_step(
    worker: Any, begin: Callable[..., None], nth: int, replies: int
) -> None:
    begin("generate", FaultOrder("after_node", "exit", nth=nth, argument="7"))  # two outputs: a call, two steps that give one, the end
    worker.tell(*(command("generate", b"2", correlation_id=f"c-{number}") for number in range(3)))
    for _ in range(replies):
        assert len(plain(worker.hear())) == 2
    assert worker.hear() is None
    assert worker.ends()[0] == 7


def test_a_worker_without_orders_does_not_load_them(worker: Any, begin: Callable[..., None], tmp_path: Path) -> None:
    script = tmp_path / "asking.py"
    script.write_text(
        "import sys\nfrom stream_kernel import node\n"
        "@node(name='ask')\ndef ask(message, ctx): return 'stream_kernel.worker.faultpoints' in sys.modules\n"
    )
    begin("ask", modules=("asking",), import_path=[str(tmp_path)])
    worker.tell(command("ask", b"1"))
    assert plain(worker.hear()) == [False]


# -- actions


def test_a_stopped_worker_goes_on_when_it_is_continued(worker: Any, begin: Callable[..., None]) -> None:
    begin("echo", FaultOrder("in_node", "stop"))
    worker.tell(command("echo", b"1"))
    os.waitid(os.P_PID, worker.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert worker.words()[0] == Progress(1, 0, 0)
    worker.process.send_signal(signal.SIGCONT)
    assert plain(worker.hear()) == [{"value": 1}]


@pytest.mark.parametrize(("point", "argument", "written"), [("before_write", "7", 0), ("mid_write", "5:7", 5), ("boot", "7", 0)])
def test_an_exit_has_its_code(worker: Any, make_bootstrap: MakeBootstrap, point: str, argument: str, written: int) -> None:
    worker.tell(make_bootstrap("echo", faults=(FaultOrder(point, "exit", argument=argument),)))
    assert isinstance(worker.hear(), Hello)
    if point != "boot":
        worker.tell(StartWork(routes=worker.hear().nodes), command("echo", b"1"))
    assert len(worker.process.stdout.read()) == written
    assert worker.ends() == (7, "")


def test_a_segmentation_fault_is_a_real_one(worker: Any, begin: Callable[..., None]) -> None:
    begin("echo", FaultOrder("after_node", "segv"))
    worker.tell(command("echo", b"1"))
    assert worker.hear() is None
    assert worker.ends() == (-signal.SIGSEGV, "")
    assert " in string_at\n" in worker.stacks()


def test_a_closed_stdout_ends_the_stream_and_not_the_process(worker: Any, begin: Callable[..., None]) -> None:
    begin("echo", FaultOrder("before_write", "close_out"))
    worker.tell(command("echo", b"1"))
    assert worker.hear() is None
    with watched(worker.process.pid) as pidfd:
        assert is_alive(pidfd)


def test_a_closed_stdin_takes_nothing_more_and_the_process_goes_on(worker: Any, begin: Callable[..., None]) -> None:
    begin("echo", FaultOrder("in_node", "close_in"))
    worker.tell(command("echo", b"1", b"2"))
    assert len(plain(worker.hear())) == 2
    poller = select.poll()
    poller.register(worker.process.stdin, 0)
    assert poller.poll(0)[0][1] & select.POLLERR
    worker.hangs("S")  # it waits for what will never come


def test_garbage_is_a_line_that_is_no_frame(worker: Any, begin: Callable[..., None]) -> None:
    begin("echo", FaultOrder("after_write", "garbage"))
    worker.tell(command("echo", b"1"), Ping())
    assert read_line(worker).startswith(b'{"kind":"execute_boundary_result"')
    line = read_line(worker)
    with pytest.raises(ProtocolViolation):
        list(worker.session.receive(line))
    assert read_line(worker) == b'{"kind":"pong"}\n'


@pytest.mark.parametrize("point", ["before_write", "after_write"])
def test_a_duplicate_is_the_same_frame_again(worker: Any, begin: Callable[..., None], point: str) -> None:
    begin("echo", FaultOrder(point, "duplicate"))
    worker.tell(command("echo", b"1"), Ping())
    assert read_line(worker) == read_line(worker) != b""
    assert read_line(worker) == b'{"kind":"pong"}\n'


def test_a_worker_that_is_held_has_come_to_the_point_and_goes_on_when_it_is_let_go(
    worker: Any, begin: Callable[..., None], make_fifo: MakeFifo
) -> None:
    fifo = make_fifo("held")
    begin("echo", FaultOrder("read", "hold", nth=2, argument=fifo.path))
    worker.tell(command("echo", b"1"), command("echo", b"2", correlation_id="c-2"), Ping())
    with Path(fifo.path).open("w"):
        assert len(rows(worker.hear())) == 1
        assert worker.words()[0] == Progress(1, 0, 0)
    assert plain(worker.hear()) == [{"value": 2}]
    assert worker.hear() == Pong()


def test_a_reply_that_was_held_in_the_middle_arrives_whole(worker: Any, begin: Callable[..., None], make_fifo: MakeFifo) -> None:
    fifo, early = make_fifo("held"), make_fifo("early")
    begin("echo", FaultOrder("mid_write", "hold", argument=f"9:{fifo.path}"), FaultOrder("mid_write", "hold", argument=f"4:{early.path}"))
    worker.tell(command("echo", b"1"))
    first = b""
    for each, length in ((early, 4), (fifo, 5)):
        with Path(each.path).open("w"):
            more = worker.process.stdout.read(1 << 16)
            assert len(more) == length
            first += more
    (reply,) = worker.session.receive(first + read_line(worker))
    assert plain(reply) == [{"value": 1}]


@pytest.mark.parametrize(("action", "function"), [("hang_python", "_hang_python"), ("hang_c", "_hang_c")])
def test_a_worker_that_hangs_says_where(worker: Any, begin: Callable[..., None], action: str, function: str) -> None:
    begin("echo", FaultOrder("in_node", action))
    worker.tell(command("echo", b"1"))
    worker.hangs("R" if action == "hang_python" else "S")
    assert worker.words()[0] == Progress(1, 0, 0)
    assert f" in {function}\n" in worker.ends_with_stacks()


# -- orders


def test_every_action_can_be_ordered_at_every_point_where_it_makes_sense(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    fitting = {"exit": "1", "hold": "/dev/null"}
    orders = [
        FaultOrder(point, action, nth=99, argument=fitting.get(action, ""))
        for point in POINTS
        for action in ACTIONS
        if point != "mid_write" and (action != "duplicate" or point in ("before_write", "after_write"))
    ]
    orders += [FaultOrder("mid_write", "kill", nth=99, argument="3"), FaultOrder("mid_write", "stop", nth=99, argument="3")]
    started(worker, make_bootstrap("echo", faults=tuple(orders)))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (FaultOrder("nowhere", "kill"), ["'kill' at 'nowhere'", "there is no such point", "before_write"]),
        (FaultOrder("read", "explode"), ["'explode' at 'read'", "there is no such action", "hang_c"]),
        (FaultOrder("read", "kill", nth=0), ["nth counts from 1; it is 0"]),
        (FaultOrder("read", "exit"), ["code must be a number, not ''"]),
        (FaultOrder("read", "exit", argument="-1"), ["code must be a number, not '-1'"]),
        (FaultOrder("read", "hold"), ["names no FIFO"]),
        (FaultOrder("mid_write", "kill"), ["after_bytes must be a number, not ''"]),
        (FaultOrder("mid_write", "exit", argument="5"), ["code must be a number, not ''"]),
        (FaultOrder("mid_write", "hold", argument="5"), ["names no FIFO"]),
        (FaultOrder("mid_write", "garbage", argument="5"), ["in the middle of a frame", "hold"]),
        (FaultOrder("in_node", "duplicate"), ["there is a frame to write twice only at"]),
    ],
    ids=named,
)
def test_an_order_that_cannot_be_followed_is_a_boot_error_that_names_it(
    worker: Any, make_bootstrap: MakeBootstrap, order: FaultOrder, words: list[str]
) -> None:
    worker.tell(make_bootstrap("echo", faults=(FaultOrder("stop", "kill"), order)))
    assert isinstance(worker.hear(), Hello)
    error = worker.hear()
    assert isinstance(error, BootstrapError)
    assert all(word in error.message for word in (*words, "group 'g'"))
    assert worker.ends() == (3, "")
