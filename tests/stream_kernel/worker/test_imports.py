"""What a worker has imported when it is ready: each module more makes every start and every replacement later."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_kernel.protocol.messages import Bootstrap
from worker_talk import command, plain, started

PLAIN = """
import gc, sys
from stream_kernel import node

@node(name="ask")
def ask(message, ctx):
    return {"imported": sorted(sys.modules), "collects": gc.isenabled(), "set_aside": gc.get_freeze_count()}
"""
TYPED = f"""{PLAIN}
from dataclasses import dataclass

@dataclass
class Message:
    text: str

@node(name="take", consumes=[Message])
def take(message, ctx):
    return None
"""
OURS = """
_version errors printable reports
nodes nodes.context nodes.decorator nodes.failure nodes.guard nodes.outputs nodes.registry nodes.runner
protocol protocol.breadcrumb protocol.codec protocol.columns protocol.fields protocol.framing protocol.messages protocol.plain
protocol.session
routing routing.envelope routing.items routing.packed routing.router routing.tags routing.text
worker worker.black_box worker.boot worker.host worker.lifeline worker.reply worker.signals worker.stdio
"""
PYTHONS = """
faulthandler fcntl gc importlib._abc importlib.util logging math mmap runpy select signal string threading traceback
_colorize _string atexit
"""
"""Where the two libraries have not imported them."""


@pytest.fixture
def ask(worker: Any, make_bootstrap: Callable[..., Bootstrap], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What the node `ask` of a worker with these nodes answers."""

    def ask(module: str, *nodes: str) -> dict[str, Any]:
        (tmp_path / "asked.py").write_text(module, encoding="utf-8")
        started(worker, make_bootstrap("ask", *nodes, modules=("asked",), import_path=[str(tmp_path), *filter(None, sys.path)]))
        worker.tell(command("ask", b"{}"))
        answer: dict[str, Any] = plain(worker.hear())[0]
        return answer

    return ask


def beyond_libraries(imported: list[str]) -> set[str]:
    """Those of `imported` that do not come with `import orjson, msgspec` alone."""
    program = "import json, sys, orjson, msgspec; print(json.dumps(sorted(sys.modules)))"
    bare = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(imported) - {"asked", *json.loads(bare.stdout)}


def test_a_ready_worker_has_imported_what_its_first_frame_needs_and_no_more(ask: Callable[..., dict[str, Any]]) -> None:
    imported = beyond_libraries(ask(PLAIN)["imported"])
    ours = {name for name in imported if name.partition(".")[0] == "stream_kernel"}
    assert ours == {"stream_kernel", *(f"stream_kernel.{name}" for name in OURS.split())}
    assert imported - ours <= set(PYTHONS.split())


def test_what_message_classes_need_comes_with_the_first_of_them(ask: Callable[..., dict[str, Any]]) -> None:
    imported = beyond_libraries(ask(TYPED, "take")["imported"])
    assert {"stream_kernel.protocol.checks", "stream_kernel.protocol.typed"} <= imported
    assert not imported & {"asyncio", "subprocess", "pydantic", "anyio", "stream_kernel.worker.main_module"}


def test_the_collector_is_on_for_nodes_and_leaves_alone_what_was_there_before_them(ask: Callable[..., dict[str, Any]]) -> None:
    answer = ask(PLAIN)
    assert answer["collects"] and answer["set_aside"] > 1000
