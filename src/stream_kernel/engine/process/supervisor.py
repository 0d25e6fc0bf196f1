"""The process engine: all groups of a configuration, the gate in front of them, and their end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence

from stream_kernel.config.model import RuntimeConfig
from stream_kernel.engine.base import Capabilities, Command, Engine, GroupSnapshot
from stream_kernel.engine.process.child import Child
from stream_kernel.engine.process.environment import main_module
from stream_kernel.engine.process.fault_plan import PlannedFault
from stream_kernel.engine.process.group import WorkerGroup
from stream_kernel.engine.process.incarnation import Workplace
from stream_kernel.engine.process.spinning import spinning_workers
from stream_kernel.engine.process.ticket import Ticket
from stream_kernel.engine.process.worker_process import Launch
from stream_kernel.errors import ConfigurationError, WorkerBootstrapError
from stream_kernel.observability.sinks import Sink
from stream_kernel.protocol.codec import Codec
from stream_kernel.routing.router import Router
from stream_kernel.routing.tags import type_tag

__all__ = ["ProcessEngine"]


class ProcessEngine(Engine):
    """Runs every group in worker processes of its own."""

    capabilities = Capabilities(kills=True, survives_crash=True, checks_payloads=True, runs_parallel=True)

    def __init__(self, config: RuntimeConfig, sink: Sink, *, faults: Sequence[PlannedFault] = (), launch: Launch | None = None) -> None:
        """`faults` and `launch` are for tests: what workers are to bring about, and what is started in their place."""
        if sys.platform == "win32":
            raise ConfigurationError("bootstrap.mode = 'process_supervisor' needs Linux or macOS; 'inline' runs on Windows too")
        for group in config.process_groups:
            main_module(config, group)  # refuses what no worker could import
        super().__init__()
        self._config = config
        self._groups: dict[str, WorkerGroup] = {}
        spinning = spinning_workers(config)
        for group in config.process_groups:
            place = Workplace(config, group, sink, launch or Child.spawn, spinning[group.name], tuple(faults))
            self._groups[group.name] = WorkerGroup(place, self._on_change)
        self._waiters: list[asyncio.Future[None]] = []
        self._restarting: set[asyncio.Task[None]] = set()

    async def start(self, groups: Sequence[str]) -> None:
        chosen = [self._groups[name] for name in groups]
        ends = {group.name: group.ends for group in chosen}
        for group in chosen:
            if group.state in ("stopping", "stopped", "failed"):
                await _all_gone([group])
                for each in chosen:  # whoever ends them now may be done with one and not have come to the next
                    if each.ends != ends[each.name]:
                        raise WorkerBootstrapError(f"group '{each.name}' was stopped while it was starting", group=each.name)
            if group.state not in ("starting", "ready"):
                self._note_start(group.name)
            group.start()
        for group in chosen:
            await group.launched()
        _raise_boot_error(chosen)

    async def wait_ready(self) -> None:
        while not (self.is_open and all(group.state == "ready" for group in self._groups.values())):
            _raise_boot_error(self._groups.values())
            for group in self._groups.values():
                group.check_not_failed()
            await self._change()

    def codec(self, classes: Sequence[type]) -> Codec:
        known = [cls for cls in classes if type_tag(cls) in self.router.tags]
        return Codec(known, tags=self.router.tags, max_bytes=self._config.execution_ipc.max_frame_bytes)

    def submit(self, command: Command) -> Ticket:
        return self._groups[command.group].submit(command)

    def reserve(self, group: str, commands: int, size: int) -> bool:
        return self._groups[group].reserve(commands, size)

    def refuses_overflow(self, group: str) -> bool:
        return self._groups[group].config.overflow == "refuse"

    async def wait_for_room(self, group: str, commands: int, size: int) -> None:
        await self._groups[group].wait_for_room(commands, size)

    def release(self, group: str, commands: int, size: int) -> None:
        self._groups[group].release(commands, size)

    def retries(self, group: str) -> int:
        return self._groups[group].config.retries

    def pieces(self, group: str) -> int:
        return self._groups[group].pieces

    def abandon(self, reason: str) -> None:
        for group in self._groups.values():
            group.abandon(reason)

    async def stop(self, groups: Sequence[str], deadline: float) -> None:
        chosen = [self._groups[name] for name in self._in_start_order(groups)]
        starts = {group.name: group.starts for group in chosen}

        def has_come_back(group: WorkerGroup) -> bool:
            """It was ended by force meanwhile, and has been started again."""
            return group.starts != starts[group.name]

        def stop(group: WorkerGroup) -> bool:
            if has_come_back(group):
                return False
            group.stop()
            return True

        await _one_after_other(chosen, stop, deadline)
        await _all_gone([group for group in chosen if not has_come_back(group)], deadline)
        ours = [group for group in chosen if not has_come_back(group)]
        running = [worker for group in ours for worker in group.running()]
        if running:
            raise TimeoutError(f"workers did not end within the grace: {', '.join(running)}")
        self._mark_stopped(ours)

    async def end(self, groups: Sequence[str]) -> None:
        chosen = [self._groups[name] for name in self._in_start_order(groups)]
        deadline = asyncio.get_running_loop().time() + max(group.config.stop_timeout_seconds for group in chosen)

        def end(group: WorkerGroup) -> bool:
            group.end(deadline)
            return True

        await _one_after_other(chosen, end, deadline)
        await _all_gone(chosen)
        self._mark_stopped(chosen)

    async def kill(self, groups: Sequence[str]) -> None:
        chosen = [self._groups[name] for name in groups]
        for group in chosen:
            group.kill("the group was terminated by force")
        await _all_gone(chosen)
        self._mark_stopped(chosen)

    def kill_now(self) -> None:
        for group in self._groups.values():
            group.kill("the supervisor was closed by force")

    async def restart(self, group: str) -> None:
        # A caller that gives up half-way must not leave the group without workers.
        restarting = asyncio.get_running_loop().create_task(
            self._restart(group, self._groups[group].ends), name=f"stream_kernel restart {group}"
        )
        self._restarting.add(restarting)
        restarting.add_done_callback(self._restarting.discard)
        restarting.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(restarting)

    async def _restart(self, group: str, ends: int) -> None:
        chosen = self._groups[group]
        loop = asyncio.get_running_loop()
        # Who stops the group may give its workers all the time there is: that is no time for those who wait for a restart.
        tasks = [loop.create_task(self._renew(chosen, ends)), loop.create_task(self._ended(chosen, ends))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            renewed, _ = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(renewed, Exception):
            raise renewed
        _raise_boot_error([chosen])
        chosen.check_not_failed()
        if chosen.state != "ready":
            raise WorkerBootstrapError(f"group '{group}' was stopped while it was restarting", group=group)

    async def _renew(self, group: WorkerGroup, ends: int) -> None:
        if group.ends != ends:  # it was ended in the very pass in which this was asked for
            raise WorkerBootstrapError(f"group '{group.name}' was stopped before it could be restarted", group=group.name)
        if group.is_replaceable:
            await group.replace_all()
        else:
            group.hold()
            await _all_gone([group])
            if group.state == "starting":  # nobody has stopped it meanwhile
                group.spawn()
        while group.state == "starting":
            await self._change()

    async def _ended(self, group: WorkerGroup, ends: int) -> None:
        while group.ends == ends:
            await self._change()

    def pids(self) -> set[int]:
        """All processes that are workers, or are about to be, or were and have not ended yet."""
        return set().union(*(group.pids() for group in self._groups.values()))

    def snapshot(self) -> tuple[GroupSnapshot, ...]:
        return tuple(group.snapshot() for group in self._groups.values())

    def _mark_stopped(self, groups: Iterable[WorkerGroup]) -> None:
        for group in groups:
            group.mark_stopped()
        if all(group.state == "stopped" for group in self._groups.values()):
            self.is_open = False
            for group in self._groups.values():
                group.forget()

    def _on_change(self, changed: WorkerGroup) -> None:
        if not self.is_open and all(group.state == "ready" for group in self._groups.values()):
            routes = tuple(node for group in self._groups.values() for node in group.nodes)
            self.router = Router(routes)
            self.is_open = True
            for group in self._groups.values():
                group.start_work(routes)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter


def _raise_boot_error(groups: Iterable[WorkerGroup]) -> None:
    for group in groups:
        if group.boot_error is not None:
            raise group.boot_error


async def _one_after_other(groups: Sequence[WorkerGroup], end: Callable[[WorkerGroup], bool], deadline: float) -> None:
    """End groups, given in the order of their start, the last one first, each when the one before it is gone; one that does not end leaves
    the others their share of the time until `deadline`. `end` says whether there is anything to wait for.
    """
    loop = asyncio.get_running_loop()
    for left, group in zip(range(len(groups), 0, -1), reversed(groups), strict=True):
        if end(group):
            await _all_gone([group], loop.time() + max(0.0, deadline - loop.time()) / left)


async def _all_gone(groups: Iterable[WorkerGroup], deadline: float | None = None) -> None:
    """Wait until those workers of `groups` are gone that live now, or until `deadline`. One that is started meanwhile is not waited for."""
    lives = [life for group in groups for life in group.lives()]
    if lives:
        timeout = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
        await asyncio.wait(lives, timeout=timeout)
