"""How much memory a worker holds, and whether it was killed for want of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_kernel.engine.process.memory import KillCount, Kills, MemoryPulse, MemoryWatch
from stream_kernel.engine.process.worker_process import ExitStatus
from virtual_clock import on_virtual_clock

KILLED = ExitStatus(signal="SIGKILL")
V1 = "9:name=systemd:/\n4:cpu,memory:/service/a:b\n0::/\n"
V2 = "0::/service/a:b\n"


class Machine:
    """A file system in which a kernel seems to tell of memory."""

    def __init__(self, root: Path) -> None:
        """An empty one: nothing can be read."""
        self.root = root
        self.kills = KillCount(str(root))

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def count_system(self, kills: int) -> None:
        self.write("proc/vmstat", f"nr_free_pages 1\noom_kill {kills}\ndrop_slab 0\n")

    def watch(self) -> MemoryWatch:
        """Of a worker that has not been seen yet."""
        return MemoryWatch(self.kills)

    def living(self, pid: int, pending: int = 0) -> MemoryWatch:
        """Of a worker that can be seen, with these signals pending."""
        self.write(f"proc/{pid}/status", f"VmHWM:\t3000 kB\nVmRSS:\t1000 kB\nSigPnd:\t{pending:016x}\nShdPnd:\t{0:016x}\n")
        watch = self.watch()
        watch.begin(pid)
        return watch

    def end(self, pid: int) -> None:
        """It is there until it is reaped, and holds nothing."""
        self.write(f"proc/{pid}/status", "State:\tZ (zombie)\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


CGROUPS = {
    "version 1": (V1, "sys/fs/cgroup/memory/service/a:b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
    "version 1 in a container": (V1, "sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
    "version 2": (V2, "sys/fs/cgroup/service/a:b/memory.events", "low 0\nhigh 0\nmax 8\noom 1\noom_kill {}\noom_group_kill 0\n"),
    "version 2 in a container": (V2, "sys/fs/cgroup/memory.events", "low 0\nhigh 0\nmax 8\noom 1\noom_kill {}\n"),
    "version 2 beside 1": (V2, "sys/fs/cgroup/unified/service/a:b/memory.events", "low 0\nhigh 0\nmax 8\noom 1\noom_kill {}\n"),
}


@pytest.fixture(params=CGROUPS)
def count(request: pytest.FixtureRequest, machine: Machine) -> Callable[[int, int], None]:
    """Set the kills in our own cgroup and in the whole system."""
    membership, path, text = CGROUPS[request.param]
    machine.write("proc/self/cgroup", membership)

    def set_counts(cgroup: int, system: int) -> None:
        machine.write(path, text.format(cgroup))
        machine.count_system(system)

    return set_counts


def test_a_kill_in_our_cgroup_says_yes(machine: Machine, count: Callable[[int, int], None]) -> None:
    count(3, 5)
    watch = machine.watch()
    count(4, 6)
    assert watch.out_of_memory(KILLED) == "yes"
    count(3, 5)
    assert watch.out_of_memory(KILLED) == "yes"


def test_a_kill_elsewhere_in_the_system_says_likely(machine: Machine, count: Callable[[int, int], None]) -> None:
    count(3, 5)
    watch = machine.watch()
    count(3, 6)
    assert watch.out_of_memory(KILLED) == "likely"


def test_no_kill_says_no(machine: Machine, count: Callable[[int, int], None]) -> None:
    count(3, 5)
    assert machine.watch().out_of_memory(KILLED) == "no"


def test_one_kill_explains_one_end(machine: Machine, count: Callable[[int, int], None]) -> None:
    count(0, 0)
    first, second, third = machine.watch(), machine.watch(), machine.watch()
    count(2, 2)
    assert [watch.out_of_memory(KILLED) for watch in (first, second, third)] == ["yes", "yes", "no"]
    later = machine.watch()
    count(3, 3)
    assert later.out_of_memory(KILLED) == "yes"


def test_of_two_that_are_killed_together_and_replaced_one_after_the_other_nobody_takes_the_kill_of_a_replacement(
    machine: Machine, count: Callable[[int, int], None]
) -> None:
    count(0, 0)
    first, second = machine.watch(), machine.watch()
    count(2, 2)
    assert first.out_of_memory(KILLED) == "yes"
    replacement = machine.watch()
    assert second.out_of_memory(KILLED) == "yes"
    other = machine.watch()
    count(3, 3)
    assert replacement.out_of_memory(KILLED) == "yes"
    assert other.out_of_memory(KILLED) == "no"


def test_a_kill_that_only_one_of_two_can_have_been_is_left_to_it(machine: Machine, count: Callable[[int, int], None]) -> None:
    count(0, 0)
    older = machine.watch()
    count(1, 1)
    younger = machine.watch()
    count(2, 2)
    assert [watch.out_of_memory(KILLED) for watch in (older, younger)] == ["yes", "yes"]


def test_a_kill_after_which_a_worker_was_seen_alive_does_not_explain_its_end(machine: Machine, count: Callable[[int, int], None]) -> None:
    count(0, 0)
    watch = machine.living(77)
    count(1, 2)
    assert watch.sample() is not None
    machine.end(77)
    assert watch.out_of_memory(KILLED) == "no"


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_worker_is_not_seen_alive_once_its_kill_is_under_way(
    machine: Machine, count: Callable[[int, int], None], *, is_gone: bool
) -> None:
    count(0, 0)
    watch = machine.living(77, pending=1 << 8)
    count(1, 1)
    if is_gone:
        machine.end(77)
    watch.sample()
    assert watch.out_of_memory(KILLED) == "yes"


class KillsWhenAsked(KillCount):
    """The kernel kills a worker in the moment in which the count is asked for."""

    def __init__(self, root: Path, kill: Callable[[], None]) -> None:
        super().__init__(str(root))
        self.kill = kill

    def read(self) -> Kills:
        self.kill()
        return super().read()


def test_a_kill_in_the_moment_of_a_look_is_not_taken_for_anothers(machine: Machine, count: Callable[[int, int], None]) -> None:
    def kill() -> None:
        if is_looking:
            count(1, 1)
            machine.end(77)

    is_looking = False
    machine.kills = KillsWhenAsked(machine.root, kill)
    count(0, 0)
    watch = machine.living(77)
    is_looking = True
    assert watch.sample() is None
    assert watch.out_of_memory(KILLED) == "yes"


def test_other_signals_that_wait_for_a_worker_do_not_end_it(machine: Machine, count: Callable[[int, int], None]) -> None:
    count(0, 0)
    watch = machine.living(77, pending=1 << 14)
    count(1, 1)
    watch.sample()
    assert watch.out_of_memory(KILLED) == "no"


def test_what_cannot_be_read_rules_nothing_out(machine: Machine) -> None:
    assert machine.watch().out_of_memory(KILLED) == "likely"


def test_the_count_of_the_system_alone_can_rule_it_out(machine: Machine) -> None:
    machine.write("proc/self/cgroup", V2)
    machine.count_system(5)
    assert machine.watch().out_of_memory(KILLED) == "no"


@pytest.mark.parametrize("status", [ExitStatus(signal="SIGSEGV"), ExitStatus(exit_code=137)])
def test_only_a_sigkill_can_be_for_want_of_memory(machine: Machine, status: ExitStatus, count: Callable[[int, int], None]) -> None:
    count(0, 0)
    watch = machine.watch()
    count(1, 1)
    assert watch.out_of_memory(status) == "no"


def test_an_end_of_which_nothing_is_known_is_judged_by_the_counts_alone(machine: Machine, count: Callable[[int, int], None]) -> None:
    count(0, 0)
    watch, other = machine.watch(), machine.watch()
    count(1, 1)
    assert (watch.out_of_memory(ExitStatus()), other.out_of_memory(ExitStatus())) == ("yes", "no")


def test_without_counts_an_end_of_which_nothing_is_known_is_not_blamed_on_memory(machine: Machine) -> None:
    assert machine.watch().out_of_memory(ExitStatus()) == "no"


def test_what_it_holds_and_its_peak_are_what_the_kernel_says(machine: Machine) -> None:
    machine.write("proc/77/status", "Name:\tVmRSS:\nVmHWM:\t    3000 kB\nVmRSS:\t    1000 kB\n")
    watch = machine.watch()
    assert watch.sample() is None
    watch.begin(77)
    assert watch.sample() == 1_024_000
    assert watch.peak_bytes == 3_072_000
    machine.write("proc/77/status", "Name:\tx\nState:\tZ (zombie)\n")
    assert watch.sample() is None
    assert watch.peak_bytes == 3_072_000


@on_virtual_clock
async def test_a_worker_is_looked_at_once_a_second_while_it_is_at_work_and_once_more() -> None:
    begun = asyncio.get_running_loop().time()
    looks: list[float] = []
    outstanding = [1]
    pulse = MemoryPulse(lambda: looks.append(asyncio.get_running_loop().time() - begun), is_at_work=lambda: bool(outstanding))
    await asyncio.sleep(10)
    assert looks == [], "it has been given nothing yet"
    for _ in range(25):
        pulse.begin()
        await asyncio.sleep(0.1)
    outstanding.clear()
    await asyncio.sleep(10)
    assert looks == pytest.approx([11.0, 12.0, 13.0])


@on_virtual_clock
async def test_the_first_answer_after_a_pause_is_an_occasion_to_look() -> None:
    looks: list[int] = []
    pulse = MemoryPulse(lambda: looks.append(1), is_at_work=lambda: False)
    counts: list[int] = []
    for pause in (0.0, 0.5, 0.4, 0.2, 0.9, 1.1):
        await asyncio.sleep(pause)
        pulse.answered()
        counts.append(len(looks))
    assert counts == [1, 1, 1, 2, 2, 3]


@on_virtual_clock
async def test_a_worker_that_is_gone_is_not_looked_at() -> None:
    looks: list[int] = []
    pulse = MemoryPulse(lambda: looks.append(1), is_at_work=lambda: True)
    pulse.close()
    pulse.begin()
    pulse.close()
    await asyncio.sleep(10)
    assert looks == []


LARGE_PARENT = """
import asyncio, os
from stream_kernel.engine.process.child import Child

held = b"1" * (128 << 20)
del held

async def main():
    child = await Child.spawn(lambda *_: ["cat"], os.environ, group="g", worker_id="g#0")
    child.close_stdin()
    await child.reap(60)
    child.close()
    print(child.peak_rss_bytes(), child.is_peak_exact())

asyncio.run(main())
"""


def test_the_first_child_of_a_large_parent_is_not_taken_to_be_as_large() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE_PARENT], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "None False\n", done.stdout + done.stderr


HOG = "open('/proc/self/oom_score_adj', 'w').write('1000')\nheld = []\nwhile True: held.append(b'1' * (1 << 20))"
KILLED_FOR_MEMORY = f"""
import asyncio, os, sys
from pathlib import Path
from stream_kernel.engine.process.child import Child

Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))

async def main():
    child = await Child.spawn(lambda *_: [sys.executable, "-S", "-c", {HOG!r}], os.environ, group="g", worker_id="g#0")
    status = await child.reap(60)
    child.close()
    print(status, child.out_of_memory(status), child.peak_rss_bytes() >> 20)

asyncio.run(main())
"""
LIMIT_MIB = 96


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup with a limit; the test is skipped where none can be made."""
    hierarchy, limit = (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes")
    if not hierarchy.is_dir():
        hierarchy, limit = (Path("/sys/fs/cgroup"), "memory.max")
    home = hierarchy / f"stream_kernel_test_{os.getpid()}"
    try:
        home.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error.strerror}")
    try:
        try:
            (home / limit).write_text(str(LIMIT_MIB << 20))
            for swap in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
                with contextlib.suppress(OSError):
                    (home / swap).write_text(str(LIMIT_MIB << 20) if "memsw" in swap else "0")
        except OSError as error:
            pytest.skip(f"no limit can be set on a memory cgroup here: {error.strerror}")
        yield home
    finally:
        home.rmdir()


def test_a_worker_that_the_kernel_kills_for_its_memory_is_told_from_one_that_was_killed(small_cgroup: Path) -> None:
    command = [sys.executable, "-c", KILLED_FOR_MEMORY, str(small_cgroup)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.startswith("killed by SIGKILL yes "), done.stdout + done.stderr
    peak_mib = int(done.stdout.split()[-1])
    assert LIMIT_MIB // 2 < peak_mib < LIMIT_MIB + 32  # pages of files that others had read before are not charged to it
