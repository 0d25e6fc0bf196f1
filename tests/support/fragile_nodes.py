"""Nodes for tests of what a lost worker costs: they leave proof of each run, and end, hang or use up memory when their message says so."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from fault_nodes import announce, await_release, note
from stream_kernel import NodeContext, node

_MIB = 1 << 20


def _run(message: dict[str, Any]) -> dict[str, Any]:
    announce(message)
    await_release(message)
    note(message)
    if message.get("how") == "die":
        sys.stderr.write("fragile: this one is too much\n")
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
    if message.get("how") == "hang":
        while True:
            time.sleep(60)
    return {"n": message.get("n"), "pid": os.getpid()}


@node(name="fragile", idempotent=True)
def fragile(message: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
    """Announce itself, wait for the release, leave its line in the journal; then do as `how` says, `die` or `hang`. It may run twice."""
    return _run(message)


@node(name="ledger_keeper", stateful=True)
class LedgerKeeper:
    """The same, and it keeps state."""

    def __call__(self, message: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
        """See `fragile`."""
        return _run(message)


@node(name="deaf")
class Deaf:
    """Does not end when it is asked to: its context is never left, and it is deaf to SIGTERM where the settings say so."""

    def __init__(self, hears_sigterm: bool) -> None:
        """`hears_sigterm` comes from the settings."""
        if not hears_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def __enter__(self) -> Deaf:
        """Nothing to load."""
        return self

    def __exit__(self, *_: object) -> None:
        """Never return."""
        while True:
            time.sleep(60)

    def __call__(self, message: Any, ctx: NodeContext) -> int:
        """Work."""
        return os.getpid()


def _limit_memory(more_mib: int) -> None:
    """Let this process have so much more address space than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_mib * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


@node(name="hoarder")
def hoarder(message: dict[str, Any], ctx: NodeContext) -> Any:
    """Under an address-space limit of `limit_mib` from here on: take memory in the way that `how` names."""
    _limit_memory(message["limit_mib"])
    how = message["how"]
    if how == "at once":
        return len(bytearray(1 << 40))
    if how == "bit by bit":
        taken = []
        while True:
            taken.append(bytearray(_MIB))
    if how == "in the output":  # there is room for it, and none for its encoded form
        return ["\u20ac" * 64 for _ in range(message["rows"])]
    return "fits"


@node(name="timid", idempotent=True)
def timid(message: Any, ctx: NodeContext) -> float:
    """How many seconds are left, as this process sees it."""
    return ctx.remaining_seconds()
