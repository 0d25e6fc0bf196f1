"""A run over real streams: what is written, in which order, how much is in flight, and what becomes of it when something fails."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
import tty
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli import decoded, encoded
from fixture_types import MakeConfig, MakeFifo
from processes import WAIT_SECONDS
from stream_kernel import AsyncBoundarySupervisor, ConfigurationError, RuntimeConfig
from stream_kernel.execution.orchestration.line_sink import LineSink
from stream_kernel.execution.orchestration.line_source import LineSource
from stream_kernel.execution.orchestration.run_summary import RunSummary
from stream_kernel.execution.orchestration.stream_run import StreamRun
from waiting import in_thread

MAX_LINE = 1 << 20


class Place:
    """The files of one run."""

    def __init__(self, folder: Path) -> None:
        self.input, self.output, self.errors = folder / "in", folder / "out", folder / "errors"

    def given(self, records: Iterable[Any]) -> None:
        self.input.write_bytes(encoded(records))

    def outputs(self) -> list[Any]:
        return decoded(self.output.read_bytes())

    def failures(self) -> list[Any]:
        return decoded(self.errors.read_bytes())

    def failed_lines(self) -> list[int]:
        return [failure["line"] for failure in self.failures()]

    @asynccontextmanager
    async def run(
        self, config: RuntimeConfig, *, batch_size: int = 1, source: int | None = None, sink: int | None = None, **options: Any
    ) -> AsyncIterator[tuple[StreamRun, AsyncBoundarySupervisor]]:
        """A run that has not begun; from the input file to the output file, unless descriptors say otherwise."""
        with (
            _open(self.input if source is None else source, os.O_RDONLY) as reading,
            _open(self.output if sink is None else sink) as writing,
            _open(self.errors) as failing,
        ):
            assert config.source is not None
            lines = LineSource(reading, "in", line_format=config.source.format, batch_size=batch_size, max_line_bytes=MAX_LINE)
            async with AsyncBoundarySupervisor(config) as supervisor:
                errors = LineSink(failing, "errors")
                yield StreamRun(supervisor, lines, LineSink(writing, "out"), run_id="r1", errors=errors, **options), supervisor

    async def summary(self, config: RuntimeConfig, **options: Any) -> RunSummary:
        """Run, and give what it came to."""
        async with self.run(config, **options) as (run, _):
            return await run.run()


@contextmanager
def _open(target: Path | int, flags: int = os.O_WRONLY | os.O_CREAT | os.O_TRUNC) -> Iterator[int]:
    """A descriptor of a file; one that is given stays its owner's."""
    if isinstance(target, int):
        yield target
        return
    descriptor = os.open(target, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose ends the test may close itself."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


@pytest.fixture
def make_run_config(make_config: MakeConfig) -> Callable[..., RuntimeConfig]:
    """A configuration of nodes for runs whose source is the first node."""

    def make(groups: dict[str, Any], *, mode: str = "inline", source: str = "work", form: str = "jsonl", **top: Any) -> RuntimeConfig:
        return make_config(groups, modules=["run_nodes"], mode=mode, source={"target": source, "format": form}, **top)

    return make


MakeRunConfig = Callable[..., RuntimeConfig]


async def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds, which no event announces."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


async def passes(count: int = 200) -> None:
    """Let the loop go round: time enough for all that needs nothing but the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


def numbers(count: int) -> list[dict[str, int]]:
    return [{"n": n} for n in range(1, count + 1)]


# -- what is written


@pytest.mark.parametrize("mode", ["inline", "inline_wire", "process_supervisor"])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
async def test_each_line_gives_its_output_in_the_order_of_the_lines(
    place: Place, make_run_config: MakeRunConfig, mode: str, batch_size: int
) -> None:
    place.given(numbers(20))
    config = make_run_config({"features": {"nodes": ["feature"], "workers": 2}, "policy": ["tally"]}, mode=mode, source="feature")
    summary = await place.summary(config, batch_size=batch_size)
    assert place.outputs() == [{"n": n, "seen": n} for n in range(1, 21)]
    assert (summary.outcome, summary.lines_read, summary.lines_complete, summary.outputs, summary.failures) == ("complete", 20, 20, 20, 0)


async def test_a_line_may_give_several_outputs_or_none(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([{"n": 1, "times": 2}, {"n": 2, "times": 0}, {"n": 3, "times": 1}])
    summary = await place.summary(make_run_config({"g": ["repeat"]}, source="repeat"), batch_size=2)
    assert place.outputs() == [{"n": 1, "copy": 0}, {"n": 1, "copy": 1}, {"n": 3, "copy": 0}]
    assert (summary.lines_complete, summary.outputs) == (3, 3)


async def test_a_terminal_event_is_its_payload_or_the_failure_of_its_line(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([{"n": 1, "status": "success"}, {"n": 2, "status": "error"}, {"n": 3, "status": "success"}])
    summary = await place.summary(make_run_config({"g": ["event"]}, source="event"), on_error="collect")
    assert place.outputs() == [{"n": 1}, {"n": 3}]
    assert [(failure["line"], failure["category"], failure["node"]) for failure in place.failures()] == [(2, "execution", "event")]
    assert (summary.outcome, summary.failures) == ("complete", 1)


async def test_a_text_is_written_as_it_is_and_one_that_would_be_two_lines_fails_its_line(
    place: Place, make_run_config: MakeRunConfig
) -> None:
    place.input.write_bytes("a\r\nü\n|\nlast".encode())
    await place.summary(make_run_config({"g": ["shout"]}, source="shout", form="text"), on_error="collect", batch_size=3)
    assert place.output.read_bytes() == "A\nÜ\nLAST\n".encode()
    (failure,) = place.failures()
    assert (failure["line"], failure["category"], failure["node"]) == (3, "execution", "shout")
    assert failure["message"] == "an output of line 3 cannot be written: holds a line break, and an output is one line: give it as JSON"


async def test_an_empty_input_is_a_complete_run(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([])
    summary = await place.summary(make_run_config({"g": ["work"]}))
    assert (summary.outcome, summary.lines_read, summary.outputs) == ("complete", 0, 0)
    assert place.outputs() == []


# -- the order, and what is in flight


async def test_batches_that_overtake_each_other_reach_a_stateful_group_in_order(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    place.given([{"n": 1, "feature": {"started": started.path, "release": release.path}}, {"n": 2}])
    groups = {"features": {"nodes": ["feature"], "workers": 2}, "policy": ["tally"]}
    async with place.run(make_run_config(groups, mode="process_supervisor", source="feature")) as (run, supervisor):
        running = asyncio.create_task(run.run())
        await in_thread(started.wait)
        # Several batches are in flight: the second one has been through the first group while the first one is still held there.
        await until(lambda: sum(worker.requests for worker in supervisor.snapshot().groups[0].workers) == 1)
        await passes()
        assert place.outputs() == []
        assert run.progress().lines_in_flight == 2
        await in_thread(release.release)
        summary = await running
    assert place.outputs() == [{"n": 1, "seen": 1}, {"n": 2, "seen": 2}]
    assert summary.outcome == "complete"


async def test_outputs_of_a_stateless_group_that_answers_out_of_order_are_in_the_order_of_the_lines(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    place.given([{"n": 1, "work": {"started": started.path, "release": release.path}}, {"n": 2}, {"n": 3}])
    async with place.run(make_run_config({"g": {"nodes": ["work"], "workers": 2}}, mode="process_supervisor")) as (run, supervisor):
        running = asyncio.create_task(run.run())
        await in_thread(started.wait)
        await until(lambda: sum(worker.requests for worker in supervisor.snapshot().groups[0].workers) == 2)
        await passes()
        assert place.outputs() == []
        await in_thread(release.release)
        await running
    assert place.outputs() == numbers(3)


async def test_no_more_than_a_window_is_read_ahead_of_what_is_written(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    place.given([{"n": 1, "work": {"started": started.path, "release": release.path}}, *({"n": n} for n in range(2, 301))])
    async with place.run(make_run_config({"g": ["work"]}, mode="process_supervisor"), batch_size=2) as (run, _):
        running = asyncio.create_task(run.run())
        await in_thread(started.wait)
        await passes()
        assert run.summary("complete").lines_read <= 2 * 2 + 2  # two batches in flight, one read
        await in_thread(release.release)
        assert (await running).lines_complete == 300
    assert place.outputs() == numbers(300)


async def test_a_reader_that_is_slow_holds_the_reading_and_times_nothing_out(
    place: Place, make_run_config: MakeRunConfig, pipe: tuple[int, int]
) -> None:
    reading, writing = pipe
    place.given({"n": n, "pad": "x"} for n in range(1, 20_001))
    config = make_run_config({"g": ["work"]}, mode="process_supervisor")
    async with place.run(config, batch_size=500, sink=writing, timeout_seconds=1) as (run, _):
        running = asyncio.create_task(run.run())
        await until(lambda: run.progress().lines_in_flight > 0 and run.progress().lines_complete > 0)
        await asyncio.sleep(1.2)  # not to coordinate: the deadline of all that is in flight passes
        assert run.summary("complete").lines_read < 20_000
        received = asyncio.create_task(in_thread(_read_all, reading))
        summary = await running
        os.close(writing)
        assert decoded(await received) == numbers(20_000)
    assert (summary.outcome, summary.failures) == ("complete", 0)


def _read_all(descriptor: int) -> bytes:
    data = b""
    while part := os.read(descriptor, 1 << 16):
        data += part
    return data


async def test_a_line_of_a_live_pipe_is_answered_without_waiting_for_a_full_batch(
    place: Place, make_run_config: MakeRunConfig, pipe: tuple[int, int]
) -> None:
    reading, writing = pipe
    async with place.run(make_run_config({"g": ["work"]}), batch_size=1000, source=reading) as (run, _):
        running = asyncio.create_task(run.run())
        for n in (1, 2, 3):
            os.write(writing, encoded([{"n": n}]))
            await until(lambda: len(place.outputs()) == n)  # noqa: B023  awaited at once
        os.close(writing)
        assert (await running).outcome == "complete"
    assert place.outputs() == numbers(3)


async def test_a_line_that_is_too_long_fails_alone_and_is_never_held(place: Place, make_run_config: MakeRunConfig) -> None:
    with place.input.open("wb") as given:
        given.write(encoded([{"n": 1}]))
        given.write(b"9" * 20_000_000 + b"\n")
        given.write(encoded([{"n": 3}]))
    async with place.run(make_run_config({"g": ["work"]}), on_error="collect", batch_size=10) as (run, _):
        tracemalloc.start()
        try:
            await run.run()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert place.outputs() == [{"n": 1}, {"n": 3}]
    (failure,) = place.failures()
    assert (failure["line"], failure["category"], failure["delivery"]) == (2, "input", "not_executed")
    assert failure["message"] == f"line 2 is 20000000 bytes long, over execution_ipc.max_frame_bytes = {MAX_LINE}"
    assert peak < 4 * MAX_LINE


# -- failures of lines


@pytest.mark.parametrize("mode", ["inline", "inline_wire", "process_supervisor"])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
async def test_a_node_that_raises_stops_the_run_at_its_line_whatever_the_batch(
    place: Place, make_run_config: MakeRunConfig, mode: str, batch_size: int
) -> None:
    place.given([*numbers(9), {"n": 10, "work": {"do": "raise"}}, *numbers(5)])
    summary = await place.summary(make_run_config({"g": ["work"]}, mode=mode), batch_size=batch_size)
    assert place.outputs() == numbers(9)
    assert (summary.outcome, summary.lines_complete, summary.outputs, summary.failures) == ("failed", 9, 9, 1)
    failure = summary.stopped_by
    assert failure is not None
    assert (failure.line, failure.category, failure.delivery, failure.group, failure.node) == (10, "execution", "executed", "g", "work")
    assert place.failures() == [msgspec.to_builtins(failure)]


@pytest.mark.parametrize("mode", ["inline", "inline_wire", "process_supervisor"])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
async def test_under_collect_exactly_the_failing_line_is_recorded_whatever_the_batch(
    place: Place, make_run_config: MakeRunConfig, mode: str, batch_size: int
) -> None:
    place.given([*numbers(9), {"n": 10, "work": {"do": "raise"}}, {"n": 11}])
    summary = await place.summary(make_run_config({"g": ["work"]}, mode=mode), batch_size=batch_size, on_error="collect")
    assert place.outputs() == [*numbers(9), {"n": 11}]
    assert place.failures() == [
        {
            "line": 10,
            "category": "execution",
            "delivery": "executed",
            "group": "g",
            "node": "work",
            "message": "remote handoff failed for group 'g'",
            "reason": "node 'work' raised ValueError",
        }
    ]
    assert (summary.outcome, summary.lines_complete, summary.failures) == ("complete", 11, 1)


async def test_a_line_that_is_no_json_is_refused_and_the_others_of_its_batch_go_on(place: Place, make_run_config: MakeRunConfig) -> None:
    place.input.write_bytes(b'{"n": 1}\n{"n": 2\n\xff\xfe\n{"n": 4}\n')
    summary = await place.summary(make_run_config({"g": ["work"]}), batch_size=10, on_error="collect")
    assert place.outputs() == [{"n": 1}, {"n": 4}]
    assert [(failure["line"], failure["category"], failure["group"]) for failure in place.failures()] == [
        (2, "input", None),
        (3, "input", None),
    ]
    assert summary.lines_complete == 4


async def test_the_failure_of_a_later_line_does_not_show_before_the_earlier_ones(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    held = {"n": 1, "work": {"started": started.path, "release": release.path}}
    place.given([held, {"n": 2, "work": {"do": "raise"}}, {"n": 3}])
    async with place.run(make_run_config({"g": {"nodes": ["work"], "workers": 2}}, mode="process_supervisor")) as (run, supervisor):
        running = asyncio.create_task(run.run())
        await in_thread(started.wait)
        await until(lambda: sum(worker.requests for worker in supervisor.snapshot().groups[0].workers) >= 1)
        await passes()
        assert not running.done()
        await in_thread(release.release)
        summary = await running
    assert place.outputs() == [{"n": 1}]
    assert summary.stopped_by is not None and summary.stopped_by.line == 2


async def test_a_worker_that_is_lost_costs_the_lines_of_its_command_alone(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([*numbers(4), {"n": 5, "work": {"do": "die"}}, {"n": 6}, {"n": 7}])
    config = make_run_config({"g": ["work"]}, mode="process_supervisor")
    summary = await place.summary(config, batch_size=2, on_error="collect")
    assert place.outputs() == [*numbers(4), {"n": 7}]
    assert [(failure["line"], failure["category"], failure["delivery"]) for failure in place.failures()] == [
        (5, "transport", "maybe_executed"),
        (6, "transport", "not_executed"),
    ]
    assert (summary.outcome, summary.restarts) == ("complete", 1)


@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_a_stateful_group_that_loses_its_worker_ends_the_run(place: Place, make_run_config: MakeRunConfig, on_error: str) -> None:
    place.given([*numbers(4), {"n": 5, "tally": {"do": "die"}}, *numbers(20)])
    config = make_run_config({"features": ["feature"], "policy": ["tally"]}, mode="process_supervisor", source="feature")
    summary = await place.summary(config, batch_size=2, on_error=on_error)
    assert place.outputs() == [{"n": n, "seen": n} for n in range(1, 5)]
    assert (summary.outcome, summary.lines_complete) == ("state_lost", 4)
    assert summary.stopped_by is not None and summary.stopped_by.group == "policy"


async def test_a_group_that_has_failed_ends_the_run_instead_of_every_line_that_is_left(
    place: Place, make_run_config: MakeRunConfig
) -> None:
    place.given({"n": n, "work": {"do": "die"}} for n in range(1, 101))
    summary = await place.summary(make_run_config({"g": ["work"]}, mode="process_supervisor"), on_error="collect")
    assert summary.outcome == "failed"
    assert summary.stopped_by is not None and summary.stopped_by.category == "transport"
    assert summary.problem is not None and summary.problem.startswith("group 'g' has failed: its workers died too often (process_groups.")
    assert place.failed_lines() == list(range(1, len(place.failed_lines()) + 1))
    assert len(place.failed_lines()) < 20
    assert place.outputs() == []


async def test_a_name_that_was_not_declared_fails_its_line_where_the_order_hangs_on_it(
    place: Place, make_run_config: MakeRunConfig
) -> None:
    place.given(numbers(2))
    summary = await place.summary(make_run_config({"features": ["stray"], "policy": ["tally"]}, source="stray"))
    assert place.outputs() == []
    failure = summary.stopped_by
    assert failure is not None and failure.reason is not None
    assert (failure.line, failure.category, failure.node) == (1, "execution", "stray")
    assert "sends_to" in failure.reason


# -- deadlines


async def test_a_batch_that_passes_its_deadline_fails_and_the_others_go_on(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([{"n": 1}, {"n": 2, "work": {"do": "hang"}}, {"n": 3}])
    config = make_run_config({"g": ["work"]}, mode="process_supervisor")
    # The third line waits behind the one that hangs, so with the same deadline it may fail as well, for having waited: two workers.
    config = config.adapted(workers={"g": 2})
    summary = await place.summary(config, on_error="collect", timeout_seconds=1)
    assert place.outputs() == [{"n": 1}, {"n": 3}]
    assert [(failure["line"], failure["category"], failure["delivery"]) for failure in place.failures()] == [
        (2, "timeout", "maybe_executed")
    ]
    assert summary.outcome == "complete"


async def test_a_deadline_in_a_stateful_group_ends_the_run(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([{"n": 1}, {"n": 2, "tally": {"do": "hang"}}, {"n": 3}])
    config = make_run_config({"policy": ["tally"]}, mode="process_supervisor", source="tally")
    summary = await place.summary(config, on_error="collect", timeout_seconds=1)
    assert place.outputs() == [{"n": 1, "seen": 1}]
    assert (summary.outcome, summary.lines_complete) == ("state_lost", 1)


async def test_no_batch_passes_its_deadline_because_it_waits_behind_others(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given({"n": n, "tally": {"do": "take", "seconds": 0.4}} for n in range(1, 7))
    # Five batches are in flight, the last of which waits for the others longer than a batch may take.
    groups = {"features": {"nodes": ["feature"], "workers": 3}, "policy": ["tally"]}
    config = make_run_config(groups, mode="process_supervisor", source="feature")
    summary = await place.summary(config, timeout_seconds=1.3)
    assert summary.stopped_by is None
    assert [output["n"] for output in place.outputs()] == [1, 2, 3, 4, 5, 6]


async def test_no_batch_passes_its_deadline_because_later_ones_overtook_it(place: Place, make_run_config: MakeRunConfig) -> None:
    takes = {"do": "take", "seconds": 0.6}
    place.given([{"n": 1, "relay": {"do": "take", "seconds": 0.1}, "work": takes}, {"n": 2, "work": takes}, {"n": 3, "work": takes}])
    groups = {"relays": {"nodes": ["relay"], "workers": 2}, "g": ["work"]}
    summary = await place.summary(make_run_config(groups, mode="process_supervisor", source="relay"), timeout_seconds=1)
    assert summary.stopped_by is None
    assert place.outputs() == numbers(3)


async def test_a_batch_has_no_more_than_its_own_time_however_many_were_before_it(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    first, release, last = make_fifo("first"), make_fifo("release"), make_fifo("last")
    held = {"n": 1, "work": {"started": first.path, "release": release.path}}
    place.given([held, {"n": 2}, {"n": 3}, {"n": 4}, {"n": 5, "work": {"started": last.path, "do": "hang"}}])
    config = make_run_config({"g": {"nodes": ["work"], "workers": 4}}, mode="process_supervisor")
    async with place.run(config, timeout_seconds=1.5) as (run, _):
        running = asyncio.create_task(run.run())
        await in_thread(first.wait)
        await in_thread(last.wait)
        await in_thread(release.release)
        async with asyncio.timeout(4 * 1.5):  # beside which it would have five times as long
            summary = await running
    assert summary.stopped_by is not None
    assert (summary.stopped_by.line, summary.stopped_by.category) == (5, "timeout")
    assert summary.lines_complete == 4


# -- the streams


async def test_a_reader_that_has_gone_ends_the_run(place: Place, make_run_config: MakeRunConfig, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    place.given(numbers(50))
    os.close(reading)
    summary = await place.summary(make_run_config({"g": ["work"]}), sink=writing)
    assert (summary.outcome, summary.lines_complete, summary.outputs) == ("output_closed", 0, 0)


async def test_an_output_that_takes_nothing_ends_the_run_with_its_name(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given(numbers(3))
    with _open(Path("/dev/full"), os.O_WRONLY) as full:
        summary = await place.summary(make_run_config({"g": ["work"]}), sink=full)
    assert (summary.outcome, summary.problem) == ("stream_failed", "out cannot be written: No space left on device")


async def test_an_input_that_cannot_be_read_ends_the_run_with_its_name(place: Place, make_run_config: MakeRunConfig) -> None:
    with _open(Path("/proc/self/mem"), os.O_RDONLY) as unreadable:
        summary = await place.summary(make_run_config({"g": ["work"]}), source=unreadable)
    assert (summary.outcome, summary.problem) == ("stream_failed", "in cannot be read: Input/output error")


# -- before the first line


async def test_lines_before_the_one_that_cannot_be_read_are_complete(place: Place, make_run_config: MakeRunConfig) -> None:
    controller, terminal = os.openpty()  # a terminal that has gone gives what it held, and then an error
    tty.setraw(terminal)
    os.write(terminal, b'{"n":1}\n{"n":2}\n{"n":3}\n')
    os.close(terminal)
    summary = await place.summary(make_run_config({"g": ["work"]}, mode="process_supervisor"), source=controller)
    os.close(controller)
    assert (summary.outcome, summary.problem) == ("stream_failed", "in cannot be read: Input/output error")
    assert (place.outputs(), summary.lines_complete) == (numbers(3), 3)


async def test_a_run_without_a_source_is_refused(place: Place, make_config: MakeConfig) -> None:
    with _open(place.output) as descriptor:
        source = LineSource(descriptor, "in", line_format="text", batch_size=1, max_line_bytes=MAX_LINE)
        async with AsyncBoundarySupervisor(make_config({"g": ["work"]}, modules=["run_nodes"], mode="inline")) as supervisor:
            with pytest.raises(ConfigurationError, match=r"^source: is missing"):
                StreamRun(supervisor, source, LineSink(descriptor, "out"), run_id="r1")


async def test_a_stateful_group_on_a_circle_is_refused(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given(numbers(1))
    config = make_run_config({"one": ["forth"], "other": ["back"]}, source="forth")
    with pytest.raises(ConfigurationError, match=r"^group 'one' is stateful and in a circle with 'other': "):
        async with place.run(config):
            pytest.fail("the run was made")


# -- the summary


async def test_the_totals_count_what_went_through_each_group_and_node(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given(numbers(10))
    config = make_run_config({"features": ["feature"], "policy": ["tally"]}, mode="process_supervisor", source="feature")
    summary = await place.summary(config, batch_size=3)
    assert [(group.name, group.workers, group.messages) for group in summary.groups] == [("features", 1, 10), ("policy", 1, 10)]
    assert [(node.name, node.messages) for group in summary.groups for node in group.nodes] == [("feature", 10), ("tally", 10)]
    assert (summary.run_id, summary.scenario_id, summary.mode) == ("r1", "default", "process_supervisor")


async def test_a_run_that_is_cancelled_leaves_whole_lines_and_nothing_in_flight(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    place.given([*numbers(3), {"n": 4, "work": {"started": started.path, "release": release.path}}, *numbers(9)])
    async with place.run(make_run_config({"g": ["work"]}, mode="process_supervisor")) as (run, supervisor):
        running = asyncio.create_task(run.run())
        await in_thread(started.wait)
        await until(lambda: run.progress().lines_complete == 3)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert run.summary("interrupted").lines_complete == 3
        assert supervisor.snapshot().active_calls == 0
        await in_thread(release.release)
    assert place.outputs() == numbers(3)


# -- told to stop


class HeldRun:
    """A run of twenty lines that is held in line 4; the first three are written."""

    def __init__(self, place: Place, make_fifo: MakeFifo) -> None:
        self.place = place
        self._started, self._release = make_fifo("started"), make_fifo("release")
        held = {"n": 4, "work": {"started": self._started.path, "release": self._release.path}}
        place.given([*numbers(3), held, *({"n": n} for n in range(5, 21))])

    @asynccontextmanager
    async def running(self, config: RuntimeConfig) -> AsyncIterator[tuple[StreamRun, asyncio.Task[RunSummary]]]:
        async with self.place.run(config) as (run, _):
            running = asyncio.create_task(run.run())
            await in_thread(self._started.wait)
            await until(lambda: run.progress().lines_complete == 3)
            yield run, running

    async def release(self) -> None:
        await in_thread(self._release.release)


@pytest.mark.fault("FAULT-26")
async def test_a_run_that_is_told_to_stop_finishes_what_is_in_flight(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    held = HeldRun(place, make_fifo)
    async with held.running(make_run_config({"g": ["work"]}, mode="process_supervisor")) as (run, running):
        await until(lambda: run.progress().lines_in_flight == 2)
        run.stop_taking(WAIT_SECONDS)
        await passes()
        assert not running.done()
        await held.release()
        summary = await running
    assert place.outputs() == numbers(5)
    assert (summary.outcome, summary.lines_read, summary.lines_complete, summary.outputs) == ("interrupted", 5, 5, 5)


@pytest.mark.fault("FAULT-26")
async def test_what_is_in_flight_is_cancelled_when_its_time_is_over(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    held = HeldRun(place, make_fifo)
    async with held.running(make_run_config({"g": ["work"]}, mode="process_supervisor")) as (run, running):
        run.stop_taking(0.05)
        summary = await running
        await held.release()
    assert place.outputs() == numbers(3)
    assert (summary.outcome, summary.lines_complete, summary.failures) == ("interrupted", 3, 0)
    assert summary.lines_read > 3


async def test_a_run_that_is_told_to_stop_once_more_has_the_shorter_time(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    held = HeldRun(place, make_fifo)
    async with held.running(make_run_config({"g": ["work"]}, mode="process_supervisor")) as (run, running):
        run.stop_taking(WAIT_SECONDS)
        run.stop_taking(0.05)
        run.stop_taking(2 * WAIT_SECONDS)
        async with asyncio.timeout(WAIT_SECONDS / 2):
            assert (await running).outcome == "interrupted"
        await held.release()


async def test_a_run_that_waits_for_lines_and_is_told_to_stop_ends_at_once(
    place: Place, make_run_config: MakeRunConfig, pipe: tuple[int, int]
) -> None:
    reading, writing = pipe
    async with place.run(make_run_config({"g": ["work"]}), source=reading) as (run, _):
        running = asyncio.create_task(run.run())
        os.write(writing, encoded(numbers(2)))
        await until(lambda: run.progress().lines_complete == 2)
        run.stop_taking(WAIT_SECONDS)
        async with asyncio.timeout(WAIT_SECONDS / 2):
            summary = await running
    assert (summary.outcome, summary.lines_read, summary.lines_complete) == ("interrupted", 2, 2)
    assert place.outputs() == numbers(2)


async def test_a_run_that_is_over_can_be_told_to_stop_without_effect(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given(numbers(3))
    async with place.run(make_run_config({"g": ["work"]})) as (run, _):
        summary = await run.run()
        run.stop_taking(0)
        assert (summary.outcome, run.summary("complete").lines_complete) == ("complete", 3)


async def test_the_failure_of_a_line_that_drains_is_why_the_run_ended(
    place: Place, make_run_config: MakeRunConfig, make_fifo: MakeFifo
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    place.given([{"n": 1, "work": {"started": started.path, "release": release.path, "do": "raise"}}, {"n": 2}])
    async with place.run(make_run_config({"g": ["work"]}, mode="process_supervisor")) as (run, _):
        running = asyncio.create_task(run.run())
        await in_thread(started.wait)
        run.stop_taking(WAIT_SECONDS)
        await in_thread(release.release)
        summary = await running
    assert (summary.outcome, place.failed_lines()) == ("failed", [1])


# -- workers that fail


async def test_the_summary_of_a_run_that_a_death_stopped_tells_how_the_worker_ended(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([{"n": 1}, {"n": 2, "work": {"do": "die"}}])
    summary = await place.summary(make_run_config({"g": ["work"]}, mode="process_supervisor"))
    assert summary.stopped_by is not None and summary.stopped_by.line == 2
    assert summary.report is not None and summary.report.exit is not None
    assert (summary.report.exit.worker_id, summary.report.signal) == ("g#0", "SIGKILL")
    assert [command.inputs for command in summary.report.commands] == [1]
    assert msgspec.json.decode(msgspec.json.encode(summary), type=RunSummary) == summary


async def test_the_summary_has_no_traceback_of_a_node(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([{"n": 1, "work": {"do": "raise"}}])
    summary = await place.summary(make_run_config({"g": ["work"]}, mode="process_supervisor"))
    assert summary.report is not None and summary.report.exception_type == "ValueError"
    assert summary.report.detail is None
    assert b"hunter2" not in msgspec.json.encode(summary)


async def test_the_line_at_work_is_counted_with_those_that_were_refused(place: Place, make_run_config: MakeRunConfig) -> None:
    place.input.write_bytes(b'{"n": 1}\nno json\n{"n": 3}\n{"n": 4, "tally": {"do": "die"}}\n{"n": 5}\n')
    config = make_run_config({"policy": ["tally"]}, mode="process_supervisor", source="tally")
    summary = await place.summary(config, batch_size=10, on_error="collect")
    assert summary.stopped_by is not None and summary.report is not None
    assert (summary.outcome, summary.stopped_by.line, summary.stopped_by.delivery) == ("state_lost", 1, "executed")
    assert (summary.line_at_work, summary.report.node) == (4, "tally")


async def test_every_worker_that_failed_is_in_the_summary(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([{"n": 1}, {"n": 2, "work": {"do": "die"}}, {"n": 3}, {"n": 4, "work": {"do": "die"}}, {"n": 5}])
    summary = await place.summary(make_run_config({"g": ["work"]}, mode="process_supervisor"), on_error="collect")
    assert [(each.worker_id, each.generation, each.signal, each.node) for each in summary.exits] == [
        ("g#0", 1, "SIGKILL", "work"),
        ("g#0", 2, "SIGKILL", "work"),
    ]
    assert (summary.outcome, place.failed_lines(), summary.restarts) == ("complete", [2, 4], 2)


async def test_a_deadline_that_no_worker_had_the_line_for_costs_no_state(place: Place, make_run_config: MakeRunConfig) -> None:
    place.given([{"n": 1}])
    config = make_run_config({"policy": ["tally"]}, mode="process_supervisor", source="tally")
    summary = await place.summary(config, timeout_seconds=0)
    assert summary.stopped_by is not None
    assert (summary.outcome, summary.stopped_by.category, summary.stopped_by.delivery) == ("failed", "timeout", "not_executed")


async def test_an_ordinary_failure_before_the_loss_of_a_stateful_group_is_recorded_and_does_not_hide_the_loss(
    place: Place, make_run_config: MakeRunConfig, pipe: tuple[int, int]
) -> None:
    place.given([{"n": 1}, {"n": 2, "tally": {"do": "raise"}}, {"n": 3, "tally": {"do": "die"}}])
    config = make_run_config({"features": ["feature"], "policy": ["tally"]}, mode="process_supervisor", source="feature")
    reader, writer = pipe
    held = _fill(writer)
    async with place.run(config, sink=writer, on_error="collect") as (run, supervisor):
        running = asyncio.create_task(run.run())
        await until(lambda: supervisor.snapshot().groups[1].state == "failed")
        assert run.progress().lines_complete == 0, "the output of line 1 waits for its reader"
        while held:
            held -= len(os.read(reader, held))
        summary = await running
    assert os.read(reader, 100) == b'{"n":1,"seen":1}\n'
    assert (summary.outcome, summary.lines_complete, place.failed_lines()) == ("state_lost", 2, [2, 3])


def _fill(writer: int) -> int:
    """Fill a pipe; gives what it took."""
    taken = 0
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            taken += os.write(writer, b"\0" * 4096)
    os.set_blocking(writer, True)
    return taken
