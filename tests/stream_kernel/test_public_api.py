"""The public names are those of the contract, and a worker pays only for what it uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stream_kernel

CONTRACT = {
    "AsyncBoundarySupervisor",
    "MultiprocessBootstrapSupervisor",
    "LocalBootstrapSupervisor",
    "create_supervisor",
    "RuntimeConfig",
    "BoundaryDispatchInput",
    "Envelope",
    "RoutingResult",
    "TerminalEvent",
    "BoundaryFailure",
    "NodeContext",
    "node",
    "StreamKernelError",
    "ConfigurationError",
    "WorkerBootstrapError",
    "BoundaryInputError",
    "BoundaryError",
    "BoundaryTransportError",
    "BoundaryOverloadedError",
    "BoundaryTimeoutError",
    "BoundaryExecutionError",
    "UsageError",
}


def test_the_public_names_are_those_of_the_contract() -> None:
    assert len(stream_kernel.__all__) == len(set(stream_kernel.__all__))
    assert set(stream_kernel.__all__) == CONTRACT


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_every_public_name_can_be_imported_and_is_listed(name: str) -> None:
    value = getattr(stream_kernel, name)
    assert value.__name__ == name
    assert name in dir(stream_kernel)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'stream_kernel' has no attribute 'nothing'"):
        stream_kernel.nothing  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    ["import stream_kernel", "import stream_kernel.worker.host", "from stream_kernel import node, Envelope, NodeContext, TerminalEvent"],
)
def test_what_a_worker_imports_pulls_in_no_heavy_library(statement: str) -> None:
    program = f"import sys\n{statement}\nprint(*(name for name in ('pydantic', 'anyio', 'asyncio') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == []
