"""What a look at a configuration finds before any worker is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixture_types import MakeConfig
from stream_kernel import LocalBootstrapSupervisor
from stream_kernel.execution.orchestration.findings import Finding
from stream_kernel.execution.orchestration.preflight import Preflight, examine

SOURCE = {"target": "parse", "format": "text"}
PIPELINE = {"entry": ["parse"], "pricing": ["price"], "out": ["bill", "audit"]}
ALL = ["kernel_nodes", "message_nodes", "preflight_nodes"]

Look = Callable[..., Preflight]
WriteModule = Callable[[str, str], str]


@pytest.fixture
def look(make_config: MakeConfig) -> Look:
    """Examine a configuration whose source feeds its first node, so that only what the test is about is found."""

    def examined(groups: dict[str, Any], **top: Any) -> Preflight:
        first = next(iter(groups.values()))
        target = (first["nodes"] if isinstance(first, dict) else first)[0]
        return examine(make_config(groups, **{"modules": ALL, "source": {"target": target}, **top}))

    return examined


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """Make a module that can be imported by the name that is given back."""
    monkeypatch.syspath_prepend(tmp_path)
    names: list[str] = []

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


def seen(findings: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.kind, finding.place) for finding in findings]


def only(result: Preflight, severity: str, kind: str, place: str) -> str:
    """The sentence of the only finding."""
    assert seen(result.findings) == [(severity, kind, place)]
    return result.findings[0].message


def node_module(name: str) -> str:
    return f"from stream_kernel import node\n\n@node(name={name!r})\ndef marked(message, ctx): return message\n"


# -- what is sound


def test_a_sound_configuration_has_no_findings_and_shows_its_routes(look: Look) -> None:
    result = look(PIPELINE, source=SOURCE, message_modules=["message_nodes"])
    assert result.findings == result.problems == result.warnings == ()
    assert {group: [route.name for route in routes] for group, routes in result.routes.items()} == PIPELINE
    assert [route.name for route in result.router.consumers("message_nodes:Order")] == ["price", "audit"]
    assert result.config.source is not None


def test_class_nodes_are_looked_at_and_not_built(look: Look, tmp_path: Path) -> None:
    missing = tmp_path / "folder" / "journal"
    result = look({"a": ["resource"]}, nodes={"resource": {"journal": str(missing)}})
    assert result.findings == () and not missing.parent.exists()


def test_without_a_source_nodes_that_nobody_emits_to_are_entries(make_config: MakeConfig) -> None:
    result = examine(make_config({"a": ["price", "echo", "audit"]}, modules=ALL))
    assert only(result, "warning", "source", "configuration").startswith("there is no [source]: a run needs one")


def test_problems_and_warnings_are_told_apart(make_config: MakeConfig) -> None:
    result = examine(make_config({"a": ["nope"]}))
    assert seen(result.problems) == [("problem", "missing-node", "a/nope")]
    assert seen(result.warnings) == [("warning", "source", "configuration")]


# -- modules


def test_a_module_that_cannot_be_imported_hides_nothing_of_the_other_groups(look: Look) -> None:
    groups = {"a": ["echo"], "b": {"nodes": ["lost"], "discovery_modules": ["nowhere.at_all"]}, "c": ["nope"]}
    first, second = look(groups, modules=["kernel_nodes"]).findings
    assert (first.kind, first.place, second.kind, second.place) == ("import", "b", "missing-node", "c/nope")
    assert first.message == (
        "module 'nowhere.at_all' cannot be imported (ModuleNotFoundError: No module named 'nowhere'): "
        "mend that, or the name in discovery_modules"
    )


def test_a_module_of_several_groups_is_reported_once_and_imported_once(look: Look, write_module: WriteModule, tmp_path: Path) -> None:
    log = tmp_path / "log"
    statement = f"with open({str(log)!r}, 'a') as log: log.write('imported')"
    module = write_module("preflight_shared", f"{statement}\nraise ValueError('hunter2')\n")
    message = only(look({"a": ["x"], "b": ["y"]}, modules=[module]), "problem", "import", "configuration")
    assert message.startswith("module 'preflight_shared' of the groups 'a', 'b' cannot be imported (ValueError in ")
    assert "hunter2" not in message
    assert log.read_text() == "imported"


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("raise SystemExit('hunter2')", "SystemExit in "),
        ("raise BaseException('hunter2')", "BaseException in "),
        ("def (", "SyntaxError in "),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("from stream_kernel import node\n@node(name='n', consumes=[str])\ndef n(message, ctx): ...", "ConfigurationError: @node 'n': "),
    ],
)
def test_whatever_an_import_raises_is_a_problem_with_its_cause(look: Look, write_module: WriteModule, statement: str, cause: str) -> None:
    module = write_module("preflight_raises", statement)
    message = only(look({"a": ["x"]}, modules=[module]), "problem", "import", "a")
    assert message.startswith(f"module 'preflight_raises' cannot be imported ({cause}") and "hunter2" not in message


def test_an_interrupt_from_the_keyboard_ends_the_look(look: Look, write_module: WriteModule) -> None:
    module = write_module("preflight_interrupted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        look({"a": ["x"]}, modules=[module])


def test_what_a_module_prints_does_not_reach_stdout(look: Look, write_module: WriteModule, capsys: pytest.CaptureFixture[str]) -> None:
    module = write_module("preflight_prints", "print('hello')\n" + node_module("printed"))
    assert look({"a": ["printed"]}, modules=[module]).findings == ()
    assert capsys.readouterr() == ("", "hello\n")


def test_a_module_that_starts_a_supervisor_is_refused_as_in_a_worker(look: Look, write_module: WriteModule) -> None:
    module = write_module(
        "preflight_starts",
        "from stream_kernel import LocalBootstrapSupervisor, RuntimeConfig\n"
        "LocalBootstrapSupervisor(RuntimeConfig.from_mapping({'discovery_modules': ['kernel_nodes'], 'bootstrap': {'mode': 'inline'},\n"
        "    'process_groups': [{'name': 'g', 'nodes': ['echo']}]}))\n",
    )
    message = only(look({"a": ["x"]}, modules=[module]), "problem", "import", "a")
    assert "a supervisor is started while a worker imports this module" in message and "\n" not in message
    assert "if __name__" in message


def test_after_the_look_supervisors_start_as_before(look: Look, make_config: MakeConfig) -> None:
    look({"a": ["echo"]})
    with LocalBootstrapSupervisor(make_config({"a": ["echo"]}, mode="inline")) as supervisor:
        assert supervisor.call("echo", 1) == {"value": 1}


def test_the_started_script_has_no_nodes_when_it_is_the_command_line(look: Look) -> None:
    result = look({"a": {"nodes": ["mine"], "discovery_modules": ["__main__"]}, "b": ["nope"]}, modules=["kernel_nodes"])
    assert seen(result.findings) == [("problem", "started-script", "a"), ("problem", "missing-node", "b/nope")]
    assert "put them into a module and name that" in result.findings[0].message


def test_a_message_module_that_cannot_be_imported_is_a_problem(look: Look) -> None:
    message = only(look({"a": ["echo"]}, message_modules=["nowhere"]), "problem", "import", "configuration")
    assert message.endswith("or the name in message_modules")


# -- interpreters


def test_a_module_that_only_another_interpreter_may_have_is_a_warning(look: Look) -> None:
    group = {"nodes": ["infer"], "discovery_modules": ["nowhere"], "python": sys.executable}
    message = only(look({"a": ["echo"], "gpu": group}), "warning", "import", "gpu")
    assert "with this interpreter, which is not the one of the group" in message and sys.executable in message


def test_a_module_that_another_group_needs_here_is_a_problem_as_well(look: Look) -> None:
    group = {"nodes": ["infer"], "discovery_modules": ["nowhere"]}
    result = look({"cpu": {**group, "nodes": ["other"]}, "gpu": {**group, "python": sys.executable}})
    assert seen(result.findings) == [("problem", "import", "cpu"), ("warning", "import", "gpu")]


def test_inline_the_interpreter_of_a_group_plays_no_part(look: Look) -> None:
    group = {"nodes": ["infer"], "discovery_modules": ["nowhere"], "python": "/nowhere/python", "workers": 1024}
    only(look({"gpu": group}, mode="inline"), "problem", "import", "gpu")


def test_an_interpreter_that_is_not_there_is_a_problem(look: Look) -> None:
    message = only(look({"a": {"nodes": ["echo"], "python": "/nowhere/python"}}), "problem", "interpreter", "a")
    assert message == "there is no program '/nowhere/python': correct process_groups.python"
    name = Path(sys.executable).name
    assert look({"a": {"nodes": ["echo"], "python": name, "env": {"PATH": str(Path(sys.executable).parent)}}}).findings == ()


# -- nodes


def test_a_node_in_no_module_is_named_with_those_there_are(look: Look, write_module: WriteModule) -> None:
    module = write_module("preflight_one", node_module("one"))
    message = only(look({"a": ["nope"]}, modules=[module]), "problem", "missing-node", "a/nope")
    assert message == ("is defined in none of its modules (preflight_one), which define: one; correct the name, or name its module")


def test_two_nodes_of_one_name_are_a_problem_but_one_may_be_seen_twice(look: Look, write_module: WriteModule) -> None:
    first, second = write_module("preflight_first", node_module("same")), write_module("preflight_second", node_module("same"))
    message = only(look({"a": ["same"]}, modules=[first, second]), "problem", "duplicate-node", "a/same")
    assert message == "2 nodes in 'preflight_first', 'preflight_second' have this name: rename all but one"
    again = write_module("preflight_again", "from preflight_first import marked\n")
    assert look({"a": ["same"]}, modules=[first, again]).findings == ()


def test_settings_that_do_not_fit_are_named_without_their_values(look: Look) -> None:
    settings = {"echo": {"a": 1}, "counter": {"begin": "hunter2"}}
    result = look({"a": ["echo", "counter", "resource"]}, nodes=settings, source=None)
    assert seen(result.problems) == [("problem", "settings", f"a/{node}") for node in ("echo", "counter", "resource")]
    texts = [finding.message for finding in result.problems]
    assert texts[0] == "is a function and takes no settings: remove [nodes.echo]"
    assert texts[1] == "does not take its settings [nodes.counter]: got an unexpected keyword argument 'begin'"
    assert texts[2].startswith("does not take its settings [nodes.resource]: missing a required")


def test_a_node_that_cannot_be_called_as_one_is_a_problem(look: Look) -> None:
    only(look({"a": ["one_argument"]}), "problem", "not-callable", "a/one_argument")


def test_every_class_that_cannot_travel_is_reported_once(look: Look) -> None:
    result = look({"a": ["handle"], "b": ["handle_too"]}, source=None)
    assert seen(result.problems) == [
        *[("problem", "message-class", "a/handle")] * 3,
        ("problem", "message-class", "b/handle_too"),
    ]
    handle, wave, misspelt, opaque = (finding.message for finding in result.problems)
    assert "preflight_nodes:Handle" in handle and "Handle.file: values of type object" in handle
    assert "preflight_nodes:Wave" in wave and "complex" in wave
    assert "preflight_nodes:Misspelt" in misspelt and "a field's type cannot be evaluated (AttributeError" in misspelt
    assert "preflight_nodes:Opaque" in opaque and "is no dataclass" in opaque


# -- groups


def test_a_stateful_group_has_one_worker(look: Look) -> None:
    message = only(look({"a": {"nodes": ["counter"], "workers": 2}}), "problem", "cardinality", "a")
    assert message.startswith("node 'counter' is stateful, so its group must have one worker, not 2")


def test_a_group_with_retries_has_idempotent_nodes_only(look: Look) -> None:
    groups = {"a": {"nodes": ["echo"], "retries": 2}}
    message = only(look(groups), "problem", "retries", "a")
    assert message.startswith("process_groups.retries needs every node of the group idempotent, and 'echo' is not: mark it")
    message = only(look({"a": {"nodes": ["counter"], "retries": 2}}), "problem", "retries", "a")
    assert message.startswith("process_groups.retries cannot be had with node 'counter': it is stateful")


@pytest.mark.parametrize("mode", ["process_supervisor", "inline"])
def test_a_batch_for_a_stateful_group_is_not_split(look: Look, mode: str) -> None:
    split = {"fan_out": "split"}
    message = only(look({"a": {"nodes": ["counter"], **split}}, bootstrap={"mode": mode}), "problem", "fan-out", "a")
    assert message.startswith("process_groups.fan_out = 'split' cannot be had with node 'counter': it is stateful")
    assert look({"a": {"nodes": ["echo"], **split}}, bootstrap={"mode": mode}).findings == ()


@pytest.mark.parametrize("knows_affinity", [True, False])
def test_more_workers_than_cores_are_a_warning(look: Look, monkeypatch: pytest.MonkeyPatch, knows_affinity: bool) -> None:
    if knows_affinity:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    else:
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert look({"a": {"nodes": ["echo"], "workers": 2}}).findings == ()
    message = only(look({"a": {"nodes": ["echo"], "workers": 3}}), "warning", "workers", "a")
    assert message.startswith("has 3 workers, and this machine gives them 2 cores")


# -- the source


def test_a_line_of_text_is_never_an_instance_of_a_class(look: Look) -> None:
    for node in ("price", "take_checked"):
        message = only(look({"a": [node]}), "problem", "source", f"a/{node}")
        assert "source.format = text gives it each line as a str: set source.format = jsonl" in message
        assert look({"a": [node]}, source={"target": node, "format": "jsonl"}).findings == ()


def test_a_model_that_makes_itself_from_a_string_may_take_lines_of_text(look: Look) -> None:
    assert look({"a": ["take_line"]}).findings == ()
    assert look({"a": ["take_fields"]}).findings == ()


@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_a_node_of_several_classes_cannot_take_input_lines(look: Look, form: str) -> None:
    message = only(look({"a": ["both"]}, source={"target": "both", "format": form}), "problem", "source", "a/both")
    assert message.startswith("node 'both' consumes several types (message_nodes:Order, message_nodes:Quote)")
    assert message.endswith("put a node before it that takes plain JSON and emits them")


def test_a_source_whose_target_was_not_found_is_left_alone(look: Look) -> None:
    only(look({"a": ["nope"]}), "problem", "missing-node", "a/nope")
