"""Real workers under load, a nemesis that brings faults about, a recorded history, and a checker that holds it against the rules.

    python tests/campaign/campaign.py --short
    python tests/campaign/campaign.py --faults 10000 --kills 3000 --calls 500000 --seconds 1500 --seed 1 --report campaign.md

It goes on until the time is over and all amounts are reached. Exit code 0: every rule held; 1: one did not, and the page says which.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import sys
import tempfile
import time
import uuid
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.campaign.checker import check
from tests.campaign.history import History, read_journals
from tests.campaign.load import NODES, RULES, Goal, Load, configuration
from tests.campaign.nemesis import Nemesis
from tests.campaign.processes import Before
from tests.campaign.recording import Calls, Complaints, Events, watch_lag
from tests.campaign.report import figures_out_of_bounds, page

from stream_kernel import AsyncBoundarySupervisor

SHORT = Goal(seconds=45, calls=8000, faults=200, kills=60)
LONG = Goal(seconds=1500, calls=500_000, faults=10_000, kills=3000)
_PAUSE_SECONDS = 0.1


async def campaign(goal: Goal, seed: int, journals: Path) -> History:
    """One campaign; what its nodes noted is read once all processes have ended."""
    history = History(rules=RULES, lives={"keeper": []}, began=time.monotonic())
    complaints = _listen(history)
    mark = uuid.uuid4().hex
    before = Before(mark)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(complaints.unhandled)
    ticker = loop.create_task(watch_lag(history), name="ticker")
    async with AsyncBoundarySupervisor(configuration(mark, str(journals)), sink=Events(history)) as supervisor:
        calls = Calls(supervisor, history, NODES)
        load = Load(supervisor, history, calls, goal, seed)
        nemesis = Nemesis(supervisor, history, calls, _a_little_more(goal), seed)
        loaded = loop.create_task(load.run(), name="load")
        await nemesis.run()
        while len(history.calls) < goal.calls and not loaded.done():
            await asyncio.sleep(_PAUSE_SECONDS)
        load.is_over = True
        await loaded
    ticker.cancel()
    await asyncio.wait([ticker])
    history.left = await before.left()
    history.ended = time.monotonic()
    history.executions = read_journals(journals)
    return history


def _a_little_more(goal: Goal) -> Goal:
    """For the nemesis, which cannot know of every order whether it was obeyed: the journals tell in the end."""
    return msgspec.structs.replace(goal, faults=round(goal.faults * 1.03) + 3)


def _listen(history: History) -> Complaints:
    """Errors of the parent go into the history; the rest of its log, a line or more for each fault, nowhere."""
    complaints = Complaints(history)
    root = logging.getLogger()
    root.handlers = [complaints]
    return complaints


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Faults under load, and a checker.")
    parser.add_argument("--short", action="store_true", help="the form of one minute")
    for name in ("seconds", "calls", "faults", "kills"):
        parser.add_argument(f"--{name}", type=float if name == "seconds" else int, help=f"long form: {getattr(LONG, name):,}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="write the page here too")
    parser.add_argument("--history", type=Path, help="write the whole history here, as JSON")
    return parser.parse_args()


def main() -> int:
    """Run, check, report."""
    given = _arguments()
    base = SHORT if given.short else LONG
    chosen = {name: getattr(given, name) for name in ("seconds", "calls", "faults", "kills") if getattr(given, name) is not None}
    goal = msgspec.structs.replace(base, **chosen)
    # A thousand nodes will abort: their memory on disk would tell nobody anything.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        history = asyncio.run(campaign(goal, given.seed, Path(folder)))
    broken = [*check(history), *figures_out_of_bounds(history, goal)]
    text = page(history, goal, given.seed, broken)
    print(text)
    if given.report is not None:
        given.report.write_text(text, encoding="utf-8")
    if given.history is not None:
        given.history.write_bytes(msgspec.json.encode(history))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
