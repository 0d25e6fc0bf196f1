"""A process and its descriptors: whatever happens, it is seen to end and nothing of it is left."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from processes import Liveness, ends, is_alive, stop_and_wait, watched
from stream_kernel.engine.process.child import Child, _Tree
from stream_kernel.engine.process.orphans import is_there
from stream_kernel.engine.process.worker_process import ExitStatus, Launch, WorkerProcess
from stream_kernel.protocol.breadcrumb import BLACK_BOX_SIZE, STACKS_SIGNAL, Progress, pack_progress
from waiting import in_thread, until

SECONDS = 20.0
_LEAKY = pytest.mark.asyncio_loop(reason="uvloop leaks a copy of its own where the next one cannot be had")


class Seen:
    """What a child has called back."""

    def __init__(self, child: WorkerProcess) -> None:
        """Watch it."""
        self.readable = asyncio.Event()
        self.hang_up = asyncio.Event()
        self.exits = 0
        self.over = asyncio.Event()
        child.watch(on_readable=self.readable.set, on_hang_up=self._on_hang_up, on_exit=self._on_exit)
        self._child = child

    async def chunk(self) -> bytes:
        """What its stdout gives next; nothing at its end."""
        while (data := self._child.read()) is None:
            self.readable.clear()
            await within(self.readable)
        return data

    async def line(self) -> bytes:
        """The next line of its stdout, or what comes before its end."""
        said = b""
        while not said.endswith(b"\n") and (data := await self.chunk()):
            said += data
        return said

    def _on_hang_up(self) -> None:
        self._child.unwatch_stdin()
        self.hang_up.set()

    def _on_exit(self) -> None:
        self.exits += 1
        self.over.set()


async def spawned(*arguments: str) -> Child:
    launch: Launch = Child.spawn
    child = await launch(lambda lifeline, black_box: list(arguments), dict(os.environ), group="g", worker_id="g#0")
    assert isinstance(child, Child)
    return child


async def ended(child: Child) -> ExitStatus:
    seen = Seen(child)
    await within(seen.over)
    try:
        return await child.reap(SECONDS)
    finally:
        assert seen.exits == 1
        child.close()


async def let_end(child: Child, seen: Seen) -> None:
    """Close its stdin, which it waits for, and bury it."""
    child.close_stdin()
    await within(seen.over)
    await child.reap(SECONDS)
    child.close()


async def within(event: asyncio.Event) -> None:
    async with asyncio.timeout(SECONDS):
        await event.wait()


def python(code: str) -> Sequence[str]:
    return (sys.executable, "-S", "-c", code)


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("pass", ExitStatus(exit_code=0), "exit code 0"),
        ("raise SystemExit(9)", ExitStatus(exit_code=9), "exit code 9"),
        ("import os; os.kill(os.getpid(), 15)", ExitStatus(signal="SIGTERM"), "killed by SIGTERM"),
        ("import os; os.kill(os.getpid(), 40)", ExitStatus(signal="SIGRTMIN+6"), "killed by SIGRTMIN+6"),
    ],
)
async def test_the_way_it_ended_is_told(code: str, status: ExitStatus, text: str) -> None:
    seen = await ended(await spawned(*python(code)))
    assert seen == status
    assert str(seen) == text


async def test_its_pipes_do_not_block() -> None:
    child = await spawned("cat")
    seen = Seen(child)
    assert child.read() is None
    assert child.write(b"there and back") == 14
    assert await seen.chunk() == b"there and back"
    stop_and_wait(child.pid)
    while child.write(bytes(1 << 16)):
        pass
    writable = asyncio.Event()
    child.watch_writable(writable.set)
    assert not writable.is_set()
    os.kill(child.pid, signal.SIGCONT)
    await within(writable)
    child.watch_writable(None)
    child.kill_tree()
    await within(seen.over)
    assert await child.reap(SECONDS) == ExitStatus(signal="SIGKILL")
    child.close()


@pytest.mark.asyncio_loop(reason="on uvloop a program that is no worker keeps copies of its pipes")
async def test_it_can_be_read_to_its_end_and_what_it_does_not_read_is_an_error() -> None:
    child = await spawned(*python("import os, time; os.close(0); os.write(1, b'x'); os.close(1); time.sleep(600)"))
    seen = Seen(child)
    await within(seen.hang_up)
    assert await seen.chunk() == b"x"
    assert await seen.chunk() == b""
    child.unwatch_stdout()
    with pytest.raises(OSError, match="Broken pipe"):
        child.write(b"anybody?")
    child.kill_tree()
    await within(seen.over)
    await child.reap(SECONDS)
    child.close()


async def test_the_end_of_its_stdin_is_told_to_it_and_nothing_can_be_written_after() -> None:
    child = await spawned("cat")
    seen = Seen(child)
    child.write(b"all")
    stdin = child._stdin
    child.close_stdin()
    child.close_stdin()
    assert not asyncio.get_running_loop().remove_reader(stdin)  # its number may be somebody else's now
    with pytest.raises(BrokenPipeError):
        child.write(b"more")
    child.watch_writable(lambda: None)
    child.unwatch_stdin()
    await within(seen.over)
    assert child.read() == b"all"
    assert await child.reap(SECONDS) == ExitStatus(exit_code=0)
    assert not seen.hang_up.is_set()
    child.close()


async def test_it_leads_a_session_of_its_own_and_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    liveness = Liveness(tmp_path / "socket")
    child = await spawned(*python(adopting(liveness, "p.wait()")))
    await in_thread(liveness.accept)
    assert os.getsid(child.pid) == child.pid and liveness.is_alive()
    child.kill_tree()
    assert await ended(child) == ExitStatus(signal="SIGKILL")
    assert liveness.ends()
    liveness.close()


async def test_what_it_has_started_is_asked_to_end_with_it(tmp_path: Path) -> None:
    liveness = Liveness(tmp_path / "socket")
    child = await spawned(*python(adopting(liveness, "p.wait()")))
    await in_thread(liveness.accept)
    child.terminate_tree()
    assert liveness.ends()
    assert await ended(child) == ExitStatus(signal="SIGTERM")
    liveness.close()


@pytest.mark.fault("FAULT-23")
async def test_what_it_leaves_behind_neither_hides_its_end_nor_outlives_its_tree(tmp_path: Path) -> None:
    liveness = Liveness(tmp_path / "socket")
    child = await spawned(*python(adopting(liveness, "os.read(0, 1); os._exit(5)")))
    seen = Seen(child)
    await in_thread(liveness.accept)
    child.write(b"x")
    await within(seen.over)
    assert liveness.is_alive()
    assert child.read() is None  # the pipe is still held
    child.kill_tree()
    assert await child.reap(SECONDS) == ExitStatus(exit_code=5)
    assert liveness.ends()
    child.close()
    liveness.close()


def adopting(liveness: Liveness, then: str) -> str:
    """A program that starts another, which connects and lives."""
    connect = f"import socket,time\ns=socket.socket(socket.AF_UNIX)\ns.connect({liveness.path!r})\ntime.sleep(600)"
    return f"import os,subprocess,sys\np=subprocess.Popen([sys.executable,'-S','-c',{connect!r}])\n{then}"


async def test_a_process_that_does_not_end_in_time_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    child = await spawned("cat")
    with watched(child.pid) as pidfd:
        assert await child.reap(0.01) == ExitStatus()
        assert "does not end" in caplog.text
        assert is_alive(pidfd)
        child.close()  # kills, and reaps later
        assert ends(pidfd)


@pytest.mark.asyncio_loop(reason="uvloop has a handler of its own for SIGCHLD, and learns every status")
@pytest.mark.parametrize("end", ["os._exit(7)", "os._exit(255)", "os.abort()"])
async def test_no_status_is_made_up_where_the_system_keeps_none(end: str) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        child = await spawned(*python(f"import os; os.read(0, 1); {end}"))
        child.write(b"\n")  # not before: asyncio finds no process that has gone already
        status = await ended(child)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (status, str(status)) == (ExitStatus(), "its exit status is not known")


async def test_an_exit_code_of_255_is_one_like_any_other() -> None:
    assert await ended(await spawned(*python("import os; os._exit(255)"))) == ExitStatus(exit_code=255)


async def test_what_it_said_on_stderr_is_kept_to_the_last_word() -> None:
    child = await spawned(*python("import sys; sys.stderr.write('first\\nlast words')"))
    await ended(child)
    assert child.stderr_tail() == ("first", "last words")


async def test_the_descriptors_go_once_and_a_second_close_harms_nobody() -> None:
    before = open_descriptors()
    child = await spawned("cat")
    child.kill_tree()
    await ended(child)
    assert open_descriptors() == before
    reused = [os.open(os.devnull, os.O_RDWR) for _ in range(8)]
    child.close()
    child.kill_tree()
    child.terminate_tree()
    child.freeze()
    child.thaw()
    child.end_with_stacks()
    child.unwatch_stdout()
    child.unwatch_stdin()
    child.close_stdin()
    assert child.read() == b""
    with pytest.raises(BrokenPipeError):
        child.write(b"x")
    for fd in reused:
        os.close(fd)  # would fail had anything closed it


def open_descriptors() -> list[str]:
    return sorted(fd for fd in os.listdir("/proc/self/fd") if describe(fd))


def describe(fd: str) -> str:
    """What a descriptor of ours leads to; nothing when it is closed by now."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


@pytest.mark.fault("FAULT-10")
async def test_a_program_that_is_not_there_raises_and_leaks_nothing() -> None:
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        await spawned("/no/such/program")
    assert open_descriptors() == before


@pytest.mark.fault("FAULT-10")
@pytest.mark.parametrize("missing", [*range(1, 11), pytest.param(11, marks=_LEAKY)])
async def test_without_descriptors_it_cannot_be_spawned_and_leaks_nothing(missing: int) -> None:
    """Whichever descriptor is the first that cannot be had."""
    before = open_descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = next(n for n in range(missing, 1024) if sum(not os.path.exists(f"/proc/self/fd/{fd}") for fd in range(n)) >= missing - 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            await spawned("cat")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_descriptors() == before


@pytest.mark.fault("FAULT-29")
async def test_a_dropped_child_is_killed() -> None:
    child = await spawned("cat")
    with watched(child.pid) as pidfd:
        del child
        gc.collect()
        assert ends(pidfd)
        await asyncio.sleep(0.01)  # asyncio takes note of it in a later pass


@pytest.mark.fault("FAULT-30")
async def test_a_forked_copy_of_the_parent_holds_nothing_of_it_and_does_it_no_harm() -> None:
    before = open_descriptors()
    child = await spawned("cat")
    # A pidfd of asyncio's own does no harm in the copy.
    held = {fd for fd in set(open_descriptors()) - set(before) if "pidfd" not in describe(fd)}
    forked = os.fork()
    if forked == 0:
        child.kill_tree()
        child.close()
        os._exit(len(held & set(open_descriptors())))
    assert sorted(describe(fd).partition(":")[0] for fd in held) == ["/memfd", "pipe", "pipe", "pipe", "pipe"]
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
    seen = Seen(child)
    child.write(b"still there")
    await within(seen.readable)
    child.close_stdin()
    await within(seen.over)
    assert await child.reap(SECONDS) == ExitStatus(exit_code=0)
    child.close()


FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def exit_code_of_a_copy(code: Callable[[], int]) -> int:
    """What `code` gives in a forked copy of this process."""
    copy = os.fork()
    if copy == 0:
        try:
            os._exit(code())
        finally:  # no copy goes on with the tests
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


@pytest.mark.parametrize("times", [1, 2])
async def test_a_spawn_that_is_cancelled_at_any_moment_brings_no_process_and_leaves_nothing(times: int) -> None:
    """What is left would be found by the fixtures of every test."""
    was_done = False
    for passes in range(12):
        spawning = asyncio.create_task(spawned("cat"))
        for _ in range(passes):
            await asyncio.sleep(0)
        if was_done := spawning.done():
            child = spawning.result()
            child.kill_tree()
            await child.reap(SECONDS)
            child.close()
            break
        for _ in range(times):
            spawning.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await spawning
    assert was_done, "the last moment was not reached"


@FORKS
@pytest.mark.fault("FAULT-25")
async def test_a_copy_forked_while_a_child_is_spawned_holds_nothing_of_it_and_does_it_no_harm() -> None:
    before = open_descriptors()
    spawning = asyncio.create_task(spawned("cat"))
    await asyncio.sleep(0)
    assert not spawning.done()
    held = {fd for fd in set(open_descriptors()) - set(before) if "pidfd" not in describe(fd)}
    assert len(held) >= 5
    assert exit_code_of_a_copy(lambda: len(held & set(open_descriptors()))) == 0
    child = await spawning
    seen = Seen(child)
    child.write(b"still there")
    assert await seen.chunk() == b"still there"
    child.kill_tree()
    await within(seen.over)
    assert await child.reap(SECONDS) == ExitStatus(signal="SIGKILL")
    child.close()


@FORKS
@pytest.mark.fault("FAULT-25")
async def test_another_thread_forks_before_a_process_is_started_or_after_but_not_meanwhile() -> None:
    before = set(open_descriptors())
    about_to, forked = threading.Event(), threading.Event()
    codes: list[int] = []

    def fork() -> None:
        about_to.set()
        codes.append(exit_code_of_a_copy(lambda: sum("pipe:" in describe(fd) for fd in set(open_descriptors()) - before)))
        forked.set()

    thread = threading.Thread(target=fork)

    def arguments(lifeline: int, black_box: int) -> Sequence[str]:
        thread.start()
        assert about_to.wait(SECONDS)
        assert not forked.wait(0.2)
        return ["cat"]

    child = await Child.spawn(arguments, dict(os.environ), group="g", worker_id="g#0")
    await in_thread(thread.join, SECONDS)
    assert codes == [0]
    child.kill_tree()
    assert await ended(child) == ExitStatus(signal="SIGKILL")


async def test_its_group_is_killed_once_and_its_number_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    kill_group = os.killpg

    def note_and_kill(pid: int, number: int) -> None:
        killed.append(pid)
        kill_group(pid, number)

    monkeypatch.setattr(os, "killpg", note_and_kill)
    child = await spawned("cat")
    pid = child.pid
    child.kill_tree()
    assert await ended(child) == ExitStatus(signal="SIGKILL")
    del child
    gc.collect()
    assert killed == [pid]


async def test_who_has_the_number_of_a_worker_that_is_gone_gets_none_of_its_signals() -> None:
    gone, other = await spawned("cat"), await spawned("cat")
    seen = Seen(gone)
    gone.close_stdin()
    await within(seen.over)
    await gone.reap(SECONDS)
    with watched(other.pid) as pidfd:
        reused = _Tree(other.pid, gone._pidfd)
        reused.signal(signal.SIGTERM)
        reused.signal(signal.SIGKILL)
        assert not ends(pidfd, 0.1)
        _Tree(other.pid, pidfd).signal(signal.SIGKILL)
        assert ends(pidfd)
    gone.close()
    assert await ended(other) == ExitStatus(signal="SIGKILL")


async def test_without_pidfds_it_is_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stream_kernel.engine.process.child._pidfd", lambda pid: None)
    liveness = Liveness(tmp_path / "socket")
    child = await spawned(*python(adopting(liveness, "p.wait()")))
    seen = Seen(child)
    await in_thread(liveness.accept)
    os.kill(child.pid, signal.SIGTERM)
    await within(seen.over)
    child.kill_tree()
    assert await child.reap(SECONDS) == ExitStatus(signal="SIGTERM")
    assert liveness.ends()
    child.kill_tree()
    child.terminate_tree()
    child.close()
    assert seen.exits == 1
    liveness.close()


NOTING = f"""
import faulthandler, mmap, os, sys
fd = int(sys.argv[1])
words = memoryview(mmap.mmap(fd, {BLACK_BOX_SIZE})).cast("Q")
os.lseek(fd, {BLACK_BOX_SIZE}, 0)
faulthandler.register({STACKS_SIGNAL}, file=fd, chain=True)
def stuck():
    words[0], words[1] = {pack_progress(7, 3, 1)}, 2_500_000_000
    print("noted", flush=True)
    while True:
        pass
stuck()
"""


async def test_what_it_noted_is_read_while_it_works_and_after_its_end_and_its_stacks_with_it() -> None:
    child = await Child.spawn(lambda _, box: [sys.executable, "-S", "-c", NOTING, str(box)], dict(os.environ), group="g", worker_id="g#0")
    seen = Seen(child)
    assert await seen.line() == b"noted\n"
    assert (child.progress(), child.begun()) == (Progress(7, 3, 1), 2.5)
    child.end_with_stacks()
    assert await ended(child) == ExitStatus(signal=f"SIGRTMIN+{STACKS_SIGNAL - signal.SIGRTMIN}")
    assert (child.progress(), child.begun()) == (Progress(7, 3, 1), 2.5)
    assert "in stuck" in child.stacks()


async def test_it_is_stopped_where_it_is_and_goes_on_when_it_is_told_to() -> None:
    child = await spawned(*python("print('up', flush=True); print(input(), flush=True)"))
    seen = Seen(child)
    assert await seen.line() == b"up\n"
    assert child.peak_rss_bytes() is None
    child.freeze()
    assert child.peak_rss_bytes() is not None, "what ends it after that leaves no other moment to look"
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    child.write(b"echo\n")
    child.thaw()
    assert await seen.line() == b"echo\n"
    await within(seen.over)
    assert await ended(child) == ExitStatus(exit_code=0)


async def test_one_that_is_stopped_ends_with_its_stacks_and_does_nothing_before() -> None:
    code = NOTING.replace("        pass", "        print('on', flush=True)")
    child = await Child.spawn(lambda _, box: [sys.executable, "-S", "-c", code, str(box)], dict(os.environ), group="g", worker_id="g#0")
    seen = Seen(child)
    assert (await seen.line()).startswith(b"noted\n")
    child.freeze()
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    while child.read():
        pass
    child.end_with_stacks()
    await within(seen.over)
    assert child.read() == b""
    assert "in stuck" in child.stacks()
    assert (await ended(child)).signal is not None


async def test_the_stacks_are_asked_of_itself_and_not_of_what_it_has_started() -> None:
    deadly = f"import signal; signal.signal({STACKS_SIGNAL}, signal.SIG_DFL); print('up', flush=True); print(input(), flush=True)"
    ignoring = f"import signal, subprocess, sys; signal.signal({STACKS_SIGNAL}, signal.SIG_IGN)"
    child = await spawned(*python(f"{ignoring}; subprocess.run([sys.executable, '-S', '-c', {deadly!r}])"))
    seen = Seen(child)
    assert await seen.line() == b"up\n"
    child.end_with_stacks()
    child.write(b"echo\n")
    assert await seen.line() == b"echo\n"
    await within(seen.over)
    assert await child.reap(SECONDS) == ExitStatus(exit_code=0)
    child.close()


HOLDING = "x = b'1' * ({mib} << 20); print('held', flush=True); input()"


async def test_the_memory_that_it_holds_and_held_is_told() -> None:
    child = await spawned(*python(HOLDING.format(mib=64)))
    seen = Seen(child)
    await within(seen.readable)
    held = child.resident_bytes()
    assert held is not None and 64 << 20 < held < 128 << 20
    await let_end(child, seen)
    peak = child.peak_rss_bytes()
    assert peak is not None and held <= peak < 128 << 20
    assert child.resident_bytes() is None


async def test_the_peak_of_one_that_was_never_looked_at_is_known_from_its_end() -> None:
    mib = larger_than_any_process_before()
    child = await spawned(*python(f"x = b'1' * ({mib} << 20)"))
    assert await ended(child) == ExitStatus(exit_code=0)
    peak = child.peak_rss_bytes()
    assert peak is not None and mib << 20 < peak < (mib + 64) << 20
    assert child.is_peak_exact()
    assert child.out_of_memory(ExitStatus(exit_code=0)) == "no"


async def test_the_peak_of_its_parent_is_not_taken_for_its_own() -> None:
    child = await spawned("cat")
    seen = Seen(child)
    child.kill_tree()  # sees what it holds
    await within(seen.over)
    await child.reap(SECONDS)
    child.close()
    peak = child.peak_rss_bytes()
    assert peak is not None and peak < 16 << 20
    assert not child.is_peak_exact()


async def test_the_peak_of_a_sibling_is_not_taken_for_its_own() -> None:
    child = await spawned("cat")
    seen = Seen(child)
    sibling = await spawned(*python(f"x = b'1' * ({larger_than_any_process_before()} << 20)"))
    assert await ended(sibling) == ExitStatus(exit_code=0)
    assert sibling.peak_rss_bytes() is not None
    await let_end(child, seen)
    assert child.peak_rss_bytes() is None


async def test_the_peak_of_a_sibling_that_ended_in_the_same_moment_is_not_taken_for_its_own() -> None:
    child = await spawned("cat")
    sibling = await spawned(*python(f"x = b'1' * ({larger_than_any_process_before()} << 20)"))
    child.close_stdin()
    for one in (child, sibling):
        await in_thread(until, lambda pid=one.pid: not is_there(pid))
    for one in (child, sibling):
        assert await one.reap(SECONDS) == ExitStatus(exit_code=0)
        one.close()
    assert (child.peak_rss_bytes(), child.is_peak_exact()) == (None, False)


async def test_the_peak_of_a_child_that_is_no_worker_is_not_taken_for_that_of_one_that_is_seen_after_it() -> None:
    child = await spawned("cat")
    seen = Seen(child)
    code = f"x = b'1' * ({larger_than_any_process_before()} << 20)"
    await in_thread(subprocess.run, python(code))
    held = child.resident_bytes()
    await let_end(child, seen)
    peak = child.peak_rss_bytes()
    assert held is not None and peak is not None and held <= peak < 16 << 20
    assert not child.is_peak_exact()


async def test_the_peak_of_what_it_has_started_is_not_taken_for_its_own() -> None:
    large = ["-S", "-c", f"x = b'1' * ({larger_than_any_process_before()} << 20)"]
    child = await spawned(
        *python(f"import subprocess, sys; subprocess.run([sys.executable, *{large}]); print('held', flush=True); input()")
    )
    seen = Seen(child)
    await within(seen.readable)
    held = child.resident_bytes()
    await let_end(child, seen)
    peak = child.peak_rss_bytes()
    assert held is not None and peak is not None and held <= peak < 64 << 20
    assert not child.is_peak_exact()


async def test_a_worker_is_looked_at_before_it_is_asked_to_end_by_a_signal() -> None:
    sibling = await spawned(*python(f"x = b'1' * ({larger_than_any_process_before()} << 20)"))
    await ended(sibling)
    child = await spawned(*python(HOLDING.format(mib=32)))
    seen = Seen(child)
    await within(seen.readable)
    child.terminate_tree()
    await within(seen.over)
    assert await child.reap(SECONDS) == ExitStatus(signal="SIGTERM")
    child.close()
    peak = child.peak_rss_bytes()
    assert peak is not None and 32 << 20 < peak < 64 << 20


def larger_than_any_process_before() -> int:
    """So many MiB that the system tells them from what this process and its children have held."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1024 + 64
