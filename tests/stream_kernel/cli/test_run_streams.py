"""Standard streams during a run: outputs are alone on theirs, and an endless line keeps nobody from ending the run."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from cli import Cli, interrupt


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
