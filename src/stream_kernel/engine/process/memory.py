"""What can be seen of a worker's memory: how much it holds, the most it held, and whether it was killed for want of it.

Linux tells the first two under /proc, and counts the processes that it killed for want of memory, in each cgroup and in the whole
system. Elsewhere only the peak is known, after the end.

What was held between the last look and the end is seen by nobody. The system tells it of the largest of all children and theirs only: so
the peak of a worker is known exactly when it was larger than each child before, than this program, no other worker has ended meanwhile,
and it has not waited for children of its own.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import ClassVar

import msgspec

from stream_kernel.engine.process.orphans import is_there
from stream_kernel.engine.process.worker_process import ExitStatus
from stream_kernel.reports import OutOfMemory

__all__ = ["KillCount", "Kills", "MemoryPulse", "MemoryWatch"]

_PULSE_SECONDS = 1.0

_RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes to one of `ru_maxrss`."""
_REMEMBERED = 1000
"""How many kills that have been put down to a worker are remembered."""
_CHILDREN_FAULTS = 8
"""Where `cminflt` is in /proc/PID/stat, behind the name."""
_SIGKILL_PENDING = 1 << 8


class Kills(msgspec.Struct, frozen=True):
    """How many processes were killed for want of memory; None where that cannot be read."""

    cgroup: int | None
    system: int | None


class KillCount:
    """The kills that the kernel counts, and which of them have been put down to a worker."""

    def __init__(self, root: str = "/") -> None:
        """`root` is where /proc and /sys are found."""
        self.root = root.rstrip("/")
        self._explained: deque[int] = deque(maxlen=_REMEMBERED)

    def read(self) -> Kills:
        """How many there have been up to now."""
        return _kills(self.root)

    def explain(self, before: int, now: int) -> bool:
        """Put one of the kills from `before` to `now` down to a worker; False when all of them are others' already.

        It is the oldest one that is left. Whose end is still to be judged may have the newer ones as well, but not every older one.
        """
        for number in range(before + 1, now + 1):
            if number not in self._explained:
                self._explained.append(number)
                return True
        return False


_OURS = KillCount()


class MemoryWatch:
    """The memory of one worker process. Made before the process is spawned, for the kills that are counted from then on."""

    # The largest child of this program whose end has been seen, as `ru_maxrss`: what the system says of them all is no news of the next.
    _largest_seen: ClassVar[int] = 0
    # Those whose process has been spawned, and has not been seen to be reaped.
    _begun: ClassVar[set[weakref.ref[MemoryWatch]]] = set()

    def __init__(self, kills: KillCount = _OURS) -> None:
        self._kills = kills
        self._root = kills.root
        self._before = kills.read()
        """The kills of which it was none: it was seen alive after them."""
        self.pid = 0
        self._inherited = 0
        self._verdict: OutOfMemory | None = None
        self.peak_bytes: int | None = None
        """The most that it held, as far as it was seen."""
        self.is_peak_exact = False
        """Whether it never held more than that."""
        self._has_waited = False

    def begin(self, pid: int) -> None:
        """The process has just been spawned."""
        self.pid = pid
        # `ru_maxrss` of a spawned process starts at the peak of its parent's memory: what it tells is its own only when it is higher. That
        # of this process may itself be inherited, and much higher than what it ever held.
        own_peak = _number(_read(f"{self._root}/proc/self/status"), b"VmHWM:")
        self._inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if own_peak is None else own_peak
        _see_largest()
        MemoryWatch._begun.add(weakref.ref(self, MemoryWatch._begun.discard))

    def sample(self) -> int | None:
        """How many bytes the process holds now; its peak up to now is kept. None when it is over, or cannot be seen."""
        kills = self._kills.read()  # before the look, which then shows that it was none of them
        status = _read(f"{self._root}/proc/{self.pid}/status")
        peak = _number(status, b"VmHWM:")
        if peak is not None:
            self._raise_peak(peak * 1024)
        resident = _number(status, b"VmRSS:")
        if resident is None:
            return None
        _see_largest()  # what was larger up to now was another child
        self._has_waited = _has_waited(_read(f"{self._root}/proc/{self.pid}/stat"))
        if not _is_being_killed(status):
            self._before = kills
        return resident * 1024

    def note_end(self) -> None:
        """The process has just been reaped: if no child before it was as large, the system now tells its peak.

        A child that is no worker, or one of its own, is taken for it when it was larger than all and has ended since the last look.
        """
        before, largest = _see_largest()
        MemoryWatch._begun.discard(weakref.ref(self))
        if largest > max(self._inherited, before) and not self._has_waited and not _has_any_ended(MemoryWatch._begun):
            self._raise_peak(largest * _RUSAGE_UNIT)
            self.is_peak_exact = True

    def out_of_memory(self, status: ExitStatus) -> OutOfMemory:
        """Whether an end that we did not bring about was for want of memory; the same at each asking."""
        if self._verdict is None:
            is_unknown = status == ExitStatus()
            can_be = is_unknown or status.signal == "SIGKILL"
            self._verdict = self._judge(without_counters="no" if is_unknown else "likely") if can_be else "no"
        return self._verdict

    def _judge(self, without_counters: OutOfMemory) -> OutOfMemory:
        now, before = self._kills.read(), self._before
        if before.cgroup is not None and now.cgroup is not None and self._kills.explain(before.cgroup, now.cgroup):
            return "yes"
        if now.cgroup is None and now.system is None:
            return without_counters
        return "likely" if _rise(before.system, now.system) > _rise(before.cgroup, now.cgroup) else "no"

    def _raise_peak(self, peak: int) -> None:
        self.peak_bytes = max(peak, self.peak_bytes or 0)


class MemoryPulse:
    """Looks at a worker once a second while it is at work, and once more after that. An idle one has no timer.

    The first answer after more than a second without a look is one more occasion: what was killed during that command was another process.
    """

    def __init__(self, look: Callable[[], object], is_at_work: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._look = look
        self._is_at_work = is_at_work
        self._timer: asyncio.TimerHandle | None = None
        self._looked = -inf

    def begin(self) -> None:
        """It has been given work."""
        if self._timer is None:
            self._timer = self._loop.call_later(_PULSE_SECONDS, self._beat)

    def answered(self) -> None:
        """It has done some of its work."""
        if self._loop.time() - self._looked > _PULSE_SECONDS:
            self._see()

    def close(self) -> None:
        """No more looks."""
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._timer = None
        self._see()
        if self._is_at_work():
            self.begin()

    def _see(self) -> None:
        self._looked = self._loop.time()
        self._look()


def _has_any_ended(watches: set[weakref.ref[MemoryWatch]]) -> bool:
    """Whether the process of one of them has been reaped."""
    return any(watch is not None and not is_there(watch.pid) for watch in [ref() for ref in list(watches)])


def _see_largest() -> tuple[int, int]:
    """The largest child that had ended at the last look, and the largest up to now."""
    before = MemoryWatch._largest_seen
    MemoryWatch._largest_seen = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return before, MemoryWatch._largest_seen


def _rise(before: int | None, now: int | None) -> int:
    return 0 if before is None or now is None else now - before


def _has_waited(stat: bytes) -> bool:
    """Whether a process has waited for a child, as the minor page faults of those tell: no process is without."""
    fields = stat.rpartition(b")")[2].split()
    return len(fields) > _CHILDREN_FAULTS and fields[_CHILDREN_FAULTS] != b"0"


def _is_being_killed(status: bytes) -> bool:
    """Whether a process that is still there has been sent a SIGKILL: its kill is counted before it can be seen to be gone."""
    return any((_number(status, key, 16) or 0) & _SIGKILL_PENDING for key in (b"SigPnd:", b"ShdPnd:"))


def _kills(root: str) -> Kills:
    counts = (_number(_read(path), b"oom_kill ") for path in _counter_files(root))
    cgroup = next((count for count in counts if count is not None), None)
    return Kills(cgroup, _number(_read(f"{root}/proc/vmstat"), b"oom_kill "))


def _counter_files(root: str) -> Iterator[str]:
    """Where the counter of our own memory cgroup may be: version 1, version 2, version 2 beside version 1."""
    for line in _read(f"{root}/proc/self/cgroup").decode("utf-8", "surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            hierarchies, name = ["memory"], "memory.oom_control"
        elif not controllers:
            hierarchies, name = ["", "unified"], "memory.events"
        else:
            continue
        for hierarchy in hierarchies:
            home = f"{root}/sys/fs/cgroup/{hierarchy}"
            yield f"{home}/{path}/{name}"
            yield f"{home}/{name}"  # in a container without a namespace for cgroups, ours is mounted where the root should be


def _number(text: bytes, key: bytes, base: int = 10) -> int | None:
    """The number behind the key that starts a line."""
    for line in text.splitlines():
        if line.startswith(key):
            return int(line[len(key) :].split()[0], base)
    return None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
