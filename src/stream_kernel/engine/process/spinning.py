"""Which workers may poll their pipe before they sleep: never so many that the parent is left without a CPU.

A worker that polls takes a whole CPU meanwhile. Where it has to share that with the parent which is about to write, polling makes a call
slower than sleeping would. A configuration is also loaded on machines smaller than the one it was written for, so the surplus sleeps, and
the log says so: to refuse would be to stop a program for the want of some microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from stream_kernel.config.model import RuntimeConfig
from stream_kernel.observability.quiet import QuietLogger

__all__ = ["cpu_quota", "spinning_workers", "usable_cpus"]

_logger = QuietLogger("stream_kernel.lifecycle")


def spinning_workers(config: RuntimeConfig) -> dict[str, frozenset[int]]:
    """By group, the places of the workers that may poll: the first one of each group in order, then the second ones, and so on."""
    wanted = [(index, group.name) for group in config.process_groups if group.spin_microseconds for index in range(group.workers)]
    wanted.sort(key=lambda place: place[0])
    cpus = usable_cpus() if wanted else 0
    chosen = wanted[: max(0, cpus - 1)]
    if len(chosen) < len(wanted):
        _logger.warning(
            "spin_microseconds: %d of %d workers poll before they sleep; this process may use %d CPUs, of which one is left for itself",
            len(chosen), len(wanted), cpus,
        )  # fmt: skip
    return {group.name: frozenset(index for index, name in chosen if name == group.name) for group in config.process_groups}


def usable_cpus() -> int:
    """How many CPUs this process and its workers may keep busy."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # pragma: no cover  not Linux
        allowed = os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else min(allowed, int(quota))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The CPUs that the cgroup of this process, or one above it, allows; None: as many as there are, or it cannot be seen."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quotas += _quotas(root / "sys/fs/cgroup", path, _unified)
        elif "cpu" in controllers.split(","):
            quotas += _quotas(root / "sys/fs/cgroup" / controllers, path, _legacy)
    return min(quotas, default=None)


def _quotas(mount: Path, path: str, read: Callable[[Path], list[str]]) -> Iterator[float]:
    """Of the cgroup and of all above it, as far as they can be seen: in a container, the mount may begin at its own."""
    folder = mount / path.lstrip("/")
    for level in (folder, *folder.parents):
        if not level.is_relative_to(mount):
            return
        try:
            quota, period = map(float, read(level))
        except (OSError, ValueError):  # not there, or "max"
            continue
        if quota > 0 and period > 0:
            yield quota / period


def _unified(level: Path) -> list[str]:
    return (level / "cpu.max").read_text().split()


def _legacy(level: Path) -> list[str]:
    return [(level / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
