"""W5 and W6: large payloads, and typed ones; one worker each, synchronous calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench_calls import ping_pong
from bench_figures import Table
from bench_kernel import OURS, Kernel, typed_group
from bench_lineup import Lineup
from bench_payloads import LongStrings, nested, orders, plain_orders
from bench_ping_pong import PingPong
from bench_turns import Contender, Effort, Turn, batches, one_at_a_time, take_turns
from bench_typed_work import bill, bill_plain
from bench_watchdog import Watchdog
from bench_work import give_back

_KIB = 1024
SIZES = {"1 KiB": (_KIB, 50), "64 KiB": (64 * _KIB, 20), "1 MiB": (_KIB * _KIB, 6), "8 MiB": (8 * _KIB * _KIB, 1)}
"""Bytes of a payload as JSON, and how many of them make a round."""
_ORDERS = 100


async def large_payloads(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W5."""
    tables = []
    async with Kernel() as ours, lineup.entered(("executor", "pool", "pebble", "pipe")) as peers:
        for size, (count, full) in SIZES.items():
            shapes: dict[str, Callable[[], Any]] = {"nested": lambda count=count: nested(count), "string": LongStrings(count)}  # type: ignore[misc]
            for shape, fresh in shapes.items():
                calls = effort.count(full)
                contenders = [Contender(OURS, _rate(one_at_a_time(ours, give_back, fresh, calls)), ours)]
                for peer in peers.values():
                    if isinstance(peer, PingPong):
                        note = f"the same JSON, made before; {peer.note}"
                        contenders.append(Contender(peer.name, _rate(ping_pong(peer, fresh, calls)), peer, note))
                    else:
                        contenders.append(Contender(peer.name, _rate(one_at_a_time(peer, give_back, fresh, calls)), peer))
                what = "nested records" if shape == "nested" else "one long string"
                title = f"{what} of {size} there and back, calls a second"
                tables.append(
                    await take_turns(f"W5/{shape} {size}", title, "/s", contenders, effort.part(0.2 if calls == 1 else 0.4), watchdog)
                )
    return tables


def _rate(turn: Turn) -> Turn:
    async def rate() -> float:
        return 1e6 / await turn()

    return rate


async def typed_payloads(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W6."""
    calls = effort.count(20, 2)
    async with Kernel(config=typed_group()) as ours, lineup.entered(("executor",)) as peers:
        typed, untyped = f"{OURS}, typed", f"{OURS}, untyped"
        contenders = [
            Contender(typed, batches(typed, ours.batch, bill, orders, _ORDERS, calls), ours),
            Contender(
                untyped, batches(untyped, ours.batch, bill_plain, plain_orders, _ORDERS, calls), ours, "texts for Decimal and datetime"
            ),
            *(
                Contender(peer.name, batches(peer.name, peer.batch, bill, orders, _ORDERS, calls), peer, "pickled dataclasses")
                for peer in peers.values()
            ),
        ]
        title = f"dataclasses with Decimal and datetime, batches of {_ORDERS}, records a second"
        return [await take_turns("W6", title, "/s", contenders, effort.rounds, watchdog)]
