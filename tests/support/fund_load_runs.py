"""Runs of the fund-load example for its tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import stream_kernel.examples.fund_load
from stream_kernel import RuntimeConfig, create_supervisor
from stream_kernel.config.model import BootstrapConfig, Mode
from stream_kernel.examples.fund_load.messages import Verdict

HOME = Path(stream_kernel.examples.fund_load.__file__).parent


def profile(name: str, mode: Mode = "inline_wire", **changes: Any) -> RuntimeConfig:
    """The configuration of a profile as it is delivered, in another mode."""
    config = RuntimeConfig.from_toml(HOME / f"{name}.toml")
    return config.model_copy(update={"bootstrap": BootstrapConfig(mode=mode), **changes})


def run(config: RuntimeConfig, lines: Iterable[str], *, batch_size: int = 256) -> list[Any]:
    """The outputs for these lines, in order."""
    assert config.source is not None
    with create_supervisor(config) as supervisor:
        return list(supervisor.map(config.source.target, lines, batch_size=batch_size))


def verdicts(name: str, *lines: str) -> list[Verdict]:
    """Why each line is accepted or declined under a profile: what comes out when the last group is left away."""
    config = profile(name, message_modules=("stream_kernel.examples.fund_load.messages",))
    decisions = run(config.model_copy(update={"process_groups": config.process_groups[:-1]}), lines)
    return [decision.verdict for decision in decisions]


def line(identifier: str, customer: str = "7", amount: str = "$100.00", time: str = "2000-01-04T12:00:00Z") -> str:
    """A line of input; on a Tuesday unless told otherwise."""
    return json.dumps({"id": identifier, "customer_id": customer, "load_amount": amount, "time": time})
