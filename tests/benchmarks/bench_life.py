"""W9 and W11: from the start to ready, and from a kill to the replacement."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter
from typing import Any

from bench_figures import Table
from bench_kernel import OURS, one_group
from bench_lineup import Lineup
from bench_payloads import records
from bench_turns import Contender, Effort, NoFigure, check, in_a_thread, take_turns
from bench_watchdog import Watchdog
from bench_work import own_pid, work

from stream_kernel import MultiprocessBootstrapSupervisor
from stream_kernel.observability.events import LifecycleEvent

BARE = "bare interpreters"
_BARE_PROGRAM = "import orjson, msgspec"
_PATIENCE_SECONDS = 60.0
_REPLACED_SECONDS = 10.0


async def start_to_ready(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W9."""
    tables = []
    for workers in (1, 4, 16):
        contenders = [
            Contender(OURS, in_a_thread(_start_ours(workers))),
            Contender(BARE, in_a_thread(_start_bare(workers)), note=f"python -c '{_BARE_PROGRAM}', all waited for"),
        ]
        if lineup.has("executor"):
            contenders.append(Contender("ProcessPoolExecutor (spawn)", in_a_thread(_start_pool(workers)), note="every worker has begun"))
        title = f"start to all ready, {workers} worker{'s' if workers > 1 else ''}"
        tables.append(await take_turns(f"W9/{workers}", title, "ms", contenders, effort.part(0.35), watchdog, is_cold=True))
    return tables


def _start_ours(workers: int) -> Callable[[], float]:
    def measure() -> float:
        config = one_group(workers)
        began = perf_counter()
        with MultiprocessBootstrapSupervisor(config) as supervisor:
            seconds = perf_counter() - began
            given = records(1)
            check(OURS, [supervisor.call("work", given[0])], list(map(work, given)))
        return seconds * 1e3

    return measure


def _start_bare(workers: int) -> Callable[[], float]:
    def measure() -> float:
        began = perf_counter()
        # Each leads a session of its own, as a worker does: some schedulers share a machine between sessions.
        children = [
            subprocess.Popen([sys.executable, "-c", _BARE_PROGRAM], stdin=subprocess.DEVNULL, start_new_session=True)
            for _ in range(workers)
        ]
        codes = [child.wait(_PATIENCE_SECONDS) for child in children]
        seconds = perf_counter() - began
        check(BARE, codes, [0] * workers)
        return seconds * 1e3

    return measure


def _start_pool(workers: int) -> Callable[[], float]:
    def measure() -> float:
        context = multiprocessing.get_context("spawn")
        given = records(workers)
        began = perf_counter()
        # The pool starts a worker for each call that finds none idle; none goes on before all have begun.
        everyone = context.Barrier(workers + 1)
        with ProcessPoolExecutor(workers, mp_context=context, initializer=everyone.wait, initargs=(_PATIENCE_SECONDS,)) as pool:
            waiting = [pool.submit(work, record) for record in given]
            everyone.wait(_PATIENCE_SECONDS)
            answers = [each.result(_PATIENCE_SECONDS) for each in waiting]
            seconds = perf_counter() - began
        check("ProcessPoolExecutor (spawn)", answers, list(map(work, given)))
        return seconds * 1e3

    return measure


async def kill_to_ready(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W11. `multiprocessing.Pool` is left out: an idle worker holds the lock of its queue, and who kills it hangs the pool."""
    contenders = [
        Contender(f"{OURS}, ready", in_a_thread(_killed_ours), note="event worker_ready of the replacement"),
        Contender(f"{OURS}, next answer", in_a_thread(_answer_after_kill_of_ours)),
    ]
    if lineup.has("executor"):
        contenders.append(Contender("ProcessPoolExecutor (spawn)", in_a_thread(_killed_executor), note="broken; made anew, next answer"))
    if lineup.has("pebble"):
        contenders.append(Contender("pebble", in_a_thread(_killed_pebble), note="next answer"))
    title = "SIGKILL of an idle worker to its replacement"
    return [await take_turns("W11", title, "ms", contenders, effort.part(0.5), watchdog, is_cold=True)]


class _Replaced:
    """A sink that notes when a worker of a second generation is ready."""

    def __init__(self) -> None:
        self.is_ready = threading.Event()
        self.at = 0.0

    def emit(self, event: LifecycleEvent) -> None:
        if event.kind == "worker_ready" and event.generation > 1:
            self.at = perf_counter()
            self.is_ready.set()


def _killed_ours() -> float:
    replaced = _Replaced()
    with MultiprocessBootstrapSupervisor(one_group(), sink=replaced) as supervisor:
        supervisor.call("work", records(1)[0])
        began = _kill(supervisor.snapshot().groups[0].workers[0].pid)
        if not replaced.is_ready.wait(_REPLACED_SECONDS):
            raise NoFigure(f"no replacement within {_REPLACED_SECONDS:g} s of the kill")
    return (replaced.at - began) * 1e3


def _answer_after_kill_of_ours() -> float:
    with MultiprocessBootstrapSupervisor(one_group()) as supervisor:
        supervisor.call("work", records(1)[0])
        began = _kill(supervisor.snapshot().groups[0].workers[0].pid)
        return _until_answer(began, lambda record: supervisor.call("work", record))


def _killed_executor() -> float:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=context)
    began = _kill(pool.submit(own_pid, {}).result()["pid"])

    def call(record: Any) -> Any:
        nonlocal pool
        try:
            return pool.submit(work, record).result(_PATIENCE_SECONDS)
        except RuntimeError:  # BrokenProcessPool is one
            pool.shutdown(wait=False)
            pool = ProcessPoolExecutor(1, mp_context=context)
            raise

    try:
        return _until_answer(began, call)
    finally:
        pool.shutdown()


def _killed_pebble() -> float:
    import pebble

    with pebble.ProcessPool(max_workers=1, context=multiprocessing.get_context("spawn")) as pool:
        began = _kill(pool.schedule(own_pid, args=[{}]).result()["pid"])
        return _until_answer(began, lambda record: pool.schedule(work, args=[record], timeout=5).result())


def _kill(pid: int | None) -> float:
    assert pid is not None
    began = perf_counter()
    os.kill(pid, signal.SIGKILL)
    return began


def _until_answer(began: float, call: Callable[[Any], Any]) -> float:
    """Milliseconds until a call succeeds, tried again while it does not."""
    while perf_counter() - began < _REPLACED_SECONDS:
        record = records(1)[0]
        try:
            answer = call(record)
        except Exception:  # noqa: BLE001  each library has its own for a worker that is gone
            continue
        seconds = perf_counter() - began
        check("a replacement", [answer], [work(record)])
        return seconds * 1e3
    raise NoFigure(f"no answer within {_REPLACED_SECONDS:g} s of the kill")
