"""A worker from hello to stopped, spoken to over its wire."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_kernel.protocol.breadcrumb import Progress
from stream_kernel.protocol.messages import (
    Bootstrap,
    BootstrapError,
    Cancel,
    ExecuteBoundaryError,
    Hello,
    Ping,
    Pong,
    StartWork,
    Stop,
    Stopped,
)
from stream_kernel.routing.items import Emission, ItemFailure
from waiting import until
from worker_talk import command, plain, rows, started

MakeBootstrap = Callable[..., Bootstrap]


def test_a_whole_life(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    worker.tell(make_bootstrap("echo"))
    hello = worker.hear()
    assert (hello.protocols, hello.pid, hello.language) == ([1], worker.process.pid, "python")
    ready = worker.hear()
    assert [(route.name, route.group) for route in ready.nodes] == [("echo", "g")]
    worker.tell(StartWork(routes=ready.nodes), Ping(token=7), command("echo", b"1", b"2"))
    assert worker.hear() == Pong(token=7)
    found = rows(worker.hear())
    assert [(row.index, bytes(row.packed.data)) for row in found if isinstance(row, Emission)] == [(0, b'{"value":1}'), (1, b'{"value":2}')]
    worker.tell(Stop())
    assert worker.hear() == Stopped()
    assert worker.hear() is None
    assert worker.ends() == (0, "")


def test_a_parent_that_hangs_up_ends_it_in_order(worker: Any, make_bootstrap: MakeBootstrap, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    started(worker, make_bootstrap("resource", settings={"resource": {"journal": str(journal)}}))
    worker.hang_up()
    assert worker.ends()[0] == 0
    assert journal.read_text().split() == ["entered", "left"]


def test_contexts_are_entered_before_ready_and_left_on_stop(worker: Any, make_bootstrap: MakeBootstrap, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    started(worker, make_bootstrap("resource", settings={"resource": {"journal": str(journal)}}))
    assert journal.read_text().split() == ["entered"]
    worker.tell(command("resource", b"1"), Stop())
    assert len(rows(worker.hear())) == 1
    assert worker.hear() == Stopped()
    assert journal.read_text().split() == ["entered", "used", "left"]


def test_what_cannot_be_built_is_told_and_ends_it(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    worker.tell(make_bootstrap("bad_constructor"))
    assert isinstance(worker.hear(), Hello)
    error = worker.hear()
    assert isinstance(error, BootstrapError)
    assert "bad_constructor" in error.message and "hunter2" not in error.message
    assert "hunter2" in error.detail
    assert worker.ends()[0] == 3


def test_under_raise_it_stops_at_the_first_failure(worker: Any, make_bootstrap: MakeBootstrap, tmp_path: Path) -> None:
    log = str(tmp_path / "log").encode()
    started(worker, make_bootstrap("fail_if_asked"))
    items = [b'{"n":1,"log":"%s"}' % log, b'{"fail":true}', b'{"n":3,"log":"%s"}' % log]
    worker.tell(command("fail_if_asked", *items, on_error="raise"))
    error = worker.hear()
    assert isinstance(error, ExecuteBoundaryError)
    assert (error.index, error.node, error.exception_type, error.category) == (1, "fail_if_asked", "ValueError", "execution")
    assert Path(log.decode()).read_text().split() == ["1"]


def test_under_collect_a_failure_is_a_row_among_the_others(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    started(worker, make_bootstrap("fail_if_asked"))
    worker.tell(command("fail_if_asked", b'{"n":1}', b'{"fail":true}', b'{"n":3}'))
    assert [(row.index, isinstance(row, ItemFailure)) for row in rows(worker.hear())] == [(0, False), (1, True), (2, False)]


def test_a_long_reply_comes_in_parts(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    started(worker, make_bootstrap("blob"))
    worker.tell(command("blob", *[b"30000"] * 6))
    replies = [worker.hear()]
    while replies[-1].more:
        replies.append(worker.hear())
    assert len(replies) > 1
    assert [row.index for reply in replies for row in rows(reply)] == list(range(6))


@pytest.mark.parametrize("node", ["async_echo", "async_generate"])
def test_async_nodes_run_in_a_loop_of_the_worker(worker: Any, make_bootstrap: MakeBootstrap, node: str) -> None:
    started(worker, make_bootstrap(node))
    worker.tell(command(node, b"2"), command(node, b"2", correlation_id="c-2"), Stop())
    assert len(rows(worker.hear())) == len(rows(worker.hear())) > 0
    assert worker.hear() == Stopped()
    assert worker.ends()[0] == 0


def test_a_cancel_ends_a_batch_between_two_items(worker: Any, make_bootstrap: MakeBootstrap, make_fifo: Callable[[str], Any]) -> None:
    fifo, release = make_fifo("started"), make_fifo("release")
    started(worker, make_bootstrap("hold"))
    first = b'{"started":"%s","release":"%s"}' % (fifo.path.encode(), release.path.encode())
    worker.tell(command("hold", first, *[b"{}"] * 2000))
    fifo.wait()
    worker.tell(Cancel(correlation_id="c-1"), Cancel(correlation_id="never-sent"))
    # The worker looks for a cancel every few milliseconds at most: the first item must last that long.
    time.sleep(0.01)
    release.release()
    reply = worker.hear()
    assert isinstance(reply, ExecuteBoundaryError)
    assert (reply.category, reply.index) == ("transport", 1)


# -- cancels and deadlines of commands that wait behind another


def meeting(**fifos: Any) -> bytes:
    return json.dumps({name: fifo.path for name, fifo in fifos.items()}).encode()


def not_begun(reply: object) -> bool:
    return isinstance(reply, ExecuteBoundaryError) and (reply.category, reply.index, reply.executed) == ("transport", 0, False)


def test_a_cancel_that_came_with_its_command_is_seen_before_it_begins(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    started(worker, make_bootstrap("echo"))
    worker.tell(command("echo", b"1"), command("echo", b"2", correlation_id="c-2", after_ms=0.0), Cancel(correlation_id="c-2"), Ping())
    assert plain(worker.hear()) == [{"value": 1}]
    assert not_begun(worker.hear())
    assert worker.hear() == Pong()


@pytest.mark.parametrize("is_read_before", [True, False])
def test_a_command_that_was_cancelled_behind_another_never_begins(
    worker: Any, make_bootstrap: MakeBootstrap, make_fifo: Callable[[str], Any], is_read_before: bool
) -> None:
    here, there = make_fifo("here"), make_fifo("there")
    started(worker, make_bootstrap("meet", "echo"))
    first, second = command("meet", meeting(here=here, there=there)), command("echo", b"2", correlation_id="c-2", after_ms=0.0)
    worker.tell(*([first, second] if is_read_before else [first]))
    here.wait()
    worker.tell(*([] if is_read_before else [second]), Cancel(correlation_id="c-2"))
    there.wait()
    assert rows(worker.hear()) == []
    assert not_begun(worker.hear())
    worker.tell(command("echo", b"3", correlation_id="c-3"))
    assert plain(worker.hear()) == [{"value": 3}]


def test_the_time_that_a_command_waited_behind_another_is_not_given_to_it_again(
    worker: Any, make_bootstrap: MakeBootstrap, make_fifo: Callable[[str], Any]
) -> None:
    here, there = make_fifo("here"), make_fifo("there")
    started(worker, make_bootstrap("time_left"))
    both = command("time_left", meeting(here=here, there=there)), command("time_left", b"{}", correlation_id="c-2", after_ms=0.0)
    worker.tell(*both)
    here.wait()
    time.sleep(0.05)  # what the second one would have too much
    there.wait()
    (first,), (second,) = plain(worker.hear()), plain(worker.hear())
    assert second["earliest"] <= first["latest"] + 1e-6 and first["earliest"] <= second["latest"] + 1e-6


def test_the_deadline_of_a_command_counts_from_its_sending_after_the_one_before(
    worker: Any, make_bootstrap: MakeBootstrap, make_fifo: Callable[[str], Any]
) -> None:
    here, there = make_fifo("here"), make_fifo("there")
    started(worker, make_bootstrap("time_left"))
    worker.tell(command("time_left", meeting(here=here, there=there)))
    here.wait()
    time.sleep(0.05)
    sent = [command("time_left", b"{}", correlation_id=f"c-{n}", after_ms=after) for n, after in ((2, 20.0), (3, 10.0), (4, 1e9))]
    before = time.monotonic()
    worker.tell(*sent)
    there.wait()
    first, second, third, fourth = (plain(worker.hear())[0] for _ in range(4))
    for later, seconds in ((second, 0.02), (third, 0.03)):
        assert first["earliest"] + seconds - 1e-6 <= later["latest"] and later["earliest"] - 1e-6 <= first["latest"] + seconds
    # No command was sent later than it was read, and this one was not read before it was written.
    assert before + 20 <= fourth["latest"] and fourth["earliest"] <= time.monotonic() + 20


def test_a_limit_counts_from_when_the_command_is_begun_and_ends_with_the_deadline(
    worker: Any, make_bootstrap: MakeBootstrap, make_fifo: Callable[[str], Any]
) -> None:
    here, there = make_fifo("here"), make_fifo("there")
    started(worker, make_bootstrap("time_left"))
    limits = ((2, 5_000.0), (3, 5_000.0), (4, 60_000.0))
    behind = [command("time_left", b"{}", correlation_id=f"c-{n}", after_ms=0.0, limit_ms=limit) for n, limit in limits]
    worker.tell(command("time_left", meeting(here=here, there=there)), *behind)
    here.wait()
    time.sleep(0.05)
    released = time.monotonic()
    there.wait()
    first, *limited, last = (plain(worker.hear())[0] for _ in range(4))
    for one in limited:
        assert released + 5 <= one["latest"] and one["earliest"] <= time.monotonic() + 5
    assert last["earliest"] <= first["latest"] + 1e-6 and first["earliest"] <= last["latest"] + 1e-6


def test_a_command_that_nothing_went_before_has_its_time_from_when_it_is_read(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    started(worker, make_bootstrap("time_left"))
    for number in range(2):
        before = time.monotonic()
        worker.tell(command("time_left", b"{}", correlation_id=f"c-{number}"))
        (found,) = plain(worker.hear())
        assert before + 20 <= found["latest"] and found["earliest"] <= time.monotonic() + 20


# -- the breadcrumb


def test_the_breadcrumb_names_what_is_at_work_and_when_its_command_began(
    worker: Any, make_bootstrap: MakeBootstrap, make_fifo: Callable[[str], Any]
) -> None:
    here, there = make_fifo("here"), make_fifo("there")
    started(worker, make_bootstrap("echo", "meet"))
    assert worker.words() == (None, 0)
    for number in (1, 2):
        before = time.monotonic_ns()
        worker.tell(command("meet", b"{}", meeting(here=here, there=there), b"{}", correlation_id=f"c-{number}"))
        here.wait()
        progress, began = worker.words()
        assert progress == Progress(number, 1, 1)
        assert before <= began <= time.monotonic_ns()
        there.wait()
        worker.hear()


def test_a_command_that_was_skipped_counts_too(worker: Any, make_bootstrap: MakeBootstrap, make_fifo: Callable[[str], Any]) -> None:
    here = make_fifo("here")
    started(worker, make_bootstrap("meet"))
    skipped = command("meet", b"{}", correlation_id="c-2", after_ms=0.0)
    last = command("meet", meeting(here=here), correlation_id="c-3", after_ms=0.0)
    worker.tell(command("meet", b"{}"), skipped, Cancel(correlation_id="c-2"), last)
    assert rows(worker.hear()) == []
    assert not_begun(worker.hear())
    here.wait()
    assert rows(worker.hear()) == []
    assert worker.words()[0] == Progress(3, 0, 0)


def test_the_breadcrumb_follows_a_message_through_the_group_and_back(
    worker: Any, make_bootstrap: MakeBootstrap, make_fifo: Callable[[str], Any]
) -> None:
    names = ("first", "first_end", "between", "second", "second_end")
    moments = {name: make_fifo(name) for name in names}
    started(worker, make_bootstrap("unfold", "meet"))
    payload = {
        "first": {"here": moments["first"].path, "there": moments["first_end"].path},
        "between": moments["between"].path,
        "second": {"here": moments["second"].path, "there": moments["second_end"].path},
    }
    worker.tell(command("unfold", json.dumps(payload).encode()))
    moments["first"].wait()
    assert worker.words()[0] == Progress(1, 0, 1)
    moments["first_end"].wait()
    until(lambda: worker.words()[0] == Progress(1, 0, 0))
    moments["between"].wait()
    moments["second"].wait()
    assert worker.words()[0] == Progress(1, 0, 1)
    moments["second_end"].wait()
    assert rows(worker.hear()) == []
    assert worker.words()[0] == Progress(1, 0, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"garbage\n", "not JSON"), (b'{"kind":"stop"}\n', "may not say 'stop'"), (b"x" * 2_000_000, "longer than")],
)
def test_a_parent_that_breaks_the_protocol_ends_it(worker: Any, data: bytes, words: str) -> None:
    assert isinstance(worker.hear(), Hello)
    try:
        worker.tell_bytes(data)
    except BrokenPipeError:
        assert len(data) > 65536  # it has ended before all was written
    code, stderr = worker.ends()
    assert code == 4 and "the parent broke the protocol" in stderr and words in stderr


def test_a_parent_that_reads_no_more_ends_it(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    assert isinstance(worker.hear(), Hello)
    worker.process.stdout.close()
    worker.tell(make_bootstrap("echo"))
    code, stderr = worker.ends()
    assert code == 5 and "the wire broke" in stderr
