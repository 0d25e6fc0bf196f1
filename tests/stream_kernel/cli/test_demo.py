"""The demo: what it shows, leaves behind, and refuses."""

from __future__ import annotations

import re

import pytest

from cli import Cli, decoded
from fund_load_oracle import Oracle


def test_it_tells_what_it_did_and_what_to_try_next_and_leaves_nothing_behind(cli: Cli) -> None:
    done = cli.run("demo", "--attempts", "300")
    shown = done.out.decode()
    assert (done.code, done.err) == (0, "")
    assert shown.startswith("300 attempts to load money into an account")
    assert re.search(r"^300 lines in .*: 300 outputs, 0 failures, 0 restarts$", shown, re.MULTILINE)
    counts = re.search(r"^(\d+) accepted, (\d+) declined", shown, re.MULTILINE)
    assert counts is not None and sum(map(int, counts.groups())) == 300
    assert "Try next:" in shown and "stream-kernel demo --keep demo" in shown
    assert list(cli.folder.iterdir()) == []


def test_it_leaves_the_attempts_and_the_right_decisions_where_it_is_told_to_and_names_them(cli: Cli) -> None:
    done = cli.run("demo", "--attempts", "300", "--keep", "kept/here")
    kept = cli.folder / "kept" / "here"
    attempts = (kept / "attempts.jsonl").read_text(encoding="utf-8").splitlines()
    assert decoded((kept / "decisions.jsonl").read_bytes()) == Oracle(sanctions=False).decide_all(attempts)
    suggestion = next(line for line in done.out.decode().splitlines() if "stream-kernel run" in line)
    assert "--input kept/here/attempts.jsonl --output kept/here/sanctions.jsonl" in suggestion
    assert "--keep" not in done.out.decode()


@pytest.mark.slow
def test_what_it_suggests_works(cli: Cli) -> None:
    shown = cli.run("demo", "--attempts", "300", "--keep", "demo").out.decode()
    commands = [line.strip() for line in shown.splitlines() if line.startswith("  stream-kernel")]
    assert len(commands) == 2
    for command in commands:
        assert cli.shell(command).code == 0
    attempts = (cli.folder / "demo" / "attempts.jsonl").read_text(encoding="utf-8").splitlines()
    assert decoded((cli.folder / "demo" / "sanctions.jsonl").read_bytes()) == Oracle(sanctions=True).decide_all(attempts)


def test_the_same_attempts_come_every_time(cli: Cli) -> None:
    for folder in ("one", "two"):
        assert cli.run("demo", "--attempts", "100", "--keep", folder).code == 0
    one, two = ((cli.folder / folder / "attempts.jsonl").read_bytes() for folder in ("one", "two"))
    assert one == two and one.count(b"\n") == 100


@pytest.mark.parametrize("kept", ["file/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_made_is_named(cli: Cli, kept: str) -> None:
    (cli.folder / "file").write_text("", encoding="utf-8")
    done = cli.run("demo", "--keep", kept)
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith(f"stream-kernel: --keep {kept}: ") and done.err.count("\n") == 1


def test_a_file_that_cannot_be_written_is_named(cli: Cli) -> None:
    (cli.folder / "kept" / "attempts.jsonl").mkdir(parents=True)
    done = cli.run("demo", "--keep", "kept")
    assert (done.code, done.err) == (2, "stream-kernel: kept/attempts.jsonl: cannot be written: Is a directory\n")
