"""What crosses from parent to worker beside the messages: nothing that is not named; and what leaves in errors: no secrets."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_kernel import BoundaryExecutionError, MultiprocessBootstrapSupervisor, RuntimeConfig, WorkerBootstrapError

MakeConfig = Callable[..., RuntimeConfig]


@pytest.mark.fault("FAULT-36")
def test_a_worker_sees_only_the_variables_that_are_allowed(faulty: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("HANDED_ON", "yes")
    monkeypatch.setenv("PYTHONSTARTUP", "/tmp/x")
    monkeypatch.setenv("TZ", "UTC")
    group = {"nodes": ["surroundings"], "env_passthrough": ["HANDED_*", "COVERAGE_*"], "env": {"PLACE": "{worker_index}"}}
    with MultiprocessBootstrapSupervisor(faulty({"g": group})) as supervisor:
        environment = supervisor.call("surroundings", None)["environment"]
    assert (environment["HANDED_ON"], environment["PLACE"], environment["TZ"]) == ("yes", "0", "UTC")
    assert "DATABASE_PASSWORD" not in environment and "PYTHONSTARTUP" not in environment and "PYTHONPATH" not in environment
    known = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "TEMP", "LD_LIBRARY_PATH"}
    beyond = set(environment) - known - {"HANDED_ON", "PLACE"}
    assert {name for name in beyond if not name.startswith(("LC_", "COVERAGE_"))} == set()


@pytest.mark.fault("FAULT-36")
def test_a_worker_has_no_descriptor_of_its_parent_or_of_its_siblings(faulty: MakeConfig, left_open: Path) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": {"nodes": ["surroundings"], "workers": 2}})) as supervisor:
        first, second = (supervisor.call("surroundings", n)["descriptors"] for n in range(2))
    for descriptors in (first, second):
        assert str(left_open) not in descriptors.values()
        assert (descriptors["0"], descriptors["1"]) == ("/dev/null", descriptors["2"])
        # stderr, the two ends of the wire, the lifeline
        assert len({to for to in descriptors.values() if to.startswith("pipe:")}) == 4
    assert not {to for to in first.values() if to.startswith("pipe:")} & {to for to in second.values() if to.startswith("pipe:")}


def test_a_worker_has_a_session_of_its_own_and_ignores_ctrl_c(faulty: MakeConfig) -> None:
    with MultiprocessBootstrapSupervisor(faulty({"g": ["surroundings"]})) as supervisor:
        seen = supervisor.call("surroundings", None)
    assert seen["session"] == seen["pid"] != os.getsid(0)
    assert seen["sigint"]


@pytest.mark.fault("FAULT-34")
def test_neither_settings_nor_payloads_are_in_the_command_line_or_the_environment(faulty: MakeConfig, tmp_path: Path) -> None:
    alive = tmp_path / "hunter2"
    alive.touch()
    config = faulty({"g": ["second_life", "surroundings"]}, nodes={"second_life": {"alive": str(alive)}})
    with MultiprocessBootstrapSupervisor(config) as supervisor:
        seen = supervisor.call("surroundings", "hunter2")
    assert "hunter2" not in str(seen["arguments"]) + str(seen["environment"])


def everything_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)


@pytest.mark.fault("FAULT-34")
@pytest.mark.parametrize("node", ["throw", "async_throw"])
def test_what_a_node_raised_is_in_the_report_only(faulty: MakeConfig, caplog: pytest.LogCaptureFixture, node: str) -> None:
    caplog.set_level("INFO")
    with MultiprocessBootstrapSupervisor(faulty({"g": [node]})) as supervisor:
        with pytest.raises(BoundaryExecutionError) as caught:
            supervisor.call(node, "OwnError")
        error = caught.value
    assert "hunter2" in (error.report.detail or "")
    assert error.__cause__ is None and error.__context__ is None
    assert "hunter2" not in everything_of(error) + caplog.text


@pytest.mark.fault("FAULT-34")
def test_what_a_constructor_raised_is_not_in_the_text_of_the_boot_error(faulty: MakeConfig) -> None:
    with pytest.raises(WorkerBootstrapError) as caught, MultiprocessBootstrapSupervisor(faulty({"g": ["bad_constructor"]})):
        pass
    error = caught.value
    assert "hunter2" in (error.detail or "")
    assert error.__cause__ is None and error.__context__ is None
    assert "hunter2" not in everything_of(error)
