"""The documents say what the code does: every snippet runs or parses, every table of fields, keys and states is complete."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.main
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import stream_kernel.errors
from documents import ROOT, Block, blocks, documents, section, table_rows
from stream_kernel import RuntimeConfig
from stream_kernel.cli.app import app
from stream_kernel.cli.exit_codes import ExitCode
from stream_kernel.config.model import BootstrapConfig, ExecutionIpcConfig, ProcessGroupConfig, RestartConfig, SourceConfig
from stream_kernel.engine.base import Capabilities
from stream_kernel.engine.inline import InlineEngine
from stream_kernel.engine.process.supervisor import ProcessEngine
from stream_kernel.execution.orchestration.run_summary import LineFailure
from stream_kernel.observability.sinks import EventHub
from stream_kernel.protocol import messages
from stream_kernel.protocol.columns import InputColumns, OutputColumns
from stream_kernel.protocol.session import TRANSITIONS
from stream_kernel.reports import CommandReport, FailureReport, WorkerExitReport
from stream_kernel.routing.items import ItemFailure
from stream_kernel.routing.router import NodeRoute

DOCS = ROOT / "docs"


def _all(language: str) -> list[Any]:
    return [pytest.param(block, id=block.name) for document in documents() for block in blocks(document, language)]


def _is_program(block: Block) -> bool:
    return '__name__ == "__main__"' in block.text


@pytest.mark.parametrize("block", [param for param in _all("python") if _is_program(param.values[0])])
def test_a_program_in_a_document_works_when_pasted(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "pasted.py"
    script.write_text(block.text, encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.slow
def test_the_tests_in_the_documents_pass_when_pasted(tmp_path: Path) -> None:
    pasted = [block for document in documents() for block in blocks(document, "python") if "\ndef test_" in block.text]
    for block in pasted:
        (tmp_path / f"test_{block.document.stem}_{block.line}.py").write_text(block.text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    count = sum(len(re.findall(r"^def test_", block.text, re.MULTILINE)) for block in pasted)
    assert count >= 7 and f"{count} passed" in done.stdout


@pytest.mark.parametrize("block", [param for param in _all("python") if not _is_program(param.values[0])])
def test_a_fragment_in_a_document_parses_and_imports_only_names_that_exist(block: Block) -> None:
    tree = ast.parse(block.text)
    imported = [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom) and (each.module or "").startswith("stream_kernel")]
    assert imported
    for each in imported:
        module = importlib.import_module(each.module or "")
        assert all(hasattr(module, alias.name) for alias in each.names)


@pytest.mark.parametrize("block", _all("toml"))
def test_a_configuration_in_a_document_is_valid(block: Block) -> None:
    assert RuntimeConfig.from_mapping(tomllib.loads(block.text)).process_groups


@pytest.mark.parametrize("document", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents()])
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


def test_the_index_names_every_page() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if path.name != "index.md"]
    assert [page for page in pages if f"({page})" not in index] == []


# -- configuration.md

SECTIONS: dict[str, type[BaseModel]] = {
    "## Top level": RuntimeConfig,
    "## [bootstrap]": BootstrapConfig,
    "## [execution_ipc]": ExecutionIpcConfig,
    "## [[process_groups]]": ProcessGroupConfig,
    "## restart": RestartConfig,
    "## [source]": SourceConfig,
}


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, str):
        return f'"{value}"'
    return {"()": "[]"}.get(repr(value), repr(value))


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_of_the_configuration_is_documented_with_its_default(heading: str) -> None:
    documented = {row[0]: row[1] for row in table_rows(section(DOCS / "configuration.md", heading))}
    fields = SECTIONS[heading].model_fields
    assert documented == {name: _default(field.get_default(call_default_factory=True)) for name, field in fields.items()}


# -- protocol.md

PROTOCOL = DOCS / "protocol.md"
WIRE: tuple[Any, ...] = (*messages.FromWorker.__args__, *messages.FromParent.__args__)
MESSAGES: dict[str, Any] = {str(kind.__struct_config__.tag): kind for kind in WIRE}
PARTS: dict[str, Any] = {
    "A route": NodeRoute,
    "Columns of inputs": InputColumns,
    "Columns of outputs": OutputColumns,
    "A failed item": ItemFailure,
}
TABLES = {f"### {name}": kind for name, kind in [*((f"`{tag}`", kind) for tag, kind in MESSAGES.items()), *PARTS.items()]}


@pytest.mark.parametrize("heading", TABLES)
def test_every_field_on_the_wire_is_documented_in_its_order(heading: str) -> None:
    documented = [row[0] for row in table_rows(section(PROTOCOL, heading))]
    assert documented == list(TABLES[heading].__struct_fields__)


@pytest.mark.parametrize("tag", MESSAGES)
def test_every_message_has_an_example_that_is_read_and_written_as_it_stands(tag: str) -> None:
    examples = [block.text.strip() for block in blocks(PROTOCOL, "json") if f'{{"kind":"{tag}"' in block.text]
    assert len(examples) == 1
    decoded = msgspec.json.decode(examples[0], type=MESSAGES[tag])
    assert msgspec.json.encode(decoded).decode() == examples[0]


def test_the_table_of_states_is_the_one_in_the_code() -> None:
    documented = [tuple(row) for row in table_rows(section(PROTOCOL, "## Order"))]
    assert documented == [
        (role.value, state, kind, following)
        for role, states in TRANSITIONS.items()
        for state, kinds in states.items()
        for kind, following in kinds.items()
    ]


# -- errors.md, architecture.md, testing.md


def test_the_tree_of_errors_is_the_one_in_the_code() -> None:
    def bare(text: str) -> list[str]:
        return [line.strip() for line in text.splitlines() if line.strip()]

    drawn = bare(blocks(DOCS / "errors.md", "text")[0].text)
    docstring = bare(stream_kernel.errors.__doc__ or "")
    start = docstring.index("StreamKernelError")
    assert drawn == docstring[start : start + len(drawn)]
    names = set(re.findall(r"\w+(?:Error|Violation)\b", "\n".join(line.split("(")[0] for line in drawn)))
    assert names == {
        name
        for name, value in vars(stream_kernel.errors).items()
        if isinstance(value, type) and issubclass(value, stream_kernel.errors.StreamKernelError) and not name.startswith("_")
    }


@pytest.mark.parametrize("record", [FailureReport, CommandReport, WorkerExitReport])
def test_every_field_of_a_report_is_documented(record: type[msgspec.Struct]) -> None:
    documented = [row[0] for row in table_rows(section(DOCS / "errors.md", f"### {record.__name__}"))]
    assert documented == list(record.__struct_fields__)


def test_the_layers_are_those_that_are_held() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    assert blocks(DOCS / "architecture.md", "text")[0].text.splitlines() == contracts[0]["layers"]


def test_the_capabilities_of_the_modes_are_those_of_their_engines() -> None:
    rows = table_rows(section(DOCS / "testing.md", "## What each mode can do"))
    assert [row[0].partition(":")[0] for row in rows] == list(Capabilities.__struct_fields__)
    for column, mode in enumerate(("process_supervisor", "inline_wire", "inline"), start=1):
        given = {"bootstrap": {"mode": mode}, "discovery_modules": ["kernel_nodes"], "process_groups": [{"name": "g", "nodes": ["echo"]}]}
        config = RuntimeConfig.from_mapping(given)
        engine = (ProcessEngine if mode == "process_supervisor" else InlineEngine)(config, EventHub())
        can = [getattr(engine.capabilities, name) for name in Capabilities.__struct_fields__]
        assert can == [row[column] == "yes" for row in rows], mode


# -- command-line.md

COMMAND_LINE = DOCS / "command-line.md"


def test_every_option_of_run_is_documented_with_its_default() -> None:
    command: Any = typer.main.get_command(app)
    options = [each for each in command.commands["run"].params if each.name != "config"]
    defaults = {(): "none", None: "none", False: "off"}
    given = {
        each.opts[0]: defaults.get(tuple(each.default) if isinstance(each.default, list) else each.default, str(each.default))
        for each in options
    }
    documented = {row[0]: row[1] for row in table_rows(section(COMMAND_LINE, "## run"))[: len(options)]}
    assert documented == given | {"--mode": "the configuration's"}


def test_every_exit_code_is_documented() -> None:
    assert [int(row[0]) for row in table_rows(section(COMMAND_LINE, "### Exit codes"))] == list(ExitCode)


def test_every_key_of_a_failed_line_is_documented() -> None:
    assert [row[0] for row in table_rows(section(COMMAND_LINE, "### Failures"))] == list(LineFailure.__struct_fields__)


def test_every_command_is_documented() -> None:
    command: Any = typer.main.get_command(app)
    text = COMMAND_LINE.read_text(encoding="utf-8")
    assert [name for name in command.commands if f"\n## {name}\n" not in text] == []
