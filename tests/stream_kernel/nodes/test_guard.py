"""A supervisor that a worker would start while it imports is refused."""

from __future__ import annotations

import pytest

from stream_kernel import AsyncBoundarySupervisor, ConfigurationError, RuntimeConfig
from stream_kernel.nodes.guard import importing_nodes, refuse_while_importing


def failing_import() -> None:
    with importing_nodes():
        raise ImportError("broken")


def test_a_supervisor_is_refused_while_nodes_are_imported_and_only_then() -> None:
    config = RuntimeConfig.from_mapping({"discovery_modules": ["m"], "process_groups": [{"name": "g", "nodes": ["n"]}]})
    with importing_nodes(), pytest.raises(ConfigurationError, match='if __name__ == "__main__":'):
        AsyncBoundarySupervisor(config)
    refuse_while_importing()
    AsyncBoundarySupervisor(config)


def test_a_failing_import_ends_the_time_too() -> None:
    with pytest.raises(ImportError):
        failing_import()
    refuse_while_importing()
