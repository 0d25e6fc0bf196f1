"""Files and standard streams, opened before anything is started."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from stream_kernel import ConfigurationError
from stream_kernel.cli.streams import STANDARD, OpenStream, is_standard_output, open_input, open_output, refuse_same_file

Open = Callable[[str], OpenStream]


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


# -- opening


def test_an_input_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"one\n")
    with open_input(str(path)) as stream:
        assert (stream.name, os.read(stream.descriptor, 10)) == (str(path), b"one\n")
    assert not is_open(stream.descriptor)


def test_an_output_is_made_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with open_output(str(path)) as stream:
        assert stream.name == str(path)
        stream.begin()
        os.write(stream.descriptor, b"one\n")
    assert not is_open(stream.descriptor)
    assert path.read_bytes() == b"one\n"


def test_who_may_read_a_new_output_is_up_to_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    before = os.umask(0o027)
    try:
        with open_output(str(path)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_opening_an_output_touches_nothing_and_emptying_it_drops_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(b"yesterday's\n")
    with open_output(str(path)) as stream:
        assert path.read_bytes() == b"yesterday's\n"
        stream.begin()
        os.write(stream.descriptor, b"today's\n")
    assert path.read_bytes() == b"today's\n"


def test_an_output_that_is_no_file_has_nothing_to_drop(tmp_path: Path) -> None:
    with open_output("/dev/null") as stream:
        stream.begin()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with ExitStack() as stack:
        stack.callback(os.close, reader)
        stream = stack.enter_context(open_output(str(fifo)))
        os.write(stream.descriptor, b"held\n")
        stream.begin()
        assert os.read(reader, 10) == b"held\n"


def test_descriptors_are_not_handed_on_to_workers(tmp_path: Path) -> None:
    with open_output(str(tmp_path / "out.txt")) as output, open_input(str(tmp_path / "out.txt")) as source:
        assert not os.get_inheritable(output.descriptor) and not os.get_inheritable(source.descriptor)


@pytest.mark.parametrize(
    ("opened", "descriptor", "name"),
    [
        (lambda: open_input(STANDARD), 0, "standard input"),
        (lambda: open_input("/dev/stdin"), 0, "standard input"),
        (lambda: open_output("/dev/stdout"), 1, "standard output"),
        (lambda: open_output(STANDARD), 1, "standard output"),
        (lambda: open_output(STANDARD, standard=2), 2, "standard error"),
    ],
)
def test_the_standard_streams_stay_open(opened: Callable[[], OpenStream], descriptor: int, name: str) -> None:
    before = os.fstat(descriptor)
    with opened() as stream:
        assert stream.name == name and os.path.samestat(os.fstat(stream.descriptor), before)
    assert os.path.samestat(os.fstat(descriptor), before)


def test_a_standard_stream_keeps_what_its_file_held(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"before\n")
    with path.open("ab") as log:
        OpenStream(log.fileno(), "standard output", is_standard=True).begin()
    assert path.read_bytes() == b"before\n"


# -- what cannot be opened


@pytest.mark.parametrize(
    ("stream", "opened", "name"),
    [
        ("__stdin__", lambda: open_input(STANDARD), "standard input"),
        ("__stdout__", lambda: open_output(STANDARD), "standard output"),
        ("__stderr__", lambda: open_output(STANDARD, standard=2), "standard error"),
    ],
)
def test_a_standard_stream_that_is_closed_is_never_another_file(
    monkeypatch: pytest.MonkeyPatch, stream: str, opened: Callable[[], OpenStream], name: str
) -> None:
    monkeypatch.setattr(sys, stream, None)
    with pytest.raises(ConfigurationError, match=f"^{name} is closed: name a file$"):
        opened()


@pytest.mark.parametrize(("opens", "verb"), [(open_input, "read"), (open_output, "written")])
def test_what_cannot_be_opened_is_named_with_the_reason(tmp_path: Path, opens: Open, verb: str) -> None:
    absent, folder = str(tmp_path / "no" / "such"), str(tmp_path)
    reasons = {absent: "No such file or directory", "\0": "its name holds a NUL character"}
    reasons[folder] = "it is a directory" if verb == "read" else "Is a directory"
    for path, reason in reasons.items():
        with pytest.raises(ConfigurationError) as failed:
            opens(path)
        assert str(failed.value) == f"{path}: cannot be {verb}: {reason}"
        assert failed.value.__cause__ is None and failed.value.__context__ is None


# -- one file twice


def test_different_files_are_fine(tmp_path: Path) -> None:
    (tmp_path / "in").touch()
    with open_input(str(tmp_path / "in")) as source, open_output(str(tmp_path / "out")) as output:
        refuse_same_file(source, output)


@pytest.mark.parametrize("kind", ["same name", "link", "symlink", "dotted"])
def test_one_file_under_any_two_names_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.touch()
    other = {"same name": path, "dotted": tmp_path / "." / ".." / tmp_path.name / "file"}.get(kind, tmp_path / "other")
    if kind == "link":
        other.hardlink_to(path)
    elif kind == "symlink":
        other.symlink_to(path)
    with open_input(str(path)) as source, open_output(str(other)) as output, pytest.raises(ConfigurationError) as failed:
        refuse_same_file(source, output)
    assert str(failed.value) == f"{other} and {path} are the same file: name different ones"


def test_what_is_no_file_may_be_named_twice() -> None:
    with open_input("/dev/null") as source, open_output("/dev/null") as output:
        refuse_same_file(source, output)


# -- what becomes of a new file, and of standard output


def test_a_new_output_that_nothing_was_to_be_written_to_is_removed_again(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with open_output(str(path)):
        assert path.exists()
    assert not path.exists()


def test_an_output_that_was_there_before_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(b"yesterday's\n")
    with open_output(str(path)):
        pass
    assert path.read_bytes() == b"yesterday's\n"


def test_what_else_is_printed_while_standard_output_is_used_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with open_output("-") as stream:
        os.write(1, b"a word of a library\n")
        os.write(stream.descriptor, b"one\n")
    os.write(1, b"after\n")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("one\nafter\n", "a word of a library\n")


@pytest.mark.parametrize(("path", "is_standard"), [("-", True), ("/dev/stdout", True), ("/dev/stderr", False), ("out.txt", False)])
def test_standard_output_has_several_names(path: str, is_standard: bool) -> None:
    assert is_standard_output(path) is is_standard


def test_one_file_behind_both_standard_outputs_is_theirs(tmp_path: Path) -> None:
    path = tmp_path / "all.log"
    with path.open("wb") as log:
        refuse_same_file(
            OpenStream(log.fileno(), "standard output", is_standard=True), OpenStream(log.fileno(), "standard error", is_standard=True)
        )
