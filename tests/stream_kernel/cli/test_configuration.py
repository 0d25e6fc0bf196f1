"""From what is named on the command line to a configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stream_kernel import ConfigurationError
from stream_kernel.cli.configuration import load_config, parse_workers

TOML = """
discovery_modules = ["m"]
process_groups = [{name = "cpu", nodes = ["score"]}, {name = "io", nodes = ["read"], workers = 2}]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and an import path of this test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "pipeline.toml").write_text(TOML)
    return tmp_path


def test_a_file_is_named_by_its_path(folder: Path) -> None:
    for reference in ("pipeline.toml", str(folder / "pipeline.toml")):
        assert [group.name for group in load_config(reference).process_groups] == ["cpu", "io"]


def test_mode_and_workers_of_the_command_line_win() -> None:
    config = load_config("pipeline.toml", mode="inline", workers={"cpu": 3})
    assert (config.bootstrap.mode, [group.workers for group in config.process_groups]) == ("inline", [3, 2])
    config = load_config("pipeline.toml")
    assert (config.bootstrap.mode, [group.workers for group in config.process_groups]) == ("process_supervisor", [1, 2])


def test_what_is_wrong_with_it_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"^absent\.toml: cannot be read: No such file or directory$"):
        load_config("absent.toml")
    with pytest.raises(ConfigurationError, match="there is no group 'gpu'"):
        load_config("pipeline.toml", workers={"gpu": 1})


def test_modules_are_looked_for_in_the_working_directory_first_and_it_is_added_once(folder: Path) -> None:
    for _ in range(2):
        load_config("pipeline.toml")
    assert sys.path[0] == str(folder) and sys.path.count(str(folder)) == 1


def test_a_working_directory_that_is_on_the_path_keeps_its_place(folder: Path) -> None:
    sys.path.append(str(folder))
    load_config("pipeline.toml")
    assert sys.path[-1] == str(folder) and sys.path.count(str(folder)) == 1


@pytest.mark.parametrize("name", ["baseline", "sanctions"])
def test_an_example_of_the_package_is_named_by_folder_and_file(name: str) -> None:
    config = load_config(f"example:fund_load/{name}", workers={"execution.features": 2})
    assert config.scenario_id == f"fund-load-{name}" and config.source is not None
    assert [group.workers for group in config.process_groups if group.name == "execution.features"] == [2]


@pytest.mark.parametrize("reference", ["example:", "example:fund_load", "example:fund_load/nope", "example:fund_load/baseline.toml"])
def test_an_example_that_is_not_there_is_told_with_those_that_are(reference: str) -> None:
    with pytest.raises(ConfigurationError) as failed:
        load_config(reference)
    known = "example:fund_load/baseline, example:fund_load/sanctions"
    assert str(failed.value) == f"there is no {reference} (there are: {known})"


def test_workers_are_given_by_group() -> None:
    assert parse_workers([]) == {}
    assert parse_workers(["cpu=2", "execution.io=10", "a=b=3", "cpu=4", "zero=0"]) == {"cpu": 4, "execution.io": 10, "a=b": 3, "zero": 0}


@pytest.mark.parametrize("text", ["", "cpu", "cpu=", "=2", "cpu=two", "cpu=-1", "cpu=1.5", "cpu= 2", "cpu=²", "cpu=٣", "cpu=" + "9" * 5000])
def test_workers_that_cannot_be_read_are_told_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError) as failed:
        parse_workers([text])
    assert str(failed.value) == f"--workers {text}: write GROUP=N, for example --workers execution.features=3"


def test_a_working_directory_that_is_gone_only_holds_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert load_config("example:fund_load/baseline").scenario_id == "fund-load-baseline"
