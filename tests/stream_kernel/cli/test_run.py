"""`stream-kernel run`, started as a shell starts it: the right answer in any arrangement, its streams, and what it shows of itself."""

from __future__ import annotations

import json
import os
import pty
import re

import pytest

from cli import KNOWN_INPUT, KNOWN_OUTPUT, SECONDS, Cli, decoded, encoded

known = pytest.mark.skipif(not KNOWN_INPUT.exists(), reason="the real input is not here")

GROUPS = {"features": {"nodes": ["feature"], "workers": 2}, "policy": ["tally"]}
FOUR_GROUPS = ["execution.ingress", "execution.features", "execution.policy", "execution.egress"]


def numbers(count: int) -> list[dict[str, int]]:
    return [{"n": n} for n in range(1, count + 1)]


# -- the right answer


@known
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="four groups"),
        pytest.param(["--workers", "execution.features=3"], id="three workers in one of them"),
        pytest.param(["--batch-size", "7"], id="batches of 7"),
        pytest.param(["--batch-size", "7", "--workers", "execution.features=3"], id="three workers, batches of 7"),
        pytest.param(["--batch-size", "1000"], id="one batch"),
        pytest.param(["--batch-size", "1", "--workers", "execution.features=3"], id="three workers, line by line", marks=pytest.mark.slow),
        pytest.param(["--mode", "inline"], id="inline"),
        pytest.param(["--mode", "inline", "--batch-size", "1"], id="inline, line by line"),
        pytest.param(["--mode", "inline_wire", "--batch-size", "7"], id="inline_wire, batches of 7"),
    ],
)
def test_the_real_input_gives_the_known_answer_to_the_byte(cli: Cli, arguments: list[str]) -> None:
    done = cli.run("run", "example:fund_load/baseline", "--input", str(KNOWN_INPUT), "--output", str(cli.output), *arguments)
    assert (done.code, done.out) == (0, b"")
    assert cli.output.read_bytes() == KNOWN_OUTPUT.read_bytes()


@known
def test_standard_input_to_standard_output_gives_the_known_answer_too(cli: Cli) -> None:
    done = cli.run("run", "example:fund_load/baseline", "--batch-size", "100", "--summary", "none", stdin=KNOWN_INPUT.read_bytes())
    assert (done.code, done.err) == (0, "")
    assert done.out == KNOWN_OUTPUT.read_bytes()


@pytest.mark.parametrize("fan_out", ["whole", "split"])
def test_a_stateful_group_sees_the_lines_in_order_behind_one_with_several_workers(cli: Cli, fan_out: str) -> None:
    groups = {**GROUPS, "features": {"nodes": ["feature"], "workers": 2, "fan_out": fan_out}}
    done = cli.run_lines(cli.config(groups, source="feature"), numbers(200), "--batch-size", "3")
    assert done.code == 0
    assert cli.outputs() == [{"n": n, "seen": n} for n in range(1, 201)]


def test_outputs_on_standard_output_are_lines_of_json(cli: Cli) -> None:
    config = cli.config({"g": ["repeat"]}, source="repeat")
    done = cli.run("run", config, "--mode", "inline", stdin=encoded([{"n": 1, "times": 2}, {"n": 2, "times": 0}]))
    assert decoded(done.out) == [{"n": 1, "copy": 0}, {"n": 1, "copy": 1}]


def test_an_output_that_was_longer_before_holds_nothing_of_it(cli: Cli) -> None:
    cli.output.write_text("an old line\n" * 1000, encoding="utf-8")
    cli.errors.write_text("an old failure\n", encoding="utf-8")
    config = cli.config({"g": ["work"]}, source="work")
    assert cli.run_lines(config, numbers(2), "--mode", "inline", "--errors", str(cli.errors)).code == 0
    assert cli.outputs() == numbers(2)
    assert cli.failures() == []


def test_standard_output_is_appended_to_where_the_caller_wants_it(cli: Cli) -> None:
    config = cli.config({"g": ["work"]}, source="work")
    cli.output.write_bytes(encoded([{"n": 0}]))
    with (
        cli.output.open("ab") as appended,
        cli.start("run", config, "--mode", "inline", "--input", cli.lines(numbers(1)), stdout=appended.fileno()) as process,
    ):
        process.communicate(timeout=SECONDS)
    assert cli.outputs() == [{"n": 0}, {"n": 1}]


# -- streams


def test_a_reader_that_takes_one_line_ends_an_endless_run_quietly(cli: Cli) -> None:
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    done = cli.shell(f"{{ yes hello | stream-kernel run {config}; echo ended $? >&2; }} | head -1")
    assert (done.out, done.err) == (b"HELLO\n", "ended 0\n")


def test_a_line_of_a_live_pipe_is_answered_before_the_next_one_comes(cli: Cli) -> None:
    config = cli.config(GROUPS, source="feature")
    with cli.start("run", config, "--batch-size", "1000", "--summary", "none") as process:
        assert process.stdin is not None and process.stdout is not None
        for n in (1, 2, 3):
            process.stdin.write(encoded([{"n": n}]))
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == {"n": n, "seen": n}
        process.stdin.close()
    assert process.returncode == 0


def test_an_empty_input_is_a_complete_run(cli: Cli) -> None:
    done = cli.run("run", cli.config({"g": ["work"]}, source="work"), "--mode", "inline")
    assert (done.code, done.out) == (0, b"")


def test_the_last_line_needs_no_end_and_lines_may_come_from_windows(cli: Cli) -> None:
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    assert cli.run("run", config, "--mode", "inline", stdin=b"\xef\xbb\xbfone\r\n\ntwo").out == b"ONE\n\nTWO\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(b"\xff\xfe", "stream-kernel: stopped at line 2 is not UTF-8: byte 1 of the line", id="not UTF-8"),
        pytest.param(b"x" * 20_000_000, "stream-kernel: stopped at line 2 is 20000000 bytes long, over execution_ipc.", id="20 MB"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named_and_those_before_it_are_complete(cli: Cli, line: bytes, message: str) -> None:
    cli.input.write_bytes(b"one\n" + line + b"\nthree\n")
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    done = cli.run("run", config, "--mode", "inline", "--input", str(cli.input), "--output", str(cli.output), "--summary", "none")
    assert done.code == 1
    assert done.err.startswith(message)
    assert done.err.endswith(f"  complete: line 1 (1 output in {cli.output})\n")
    assert cli.output.read_bytes() == b"ONE\n"


def test_a_line_that_is_no_json_is_named(cli: Cli) -> None:
    config = cli.config({"g": ["work"]}, source="work")
    done = cli.run("run", config, "--mode", "inline", "--summary", "none", stdin=b'{"n": 1}\n{"n": \n')
    assert (done.code, done.out) == (1, b'{"n":1}\n')
    assert done.err.startswith("stream-kernel: stopped at line 2 ")


def test_an_output_that_takes_nothing_is_named(cli: Cli) -> None:
    config = cli.config({"g": ["work"]}, source="work")
    done = cli.run("run", config, "--input", cli.lines(numbers(5)), "--output", "/dev/full", "--summary", "none")
    assert done.code == 2
    assert done.err == (
        "stream-kernel: /dev/full cannot be written: No space left on device\n  complete: no line (0 outputs in /dev/full)\n"
    )


def test_a_disk_that_is_full_leaves_whole_lines(cli: Cli) -> None:
    config = cli.config({"g": ["work"]}, source="work")
    arguments = f"--mode inline --batch-size 1000 --summary none --input {cli.lines(numbers(500))} --output {cli.output}"
    # Its coverage would not fit either.
    done = cli.shell(f"ulimit -f 1; env -u COVERAGE_PROCESS_CONFIG -u COVERAGE_PROCESS_START stream-kernel run {config} {arguments}")
    assert done.code == 2
    assert done.err.startswith(f"stream-kernel: {cli.output} cannot be written: File too large\n")
    assert len(cli.outputs()) > 10
    assert done.err.endswith(f"  complete: lines 1 to {len(cli.outputs())} ({len(cli.outputs())} outputs in {cli.output})\n")
    assert cli.outputs() == numbers(len(cli.outputs()))


# -- what it shows


@pytest.mark.parametrize("mode", ["process_supervisor", "inline"])
def test_the_summary_as_json_is_on_standard_output_when_that_is_free_and_agrees_with_the_run(cli: Cli, mode: str) -> None:
    records = [*numbers(9), {"n": 10, "tally": {"do": "raise"}}, {"n": 11}]
    arguments = ("--mode", mode, "--summary", "json", "--on-error", "collect", "--errors", str(cli.errors), "--batch-size", "4")
    done = cli.run_lines(cli.config(GROUPS, source="feature"), records, *arguments)
    assert (done.code, done.err) == (6, "")
    summary = json.loads(done.out)
    assert (summary["outcome"], summary["mode"], summary["stopped_by"]) == ("complete", mode, None)
    assert (summary["lines_read"], summary["lines_complete"], summary["outputs"], summary["failures"]) == (11, 11, 10, 1)
    assert len(cli.outputs()) == 10 and len(cli.failures()) == 1
    assert [(group["name"], group["workers"], group["messages"]) for group in summary["groups"]] == [("features", 2, 11), ("policy", 1, 11)]
    assert [(node["name"], node["messages"]) for group in summary["groups"] for node in group["nodes"]] == [("feature", 11), ("tally", 11)]


def test_the_summary_as_json_is_on_standard_error_when_the_outputs_are_on_standard_output(cli: Cli) -> None:
    config = cli.config({"g": ["work"]}, source="work")
    done = cli.run("run", config, "--mode", "inline", "--summary", "json", stdin=encoded(numbers(3)))
    assert done.out == encoded(numbers(3))
    assert json.loads(done.err)["outputs"] == 3


def test_the_table_has_each_group_and_node_and_no_escape_sequence(cli: Cli) -> None:
    done = cli.run_lines(cli.config(GROUPS, source="feature"), numbers(5))
    assert (done.code, done.out) == (0, b"")
    for name in ("features", "  feature", "policy", "  tally"):
        assert re.search(rf"^{name} +", done.err, re.MULTILINE), done.err
    assert re.search(r"^5 lines in [\d.]+ s, [\d,]+ a second: 5 outputs, 0 failures, 0 restarts$", done.err, re.MULTILINE)
    assert "\x1b" not in done.err


def test_a_run_without_a_summary_says_nothing(cli: Cli) -> None:
    done = cli.run_lines(cli.config({"g": ["work"]}, source="work"), numbers(5), "--summary", "none")
    assert (done.code, done.out, done.err) == (0, b"", "")


def on_a_terminal(cli: Cli, *arguments: str, **variables: str) -> str:
    """What the script shows on a terminal."""
    command = ["run", cli.config(GROUPS, source="feature"), "--input", cli.lines(numbers(50)), "--output", str(cli.output), *arguments]
    ours, theirs = pty.openpty()
    try:
        with cli.start(*command, stderr=theirs, variables={"TERM": "xterm", "COLUMNS": "120", **variables}):
            os.close(theirs)
            return _read_terminal(ours)
    finally:
        os.close(ours)


def _read_terminal(descriptor: int) -> str:
    shown = b""
    while True:
        try:
            part = os.read(descriptor, 1 << 16)
        except OSError:  # a terminal that the last writer has closed
            part = b""
        if not part:
            return shown.decode()
        shown += part


BAR = re.compile("[━╸╺]{5}")
COLOUR = re.compile(r"\x1b\[[\d;]*3\d[;m]")


def test_on_a_terminal_the_bar_appears_and_the_table_follows(cli: Cli) -> None:
    shown = on_a_terminal(cli)
    assert BAR.search(shown) and COLOUR.search(shown)
    assert "50 lines, " in shown
    assert "50 lines in " in shown[shown.rindex("━") :]


def test_on_a_terminal_without_colours_there_is_none(cli: Cli) -> None:
    shown = on_a_terminal(cli, NO_COLOR="1")
    assert BAR.search(shown)
    assert not COLOUR.search(shown)


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        pytest.param([], {"TERM": "dumb"}, id="a terminal that can show none"),
        pytest.param(["--log-level", "info"], {}, id="a log on the same stream"),
        pytest.param(["--on-error", "collect"], {}, id="failures on the same stream"),
    ],
)
def test_there_is_no_bar_where_it_would_be_torn(cli: Cli, arguments: list[str], variables: dict[str, str]) -> None:
    shown = on_a_terminal(cli, *arguments, **variables)
    assert not BAR.search(shown)
    assert "50 lines in " in shown


def test_what_the_workers_write_is_shown_on_request(cli: Cli) -> None:
    config = cli.config({"g": ["stderr_flood"]}, source="stderr_flood", modules=["fault_nodes"])
    records = [{"text": "a word\n", "times": 1}]
    assert "a word" not in cli.run_lines(config, records).err
    done = cli.run_lines(config, records, "--log-level", "info")
    assert re.search(r"^\S+ \S+ INFO \S+: .*a word", done.err, re.MULTILINE)


# -- the debugger


def test_the_debugger_stops_in_the_frame_of_the_line_that_raises(cli: Cli) -> None:
    config = cli.config({"g": ["work"]}, source="work", timeout=0.001)  # nobody is that fast in a debugger
    arguments = (
        "--mode",
        "inline",
        "--pdb",
        "--input",
        cli.lines([*numbers(2), {"n": 3, "work": {"do": "raise"}}]),
        "--output",
        str(cli.output),
    )
    done = cli.run("run", config, *arguments, stdin=b"p secret\nup\np message\nq\n")
    shown = done.out.decode()
    assert "'hunter2'" in shown
    assert "run_nodes.py" in shown
    assert "'do': 'raise'" in shown
    assert done.code == 1
    assert cli.outputs() == numbers(2)
