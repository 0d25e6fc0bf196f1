"""What a configuration is when it is right, and what it says when it is not."""

from __future__ import annotations

import datetime
from typing import Any

import pydantic
import pytest

from stream_kernel import ConfigurationError, RuntimeConfig

GROUP: dict[str, Any] = {"name": "cpu", "nodes": ["score"]}
MINIMAL: dict[str, Any] = {"discovery_modules": ["m"], "process_groups": [GROUP]}


def load(**changes: Any) -> RuntimeConfig:
    return RuntimeConfig.from_mapping({**MINIMAL, **changes})


def group(**changes: Any) -> dict[str, Any]:
    return {"process_groups": [{**GROUP, **changes}]}


def test_the_defaults_are_those_of_the_contract() -> None:
    config = load()
    assert (config.scenario_id, config.bootstrap.mode, config.source, config.message_modules) == ("default", "process_supervisor", None, ())
    ipc = config.execution_ipc
    assert (ipc.transport, ipc.boundary_timeout_seconds, ipc.max_frame_bytes, ipc.max_hops) == ("stdio_jsonl", 30, 8_388_608, 64)
    (only,) = config.process_groups
    assert (only.workers, only.discovery_modules, only.python, dict(only.env), only.env_passthrough) == (1, None, None, {}, ())
    assert (only.start_timeout_seconds, only.drain_timeout_seconds, only.stop_timeout_seconds) == (30, None, 5)
    assert (only.eof_timeout_seconds, only.terminate_timeout_seconds, only.reap_timeout_seconds) == (0.5, 1, 2)
    assert (only.ping_interval_seconds, only.ping_timeout_seconds) == (10, 5)
    assert only.fan_out == "whole"
    assert (only.depth, only.max_queued, only.max_queued_bytes, only.overflow, only.retries) == ("auto", 1024, 64 << 20, "wait", 0)
    assert (only.max_requests_per_worker, only.max_rss_mb) == (None, None)
    restart = only.restart
    assert (restart.strategy, restart.intensity, restart.period_seconds, restart.backoff_seconds) == ("permanent", 5, 30, (0.1, 30))
    assert dict(config.nodes) == {}


def test_groups_are_found_by_name_and_by_node() -> None:
    config = load(process_groups=[GROUP, {"name": "io", "nodes": ["read"], "discovery_modules": ["other"]}])
    cpu, io = config.process_groups
    assert config.group("io") is io and config.group("none") is None and config.group(None) is None
    assert config.group_of("score") == "cpu" and config.group_of("none") is None
    assert config.modules_of(cpu) == ("m",) and config.modules_of(io) == ("other",)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scenari_id": "x"}, "scenari_id: unknown key (did you mean 'scenario_id'?)"),
        ({"zzz": "x"}, "zzz: unknown key"),
        ({"execution_ipc": {"max_hop": 1}}, "execution_ipc.max_hop: unknown key (did you mean 'max_hops'?)"),
        ({"source": {"target": "score", "formt": "text"}}, "source.formt: unknown key"),
        (group(worker=2), "process_groups[0].worker: unknown key (did you mean 'workers'?)"),
        ({"scenario_id": 5}, "scenario_id: "),
        ({"scenario_id": ""}, "scenario_id: "),
        ({"discovery_modules": "m"}, "discovery_modules: must be a list"),
        ({"discovery_modules": [1]}, "discovery_modules[0]: "),
        ({"bootstrap": {"mode": "threads"}}, "bootstrap.mode: "),
        ({"bootstrap": "inline"}, "bootstrap: must be a table, for example bootstrap = {mode = "),
        ({"execution_ipc": 3}, "execution_ipc: must be a table, for example execution_ipc = {max_hops = "),
        ({"source": "score"}, "source: must be a table, for example source = {target = "),
        ({"process_groups": ["cpu"]}, "process_groups[0]: must be a table, for example [[process_groups]] with name = "),
        ({"execution_ipc": {"max_hops": "64"}}, "execution_ipc.max_hops: must be int, not str"),
        ({"execution_ipc": {"max_hops": 64.0}}, "execution_ipc.max_hops: must be int, not float"),
        ({"execution_ipc": {"max_hops": True}}, "execution_ipc.max_hops: must be int, not bool"),
        ({"execution_ipc": {"max_hops": 0}}, "execution_ipc.max_hops: "),
        ({"execution_ipc": {"boundary_timeout_seconds": "30"}}, "execution_ipc.boundary_timeout_seconds: must be a number, not str"),
        ({"execution_ipc": {"boundary_timeout_seconds": 0}}, "execution_ipc.boundary_timeout_seconds: "),
        ({"execution_ipc": {"boundary_timeout_seconds": float("inf")}}, "execution_ipc.boundary_timeout_seconds: "),
        ({"execution_ipc": {"max_frame_bytes": 10}}, "execution_ipc.max_frame_bytes: "),
        ({"execution_ipc": {"transport": "tcp"}}, "execution_ipc.transport: "),
        ({"process_groups": []}, "process_groups: must not be empty"),
        ({"process_groups": [{"name": "cpu"}]}, "process_groups[0].nodes: is missing"),
        (group(nodes=[]), "process_groups[0].nodes: must not be empty"),
        (group(nodes="score"), "process_groups[0].nodes: must be a list"),
        (group(nodes=["score", "score"]), "process_groups[0].nodes: node 'score' is already in group 'cpu'"),
        (group(workers=0), "process_groups[0].workers: "),
        (group(workers="2"), "process_groups[0].workers: must be int, not str"),
        (group(env="A=1"), "process_groups[0].env: must be a table"),
        (group(env={"A": 1}), "process_groups[0].env.A: "),
        (group(python=""), "process_groups[0].python: "),
        (group(depth=0), "process_groups[0].depth: must be 'auto' or an integer from 1 to 64"),
        (group(depth=65), "process_groups[0].depth: must be 'auto' or an integer from 1 to 64"),
        (group(depth=True), "process_groups[0].depth: must be 'auto' or an integer from 1 to 64"),
        (group(depth="3"), "process_groups[0].depth: must be 'auto' or an integer from 1 to 64"),
        (group(spin_microseconds=-1), "process_groups[0].spin_microseconds: "),
        (group(spin_microseconds=10_001), "process_groups[0].spin_microseconds: "),
        (group(spin_microseconds=True), "process_groups[0].spin_microseconds: must be int, not bool"),
        (group(spin_microseconds=50.0), "process_groups[0].spin_microseconds: must be int, not float"),
        (group(max_queued=0), "process_groups[0].max_queued: "),
        (group(max_queued_bytes=0), "process_groups[0].max_queued_bytes: "),
        (group(max_queued_byte=1), "process_groups[0].max_queued_byte: unknown key (did you mean 'max_queued_bytes'?)"),
        (group(overflow="drop"), "process_groups[0].overflow: "),
        (group(fan_out="even"), "process_groups[0].fan_out: "),
        (group(fan_out=2), "process_groups[0].fan_out: "),
        (group(retries=-1), "process_groups[0].retries: "),
        (group(retries=101), "process_groups[0].retries: "),
        (group(max_requests_per_worker=0), "process_groups[0].max_requests_per_worker: "),
        (group(max_rss_mb=0), "process_groups[0].max_rss_mb: "),
        (group(max_rss_mb=float("inf")), "process_groups[0].max_rss_mb: "),
        (group(ping_interval_seconds=0), "process_groups[0].ping_interval_seconds: "),
        (group(ping_timeout_seconds=float("nan")), "process_groups[0].ping_timeout_seconds: "),
        (group(drain_timeout_seconds=0), "process_groups[0].drain_timeout_seconds: "),
        (group(eof_timeout_seconds="1"), "process_groups[0].eof_timeout_seconds: must be a number, not str"),
        (group(terminate_timeout_seconds=-1), "process_groups[0].terminate_timeout_seconds: "),
        (group(reap_timeout_seconds=0), "process_groups[0].reap_timeout_seconds: "),
        (group(restart="permanent"), 'process_groups[0].restart: must be a table, for example restart = {strategy = "permanent"}'),
        (group(restart={"strategy": "always"}), "process_groups[0].restart.strategy: "),
        (group(restart={"intensty": 3}), "process_groups[0].restart.intensty: unknown key (did you mean 'intensity'?)"),
        (group(restat={}), "process_groups[0].restat: unknown key (did you mean 'restart'?)"),
        (group(restart={"intensity": -1}), "process_groups[0].restart.intensity: "),
        (group(restart={"period_seconds": 0}), "process_groups[0].restart.period_seconds: "),
        (group(restart={"backoff_seconds": 1}), "process_groups[0].restart.backoff_seconds: "),
        (group(restart={"backoff_seconds": [1]}), "process_groups[0].restart.backoff_seconds"),
        (group(restart={"backoff_seconds": [0, 1]}), "process_groups[0].restart.backoff_seconds[0]: "),
        (
            group(restart={"backoff_seconds": [2, 1]}),
            "process_groups[0].restart.backoff_seconds: the first figure must not be greater than the second",
        ),
        (
            {"process_groups": [GROUP, {"name": "io", "nodes": ["score"]}]},
            "process_groups[1].nodes: node 'score' is already in group 'cpu'",
        ),
        ({"process_groups": [GROUP, {"name": "cpu", "nodes": ["b"]}]}, "process_groups[1].name: there is another group named 'cpu'"),
        (group(name="a\n\x1b[2J"), r"process_groups[0].name: 'a\n\x1b[2J': a name must not hold control characters"),
        (group(nodes=["score", "a\n"]), r"process_groups[0].nodes: 'a\n': a name must not hold control characters"),
        ({"discovery_modules": []}, "process_groups[0].discovery_modules: name the modules"),
        ({"nodes": {"scor": {"a": 1}}}, "nodes.scor: settings for a node that is in no group"),
        ({"source": {"target": "read"}}, "source.target: node 'read' is in no group"),
        ({"source": {}}, "source.target: is missing"),
        ({"nodes": {"score": {"since": datetime.date(2020, 1, 1)}}}, "nodes.score.since: is of type date"),
        ({"nodes": {"score": {"a": [{"b": datetime.time(1)}]}}}, "nodes.score.a[0].b: is of type time"),
        ({"nodes": {"score": {"a": float("nan")}}}, "nodes.score.a: is NaN or infinite"),
        ({"nodes": {"score": {"a": 1 << 64}}}, "nodes.score.a: is an integer beyond 64 bit"),
        ({"nodes": {"score": {"a": (1,)}}}, "nodes.score.a: is of type tuple"),
        ({"nodes": {"score": {"a": "\ud800"}}}, "nodes.score.a: is a string with lone surrogates"),
        ({"nodes": {"score": {"a": {1: 2}}}}, "nodes.score.a: a key is of type int"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_with_its_path(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(**changes)
    assert str(caught.value).startswith(f"configuration: {problem}")
    assert "\n" not in str(caught.value)


def test_the_keys_of_supervision_are_taken_as_they_are() -> None:
    keys: dict[str, Any] = {
        "fan_out": "split",
        "depth": 64,
        "spin_microseconds": 10_000,
        "max_queued": 1,
        "max_queued_bytes": 1,
        "overflow": "refuse",
        "retries": 100,
        "max_requests_per_worker": 1,
        "max_rss_mb": 0.5,
        "ping_interval_seconds": 0.1,
        "ping_timeout_seconds": 60,
        "eof_timeout_seconds": 1,
        "terminate_timeout_seconds": 2,
        "reap_timeout_seconds": 3,
    }
    (only,) = load(**group(**keys)).process_groups
    assert {key: getattr(only, key) for key in keys} == keys


def test_a_restart_policy_takes_a_list_for_its_two_figures() -> None:
    given = {"strategy": "transient", "intensity": 0, "period_seconds": 0.5, "backoff_seconds": [2, 2]}
    (only,) = load(**group(restart=given)).process_groups
    assert only.restart.model_dump() == {**given, "backoff_seconds": (2, 2)}


@pytest.mark.parametrize(("drain", "seconds"), [(None, 5.0), (0.5, 0.5), (60, 60.0)])
def test_the_drain_may_take_as_long_as_the_stop_unless_it_is_named(drain: float | None, seconds: float) -> None:
    keys = {} if drain is None else {"drain_timeout_seconds": drain}
    assert load(**group(**keys)).process_groups[0].drain_seconds == seconds


def test_settings_that_contain_themselves_are_refused() -> None:
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    with pytest.raises(ConfigurationError, match="nested deeper than"):
        load(nodes={"score": ring})


def test_plain_settings_are_kept_as_they_are() -> None:
    settings = {"a": [1, 2.5, "x", True, None, {"b": []}], "limit": "5000.00"}
    assert load(nodes={"score": settings}).nodes["score"] == settings


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(scenario=1, execution_ipc={"max_hops": 0})
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.fault("FAULT-34")
@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": {"score": "hunter2"}},
        {"nodes": {"score": {"password": ("hunter2",)}}},
        {"scenario_id": ["hunter2"]},
        group(env={"PASSWORD": ["hunter2"]}),
        group(workers="hunter2"),
    ],
)
def test_no_value_is_quoted(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(**changes)
    assert "hunter2" not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_a_configuration_is_frozen() -> None:
    config = load()
    for part, field in ((config, "scenario_id"), (config.process_groups[0], "workers"), (config.execution_ipc, "max_hops")):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(part, field, 1)
    assert isinstance(config.process_groups, tuple) and isinstance(config.process_groups[0].nodes, tuple)


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be a mapping, not list"):
        RuntimeConfig.from_mapping([])  # type: ignore[arg-type]


# -- adapted


def pair() -> RuntimeConfig:
    return load(
        process_groups=[{**GROUP, "env": {"A": "1"}}, {"name": "io", "nodes": ["read"], "workers": 2}],
        scenario_id="mine",
        nodes={"score": {"limit": 1}},
        execution_ipc={"max_hops": 3},
    )


def test_a_configuration_with_another_mode_and_other_workers_is_otherwise_the_same() -> None:
    config = pair()
    adapted = config.adapted(mode="inline", workers={"io": 1024})
    assert (adapted.bootstrap.mode, [group.workers for group in adapted.process_groups]) == ("inline", [1, 1024])
    assert adapted.adapted(mode="process_supervisor", workers={"io": 2}) == config
    assert (config.bootstrap.mode, [group.workers for group in config.process_groups]) == ("process_supervisor", [1, 2])


def test_what_is_not_named_stays() -> None:
    config = load(bootstrap={"mode": "inline_wire"})
    assert config.adapted() == config.adapted(mode=None, workers={}) == config
    assert config.adapted(workers={"cpu": 3}).bootstrap.mode == "inline_wire"


@pytest.mark.parametrize("count", [0, -1, 1025])
def test_a_number_of_workers_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pair().adapted(workers={"io": count})
    assert str(caught.value) == f"group 'io': workers must be from 1 to 1024, not {count}"


def test_workers_for_a_group_that_is_not_there_are_refused_with_the_names_of_those_that_are() -> None:
    with pytest.raises(ConfigurationError) as caught:
        pair().adapted(workers={"cpu": 2, "gpu": 1})
    assert str(caught.value) == "there is no group 'gpu' (there are: cpu, io)"
