"""From the order to boot to nodes that are ready, in a real worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_kernel.protocol.messages import Bootstrap, BootstrapError, Hello, MainModule, Ready

MakeBootstrap = Callable[..., Bootstrap]


def booted(worker: Any, order: Bootstrap) -> Any:
    worker.tell(order)
    assert isinstance(worker.hear(), Hello)
    return worker.hear()


def test_nodes_come_in_the_order_of_the_configuration_with_their_flags(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    ready = booted(worker, make_bootstrap("whoami", "counter", "echo"))
    assert isinstance(ready, Ready)
    assert [(node.name, node.stateful) for node in ready.nodes] == [("whoami", False), ("counter", True), ("echo", False)]


def test_nodes_of_the_started_script_are_found_without_its_guarded_part(worker: Any, make_bootstrap: MakeBootstrap, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from stream_kernel import node\n@node(name='here')\ndef here(message, ctx): return 1\n"
        "if __name__ == '__main__':\n    raise SystemExit('the guarded part ran')\n"
    )
    ready = booted(worker, make_bootstrap("here", modules=("__main__",), main=MainModule(path=str(script))))
    assert isinstance(ready, Ready), ready


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('hunter2')", ["started script", "ValueError"]),
        (
            "from stream_kernel import MultiprocessBootstrapSupervisor, RuntimeConfig\n"
            "MultiprocessBootstrapSupervisor(RuntimeConfig.from_mapping("
            "{'discovery_modules': ['m'], 'process_groups': [{'name': 'g', 'nodes': ['n']}]}))",
            ["started script", "__main__"],
        ),
    ],
)
def test_a_script_that_cannot_be_imported_again_is_a_boot_error(
    worker: Any, make_bootstrap: MakeBootstrap, tmp_path: Path, body: str, words: list[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(body)
    error = booted(worker, make_bootstrap("here", modules=("__main__",), main=MainModule(path=str(script))))
    assert isinstance(error, BootstrapError)
    assert all(word in error.message + error.detail for word in words)
    assert "hunter2" not in error.message
    assert worker.ends()[0] == 3


def test_settings_that_do_not_fit_name_the_node(worker: Any, make_bootstrap: MakeBootstrap) -> None:
    error = booted(worker, make_bootstrap("counter", settings={"counter": {"begin": 1}}))
    assert isinstance(error, BootstrapError)
    assert "'g'" in error.message and "counter" in error.message
