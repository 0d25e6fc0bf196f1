"""What the fixtures of the pytest plugin give: a node that misbehaves, as a group of a configuration, and the messages it obeys."""

from __future__ import annotations

from typing import Any, Literal

__all__ = ["CrashingNode", "HangingNode", "LeakingNode", "MisbehavingNode"]


class MisbehavingNode:
    """A node of `stream_kernel.testing.nodes`. Any message that it is not told to obey it gives back."""

    name: str
    """Of the node: the target of messages."""
    group_name: str
    """Of the group, where `group` is given no other name."""

    def group(self, **keys: Any) -> dict[str, Any]:
        """An entry of `process_groups` with this node alone; `keys` are further keys of it, or others in place of those."""
        return {"name": self.group_name, "nodes": [self.name], "discovery_modules": ["stream_kernel.testing.nodes"], **keys}

    def mapping(self, **keys: Any) -> dict[str, Any]:
        """A whole configuration for `RuntimeConfig.from_mapping`: one group; `keys` are further keys of the group."""
        return {"process_groups": [self.group(**keys)]}


class CrashingNode(MisbehavingNode):
    """Ends its worker process."""

    name = "crashing_node"
    group_name = "crashing"

    def message(self, *, exit_code: int | None = None, signal: str | None = None) -> dict[str, Any]:
        """A message that ends the worker: by an exit code from 0 to 255, or by a signal, for example `"SIGSEGV"`."""
        if (exit_code is None) == (signal is None):
            raise ValueError("a process ends by an exit code or by a signal: name one of both")
        return {"signal": signal} if exit_code is None else {"exit_code": exit_code}


class HangingNode(MisbehavingNode):
    """Never comes back."""

    name = "hanging_node"
    group_name = "hanging"

    def message(self, how: Literal["python", "sleep", "gil"] = "sleep") -> dict[str, Any]:
        """A message that makes it hang: busy in Python, asleep, or in C code that holds the GIL."""
        return {"hang": how}


class LeakingNode(MisbehavingNode):
    """Takes memory and never gives it back."""

    name = "leaking_node"
    group_name = "leaking"

    def message(self, mebibytes: int) -> dict[str, Any]:
        """A message that makes it take so many MiB more; its output is `{"held_mib": ...}`, all that it holds."""
        return {"leak_mib": mebibytes}
