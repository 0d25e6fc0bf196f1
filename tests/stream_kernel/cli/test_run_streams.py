"""Standard streams during a run: outputs are alone on theirs, and an endless line keeps nobody from ending the run."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from cli import SCRIPT, SECONDS, Cli, environment, interrupt
from fixture_types import MakeFifo
from waiting import until


@pytest.mark.parametrize("mode", ["inline", "process_supervisor"])
@pytest.mark.parametrize("way", ["print", "os.write", "c", "child"])
def test_what_a_node_prints_is_not_among_the_outputs(cli: Cli, mode: str, way: str) -> None:
    config = cli.config({"g": ["chatter"]}, source="chatter", modules=["fault_nodes"])
    done = cli.run("run", config, "--mode", mode, "--summary", "none", stdin=f'"{way}"\n'.encode())
    assert (done.code, done.out) == (0, f"{way}\n".encode())


def test_the_summary_does_not_overwrite_outputs_that_go_to_standard_output_by_another_name(cli: Cli) -> None:
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    done = cli.shell(f"printf 'a\\nb\\n' | stream-kernel run {config} --output /dev/stdout --summary json > all.txt")
    assert done.code == 0
    assert (cli.folder / "all.txt").read_bytes() == b"A\nB\n"
    assert json.loads(done.err)["outputs"] == 2


def test_outputs_and_failures_cannot_both_go_to_standard_output(cli: Cli) -> None:
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    done = cli.run("run", config, "--errors", "/dev/stdout")
    assert (done.code, done.out) == (2, b"")
    assert done.err == "stream-kernel: --output and --errors are both standard output: name a file for one of them\n"


def test_one_log_for_both_standard_outputs_holds_outputs_and_failures(cli: Cli) -> None:
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    done = cli.shell(f"printf 'a\\nb|b\\nc\\n' | stream-kernel run {config} --on-error collect --summary none > all.txt 2>&1")
    assert done.code == 6
    lines = (cli.folder / "all.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("{")] == ["A", "C"]
    assert [json.loads(line)["line"] for line in lines if line.startswith("{")] == [2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_line_without_end_can_be_interrupted(cli: Cli, number: signal.Signals) -> None:
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    with cli.start("run", config, "--input", "/dev/zero", "--summary", "none", stderr=subprocess.PIPE) as process:
        while len(cli.workers()) < 1:
            pass
        done = interrupt(process, number)
    assert done.code == 128 + number
    assert "interrupted" in done.err and "Traceback" not in done.err


# -- reports that nobody takes


@pytest.mark.parametrize("command", ["check example:fund_load/baseline", "demo --attempts 50"])
def test_who_reads_the_first_line_only_does_not_change_the_exit_code(cli: Cli, command: str) -> None:
    done = cli.shell(f"stream-kernel {command} | head -1; exit ${{PIPESTATUS[0]}}")
    assert (done.code, done.out.count(b"\n"), done.err) == (0, 1, "")


@pytest.mark.parametrize("command", ["check example:fund_load/baseline", "demo --attempts 50"])
def test_a_report_that_cannot_be_written_is_one_message(cli: Cli, command: str) -> None:
    done = cli.shell(f"stream-kernel {command} > /dev/full")
    assert (done.code, done.err) == (2, "stream-kernel: cannot write: No space left on device\n")


def test_a_summary_that_nobody_reads_does_not_change_the_exit_code(cli: Cli) -> None:
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    done = cli.shell(f"seq 3 | stream-kernel run {config} --output out.txt --summary json | true; exit ${{PIPESTATUS[1]}}")
    assert (done.code, done.err) == (0, "")


# -- signals in the modes that run nodes in the command's own process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_inline_a_signal_ends_the_run_between_two_lines(cli: Cli, make_fifo: MakeFifo, number: signal.Signals) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    given = cli.lines([{"n": 1}, {"n": 2, "work": {"started": started.path, "release": release.path}}, {"n": 3}])
    config = cli.config({"g": ["work"]}, source="work")
    arguments = ("--mode", "inline", "--input", given, "--output", str(cli.output), "--batch-size", "1000", "--summary", "none")
    with cli.start("run", config, *arguments) as process:
        started.wait()
        process.send_signal(number)
        release.release()
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (128 + number, b"")
    assert err.decode() == (
        f"stream-kernel: interrupted\n  complete: no line (0 outputs in {cli.output})\n  not complete: lines 1 to 3, which may have run\n"
    )


def test_inline_what_is_in_flight_is_finished_where_a_drain_timeout_is_given(cli: Cli, make_fifo: MakeFifo) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    given = cli.lines([{"n": 1, "work": {"started": started.path, "release": release.path}}, *({"n": n} for n in range(2, 9))])
    streams = ("--input", given, "--output", str(cli.output), "--batch-size", "2", "--summary", "none")
    arguments = ("--mode", "inline", *streams, "--drain-timeout", str(SECONDS))
    with cli.start("run", cli.config({"g": ["work"]}, source="work"), *arguments) as process:
        started.wait()
        process.send_signal(signal.SIGTERM)
        until(lambda: _has_no_pending(process.pid))
        release.release()
        err = process.communicate(timeout=SECONDS)[1].decode()
    assert process.returncode == 143
    assert err.endswith(f"stream-kernel: interrupted\n  complete: lines 1 to 2 (2 outputs in {cli.output})\n")
    assert cli.outputs() == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_inline_a_second_signal_ends_even_a_node_that_does_not_come_back(cli: Cli, make_fifo: MakeFifo, number: signal.Signals) -> None:
    started = make_fifo("started")
    given = cli.lines([{"n": 1, "work": {"started": started.path, "do": "hang"}}])
    config = cli.config({"g": ["work"]}, source="work")
    with cli.start("run", config, "--mode", "inline", "--input", given, "--summary", "none") as process:
        started.wait()

        def has_ended() -> bool:
            process.send_signal(number)  # again and again: of two that come before Python looks, it hears one
            return process.poll() is not None

        until(has_ended)
    assert process.returncode == 128 + number


def _has_no_pending(pid: int) -> bool:
    """Whether a signal that was sent has been taken."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return "ShdPnd:\t0000000000000000" in status


def test_a_signal_that_the_caller_ignores_stays_ignored(cli: Cli, make_fifo: MakeFifo) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    given = cli.lines([{"n": 1, "work": {"started": started.path, "release": release.path}}])
    config = cli.config({"g": ["work"]}, source="work")
    command = ["bash", "-c", 'trap "" INT; exec "$0" "$@"', str(SCRIPT), "run", config, "--input", given, "--summary", "none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), cwd=cli.folder) as process:
        started.wait()
        process.send_signal(signal.SIGINT)
        release.release()
        out, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, b'{"n":1}\n')


def test_a_failure_that_cannot_be_recorded_ends_the_run(cli: Cli) -> None:
    config = cli.config({"g": ["shout"]}, source="shout", form="text")
    command = f"printf 'a\\nb|b\\nc\\n' | stream-kernel run {config} --on-error collect --errors /dev/full --batch-size 1 --summary none"
    done = cli.shell(command)
    assert (done.code, done.out) == (2, b"A\n")
    assert (
        done.err
        == "stream-kernel: /dev/full cannot be written: No space left on device\n  complete: line 1 (1 output in standard output)\n"
    )
