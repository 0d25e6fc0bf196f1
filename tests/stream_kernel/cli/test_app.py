"""The commands of the installed script: what `check` finds, exit codes, help and version, and arguments that make no command."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stream_kernel
from cli import SECONDS, Cli

GROUPS = {"features": {"nodes": ["feature"], "workers": 2}, "policy": ["tally"]}


# -- check


@pytest.mark.parametrize("name", ["example:fund_load/baseline", "example:fund_load/sanctions"])
def test_the_examples_have_no_problem_even_in_strict_eyes(cli: Cli, name: str) -> None:
    done = cli.run("check", name, "--strict")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(b"\nno problems\n")


def test_check_shows_groups_nodes_and_routes(cli: Cli) -> None:
    done = cli.run("check", cli.config(GROUPS, source="feature"), "--workers", "features=1")
    assert (done.code, done.err) == (0, "")
    assert done.out.decode() == (
        "scenario default\n"
        "├── group features (1 worker)\n"
        "│   └── feature: consumes plain JSON <- source (jsonl)\n"
        "│       └── by name -> tally (policy)\n"
        "└── group policy (1 worker, stateful)\n"
        "    └── tally: consumes plain JSON, stateful\n"
        "        └── plain JSON -> terminal\n"
        "\n"
        "no problems\n"
    )


def test_a_warning_is_a_problem_in_strict_eyes_only(cli: Cli) -> None:
    config = cli.config({"g": ["work"]}, source=None)
    done = cli.run("check", config)
    assert done.code == 0
    assert "\nwarning [source] " in done.out.decode()
    strict = cli.run("check", config, "--strict")
    assert (strict.code, strict.out) == (1, done.out)


@pytest.mark.parametrize(
    ("groups", "source", "arguments", "kind", "about"),
    [
        pytest.param({"one": ["forth"], "other": ["back"]}, "forth", [], "circle", "one", id="circle"),
        pytest.param(GROUPS, "feature", ["--workers", "policy=2"], "cardinality", "tally", id="state in several workers"),
        pytest.param({"g": ["work", "nobody"]}, "work", [], "missing-node", "nobody", id="missing node"),
    ],
)
def test_a_problem_is_one_line_and_exit_code_1(
    cli: Cli, groups: dict[str, list[str]], source: str, arguments: list[str], kind: str, about: str
) -> None:
    done = cli.run("check", cli.config(groups, source=source), *arguments)
    assert (done.code, done.err) == (1, "")
    (line,) = [line for line in done.out.decode().splitlines() if line.startswith("problem [")]
    assert line.startswith(f"problem [{kind}] ") and about in line


def test_a_module_that_cannot_be_imported_is_a_problem_and_no_traceback(cli: Cli) -> None:
    done = cli.run("check", cli.config({"g": ["work"]}, source="work", modules=["no_such_module"]))
    assert done.code == 1
    assert "no_such_module" in done.out.decode()
    assert "Traceback" not in done.out.decode() + done.err


def test_check_builds_no_node_and_starts_no_worker(cli: Cli) -> None:
    assert cli.run("check", cli.config({"g": ["broken"]}, source="broken")).code == 0


@pytest.mark.parametrize("text", ["[[process_groups]\n", "unknown = 1\n"])
def test_a_file_that_is_no_configuration_cannot_be_checked(cli: Cli, text: str) -> None:
    path = cli.folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    done = cli.run("check", str(path))
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith(f"stream-kernel: {path}") and "Traceback" not in done.err


# -- what belongs to no command


def test_the_module_is_the_same_command_as_the_script(cli: Cli) -> None:
    done = cli.shell(f"{sys.executable} -m stream_kernel --version; exec {sys.executable} -m stream_kernel check nowhere.toml")
    assert (done.code, done.out.decode()) == (2, f"stream-kernel {stream_kernel.__version__}\n")
    assert done.err == "stream-kernel: nowhere.toml: cannot be read: No such file or directory\n"


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    done = cli.run("--version")
    assert (done.code, done.out.decode(), done.err) == (0, f"stream-kernel {stream_kernel.__version__}\n", "")


def test_help_names_the_commands_and_the_exit_codes(cli: Cli) -> None:
    assert {"run", "check"} <= set(cli.run("--help").out.decode().split())
    done = cli.run("run", "--help")
    shown = " ".join(done.out.decode().split())
    assert (done.code, done.err) == (0, "")
    assert "Exit codes: 0 all lines are through, 1 a node failed or a line was refused, 2 nothing could be run" in shown
    for option in ("--input", "--output", "--batch-size", "--workers", "--mode", "--on-error", "--errors", "--summary", "--pdb"):
        assert option in shown


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["walk"], "walk"),
        (["run"], "CONFIG"),
        (["run", "example:fund_load/baseline", "--fast"], "--fast"),
        (["run", "example:fund_load/baseline", "--batch-size", "0"], "--batch-size"),
        (["run", "example:fund_load/baseline", "--mode", "threads"], "--mode"),
    ],
)
def test_arguments_that_make_no_command_are_refused(cli: Cli, arguments: list[str], about: str) -> None:
    done = cli.run(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert about in done.err and "Traceback" not in done.err


HIDING = """
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name == "{library}":
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Hidden())
from stream_kernel.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_without_the_extra_the_script_says_what_to_install(cli: Cli, library: str) -> None:
    command = [sys.executable, "-c", HIDING.format(library=library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=cli.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"stream-kernel: the command line needs '{library}': pip install 'stream-kernel[cli]'\n"
