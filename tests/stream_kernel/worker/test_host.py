"""A worker from hello to stopped, spoken to over its wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from stream_kernel.protocol.columns import inputs_to_columns, outputs_from_columns
from stream_kernel.protocol.messages import (
    Bootstrap,
    BootstrapError,
    Cancel,
    ExecuteBoundary,
    ExecuteBoundaryError,
    ExecuteBoundaryResult,
    Hello,
    Ping,
    Pong,
    Ready,
    StartWork,
    Stop,
    Stopped,
)
from stream_kernel.routing.items import Emission, InputItem, ItemFailure
from stream_kernel.routing.packed import Packed

MakeBootstrap = Callable[..., Bootstrap]


def command(target: str, *payloads: bytes, on_error: str = "collect", correlation_id: str = "c-1") -> ExecuteBoundary:
    items = [InputItem(Packed(Raw(payload), None, len(payload)), target) for payload in payloads]
    return ExecuteBoundary(
        correlation_id=correlation_id,
        run_id="r",
        scenario_id="s",
        remaining_ms=20_000,
        on_error=on_error,  # type: ignore[arg-type]
        inputs=inputs_to_columns(items),
    )


def rows(reply: object) -> list[Emission | ItemFailure]:
    assert isinstance(reply, ExecuteBoundaryResult)
    return outputs_from_columns(reply.terminal_outputs, terminal=True)


def started(worker: Any, order: Bootstrap) -> None:
    worker.tell(order)
    assert isinstance(worker.hear(), Hello)
    ready = worker.hear()
    assert isinstance(ready, Ready), ready
    worker.tell(StartWork(routes=ready.nodes))


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
