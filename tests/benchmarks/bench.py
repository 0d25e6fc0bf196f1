"""This project beside its peers: what calls, batches, payloads, chains, starts and deaths cost, and how that grows.

    python tests/benchmarks/bench.py OUTPUT_FOLDER [--only W1,W4,growth] [--rounds N] [--quick] [--without PEER,...] [--loop uvloop]

Everybody does the same work on the same new inputs, warm, in turns, in one process, and every answer is checked. Exit code 0: the run was
made, whatever it found; 1: a contender gave a wrong answer; 2: a peer is missing, or an option makes no sense; 3: a turn did not end.
However it ends, no process is left behind.
"""

# Workers of the peers that are spawned import this file again: what it needs is imported in its functions alone.
from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path


def _arguments(workloads: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="stream_kernel beside its peers")
    parser.add_argument("folder", type=Path, metavar="OUTPUT_FOLDER", help="gets benchmark.md, benchmark.json and benchmark.svg")
    parser.add_argument("--only", type=_names, default=workloads, metavar="W1,W4,growth", help=f"of {', '.join(workloads)}")
    parser.add_argument("--rounds", type=int, help="how often everyone has a turn; workloads that take long have a part of it")
    parser.add_argument("--quick", action="store_true", help="a look: few rounds, a tenth of the work")
    parser.add_argument("--without", type=_names, default=[], metavar="PEER,...", help="peers to leave out")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio", help="whose event loop everyone has in this process")
    given = parser.parse_args()
    if unknown := [name for name in given.only if name not in workloads]:
        parser.error(f"there is no workload {', '.join(unknown)} (there are: {', '.join(workloads)})")
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds must be at least 1")
    if importlib.util.find_spec(given.loop) is None:
        parser.error(f"{given.loop} is not installed")
    return given


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def main() -> int:
    """The benchmark, with a process above it that ends what is left."""
    from bench_guardian import guarded

    return guarded(benchmark)


def benchmark() -> int:
    """Run, write, say what was reached."""
    import asyncio
    import logging

    from bench_lineup import Lineup, Missing
    from bench_report import page
    from bench_run import WORKLOADS, run, write
    from bench_turns import Effort, WrongAnswer

    given = _arguments(list(WORKLOADS))
    effort = Effort(given.rounds or 3, 0.1) if given.quick else Effort(given.rounds or 15)
    try:
        lineup = Lineup(given.without)
    except Missing as problem:
        print(f"bench.py: {problem}", file=sys.stderr)
        return 2
    logging.getLogger("stream_kernel").setLevel(logging.CRITICAL)  # workers are killed on purpose
    if given.loop == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # synchronous supervisors make a loop of their own
    options = " ".join(["bench.py", *(argument for argument in sys.argv[1:] if argument != str(given.folder))])
    try:
        report = asyncio.run(
            run(
                effort,
                lineup,
                given.only,
                options,
                say=lambda words: print(words, file=sys.stderr, flush=True),
                note=lambda so_far: write(so_far, given.folder),
            )
        )
    except WrongAnswer as problem:
        print(f"bench.py: {problem}", file=sys.stderr)
        return 1
    print(page(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
