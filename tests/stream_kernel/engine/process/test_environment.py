"""What a worker is started with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

from stream_kernel import RuntimeConfig
from stream_kernel.engine.process.environment import bootstrap_message, import_path, main_module, worker_arguments, worker_environment
from stream_kernel.errors import ConfigurationError
from stream_kernel.protocol.messages import FaultOrder

MakeConfig = Callable[..., RuntimeConfig]


def test_the_command_line_names_interpreter_descriptors_and_limit_only(make_config: MakeConfig) -> None:
    own, other = make_config({"g": ["echo"], "h": {"nodes": ["many"], "python": "/opt/python"}}).process_groups
    assert worker_arguments(own, 9, 4096, 11)[:4] == [sys.executable, "-P", "-m", "stream_kernel.worker"]
    assert worker_arguments(other, 9, 4096, 11)[0] == "/opt/python"
    assert worker_arguments(own, 9, 4096, 11)[4:] == ["--lifeline", "9", "--max-frame-bytes", "4096", "--black-box", "11"]


def test_the_environment_is_an_allow_list_and_what_the_group_names(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET", "APP_ONE", "APP_TWO", "LC_TIME"):
        monkeypatch.setenv(name, name)
    group = {"nodes": ["echo"], "env_passthrough": ["APP_*"], "env": {"DEVICE": "gpu-{worker_index}", "APP_TWO": "set"}}
    (config,) = make_config({"g": group}).process_groups
    environment = worker_environment(config, 3)
    assert (environment["DEVICE"], environment["APP_ONE"], environment["APP_TWO"]) == ("gpu-3", "APP_ONE", "set")
    assert "LC_TIME" in environment and "PATH" in environment
    assert "SECRET" not in environment


def test_the_import_path_is_absolute(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    (group,) = make_config({"g": ["echo"]}).process_groups
    monkeypatch.setattr(sys, "path", ["", "relative", "/absolute"])
    assert import_path(group) == [os.getcwd(), os.path.abspath("relative"), "/absolute"]


def test_another_interpreter_gets_nothing_that_belongs_to_this_one(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    (group,) = make_config({"g": {"nodes": ["echo"], "python": "/opt/python"}}).process_groups
    monkeypatch.setattr(sys, "path", [f"{sys.prefix}/lib/site-packages", os.__file__, "/my/project"])
    assert import_path(group) == ["/my/project"]


def test_settings_of_other_groups_are_not_sent(make_config: MakeConfig) -> None:
    config = make_config({"g": ["counter"], "h": ["resource"]}, nodes={"counter": {"start": 2}, "resource": {"journal": "secret"}})
    message = bootstrap_message(config, config.process_groups[0], 0, "g#0", 4)
    assert message.settings == {"counter": {"start": 2}}
    assert (message.nodes, message.generation, message.limits.max_hops) == (["counter"], 4, 64)


def test_a_worker_polls_as_long_as_its_group_says_where_there_is_a_cpu_for_it(make_config: MakeConfig) -> None:
    config = make_config({"g": {"nodes": ["echo"], "spin_microseconds": 200}})
    (group,) = config.process_groups
    assert bootstrap_message(config, group, 0, "g#0", 1, spins=True).limits.spin_microseconds == 200
    assert bootstrap_message(config, group, 0, "g#0", 1).limits.spin_microseconds == 0


def test_only_a_supervisor_for_tests_orders_faults(make_config: MakeConfig) -> None:
    config = make_config({"g": ["echo"]})
    (group,) = config.process_groups
    assert bootstrap_message(config, group, 0, "g#0", 1).faults == ()
    order = FaultOrder(point="before_write", action="kill", nth=3)
    assert bootstrap_message(config, group, 0, "g#0", 1, faults=(order,)).faults == (order,)


def test_nodes_of_an_interactive_session_are_refused_with_the_way_out(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config({"g": ["echo"]}, modules=["__main__"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "<stdin>", raising=False)
    with pytest.raises(ConfigurationError, match="put them into a module"):
        main_module(config, config.process_groups[0])


def test_the_started_script_is_named_by_path_or_by_module(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config({"g": ["echo"]}, modules=["__main__"])
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", __file__, raising=False)
    found = main_module(config, config.process_groups[0])
    assert found is not None and (found.name, found.path) == (None, os.path.abspath(__file__))
    monkeypatch.setattr(main, "__spec__", os.__spec__)
    found = main_module(config, config.process_groups[0])
    assert found is not None and found.name == "os"
    assert main_module(make_config({"g": ["echo"]}), config.process_groups[0]) is None
