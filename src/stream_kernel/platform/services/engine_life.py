"""The engine behind a supervisor: which one a configuration needs, and its end where nobody has closed it in time."""

from __future__ import annotations

import asyncio
import os
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress

from stream_kernel.config.model import RuntimeConfig
from stream_kernel.engine.base import Engine
from stream_kernel.engine.inline import ExceptionHook, InlineEngine
from stream_kernel.engine.process.fault_plan import PlannedFault
from stream_kernel.engine.process.orphans import end_orphans, end_orphans_soon
from stream_kernel.engine.process.supervisor import ProcessEngine
from stream_kernel.engine.process.worker_process import Launch
from stream_kernel.errors import ConfigurationError
from stream_kernel.observability.sinks import Sink

__all__ = ["abandon_engine", "chosen_groups", "end_without_loop", "make_engine"]


def make_engine(
    config: RuntimeConfig, sink: Sink, on_node_exception: ExceptionHook | None, chaos: Sequence[PlannedFault], launch: Launch | None
) -> Engine:
    """The engine of the configuration's mode; raises `ConfigurationError` for what that mode cannot do."""
    if config.bootstrap.mode != "process_supervisor":
        if chaos:
            raise ConfigurationError("chaos needs bootstrap.mode = 'process_supervisor': there is no worker to harm")
        if launch is not None:
            raise ConfigurationError("launch needs bootstrap.mode = 'process_supervisor': no worker is started")
        return InlineEngine(config, sink, on_node_exception)
    if on_node_exception is not None:
        raise ConfigurationError("on_node_exception needs bootstrap.mode = 'inline' or 'inline_wire': workers raise in another process")
    return ProcessEngine(config, sink, faults=chaos, launch=launch)


def chosen_groups(config: RuntimeConfig, given: Sequence[str] | None) -> list[str]:
    """The groups that a caller means, all when `given` is None; raises `ConfigurationError` for one that is not there."""
    known = [group.name for group in config.process_groups]
    if given is None:
        return known
    for name in given:
        if name not in known:
            raise ConfigurationError(f"there is no group '{name}' (there are: {', '.join(known)})")
    return list(given)


def abandon_engine(owner: int, engine_of: weakref.ref[Engine], loop_of: weakref.ref[asyncio.AbstractEventLoop]) -> None:
    """The supervisor in process `owner` was dropped: kill the workers that it has left, on its event loop if that still runs, and warn.

    The references are weak, or they would keep what calls at work hold, which is the supervisor too. An engine that has gone together with
    it was known to no event loop any more, and its workers end with it.
    """
    engine, loop = engine_of(), loop_of()
    if os.getpid() != owner or not isinstance(engine, ProcessEngine):  # a forked copy has no workers; inline there are none
        return
    pids = engine.pids()
    states = {worker.state for group in engine.snapshot() for worker in group.workers}
    if not pids and states <= {"stopped", "failed"}:
        return
    if loop is None or not _tell(loop, engine):
        end_orphans_soon(pids)
        if not pids:
            return
    if not states <= {"stopped", "failed", "killing"}:
        names = ", ".join(group.name for group in engine.snapshot())
        text = f"an AsyncBoundarySupervisor was dropped without close(): the workers of its groups ({names}) are killed"
        warnings.warn(text, ResourceWarning, stacklevel=1)


def _tell(loop: asyncio.AbstractEventLoop, engine: Engine) -> bool:
    try:
        loop.call_soon_threadsafe(engine.kill_now)
    except RuntimeError:  # it is closed
        return False
    return True


async def end_without_loop(engine: Engine, groups: Sequence[str]) -> None:
    """End these groups of an engine whose event loop is closed: kill workers; inline, leave the nodes of groups that are not at work."""
    if isinstance(engine, ProcessEngine):
        await asyncio.to_thread(end_orphans, engine.pids())
    else:
        with suppress(TimeoutError):
            await engine.stop(groups, asyncio.get_running_loop().time())
