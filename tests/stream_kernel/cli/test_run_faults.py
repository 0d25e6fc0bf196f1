"""`stream-kernel run` when something goes wrong: what it says, how it ends, what is complete, and that nothing of it is left."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from cli import SECONDS, Cli, decoded, interrupt
from fixture_types import MakeFifo
from processes import ends, kill_and_wait, watched
from stream_kernel.cli.reporter import counted
from stream_kernel.config.model import Mode
from waiting import until

GROUPS = {"features": {"nodes": ["feature"], "workers": 2}, "policy": ["tally"]}
ONE = {"g": ["work"]}
OLD = "what was there before\n"

MODES = ["inline", "process_supervisor"]


def numbers(first: int, last: int) -> list[dict[str, Any]]:
    return [{"n": n} for n in range(first, last + 1)]


def seen(first: int, last: int) -> list[dict[str, Any]]:
    return [{"n": n, "seen": n} for n in range(first, last + 1)]


# -- refused before the first line


def refused(cli: Cli, *arguments: str) -> str:
    """Why the command is refused: in words, without a traceback, and with the output as it was."""
    cli.output.write_text(OLD, encoding="utf-8")
    cli.errors.write_text(OLD, encoding="utf-8")
    if not cli.input.exists():
        cli.lines(numbers(1, 3))
    done = cli.run("run", "--input", str(cli.input), "--output", str(cli.output), "--errors", str(cli.errors), *arguments)
    assert (done.code, done.out) == (2, b"")
    assert "Traceback" not in done.err and "hunter2" not in done.err
    assert [cli.output.read_text(encoding="utf-8"), cli.errors.read_text(encoding="utf-8")] == [OLD, OLD]
    return done.err


@pytest.mark.parametrize("mode", MODES)
def test_a_circle_through_a_stateful_group_is_refused(cli: Cli, mode: Mode) -> None:
    config = cli.config({"one": ["forth"], "other": ["back"]}, source="forth")
    assert refused(cli, config, "--mode", mode).startswith("stream-kernel: group 'one' is stateful and in a circle with 'other': ")


@pytest.mark.parametrize("mode", MODES)
def test_a_stateful_group_with_several_workers_is_refused(cli: Cli, mode: Mode) -> None:
    message = refused(cli, cli.config(GROUPS, source="feature"), "--mode", mode, "--workers", "policy=2")
    assert re.match(r"stream-kernel: group 'policy': .*tally.* stateful", message), message


def test_a_configuration_without_a_source_is_refused(cli: Cli) -> None:
    assert refused(cli, cli.config(ONE, source=None)) == (
        "stream-kernel: source: is missing: a run feeds its lines to the node [source] target\n"
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_started_script_as_a_module_is_refused(cli: Cli, mode: Mode) -> None:
    message = refused(cli, cli.config(ONE, source="work", modules=["__main__"]), "--mode", mode)
    assert message == "stream-kernel: discovery_modules: '__main__' would be the command line itself: name the module\n"


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ("nobody=2", "there is no group 'nobody' (there are: g)"),
        ("g=0", "group 'g': workers must be from 1 to 1024, not 0"),
        ("g", "--workers g: write GROUP=N, for example --workers execution.features=3"),
        ("g=many", "--workers g=many: write GROUP=N, for example --workers execution.features=3"),
    ],
)
def test_numbers_of_workers_that_make_no_sense_are_refused(cli: Cli, workers: str, message: str) -> None:
    assert refused(cli, cli.config(ONE, source="work"), "--workers", workers) == f"stream-kernel: {message}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[process_groups]\n", "run.toml"),
        ("[[process_groups]]\nname = 'g'\nnodes = ['work']\nworker = 2\n", "process_groups[0].worker"),
        ("discovery_modules = ['run_nodes']\n", "process_groups"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_its_name_and_key(cli: Cli, text: str, message: str) -> None:
    path = cli.folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    said = refused(cli, str(path))
    assert str(path) in said and message in said
    assert said.startswith("stream-kernel: ")


def test_a_configuration_that_is_not_there_is_refused(cli: Cli) -> None:
    assert str(cli.folder / "nothing.toml") in refused(cli, str(cli.folder / "nothing.toml"))
    assert refused(cli, "example:nothing").startswith("stream-kernel: there is no example:nothing (there are: example:fund_load/baseline, ")


@pytest.mark.parametrize("mode", MODES)
def test_a_module_that_cannot_be_imported_is_named(cli: Cli, mode: Mode) -> None:
    message = refused(cli, cli.config(ONE, source="work", modules=["no_such_module"]), "--mode", mode)
    assert message.startswith("stream-kernel: group 'g': ") and "no_such_module" in message


@pytest.mark.parametrize("mode", MODES)
def test_a_node_that_cannot_be_built_is_named(cli: Cli, mode: Mode) -> None:
    message = refused(cli, cli.config({"g": ["broken"]}, source="broken"), "--mode", mode)
    assert message.startswith("stream-kernel: group 'g': ") and "'broken'" in message and "ValueError" in message


@pytest.mark.parametrize("mode", MODES)
def test_the_traceback_of_a_start_that_failed_is_shown_on_request(cli: Cli, mode: Mode) -> None:
    config = cli.config({"g": ["broken"]}, source="broken")
    assert refused(cli, config, "--mode", mode).endswith("\n  --log-level debug shows where it was raised\n")
    done = cli.run("run", config, "--mode", mode, "--log-level", "debug")
    assert "Traceback" in done.err and "--log-level" not in done.err


def test_a_node_that_is_not_there_is_named(cli: Cli) -> None:
    message = refused(cli, cli.config({"g": ["work", "nobody"]}, source="work"))
    assert message.startswith("stream-kernel: group 'g': ") and "'nobody'" in message


def test_an_input_that_cannot_be_read_is_named(cli: Cli) -> None:
    config = cli.config(ONE, source="work")
    assert refused(cli, config, "--input", "nothing.jsonl") == ("stream-kernel: nothing.jsonl: cannot be read: No such file or directory\n")
    assert refused(cli, config, "--input", "/tmp") == "stream-kernel: /tmp: cannot be read: it is a directory\n"


def test_an_output_that_cannot_be_written_is_named(cli: Cli) -> None:
    config = cli.config(ONE, source="work")
    assert refused(cli, config, "--output", "nowhere/out") == "stream-kernel: nowhere/out: cannot be written: No such file or directory\n"
    assert refused(cli, config, "--errors", "/tmp").startswith("stream-kernel: /tmp: cannot be written: ")


def test_one_file_for_two_streams_is_refused_however_it_is_named(cli: Cli) -> None:
    config = cli.config(ONE, source="work")
    link = cli.folder / "link"
    link.symlink_to(cli.lines(numbers(1, 3)))
    assert refused(cli, config, "--output", str(link)).endswith("are the same file: name different ones\n")
    assert refused(cli, config, "--errors", str(cli.output)).endswith("are the same file: name different ones\n")
    assert decoded(cli.input.read_bytes()) == numbers(1, 3)


def test_a_run_that_is_refused_leaves_no_output_file_where_there_was_none(cli: Cli) -> None:
    config = cli.config({"g": ["nobody"]}, source="nobody")
    done = cli.run_lines(config, numbers(1, 3), "--errors", str(cli.errors))
    assert done.code == 2
    assert not cli.output.exists() and not cli.errors.exists()


def test_a_debugger_without_a_terminal_of_its_own_is_refused(cli: Cli) -> None:
    config = cli.config(ONE, source="work")
    assert refused(cli, config, "--pdb") == "stream-kernel: --pdb needs --mode inline: a worker has no terminal\n"
    assert refused(cli, config, "--pdb", "--mode", "inline_wire").startswith("stream-kernel: --pdb needs --mode inline: ")
    assert refused(cli, config, "--pdb", "--mode", "inline", "--input", "-") == (
        "stream-kernel: --pdb needs --input FILE: the debugger reads its commands from standard input\n"
    )


def test_a_name_that_was_not_declared_stops_the_run_at_its_line(cli: Cli) -> None:
    done = cli.run_lines(cli.config({"features": ["stray"], "policy": ["tally"]}, source="stray"), numbers(1, 3), "--summary", "none")
    assert done.code == 1
    assert done.err.startswith("stream-kernel: stopped at line 1: remote handoff failed for group 'features'\n  why: ")
    assert "sends_to" in done.err and "Traceback" not in done.err
    assert cli.outputs() == []


# -- lines that fail


@pytest.mark.parametrize("batch_size", ["1", "7", "1000"])
def test_a_node_that_raises_stops_the_run_at_its_line_whatever_the_batch(cli: Cli, batch_size: str) -> None:
    records = [*numbers(1, 29), {"n": 30, "feature": {"do": "raise"}}, *numbers(31, 50)]
    done = cli.run_lines(cli.config(GROUPS, source="feature"), records, "--batch-size", batch_size, "--summary", "none")
    assert done.code == 1
    assert done.err == (
        "stream-kernel: stopped at line 30: remote handoff failed for group 'features'\n"
        "  why: node 'feature' raised ValueError\n"
        "  did it run: executed\n"
        f"  complete: lines 1 to 29 (29 outputs in {cli.output})\n"
    )
    assert cli.outputs() == seen(1, 29)


@pytest.mark.parametrize(("mode", "batch_size"), [("inline", "1000"), ("process_supervisor", "1"), ("process_supervisor", "1000")])
def test_under_collect_exactly_the_failing_line_is_in_the_errors_file(cli: Cli, mode: Mode, batch_size: str) -> None:
    records = [*numbers(1, 9), {"n": 10, "feature": {"do": "raise"}}, *numbers(11, 20)]
    arguments = ("--batch-size", batch_size, "--mode", mode, "--on-error", "collect", "--errors", str(cli.errors))
    done = cli.run_lines(cli.config(GROUPS, source="feature"), records, *arguments)
    assert done.code == 6
    assert cli.outputs() == [*seen(1, 9), *({"n": n, "seen": n - 1} for n in range(11, 21))]
    assert cli.failures() == [
        {
            "line": 10,
            "category": "execution",
            "delivery": "executed",
            "group": "features",
            "node": "feature",
            "message": "remote handoff failed for group 'features'",
            "reason": "node 'feature' raised ValueError",
        }
    ]


def test_under_collect_failures_are_on_standard_error_unless_a_file_is_named(cli: Cli) -> None:
    records = [{"n": 1, "work": {"do": "raise"}}, {"n": 2}]
    done = cli.run_lines(cli.config(ONE, source="work"), records, "--mode", "inline", "--on-error", "collect", "--summary", "none")
    assert done.code == 6
    assert done.err.startswith('{"line":1,"category":"execution",')
    assert done.err.count("\n") == 1


# -- workers that are lost


def dies(n: int, node: str) -> dict[str, Any]:
    return {"n": n, node: {"do": "die"}}


def test_a_worker_that_dies_stops_the_run_with_what_was_complete_before_its_batch(cli: Cli) -> None:
    records = [*numbers(1, 34), dies(35, "feature"), *numbers(36, 100)]
    done = cli.run_lines(cli.config(GROUPS, source="feature"), records, "--batch-size", "10", "--summary", "none")
    assert done.code == 3
    assert done.err.startswith(
        "stream-kernel: stopped at line 31: remote handoff transport failed for group 'features'\n"
        "  why: killed by SIGKILL\n"
        "  did it run: executed\n"
        "  at work: line 35 in node 'feature'\n"
        "  command        "
    )
    assert "\n    ended by     SIGKILL\n" in done.err
    assert done.err.endswith(f"  complete: lines 1 to 30 (30 outputs in {cli.output})\n")
    assert cli.outputs() == seen(1, 30)


def test_a_worker_that_is_killed_from_outside_stops_the_run_in_the_same_way(cli: Cli, make_fifo: MakeFifo) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    held = {"n": 25, "feature": {"started": started.path, "release": release.path}}
    cli.lines([*numbers(1, 24), held, *numbers(26, 60)])
    config = cli.config(GROUPS, source="feature")
    arguments = ("--input", str(cli.input), "--output", str(cli.output), "--batch-size", "10", "--summary", "none")
    with cli.start("run", config, *arguments) as process:
        kill_and_wait(int(started.wait()))
        err = process.communicate(timeout=SECONDS)[1].decode()
    assert process.returncode == 3
    assert err.startswith("stream-kernel: stopped at line 21: remote handoff transport failed for group 'features'\n")
    assert "SIGKILL" in err
    assert err.endswith(f"  complete: lines 1 to 20 (20 outputs in {cli.output})\n")
    assert cli.outputs() == seen(1, 20)


def test_under_collect_a_worker_that_dies_costs_the_lines_of_its_command(cli: Cli) -> None:
    records = [*numbers(1, 14), dies(15, "work"), *numbers(16, 40)]
    arguments = ("--batch-size", "10", "--on-error", "collect", "--errors", str(cli.errors), "--summary", "none")
    done = cli.run_lines(cli.config(ONE, source="work"), records, *arguments)
    assert (done.code, done.err) == (6, "")
    assert cli.outputs() == [*numbers(1, 10), *numbers(21, 40)]
    assert [failure["line"] for failure in cli.failures()] == list(range(11, 21))
    for failure in cli.failures():
        assert (failure["category"], failure["group"], failure["reason"]) == ("transport", "g", "killed by SIGKILL")
        assert failure["message"] == "remote handoff transport failed for group 'g'"
    assert [(failure["delivery"], failure["node"]) for failure in cli.failures()] == [
        *[("executed", None)] * 4,
        ("maybe_executed", "work"),
        *[("not_executed", None)] * 5,
    ]


def test_the_workers_that_died_are_below_the_table_and_in_the_summary(cli: Cli) -> None:
    records = [dies(n, "work") if n % 5 == 3 else {"n": n} for n in range(1, 13)]
    config = cli.config(ONE, source="work")
    arguments = ("--batch-size", "3", "--on-error", "collect", "--errors", str(cli.errors))
    done = cli.run_lines(config, records, *arguments)
    assert done.code == 6
    assert "\nworkers that failed\n  worker         g#0 generation 1 pid " in done.err
    assert done.err.count("was running  node 'work'") == 2
    exits = json.loads(cli.run_lines(config, records, *arguments, "--summary", "json").out)["exits"]
    assert [(each["generation"], each["signal"], each["input_index"]) for each in exits] == [(1, "SIGKILL", 2), (2, "SIGKILL", 1)]


@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_a_stateful_group_that_loses_its_worker_ends_the_run_in_both_policies(cli: Cli, on_error: str) -> None:
    records = [*numbers(1, 34), dies(35, "tally"), *numbers(36, 100)]
    config = cli.config(GROUPS, source="feature")
    done = cli.run_lines(config, records, "--batch-size", "10", "--on-error", on_error, "--errors", str(cli.errors), "--summary", "none")
    assert done.code == 5
    assert done.err.startswith(
        "stream-kernel: stopped at line 31: the stateful group 'policy' lost its worker, and its state with it: run again from line 1\n"
        "  why: killed by SIGKILL\n"
        "  did it run: executed\n"
        "  at work: line 35 in node 'tally'\n"
    )
    assert done.err.endswith(f"  complete: lines 1 to 30 (30 outputs in {cli.output})\n")
    assert cli.outputs() == seen(1, 30)


def test_a_group_that_dies_too_often_ends_a_run_that_collects(cli: Cli) -> None:
    arguments = ("--batch-size", "1", "--on-error", "collect", "--errors", str(cli.errors), "--summary", "none")
    done = cli.run_lines(cli.config(ONE, source="work"), [dies(n, "work") for n in range(1, 101)], *arguments)
    assert done.code == 3
    assert "stopped at line " in done.err and "complete: " in done.err
    why = "its workers died too often (process_groups.restart: more than 5 in 30 s), the last one: killed by SIGKILL"
    assert f"\n  group 'g' has failed: {why}\n" in done.err
    assert "restart_group" not in done.err  # which is nothing that a command line has
    assert [failure["line"] for failure in cli.failures()] == list(range(1, len(cli.failures()) + 1))
    assert len(cli.failures()) < 20


# -- deadlines


def hangs(n: int, node: str) -> dict[str, Any]:
    return {"n": n, node: {"do": "hang"}}


@pytest.mark.parametrize(
    ("node", "code", "first_line"),
    [
        ("feature", 4, "stopped at line 6: remote handoff timed out for group 'features'\n"),
        ("tally", 5, "stopped at line 6: the stateful group 'policy' lost its worker, and its state with it: run again from line 1\n"),
    ],
)
def test_a_deadline_that_passes_in_a_node_stops_the_run(cli: Cli, node: str, code: int, first_line: str) -> None:
    config = cli.config(GROUPS, source="feature", timeout=1)
    done = cli.run_lines(config, [*numbers(1, 7), hangs(8, node), *numbers(9, 20)], "--batch-size", "5", "--summary", "none")
    assert done.code == code
    assert done.err.startswith(f"stream-kernel: {first_line}")
    assert f"\n  did it run: executed\n  at work: line 8 in node '{node}'\n  command        " in done.err
    assert re.search(r"\n    time         queued \d.*, executing \d+\.\d{3} s\n", done.err)
    assert re.search(r"\n    its stack\n(      .*\n)*        File \".*run_nodes.py\", line \d+ in _obey\n", done.err)
    assert done.err.endswith(f"  complete: lines 1 to 5 (5 outputs in {cli.output})\n")
    assert cli.outputs() == seen(1, 5)


# -- signals


class Held:
    """A run whose line 25 is held in a node, all before it written."""

    def __init__(self, cli: Cli, make_fifo: MakeFifo, node: str, *arguments: str, **group: Any) -> None:
        self.cli = cli
        self._started, self._release = make_fifo("started"), make_fifo("release")
        held = {"n": 25, node: {"started": self._started.path, "release": self._release.path}}
        given = cli.lines([*numbers(1, 24), held, *numbers(26, 500)])
        config = cli.config({"features": {"nodes": ["feature"], **group}, "policy": {"nodes": ["tally"], **group}}, source="feature")
        streams = ("--input", given, "--output", str(cli.output))
        self._command = ("run", config, *streams, "--batch-size", "1", "--summary", "none", *arguments)

    @contextmanager
    def run(self) -> Iterator[subprocess.Popen[bytes]]:
        """The run, when it has come to the held line."""
        with self.cli.start(*self._command) as process:
            self._started.wait()
            until(lambda: self.cli.output.read_bytes().count(b"\n") == 24)
            assert len(self.cli.workers()) == 2
            yield process

    def release(self) -> None:
        """Let the held line go on."""
        self._release.release()


def first_line(process: subprocess.Popen[bytes]) -> str:
    """What the command says first."""
    assert process.stderr is not None
    return process.stderr.readline().decode()


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.fault("FAULT-26")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("node", ["feature", "tally"])
def test_after_a_signal_what_is_in_flight_is_finished_and_nothing_more_is_taken(
    cli: Cli, make_fifo: MakeFifo, node: str, number: signal.Signals, code: int
) -> None:
    held = Held(cli, make_fifo, node, "--drain-timeout", str(SECONDS))
    with held.run() as process:
        process.send_signal(number)
        said = first_line(process)
        held.release()
        err = process.communicate(timeout=SECONDS)[1].decode()
    assert process.returncode == code
    count = len(cli.outputs())
    assert 25 <= count <= 28, "one window of batches"
    assert said == f"stream-kernel: stopping: {counted(count - 24, 'line')} in flight, up to 60 s more; another signal kills\n"
    assert err == f"stream-kernel: interrupted\n  complete: lines 1 to {count} ({count} outputs in {cli.output})\n"
    assert cli.outputs() == seen(1, count)


@pytest.mark.fault("FAULT-26")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize(
    ("arguments", "group"), [(("--drain-timeout", "0.3"), {}), ((), {"drain_timeout_seconds": 0.3}), ((), {"stop_timeout_seconds": 0.3})]
)
def test_what_is_not_finished_within_the_drain_timeout_is_cancelled(
    cli: Cli, make_fifo: MakeFifo, number: signal.Signals, code: int, arguments: tuple[str, ...], group: dict[str, float]
) -> None:
    with Held(cli, make_fifo, "feature", *arguments, **{"stop_timeout_seconds": 0.5, **group}).run() as process:
        done = interrupt(process, number)
    assert done.code == code
    assert re.fullmatch(
        "stream-kernel: stopping: [1-4] lines? in flight, up to 0.3 s more; another signal kills\n"
        "stream-kernel: interrupted\n"
        rf"  complete: lines 1 to 24 \(24 outputs in {re.escape(str(cli.output))}\)\n"
        "  not complete: lines? 25(?: to 2[678])?, which may have run\n",
        done.err,
    ), done.err
    assert cli.outputs() == seen(1, 24)


def test_without_a_drain_timeout_nothing_is_waited_for(cli: Cli, make_fifo: MakeFifo) -> None:
    with Held(cli, make_fifo, "feature", "--drain-timeout", "0", stop_timeout_seconds=0.3).run() as process:
        done = interrupt(process, signal.SIGINT)
    assert done.code == 130
    assert done.err.startswith(f"stream-kernel: interrupted\n  complete: lines 1 to 24 (24 outputs in {cli.output})\n  not complete: line")


@pytest.mark.fault("FAULT-26")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_second_signal_kills_at_once_and_leaves_whole_lines(cli: Cli, make_fifo: MakeFifo, number: signal.Signals, code: int) -> None:
    with Held(cli, make_fifo, "feature", "--drain-timeout", str(SECONDS), stop_timeout_seconds=SECONDS).run() as process:
        process.send_signal(number)
        assert first_line(process).startswith("stream-kernel: stopping: ")
        process.send_signal(number)
        with watched(process.pid) as pidfd:
            assert ends(pidfd, SECONDS / 2)
        assert cli.workers() == []
        err = process.communicate(timeout=SECONDS)[1].decode()
    assert process.returncode == code
    assert err.startswith(f"stream-kernel: interrupted\n  complete: lines 1 to 24 (24 outputs in {cli.output})\n  not complete: line")
    assert "Traceback" not in err
    assert cli.outputs() == seen(1, 24)


@pytest.mark.fault("FAULT-26")
def test_of_two_signals_that_differ_the_second_gives_the_exit_code(cli: Cli, make_fifo: MakeFifo) -> None:
    with Held(cli, make_fifo, "tally", "--drain-timeout", str(SECONDS)).run() as process:
        process.send_signal(signal.SIGINT)
        first_line(process)
        done = interrupt(process, signal.SIGTERM)
    assert done.code == 143


@pytest.mark.fault("FAULT-26")
def test_a_line_that_fails_while_the_run_drains_is_why_it_ended(cli: Cli, make_fifo: MakeFifo) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    given = cli.lines([{"n": 1, "work": {"started": started.path, "release": release.path, "do": "raise"}}, {"n": 2}])
    arguments = ("--input", given, "--output", str(cli.output), "--batch-size", "1", "--summary", "none")
    with cli.start("run", cli.config(ONE, source="work"), *arguments) as process:
        started.wait()
        process.send_signal(signal.SIGTERM)
        first_line(process)
        release.release()
        err = process.communicate(timeout=SECONDS)[1].decode()
    assert process.returncode == 1
    assert err.startswith("stream-kernel: stopped at line 1: remote handoff failed for group 'g'\n")


@pytest.mark.fault("FAULT-26")
def test_ctrl_c_in_a_terminal_reaches_the_command_and_none_of_its_workers(cli: Cli, make_fifo: MakeFifo) -> None:
    held = Held(cli, make_fifo, "feature", "--drain-timeout", str(SECONDS))
    with held.run() as process:
        for worker in cli.workers():
            assert os.getsid(worker) == worker
            assert os.getpgid(worker) == worker
        # What the terminal does: a signal to the whole foreground group.
        for member in (process.pid, *(pid for pid in cli.workers() if os.getpgid(pid) == os.getpgid(process.pid))):
            os.kill(member, signal.SIGINT)
        first_line(process)
        held.release()
        process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert len(cli.outputs()) >= 25


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf"])
def test_a_drain_timeout_that_is_no_time_is_refused(cli: Cli, seconds: str) -> None:
    message = refused(cli, cli.config(ONE, source="work"), "--drain-timeout", seconds)
    assert message == f"stream-kernel: --drain-timeout must be from 0 to 1e+09 seconds, not {seconds}\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_workers_start_ends_them_and_leaves_the_output_as_it_was(
    cli: Cli, make_fifo: MakeFifo, number: signal.Signals, code: int
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    settings = {"slow_start": {"started": started.path, "release": release.path}}
    config = cli.config({"g": ["slow_start"]}, source="slow_start", settings=settings)
    cli.output.write_text(OLD, encoding="utf-8")
    with cli.start("run", config, "--input", cli.lines(numbers(1, 3)), "--output", str(cli.output)) as process:
        started.wait()
        done = interrupt(process, number)
    assert (done.code, done.out) == (code, b"")
    assert done.err == "stream-kernel: interrupted before a line was taken\n"
    assert cli.output.read_text(encoding="utf-8") == OLD


def _waiting_in(pipe: IO[bytes] | None) -> int:
    """The bytes that nobody has read."""
    assert pipe is not None
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder)


@pytest.mark.parametrize(("length", "full"), [(100, 64_000), (9_000, 49_000)])
def test_a_signal_while_nobody_takes_the_outputs_ends_the_run_with_a_whole_line(cli: Cli, length: int, full: int) -> None:
    cli.input.write_bytes((b"a" * length + b"\n") * (4_000_000 // length))
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    arguments = ("--input", str(cli.input), "--summary", "none", "--batch-size", "100000", "--drain-timeout", "0.2")
    with cli.start("run", config, *arguments) as process:
        until(lambda: _waiting_in(process.stdout) > full)  # the next line, or the rest of one, waits
        done = interrupt(process, signal.SIGINT)
    lines = done.out.splitlines(keepends=True)
    assert set(lines) == {b"A" * length + b"\n"}
    assert done.code == 130
    assert "\nstream-kernel: interrupted\n  complete: line" in done.err
    assert f"({len(lines):,} output" in done.err


@pytest.mark.fault("FAULT-26")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_while_the_script_is_imported_ends_it_quietly(cli: Cli, number: signal.Signals, code: int) -> None:
    with cli.start("run", cli.config(ONE, source="work"), "--input", cli.lines(numbers(1, 3))) as process:
        until(lambda: b"pydantic_core" in Path(f"/proc/{process.pid}/maps").read_bytes())
        done = interrupt(process, number)
    assert done.code == code
    assert "Traceback" not in done.err


def pester(process: subprocess.Popen[bytes], number: signal.Signals) -> str:
    """Send a signal again and again until the process has ended; gives what it says."""

    def has_ended() -> bool:
        process.send_signal(number)
        return process.poll() is not None

    until(has_ended)
    return process.communicate(timeout=SECONDS)[1].decode()


@pytest.mark.fault("FAULT-26")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_any_number_of_signals_while_the_workers_start_gives_one_message_and_the_exit_code(
    cli: Cli, make_fifo: MakeFifo, number: signal.Signals, code: int
) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    settings = {"slow_start": {"started": started.path, "release": release.path}}
    config = cli.config({"g": ["slow_start"]}, source="slow_start", settings=settings)
    with cli.start("run", config, "--input", cli.lines(numbers(1, 3)), "--output", str(cli.output)) as process:
        started.wait()
        said = pester(process, number)
    assert (process.returncode, said) == (code, "stream-kernel: interrupted before a line was taken\n")


@pytest.mark.fault("FAULT-26")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_any_number_of_signals_in_a_run_leaves_what_is_said_at_its_end(
    cli: Cli, make_fifo: MakeFifo, number: signal.Signals, code: int
) -> None:
    with Held(cli, make_fifo, "feature", "--drain-timeout", str(SECONDS), stop_timeout_seconds=SECONDS).run() as process:
        process.send_signal(number)
        first_line(process)
        said = pester(process, number)
    assert process.returncode == code
    assert said.startswith(f"stream-kernel: interrupted\n  complete: lines 1 to 24 (24 outputs in {cli.output})\n  not complete: line")
    assert "Traceback" not in said
    assert cli.outputs() == seen(1, 24)


@pytest.mark.fault("FAULT-26")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_second_signal_while_workers_stop_waits_for_no_node(cli: Cli, make_fifo: MakeFifo, number: signal.Signals, code: int) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    given = cli.lines([{"n": 1}, {"n": 2, "work": {"started": started.path, "release": release.path}}])
    config = cli.config({"g": {"nodes": ["work"], "stop_timeout_seconds": 2 * SECONDS}}, source="work")
    options = ("--batch-size", "1", "--summary", "none", "--log-level", "info", "--drain-timeout", "0")
    arguments = ("--input", given, "--output", str(cli.output), *options)
    with cli.start("run", config, *arguments) as process:
        started.wait()
        until(lambda: cli.output.read_bytes().count(b"\n") == 1)
        process.send_signal(number)
        assert process.stderr is not None
        while b"worker_stopping" not in process.stderr.readline():
            continue
        done = interrupt(process, number)
    assert done.code == code
    said = f"stream-kernel: interrupted\n  complete: line 1 (1 output in {cli.output})\n  not complete: line 2, which may have run\n"
    assert done.err.endswith(said)
    assert "Traceback" not in done.err


@pytest.mark.fault("FAULT-26")
def test_a_second_signal_after_the_last_line_gives_the_exit_code_though_the_run_is_complete(cli: Cli, make_fifo: MakeFifo) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    settings = {"slow_end": {"started": started.path, "release": release.path}}
    groups = {"g": {"nodes": ["slow_end"], "stop_timeout_seconds": 2 * SECONDS}}
    config = cli.config(groups, source="slow_end", settings=settings)
    arguments = ("--input", cli.lines(numbers(1, 3)), "--output", str(cli.output), "--summary", "none")
    with cli.start("run", config, *arguments) as process:
        started.wait()
        process.send_signal(signal.SIGINT)  # two that differ: of two of the same kind, one may be all that is heard
        done = interrupt(process, signal.SIGTERM)
    # Threads share the two signals: which one Python hears last is not decided by which was sent last.
    assert done.code in (130, 143)
    assert cli.outputs() == numbers(1, 3)
    assert "Traceback" not in done.err
