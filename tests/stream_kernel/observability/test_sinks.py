"""Events reach every sink, and a sink that raises harms nobody."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from stream_kernel.observability.events import EventKind, LifecycleEvent
from stream_kernel.observability.sinks import EventHub, LoggingSink
from stream_kernel.reports import WorkerExitReport

EXIT = WorkerExitReport(worker_id="g-0", group="g", generation=1, pid=7, reason="killed by SIGKILL", signal="SIGKILL")


def event(kind: EventKind = "worker_ready", **fields: Any) -> LifecycleEvent:
    return LifecycleEvent(kind=kind, group="g", worker_id="g-0", generation=1, pid=7, time=1.0, monotonic=2.0, **fields)


class Recording:
    def __init__(self) -> None:
        self.events: list[LifecycleEvent] = []

    def emit(self, event: LifecycleEvent) -> None:
        self.events.append(event)


class Raising:
    def __init__(self) -> None:
        self.calls = 0

    def emit(self, event: LifecycleEvent) -> None:
        self.calls += 1
        raise RuntimeError("no")


@pytest.mark.fault("FAULT-37")
def test_a_sink_that_raises_is_logged_once_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    broken, other_broken, good = Raising(), Raising(), Recording()
    hub = EventHub(broken, other_broken, good)
    events = [event(), event("worker_failed"), event("worker_stopped")]
    for one in events:
        hub.emit(one)
    assert good.events == hub.events() == events
    assert broken.calls == 3
    failures = [record for record in caplog.records if record.name == "stream_kernel"]
    assert len(failures) == 2 and all(record.exc_info for record in failures)


def test_the_last_events_are_kept_oldest_first() -> None:
    hub = EventHub(keep=2)
    for kind in ("worker_spawned", "worker_ready", "worker_stopped"):
        hub.emit(event(kind))
    assert [one.kind for one in hub.events()] == ["worker_ready", "worker_stopped"]
    hub.events().clear()
    assert len(hub.events()) == 2


def end_with(number: int) -> LifecycleEvent:
    """The end of a worker that has written its number, to stderr or as its stack."""
    words = {"stderr_tail": (f"worker {number}",)} if number % 2 else {"stack": f"worker {number}"}
    return event("worker_failed", exit=msgspec.structs.replace(EXIT, generation=number, **words))


def test_only_the_latest_ends_are_kept_with_what_their_worker_has_written() -> None:
    sink = Recording()
    hub = EventHub(sink)
    emitted = [one for number in range(100) for one in (event("worker_spawned"), event(), end_with(number))]
    for one in emitted:
        hub.emit(one)
    assert sink.events == emitted
    ends = [one.exit for one in hub.events() if one.exit is not None]
    assert [end.generation for end in ends] == list(range(100))
    words = [end.stack or "".join(end.stderr_tail) for end in ends]
    assert words == [""] * 36 + [f"worker {number}" for number in range(36, 100)]
    assert [one.kind for one in hub.events()] == [one.kind for one in emitted]


def test_an_end_that_is_not_kept_any_more_takes_nothing_from_another_event() -> None:
    hub = EventHub(keep=10)
    emitted = [end_with(number) for number in range(200)]
    for one in emitted:
        hub.emit(one)
    assert hub.events() == emitted[-10:]


def test_events_are_logged_with_their_record_and_a_failure_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stream_kernel.lifecycle")
    sink = LoggingSink()
    for one in (event(), event("worker_failed", reason="SIGKILL"), event("worker_stopped", mode="forced")):
        sink.emit(one)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.INFO, "worker_ready g-0 generation 1 pid 7"),
        (logging.WARNING, "worker_failed g-0 generation 1 pid 7: SIGKILL"),
        (logging.INFO, "worker_stopped g-0 generation 1 pid 7 forced"),
    ]
    assert all(
        record.name == "stream_kernel.lifecycle" and isinstance(record.__dict__["event"], LifecycleEvent) for record in caplog.records
    )


def test_a_lost_worker_is_logged_with_its_report_and_one_that_was_stopped_without(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stream_kernel.lifecycle")
    sink = LoggingSink()
    sink.emit(event("worker_failed", reason=EXIT.reason, exit=EXIT))
    sink.emit(event("worker_stopped", mode="forced", exit=EXIT))
    failed, stopped = [record.getMessage() for record in caplog.records]
    assert failed == f"worker_failed g-0 generation 1 pid 7: killed by SIGKILL\n{EXIT}"
    assert stopped == "worker_stopped g-0 generation 1 pid 7 forced"


@pytest.mark.parametrize("fields", [{"reason": "a\n\x1b[2J"}, {"exit": msgspec.structs.replace(EXIT, trace_ids=("a\n\x1b[2J",))}])
def test_a_record_of_a_lost_worker_has_no_line_and_no_colour_of_a_stranger(
    caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
) -> None:
    LoggingSink().emit(event("worker_failed", **fields))
    (record,) = [record.getMessage() for record in caplog.records]
    assert r"a\n\x1b[2J" in record and all(line.isprintable() for line in record.split("\n"))
