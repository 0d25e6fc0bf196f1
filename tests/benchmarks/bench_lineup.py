"""Who takes part: peers by the names that `--without` takes, made and entered for a workload."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from bench_libraries import Aiomultiprocess, Loky, Mpire, Pebble
from bench_peers import AnyioProcess, Executor, ForkserverExecutor, Peer, Pool
from bench_ping_pong import PingPong

PEERS: dict[str, type[Peer]] = {
    "pipe": PingPong,
    "executor": Executor,
    "forkserver": ForkserverExecutor,
    "pool": Pool,
    "loky": Loky,
    "pebble": Pebble,
    "mpire": Mpire,
    "anyio": AnyioProcess,
    "aiomultiprocess": Aiomultiprocess,
}
LIBRARIES = ("loky", "pebble", "mpire", "aiomultiprocess")
SYNCHRONOUS = ("executor", "forkserver", "pool", "loky", "pebble", "mpire")
ASYNCHRONOUS = ("executor", "pool", "loky", "pebble", "mpire", "anyio", "aiomultiprocess")
POOLS = tuple(PEERS[name].name for name in (*SYNCHRONOUS, "anyio", "aiomultiprocess"))
"""Names in tables of all that is a pool of processes."""


class Missing(Exception):
    """A peer that takes part is not installed."""


class Lineup:
    """The peers of a run."""

    def __init__(self, without: Iterable[str] = ()) -> None:
        self.without = frozenset(without)
        if unknown := self.without - PEERS.keys():
            raise Missing(f"there is no peer {', '.join(sorted(unknown))} (there are: {', '.join(PEERS)})")
        missing = [name for name in LIBRARIES if name not in self.without and importlib.util.find_spec(name) is None]
        if missing:
            names = ",".join(missing)
            raise Missing(f"not installed: {names}. Install the extra (pip install -e '.[bench]'), or leave them out: --without {names}")

    def has(self, name: str) -> bool:
        return name not in self.without

    @asynccontextmanager
    async def entered(self, names: Iterable[str], workers: int = 1) -> AsyncIterator[dict[str, Peer]]:
        """Peers that are ready to be called, those that are left out left out. Restless ones are entered for each turn instead."""
        async with AsyncExitStack() as stack:
            found: dict[str, Peer] = {}
            for name in names:
                if self.has(name):
                    peer = found[name] = PEERS[name](workers)
                    if not peer.is_restless:
                        await stack.enter_async_context(peer)
            yield found
