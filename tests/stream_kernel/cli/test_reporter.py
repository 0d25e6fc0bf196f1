"""What a run shows of itself, on a terminal and elsewhere."""

from __future__ import annotations

import re
import sys
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from run_summaries import failure_with, group_with, summary_with
from stream_kernel.cli.reporter import BarReporter, PlainReporter, make_console, reporter_for, show_closing, show_totals
from stream_kernel.execution.orchestration.run_summary import RunOutcome, RunSummary
from stream_kernel.execution.orchestration.stream_run import Progress
from stream_kernel.reports import CommandReport, FailureReport, WorkerExitReport


class Screen:
    """A console, and what is on it."""

    def __init__(self, *, terminal: bool = False, width: int = 160, **console: Any) -> None:
        self.out = StringIO()
        self.console = Console(file=self.out, highlight=False, force_terminal=terminal, width=width, _environ={}, **console)

    @property
    def text(self) -> str:
        """Without the sequences that a terminal obeys."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.out.getvalue())

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines()]


class Tty(StringIO):
    """A terminal, as far as anybody asks."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("stream_kernel.cli.reporter.time", clock)
    return clock


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What decides about terminals and colours is up to the tests."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "JUPYTER_COLUMNS", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def progress(lines: int = 0, **changes: Any) -> Progress:
    values: dict[str, Any] = {"lines_in_flight": 0, "failures": 0, "restarts": 0, "bytes_complete": 0, "bytes_total": None}
    return Progress(lines_complete=lines, **{**values, **changes})


def totals(summary: RunSummary, **screen: Any) -> list[str]:
    on = Screen(**screen)
    show_totals(summary, on.console)
    return on.lines


def closing(**changes: Any) -> list[str]:
    on = Screen(width=40)
    show_closing(summary_with(**changes), "out.jsonl", on.console)
    return on.text.splitlines()


# -- which one


@pytest.mark.parametrize(
    ("console", "is_quiet", "kind"),
    [
        (Console(file=Tty(), _environ={"TERM": "xterm"}), False, BarReporter),
        (Console(file=Tty(), _environ={"TERM": "xterm"}), True, PlainReporter),
        (Console(file=Tty(), _environ={"TERM": "dumb"}), False, PlainReporter),
        (Console(file=StringIO(), _environ={"FORCE_COLOR": "1", "TERM": "xterm"}), False, PlainReporter),
        (Console(file=StringIO(), force_terminal=False, _environ={"TERM": "xterm"}), False, PlainReporter),
    ],
    ids=["terminal", "terminal with something else on it", "dumb terminal", "colours without a terminal", "no terminal"],
)
def test_a_bar_is_for_a_terminal_that_has_nothing_else_to_show(console: Console, is_quiet: bool, kind: type) -> None:
    assert type(reporter_for(console, is_quiet=is_quiet)) is kind


@pytest.mark.parametrize("stderr", [True, False])
def test_without_a_terminal_the_console_is_wide_and_plain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stderr: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    console = make_console(stderr=stderr)
    console.print("[red]" + "x" * 150 + " 1")
    written = "x" * 150 + " 1\n"
    assert tuple(capsys.readouterr()) == (("", written) if stderr else (written, ""))
    assert not console.is_terminal


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(("no_color", "is_coloured"), [(None, True), ("1", False)])
def test_on_a_terminal_the_console_is_as_wide_as_that_and_honours_no_color(
    monkeypatch: pytest.MonkeyPatch, stream: str, no_color: str | None, is_coloured: bool
) -> None:
    terminal = Tty()
    monkeypatch.setattr(sys, stream, terminal)
    monkeypatch.setenv("COLUMNS", "30")
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    console = make_console(stderr=stream == "stderr")
    console.print("[red]x[/red] 1")
    assert console.is_terminal and console.width == 30
    assert ("\x1b[31m" in terminal.getvalue()) is is_coloured
    assert terminal.getvalue().endswith(" 1\n")


# -- while it goes on


def test_the_bar_shows_title_share_and_state(clock: Clock) -> None:
    screen = Screen(terminal=True)
    with BarReporter(screen.console) as reporter:
        assert "starting" in screen.text
        clock.now += 100  # the workers start: no part of the rate
        reporter.begin("fund-load")
        clock.now += 2
        reporter.show(progress(3000, lines_in_flight=200, bytes_complete=25, bytes_total=100))
    last = screen.lines[-1]
    assert "fund-load" in last and " 25%" in last
    assert last.endswith("3,000 lines, 1,500/s, 200 in flight, 0 restarts")


def test_the_bar_has_no_share_of_an_input_without_an_end() -> None:
    screen = Screen(terminal=True)
    with BarReporter(screen.console) as reporter:
        reporter.begin("stdin")
        reporter.show(progress(1, bytes_complete=25))
    assert "%" not in screen.lines[-1] and "1 line, " in screen.lines[-1]


def test_the_bar_leaves_the_cursor_as_it_was() -> None:
    screen = Screen(terminal=True)
    with BarReporter(screen.console):
        assert "\x1b[?25l" in screen.out.getvalue()
    assert screen.out.getvalue().rindex("\x1b[?25h") > screen.out.getvalue().rindex("\x1b[?25l")


def test_a_title_is_shown_as_it_is_and_never_read_as_markup() -> None:
    screen = Screen(terminal=True)
    with BarReporter(screen.console) as reporter:
        reporter.begin("[red]a[/nothing]")
    assert "[red]a[/nothing]" in screen.lines[-1]


def test_without_a_terminal_there_is_a_line_every_ten_seconds(clock: Clock) -> None:
    screen = Screen()
    shown = []
    with PlainReporter(screen.console) as reporter:
        clock.now += 100
        reporter.begin("fund-load")
        for second in range(31):
            reporter.show(progress(second * 1000, lines_in_flight=7, restarts=1))
            shown.append(len(screen.lines))
            clock.now += 1
    assert [second for second in range(1, 31) if shown[second] > shown[second - 1]] == [10, 20, 30]
    assert screen.lines[0] == "10,000 lines, 1,000/s, 7 in flight, 1 restart"


def test_what_is_said_stands_above_the_bar_and_is_never_read_as_markup() -> None:
    screen = Screen(terminal=True)
    with BarReporter(screen.console) as reporter:
        reporter.begin("fund-load")
        reporter.say("[red]stopping[/nothing]")
    assert "[red]stopping[/nothing]" in screen.lines
    assert "fund-load" in screen.lines[-1]


def test_without_a_terminal_what_is_said_is_a_line() -> None:
    screen = Screen(width=10)
    PlainReporter(screen.console).say("stopping: 12 lines in flight")
    assert screen.out.getvalue() == "stopping: 12 lines in flight\n"


def test_a_line_is_never_wrapped_and_never_coloured(clock: Clock) -> None:
    screen = Screen(width=10)
    reporter = PlainReporter(screen.console)
    reporter.begin("t")
    clock.now += 10
    reporter.show(progress(failures=2))
    assert screen.out.getvalue() == "0 lines, 0/s, 0 in flight, 0 restarts, 2 failures\n"


def test_the_state_counts_in_words_and_has_no_rate_before_any_time_has_passed(clock: Clock) -> None:
    screen = Screen(terminal=True)
    with BarReporter(screen.console) as reporter:
        reporter.begin("t")
        reporter.show(progress(5, failures=1, restarts=1, lines_in_flight=1234))
    assert screen.lines[-1].endswith("5 lines, 0/s, 1,234 in flight, 1 restart, 1 failure")


# -- the table at the end


def test_the_table_has_a_row_for_each_group_and_below_it_for_each_node() -> None:
    assert totals(summary_with()) == [
        "group / node  workers  messages  per s  node s  wire s  queued s",
        "policy              2     1,500    750    1.25    0.50     12.00",
        "  decide                  3,000  1,500    1.25",
        "7 lines in 2.00 s, 4 a second: 5 outputs, 0 failures, 0 restarts",
    ]


def test_the_table_counts_in_words() -> None:
    one = summary_with(lines_complete=1, outputs=1, failures=1, restarts=1, seconds=0.001, lines_per_second=12345.6)
    assert totals(one)[-1] == "1 line in 0.00 s, 12,346 a second: 1 output, 1 failure, 1 restart"


def test_on_a_terminal_groups_stand_out_in_the_table() -> None:
    screen = Screen(terminal=True, color_system="standard")
    show_totals(summary_with(), screen.console)
    (row,) = [line for line in screen.out.getvalue().splitlines() if "policy" in line]
    (below,) = [line for line in screen.out.getvalue().splitlines() if "decide" in line]
    assert "\x1b[1m" in row and "\x1b[1m" not in below
    plain = Screen()
    show_totals(summary_with(), plain.console)
    assert "\x1b" not in plain.out.getvalue()


@pytest.mark.parametrize("width", [10, 40, 80])
def test_no_row_of_the_table_is_cut_however_narrow_the_terminal(width: int) -> None:
    screen = Screen(terminal=True, width=width)
    show_totals(summary_with(), screen.console)
    assert "group / node  workers  messages  per s  node s  wire s  queued s" in screen.text.splitlines()


def test_names_in_the_table_are_shown_as_they_are() -> None:
    node = group_with().nodes[0]
    group = group_with(name="[bold]a", nodes=(type(node)(name="x[/red]", messages=1, per_second=1.0, node_seconds=0.0),))
    shown = totals(summary_with(groups=(group,)))
    assert shown[1].startswith("[bold]a ") and shown[2].startswith("  x[/red] ")


# -- workers that failed


COMMAND = CommandReport(
    correlation_id="c-7",
    group="policy",
    inputs=20,
    delivery="maybe_executed",
    outcome="transport",
    worker_id="policy#0",
    pid=4711,
    generation=2,
    queued_seconds=0.25,
    executing_seconds=1.5,
)


def exit_with(generation: int = 2, stderr: int = 0) -> WorkerExitReport:
    """How a worker ended that has written so many lines to stderr."""
    return WorkerExitReport(
        worker_id="policy#0",
        group="policy",
        generation=generation,
        pid=4711,
        reason="killed by SIGSEGV",
        signal="SIGSEGV",
        peak_rss_bytes=64 << 20,
        node="decide",
        input_index=3,
        trace_ids=("line-8", "line-9"),
        uptime_seconds=12.5,
        requests=7,
        stderr_tail=tuple(f"stderr {number}" for number in range(stderr)),
    )


def test_after_the_totals_each_worker_that_failed_has_its_section() -> None:
    lines = totals(summary_with(exits=(exit_with(1), exit_with(2))))
    assert lines[4] == "workers that failed"
    assert "\n".join(lines[5:]) == f"{exit_with(1)}\n{exit_with(2)}"


def test_of_many_workers_that_failed_the_last_five_are_shown_and_the_others_counted() -> None:
    lines = totals(summary_with(exits=tuple(map(exit_with, range(1, 2001)))))
    assert [line.split()[3] for line in lines if line.startswith("  worker ")] == ["1996", "1997", "1998", "1999", "2000"]
    assert lines[-1] == "  and 1,995 more, earlier"


def test_of_a_long_stderr_the_last_ten_lines_are_shown() -> None:
    lines = totals(summary_with(exits=(exit_with(stderr=50),)))
    assert [line for line in lines if "stderr " in line] == [f"      stderr {number}" for number in range(40, 50)]


def test_the_worker_that_stopped_the_run_is_told_of_once() -> None:
    report = FailureReport(exit=exit_with(2))
    lines = totals(summary_with(exits=(exit_with(1), exit_with(2)), report=report))
    assert [line.split()[3] for line in lines if line.startswith("  worker ")] == ["1"]
    assert "workers that failed" not in totals(summary_with(exits=(exit_with(2),), report=report))


# -- why it ended


@pytest.mark.parametrize("outcome", ["complete", "output_closed"])
def test_a_run_that_came_to_its_end_says_nothing_more(outcome: RunOutcome) -> None:
    assert closing(outcome=outcome, failures=3) == []


def test_a_run_that_a_node_stopped_says_where_why_and_what_is_complete() -> None:
    stopped = failure_with(reason="node 'decide' raised KeyError")
    assert closing(outcome="failed", stopped_by=stopped) == [
        "stream-kernel: stopped at line 8: remote handoff failed for group 'policy'",
        "  why: node 'decide' raised KeyError",
        "  did it run: executed",
        "  complete: lines 1 to 7 (5 outputs in out.jsonl)",
    ]


def test_a_group_that_has_failed_for_good_is_named_with_the_reason() -> None:
    stopped = failure_with(category="transport", delivery="maybe_executed", reason="killed by SIGKILL")
    assert closing(outcome="failed", stopped_by=stopped, problem="group 'policy' has failed: its workers died too often") == [
        "stream-kernel: stopped at line 8: remote handoff failed for group 'policy'",
        "  why: killed by SIGKILL",
        "  group 'policy' has failed: its workers died too often",
        "  did it run: maybe_executed",
        "  complete: lines 1 to 7 (5 outputs in out.jsonl)",
    ]


def test_a_reason_that_a_terminal_would_obey_is_escaped() -> None:
    shown = closing(outcome="failed", stopped_by=failure_with(reason="the node ended the chain: a\n\x1b[2J"))
    assert shown[1] == r"  why: the node ended the chain: a\n\x1b[2J"


def test_a_reason_that_is_not_known_is_left_out() -> None:
    shown = closing(outcome="failed", stopped_by=failure_with(category="timeout", delivery="maybe_executed"), lines_complete=1, outputs=1)
    assert shown[1:] == ["  did it run: maybe_executed", "  complete: line 1 (1 output in out.jsonl)"]


def test_a_line_that_was_refused_is_named_once_and_did_not_run() -> None:
    refused = failure_with(category="input", delivery="not_executed", message="line 8 is not UTF-8: byte 3 of the line")
    assert closing(outcome="failed", stopped_by=refused, lines_complete=0, outputs=0) == [
        "stream-kernel: stopped at line 8 is not UTF-8: byte 3 of the line",
        "  complete: no line (0 outputs in out.jsonl)",
    ]


def test_state_that_is_lost_says_to_run_again() -> None:
    lost = failure_with(category="transport", delivery="maybe_executed", reason="the worker died")
    assert closing(outcome="state_lost", stopped_by=lost) == [
        "stream-kernel: stopped at line 8: the stateful group 'policy' lost its worker, and its state with it: run again from line 1",
        "  why: the worker died",
        "  did it run: maybe_executed",
        "  complete: lines 1 to 7 (5 outputs in out.jsonl)",
    ]


def test_a_stream_that_failed_is_named() -> None:
    assert closing(outcome="stream_failed", problem="in.txt cannot be read: Input/output error") == [
        "stream-kernel: in.txt cannot be read: Input/output error",
        "  complete: lines 1 to 7 (5 outputs in out.jsonl)",
    ]


def test_an_interrupted_run_says_what_is_complete() -> None:
    assert closing(outcome="interrupted", lines_complete=2000) == [
        "stream-kernel: interrupted",
        "  complete: lines 1 to 2000 (5 outputs in out.jsonl)",
    ]


def test_what_was_in_flight_and_is_not_complete_is_named_and_may_have_run() -> None:
    assert closing(outcome="interrupted", lines_read=12) == [
        "stream-kernel: interrupted",
        "  complete: lines 1 to 7 (5 outputs in out.jsonl)",
        "  not complete: lines 8 to 12, which may have run",
    ]
    assert closing(outcome="interrupted", lines_read=8)[-1] == "  not complete: line 8, which may have run"


def test_a_lost_worker_says_what_was_at_work_where_the_time_went_and_how_it_ended() -> None:
    stopped = failure_with(category="transport", delivery="maybe_executed", reason="killed by SIGSEGV")
    report = FailureReport(reason="killed by SIGSEGV", node="decide", input_index=3, exit=exit_with(stderr=2), commands=(COMMAND,))
    assert closing(outcome="failed", stopped_by=stopped, report=report, line_at_work=11) == [
        "stream-kernel: stopped at line 8: remote handoff failed for group 'policy'",
        "  why: killed by SIGSEGV",
        "  did it run: maybe_executed",
        "  at work: line 11 in node 'decide'",
        "  command        c-7: 20 inputs to policy#0 generation 2 pid 4711",
        "    did it run   maybe_executed",
        "    time         queued 0.250 s, executing 1.500 s",
        "  worker         policy#0 generation 2 pid 4711: killed by SIGSEGV",
        "    ended by     SIGSEGV",
        "    memory       out of memory: no, peak at least 64 MiB",
        "    was running  node 'decide', input 3 of its command",
        "    in flight    line-8, line-9",
        "    served       7 commands in 12.5 s",
        "    last lines of its stderr",
        "      stderr 0",
        "      stderr 1",
        "  complete: lines 1 to 7 (5 outputs in out.jsonl)",
    ]


def test_a_line_that_never_ran_is_not_said_to_have_been_at_work() -> None:
    stopped = failure_with(category="transport", delivery="not_executed", reason="the queue of the group is full")
    shown = closing(outcome="failed", stopped_by=stopped, report=FailureReport(node="decide", input_index=0), line_at_work=8)
    assert shown[2:-1] == ["  did it run: not_executed", "  for: line 8 in node 'decide'"]


def test_a_timeout_shows_the_stack() -> None:
    stopped = failure_with(category="timeout", delivery="maybe_executed")
    frames = "\n".join(f'  File "nodes.py", line {n} in decide' for n in range(30))
    hung = WorkerExitReport(worker_id="g#0", group="g", generation=1, reason="a command passed its deadline", stack=frames)
    report = FailureReport(reason="a command passed its deadline", node="decide", exit=hung)
    shown = closing(outcome="failed", stopped_by=stopped, report=report)[2:-1]
    assert shown[0] == "  at work: node 'decide'"
    stack = shown[shown.index("    its stack") + 1 :]
    assert (stack[0], len(stack)) == ('        File "nodes.py", line 0 in decide', 20)


def test_a_node_that_raised_is_told_in_the_few_lines_it_needs() -> None:
    shown = closing(outcome="failed", stopped_by=failure_with(), report=FailureReport(node="decide", commands=(COMMAND,)))
    assert len(shown) == 3


def test_names_in_the_closing_message_are_never_read_as_markup() -> None:
    stopped = failure_with(message="[red]x[/nothing]", reason="[bold]y")
    assert closing(outcome="failed", stopped_by=stopped)[:2] == ["stream-kernel: stopped at line 8: [red]x[/nothing]", "  why: [bold]y"]
