"""How the result of a look at a configuration is shown."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from fixture_types import MakeConfig
from stream_kernel.cli.check import show_check
from stream_kernel.config.model import RuntimeConfig
from stream_kernel.execution.orchestration.preflight import examine

MODULES = ["kernel_nodes", "message_nodes", "preflight_nodes"]


def shown(config: RuntimeConfig, *, width: int = 80, **console: Any) -> str:
    out = StringIO()
    show_check(examine(config), Console(file=out, width=width, **console))
    return out.getvalue()


def lines(config: RuntimeConfig) -> list[str]:
    return shown(config).splitlines()


def test_a_sound_configuration_is_a_tree_of_groups_nodes_and_routes(make_config: MakeConfig) -> None:
    groups: dict[str, Any] = {"entry": ["receive"], "pricing": {"nodes": ["price"], "workers": 1}, "keep": ["book"]}
    config = make_config(groups, modules=MODULES, scenario_id="trading", source={"target": "receive", "format": "jsonl"})
    assert shown(config) == (
        "scenario trading\n"
        "├── group entry (1 worker)\n"
        "│   └── receive: consumes plain JSON, emits Order <- source (jsonl)\n"
        "│       └── Order -> price (pricing)\n"
        "├── group pricing (1 worker)\n"
        "│   └── price: consumes Order, emits Quote\n"
        "│       └── Quote -> book (keep)\n"
        "└── group keep (1 worker, stateful)\n"
        "    └── book: consumes Quote, stateful\n"
        "        └── plain JSON -> terminal\n"
        "\n"
        "no problems\n"
    )


def test_a_class_goes_to_each_of_its_consumers_or_is_terminal(make_config: MakeConfig) -> None:
    found = lines(make_config({"a": ["price", "reprice"], "b": ["audit"]}, modules=MODULES))
    assert "│   ├── price: consumes Order, emits Quote" in found
    assert "│   │   └── Quote -> reprice (a)" in found
    assert "│   └── reprice: consumes Quote, emits Order, idempotent" in found
    assert found[found.index("│   └── reprice: consumes Quote, emits Order, idempotent") + 1 :][:2] == [
        "│       ├── Order -> price (a)",
        "│       └── Order -> audit (b)",
    ]
    assert "        └── Order -> terminal" in lines(make_config({"a": ["parse"]}, modules=MODULES))


def test_nodes_that_are_named_are_shown_with_their_groups(make_config: MakeConfig) -> None:
    found = lines(make_config({"a": ["relay_a"], "b": ["ledger"]}, modules=MODULES))
    assert "│       ├── by name -> ledger (b)" in found
    assert "│       └── by name -> relay_b (in no group)" in found


def test_findings_follow_with_problems_first_and_a_closing_line(make_config: MakeConfig) -> None:
    config = make_config({"a": ["mirror"], "b": ["nope", "relay_a"]}, modules=MODULES)
    found = lines(config)
    assert "    ├── nope: not found" in found
    findings = found[found.index("") + 1 :]
    assert [line.partition(":")[0] for line in findings] == [
        "problem [missing-node] b/nope",
        "problem [sends-to] b/relay_a",
        "problem [sends-to] b/relay_a",
        "warning [source] configuration",
        "warning [circle] a/mirror",
        "3 problems, 2 warnings",
    ]


def test_the_closing_line_counts(make_config: MakeConfig) -> None:
    assert lines(make_config({"a": ["echo"]}))[-1] == "no problems, 1 warning"
    assert lines(make_config({"a": ["nope"]}, source={"target": "nope"}))[-1] == "1 problem"


def test_without_a_terminal_each_finding_is_one_plain_line_however_narrow(make_config: MakeConfig) -> None:
    config = make_config({"a": ["nope"]}, modules=MODULES)
    text = shown(config, width=30)
    assert "\x1b" not in text
    assert text.partition("\n\n")[2] == shown(config, width=200).partition("\n\n")[2]
    assert len(max(text.splitlines(), key=len)) > 200


def test_what_does_not_fit_beside_the_tree_is_wrapped_and_not_lost(make_config: MakeConfig) -> None:
    name = "group_of_a_name_that_is_longer_than_the_line"
    text = shown(make_config({name: ["echo"]}), width=20)
    assert name in "".join(character for character in text.partition("\n\n")[0] if character not in "├└─│ \n")


def test_on_a_terminal_lines_are_cut_to_its_width_and_coloured(make_config: MakeConfig) -> None:
    config = make_config({"a": ["nope"]}, modules=MODULES)
    assert "\x1b[1;31mproblem" in shown(config, force_terminal=True, color_system="standard")
    text = shown(config, width=60, force_terminal=True, color_system=None)
    assert max(map(len, text.splitlines())) <= 60


def test_names_are_shown_as_they_are_and_never_read_as_markup(make_config: MakeConfig) -> None:
    found = lines(make_config({"[bold]a": ["echo"], "b": ["x[/red]"]}, nodes={"echo": {"n": 1}}))
    assert "├── group [bold]a (1 worker)" in found
    assert "problem [settings] [bold]a/echo: is a function and takes no settings: remove [nodes.echo]" in found
    assert "    └── x[/red]: not found" in found
