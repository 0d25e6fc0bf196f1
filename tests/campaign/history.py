"""What is recorded of a campaign: plain records, in seconds of the monotonic clock. Knows neither kernel nor processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

__all__ = ["Call", "GroupRule", "History", "Incarnation", "ItemFate", "Lag", "Leftovers", "Strike", "answer_of", "read_journals"]


class ItemFate(msgspec.Struct, frozen=True, gc=False):
    """What a collected failure said of one input."""

    index: int
    category: str
    delivery: str


class Call(msgspec.Struct, gc=False):
    """One `execute_boundary`: what was asked, and what its caller was told.

    Its inputs bear the tokens `first_token` … `first_token + inputs - 1`; no other call has them.
    """

    number: int
    group: str
    orders: tuple[str, ...]
    """What the node was told to do for each input; one entry stands for all."""
    first_token: int
    inputs: int
    on_error: str
    started: float
    deadline: float
    at_once: bool = False
    """Its group had failed: the answer must not take time."""
    cancelled: bool = False
    """The caller cancelled it."""
    settlements: int = 0
    settled: float = 0.0
    outcome: str = ""
    """result, cancelled, a category, or the name of an exception that no call may raise."""
    delivery: str = ""
    wrong: str = ""
    """What was wrong with the outputs; empty: nothing."""
    fates: tuple[ItemFate, ...] = ()
    lost_pid: int = 0
    """The worker that died with this call at its head; 0: none, or not known."""

    @property
    def tokens(self) -> range:
        """The tokens of its inputs, in order."""
        return range(self.first_token, self.first_token + self.inputs)

    def order(self, index: int) -> str:
        """What the node was told for that input."""
        return self.orders[0] if len(self.orders) == 1 else self.orders[index]


class Strike(msgspec.Struct, gc=False):
    """One fault that was brought about from outside."""

    time: float
    kind: str
    group: str
    worker_id: str
    generation: int
    pid: int
    is_busy: bool
    """The worker had a command."""


class Incarnation(msgspec.Struct, gc=False):
    """One process of a worker, from the supervisor's events; 0: that has not happened."""

    group: str
    worker_id: str
    generation: int
    pid: int
    spawned: float
    ready: float = 0.0
    ended: float = 0.0
    endings: int = 0


class Lag(msgspec.Struct, frozen=True, gc=False):
    """The event loop should have come round at `began`, and did at `ended`."""

    began: float
    ended: float


class Leftovers(msgspec.Struct):
    """What is there after the end and was not before the start, one line each."""

    processes: list[str] = []
    descriptors: list[str] = []
    threads: list[str] = []
    tasks: list[str] = []


class GroupRule(msgspec.Struct, frozen=True):
    """What a group promises."""

    executions: int = 1
    """How often one input may run at most."""
    is_stateful: bool = False
    may_fail: bool = False
    """The campaign drives it into failure."""


class History(msgspec.Struct):
    """One campaign."""

    rules: dict[str, GroupRule]
    calls: list[Call] = []
    strikes: list[Strike] = []
    incarnations: list[Incarnation] = []
    lags: list[Lag] = []
    executions: dict[int, int] = {}
    """How often each token ran, from the journals that the nodes wrote."""
    restarts: dict[str, list[float]] = {}
    """When the campaign asked for the restart of a group that had failed."""
    lives: dict[str, list[int]] = {}
    """Of stateful groups: the pid in each answer, in the order of the answers."""
    complaints: list[str] = []
    """What the parent logged as an error, or its event loop as an unhandled exception."""
    left: Leftovers = msgspec.field(default_factory=Leftovers)
    began: float = 0.0
    ended: float = 0.0


def answer_of(token: int) -> int:
    """What a node must make of a token: a figure that nobody gives by accident."""
    return (token * 2654435761 + 97) % (1 << 32)


def read_journals(folder: Path) -> dict[int, int]:
    """How often each token was executed, by what the workers wrote down before they did anything else."""
    counts: Counter[int] = Counter()
    for journal in folder.iterdir():
        counts.update(map(int, journal.read_bytes().split()))
    return dict(counts)
