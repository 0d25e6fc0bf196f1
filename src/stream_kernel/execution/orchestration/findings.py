"""What a look at a configuration may find."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Finding", "FindingKind", "problem", "warning"]

FindingKind = Literal[
    "import",
    "started-script",
    "missing-node",
    "duplicate-node",
    "not-callable",
    "settings",
    "message-class",
    "interpreter",
    "cardinality",
    "fan-out",
    "retries",
    "workers",
    "circle",
    "sends-to",
    "source",
    "unreachable",
]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, or may be."""

    severity: Literal["problem", "warning"]
    """A problem keeps the configuration from working; a warning is for somebody to judge."""
    kind: FindingKind
    group: str | None = None
    """None: it concerns the configuration as a whole, or several groups."""
    node: str | None = None
    message: str
    """One sentence, with the way out; free of the values of settings and of texts from node code."""

    @property
    def place(self) -> str:
        """Where it is: `group/node`, `group` or `configuration`."""
        return "/".join(step for step in (self.group, self.node) if step is not None) or "configuration"


def problem(kind: FindingKind, message: str, group: str | None = None, node: str | None = None) -> Finding:
    """A finding that keeps the configuration from working."""
    return Finding(severity="problem", kind=kind, message=message, group=group, node=node)


def warning(kind: FindingKind, message: str, group: str | None = None, node: str | None = None) -> Finding:
    """A finding for somebody to judge."""
    return Finding(severity="warning", kind=kind, message=message, group=group, node=node)
