"""From a file and the environment to a configuration; each mistake names its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_kernel import ConfigurationError, RuntimeConfig

TOML = """
scenario_id = "fund-load"
discovery_modules = ["m"]

[execution_ipc]
boundary_timeout_seconds = 30
max_hops = 8

[[process_groups]]
name = "execution.policy"
workers = 2
nodes = ["evaluate", "update"]
env = {CUDA_VISIBLE_DEVICES = "{worker_index}"}

[source]
target = "evaluate"
format = "jsonl"

[nodes.evaluate]
daily_amount = "5000.00"
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        RuntimeConfig.from_toml(path)
    assert caught.value.__context__ is None
    return str(caught.value)


def test_a_file_is_read_by_path_and_by_name(pipeline: Path) -> None:
    config = RuntimeConfig.from_toml(str(pipeline))
    assert config == RuntimeConfig.from_toml(pipeline)
    assert config.scenario_id == "fund-load" and config.execution_ipc.max_hops == 8
    assert config.execution_ipc.boundary_timeout_seconds == 30.0
    assert config.process_groups[0].nodes == ("evaluate", "update") and config.process_groups[0].workers == 2
    assert config.process_groups[0].env == {"CUDA_VISIBLE_DEVICES": "{worker_index}"}
    assert config.source is not None and (config.source.target, config.source.format) == ("evaluate", "jsonl")
    assert config.nodes["evaluate"] == {"daily_amount": "5000.00"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml") == f"{tmp_path / 'none.toml'}: cannot be read: No such file or directory"
    assert "cannot be read" in refusal(tmp_path)


def test_a_file_that_is_not_toml_or_not_utf_8_is_named(pipeline: Path) -> None:
    pipeline.write_text("scenario_id = \n", encoding="utf-8")
    assert refusal(pipeline).startswith(f"{pipeline}: is not TOML: ")
    pipeline.write_bytes(b'scenario_id = "\xff"\n')
    assert refusal(pipeline) == f"{pipeline}: is not UTF-8"


def test_a_problem_in_a_file_names_file_and_key(pipeline: Path) -> None:
    pipeline.write_text(TOML.replace("workers", "worker"), encoding="utf-8")
    assert refusal(pipeline) == f"{pipeline}: process_groups[0].worker: unknown key (did you mean 'workers'?)"


def test_a_date_in_the_settings_of_a_node_is_refused(pipeline: Path) -> None:
    pipeline.write_text(TOML + "since = 2020-01-01\n", encoding="utf-8")
    assert refusal(pipeline).startswith(f"{pipeline}: nodes.evaluate.since: is of type date; settings travel as JSON")


def test_the_environment_overrides_one_key_and_leaves_its_siblings(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_KERNEL_EXECUTION_IPC__MAX_HOPS", "4")
    monkeypatch.setenv("STREAM_KERNEL_SCENARIO_ID", "other")
    monkeypatch.setenv("STREAM_KERNEL_BOOTSTRAP__MODE", "inline")
    config = RuntimeConfig.from_toml(pipeline)
    assert (config.execution_ipc.max_hops, config.execution_ipc.boundary_timeout_seconds) == (4, 30)
    assert (config.scenario_id, config.bootstrap.mode) == ("other", "inline")


def test_lists_and_tables_in_the_environment_are_json(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_KERNEL_DISCOVERY_MODULES", '["a", "b"]')
    monkeypatch.setenv("STREAM_KERNEL_PROCESS_GROUPS", '[{"name": "g", "nodes": ["evaluate"], "workers": 3}]')
    config = RuntimeConfig.from_toml(pipeline)
    assert config.discovery_modules == ("a", "b")
    assert [(group.name, group.workers) for group in config.process_groups] == [("g", 3)]


def test_a_list_in_the_environment_that_is_not_json_says_so(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_KERNEL_DISCOVERY_MODULES", "a,b")
    text = refusal(pipeline)
    assert text.startswith("environment: ") and "discovery_modules" in text and text.endswith("a list or table is written as JSON")


@pytest.mark.parametrize("variable", ["STREAM_KERNEL_PROCESS_GROUPS__0__DEPTH", "stream_kernel_process_groups__g__depth"])
def test_a_single_group_cannot_come_from_the_environment(pipeline: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "3")
    whole = variable[: len("STREAM_KERNEL_PROCESS_GROUPS")]
    assert refusal(pipeline) == f"environment variable {variable}: process_groups is a list, which comes as a whole: as JSON in {whole}"


def test_an_unknown_variable_is_named_with_a_hint(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_KERNEL_SCENARO_ID", "x")
    assert refusal(pipeline) == "environment variable STREAM_KERNEL_SCENARO_ID: unknown key 'scenaro_id' (did you mean 'scenario_id'?)"


def test_an_unknown_key_below_a_known_one_is_named(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_KERNEL_EXECUTION_IPC__MAX_HOP", "4")
    assert refusal(pipeline) == f"{pipeline} with the environment: execution_ipc.max_hop: unknown key (did you mean 'max_hops'?)"


@pytest.mark.fault("FAULT-34")
def test_a_wrong_value_in_the_environment_is_named_and_not_quoted(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_KERNEL_EXECUTION_IPC__MAX_HOPS", "hunter2")
    text = refusal(pipeline)
    assert text.startswith(f"{pipeline} with the environment: execution_ipc.max_hops: ") and "hunter2" not in text


def test_the_environment_may_give_what_the_file_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_KERNEL_PROCESS_GROUPS", '[{"name": "g", "nodes": ["n"]}]')
    assert RuntimeConfig.from_mapping({"discovery_modules": ["m"]}).group_of("n") == "g"


def test_a_key_that_nobody_gives_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="configuration: process_groups: is missing"):
        RuntimeConfig.from_mapping({})
    monkeypatch.setenv("STREAM_KERNEL_SCENARIO_ID", "x")
    with pytest.raises(ConfigurationError, match="process_groups: is missing"):
        RuntimeConfig.from_mapping({})


def test_text_in_a_file_stays_text_when_the_environment_overrides_something(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_KERNEL_SCENARIO_ID", "x")
    pipeline.write_text(TOML.replace("max_hops = 8", 'max_hops = "8"'), encoding="utf-8")
    assert "execution_ipc.max_hops: must be int, not str" in refusal(pipeline)
