"""What is reported of a lost worker and of a failed call, as people read it."""

from __future__ import annotations

import msgspec
import pytest

from stream_kernel.reports import CommandReport, Delivery, FailureReport, NodeTiming, WorkerExitReport

OWN_FRAMES = '  File "/x/stream_kernel/nodes/runner.py", line 7 in run\n  File "<frozen runpy>", line 88 in _run_code'
EXIT = WorkerExitReport(
    worker_id="execution.cpu#1",
    group="execution.cpu",
    generation=3,
    pid=4711,
    reason="killed by SIGSEGV",
    signal="SIGSEGV",
    peak_rss_bytes=300 << 20,
    node="score",
    input_index=2,
    trace_ids=("t1", "t2"),
    uptime_seconds=61.25,
    requests=17,
    stderr_tail=("Fatal Python error: Segmentation fault", "  File n.py"),
)
COMMAND = CommandReport(
    correlation_id="9f3a-12",
    group="execution.cpu",
    inputs=4,
    delivery="maybe_executed",
    outcome="transport",
    worker_id="execution.cpu#1",
    pid=4711,
    generation=3,
    queued_seconds=0.25,
    executing_seconds=1.5,
)


def test_a_crash_is_told_in_a_few_lines() -> None:
    report = FailureReport(reason="killed by SIGSEGV", node="score", input_index=6, exit=EXIT, commands=(COMMAND,))
    assert str(report).splitlines() == [
        "killed by SIGSEGV",
        "  at work        input 6 in node 'score'",
        "  command        9f3a-12: 4 inputs to execution.cpu#1 generation 3 pid 4711",
        "    did it run   maybe_executed",
        "    time         queued 0.250 s, executing 1.500 s",
        "  worker         execution.cpu#1 generation 3 pid 4711: killed by SIGSEGV",
        "    ended by     SIGSEGV",
        "    memory       out of memory: no, peak at least 300 MiB",
        "    was running  node 'score', input 2 of its command",
        "    in flight    t1, t2",
        "    served       17 commands in 61.2 s",
        "    last lines of its stderr",
        "      Fatal Python error: Segmentation fault",
        "        File n.py",
    ]


def test_a_timeout_is_told_with_where_the_time_went_and_the_stack() -> None:
    command = msgspec.structs.replace(COMMAND, inputs=1, outcome="timeout", wire_seconds=0.001, executing_seconds=4.749)
    report = FailureReport(
        reason="a command passed its deadline",
        node="score",
        input_index=0,
        exit=msgspec.structs.replace(
            EXIT,
            reason="a command passed its deadline",
            signal="SIGKILL",
            by_supervisor=True,
            trace_ids=(),
            stderr_tail=(),
            stack=f'Current thread:\n  File "n.py", line 3 in score\n{OWN_FRAMES}\n\nExtension modules: x (total: 1)',
        ),
        commands=(command,),
    )
    assert str(report).splitlines() == [
        "a command passed its deadline",
        "  at work        input 0 in node 'score'",
        "  command        9f3a-12: 1 input to execution.cpu#1 generation 3 pid 4711",
        "    did it run   maybe_executed",
        "    time         queued 0.250 s, on the wire 0.001 s, executing 4.749 s",
        "  worker         execution.cpu#1 generation 3 pid 4711: a command passed its deadline",
        "    ended by     SIGKILL, from its supervisor",
        "    memory       out of memory: no, peak at least 300 MiB",
        "    was running  node 'score', input 2 of its command",
        "    served       17 commands in 61.2 s",
        "    its stack",
        "      Current thread:",
        '        File "n.py", line 3 in score',
    ]
    assert report.stack is not None and OWN_FRAMES in report.stack


def test_a_stack_of_nothing_but_the_frames_of_every_worker_is_shown_as_it_is() -> None:
    report = msgspec.structs.replace(EXIT, stderr_tail=(), stack=f"Current thread:\n{OWN_FRAMES}")
    own = [f"      {line}" for line in OWN_FRAMES.splitlines()]
    assert str(report).splitlines()[-4:] == ["    its stack", "      Current thread:", *own]


def test_of_a_deep_stack_the_frames_at_work_are_shown() -> None:
    report = msgspec.structs.replace(EXIT, stack="\n".join(f'  File "n.py", line {n} in f' for n in range(100)))
    shown = str(report).splitlines()
    assert shown[-1] == "      and 60 lines more" and shown[-41] == '        File "n.py", line 0 in f'


def test_what_no_worker_had_is_told_without_one() -> None:
    waited = CommandReport(correlation_id="c1", group="g", inputs=1, delivery="not_executed", outcome="timeout", queued_seconds=2.0)
    report = FailureReport(reason="the deadline passed before a worker was free", commands=(waited,))
    assert str(report).splitlines() == [
        "the deadline passed before a worker was free",
        "  command        c1: 1 input to g",
        "    did it run   not_executed",
        "    time         queued 2.000 s",
    ]


@pytest.mark.parametrize("deliveries", [(), ("not_executed",), ("executed", "not_executed")])
def test_what_no_worker_was_lost_with_is_not_said_to_have_been_at_work(deliveries: tuple[Delivery, ...]) -> None:
    commands = tuple(msgspec.structs.replace(COMMAND, delivery=delivery) for delivery in deliveries)
    report = FailureReport(reason="the supervisor is stopped", node="plain", input_index=0, commands=commands)
    assert str(report).splitlines()[:2] == ["the supervisor is stopped", "  for            input 0 in node 'plain'"]


def test_a_report_that_knows_nothing_is_a_line_all_the_same() -> None:
    assert str(FailureReport()) == "the call failed"


@pytest.mark.fault("FAULT-34")
def test_what_a_traceback_quotes_is_not_in_the_text() -> None:
    report = FailureReport(reason="the node raised", node="score", exception_type="ValueError", detail="ValueError: hunter2")
    assert "hunter2" not in str(report)
    assert "  raised         ValueError" in str(report).splitlines()


def test_an_exit_code_is_told_as_such() -> None:
    end = WorkerExitReport(worker_id="g#0", group="g", generation=1, reason="exit code 3", exit_code=3, requests=1)
    assert str(end).splitlines() == [
        "  worker         g#0 generation 1 pid None: exit code 3",
        "    ended by     exit code 3",
        "    memory       out of memory: no",
        "    served       1 command in 0.0 s",
    ]


@pytest.mark.parametrize("verdict", ["yes", "likely", "no"])
def test_whether_memory_was_the_cause_is_told(verdict: str) -> None:
    end = msgspec.structs.replace(EXIT, out_of_memory=verdict)
    assert f"    memory       out of memory: {verdict}, peak at least 300 MiB" in str(end).splitlines()


def test_a_peak_is_told_as_such_only_when_it_is_known_exactly() -> None:
    end = msgspec.structs.replace(EXIT, is_peak_exact=True)
    assert "    memory       out of memory: no, peak 300 MiB" in str(end).splitlines()


def test_of_many_in_flight_the_first_are_named_and_the_rest_counted() -> None:
    end = msgspec.structs.replace(EXIT, trace_ids=tuple(f"t{number}" for number in range(8)))
    assert "    in flight    t0, t1, t2, t3, t4 and 3 more" in str(end).splitlines()


EVIL = "t\n2026-01-01 CRITICAL root: admin logged in\x1b[2J\u2028\r\ud800"
TAMED = r"t\n2026-01-01 CRITICAL root: admin logged in\x1b[2J\u2028\r\ud800"


@pytest.mark.fault("FAULT-24")
def test_what_others_have_said_is_shown_and_not_obeyed() -> None:
    end = msgspec.structs.replace(EXIT, trace_ids=(EVIL, "t2"), reason=EVIL, node=EVIL)
    report = FailureReport(reason=EVIL, node=EVIL, input_index=0, exception_type=EVIL, exit=end, commands=(COMMAND,))
    lines = str(report).split("\n")
    assert len(lines) == len(str(FailureReport(node="n", exception_type="E", exit=EXIT, commands=(COMMAND,))).split("\n"))
    assert [line.isprintable() for line in lines] == [True] * len(lines)
    assert f"    in flight    {TAMED}, t2" in lines and f"    in flight    {TAMED}, t2" in str(end).split("\n")
    assert lines[:3] == [TAMED, f"  at work        input 0 in node '{TAMED}'", f"  raised         {TAMED}"]


def test_a_long_trace_id_is_cut() -> None:
    end = msgspec.structs.replace(EXIT, trace_ids=("x" * 80, "y" * 60_000))
    assert f"    in flight    {'x' * 80}, {'y' * 80}…" in str(end).splitlines()


def test_the_short_ways_to_an_end_go_through_its_report() -> None:
    report = FailureReport(exit=EXIT)
    assert (report.exit_code, report.signal, report.stderr_tail) == (None, "SIGSEGV", EXIT.stderr_tail)
    nothing = FailureReport()
    assert (nothing.exit_code, nothing.signal, nothing.stderr_tail) == (None, None, ())


def test_reports_are_frozen() -> None:
    for report in (EXIT, COMMAND, FailureReport(), NodeTiming("n", 1, 2.0)):
        with pytest.raises(AttributeError):
            setattr(report, "node", "x")  # noqa: B010  a type checker would not let it be written otherwise
