"""One worker process and its descriptors: spawn, watch, talk, signal its tree, reap.

The pipes are our own and given to the process as plain descriptors: asyncio's `Process.wait` then does not wait for pipes that a
grandchild may hold (cpython #119710), and the death of the process is seen by its pidfd, not by the end of a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import weakref
from collections.abc import Callable, Mapping, Sequence

from stream_kernel.engine.process.black_box import BlackBox
from stream_kernel.engine.process.forks import ApartFromForks, is_spawning
from stream_kernel.engine.process.memory import MemoryWatch
from stream_kernel.engine.process.orphans import end_orphans_soon, is_there
from stream_kernel.engine.process.roomy_pipe import RoomyPipe
from stream_kernel.engine.process.stderr import StderrDrain
from stream_kernel.engine.process.worker_process import ExitStatus, signal_name
from stream_kernel.observability.quiet import QuietLogger
from stream_kernel.protocol.breadcrumb import STACKS_SIGNAL, Progress
from stream_kernel.reports import OutOfMemory

__all__ = ["Child"]

_CHUNK = 1 << 16
"""What one read asks for. Python allocates all of it before each read: from 128 KiB on that means fresh pages, and some 10 µs."""
_ASYNCIO_DOES_NOT_KNOW = 255
"""What asyncio says of a child whose exit status was gone when it asked for it."""


class Child:
    """A running worker process, the leader of a session of its own: the `WorkerProcess` that is one."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        pipes: tuple[int, int, int, int],
        drain: StderrDrain,
        box: BlackBox,
        memory: MemoryWatch,
    ) -> None:
        """`pipes`: our ends of stdin, stdout, stderr and the lifeline."""
        self.pid = process.pid
        self._process = process
        self._pidfd = _pidfd(process.pid)
        self._tree = _Tree(process.pid, self._pidfd)
        self._waiter: asyncio.Task[None] | None = None
        self._stdin, self._stdout, _, _ = pipes
        self._roomy_stdin, self._roomy_stdout = RoomyPipe(self._stdin), RoomyPipe(self._stdout)
        self._stderr = drain
        self._box = box
        self._memory = memory
        self._fds = {*pipes, *([] if self._pidfd is None else [self._pidfd])}
        # Should the supervisor be dropped without being closed, its workers go with it. At the end of the interpreter the lifeline
        # does that by itself.
        loop = weakref.ref(asyncio.get_running_loop())
        self._release = weakref.finalize(self, _release, os.getpid(), loop, self._tree, box, self._fds)
        self._release.atexit = False
        _LIVE.add(self)

    @classmethod
    async def spawn(
        cls, arguments: Callable[[int, int], Sequence[str]], environment: Mapping[str, str], *, group: str, worker_id: str
    ) -> Child:
        """Start a process; `arguments` is given the numbers of the lifeline and of the black box. Raises `OSError`; leaks no descriptor."""
        return await ApartFromForks(cls._spawn(arguments, environment, group, worker_id))

    @classmethod
    async def _spawn(
        cls, arguments: Callable[[int, int], Sequence[str]], environment: Mapping[str, str], group: str, worker_id: str
    ) -> Child:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            _SPAWNING.update((ours, theirs))
            child_stdin, stdin = _pipe(theirs, ours)
            stdout, child_stdout = _pipe(ours, theirs)
            stderr, child_stderr = _pipe(ours, theirs)
            child_lifeline, lifeline = _pipe(theirs, ours)
            box = BlackBox()
            ours.callback(box.close)
            for fd in (stdin, stdout, stderr):
                os.set_blocking(fd, False)
            memory = MemoryWatch()
            process = await asyncio.create_subprocess_exec(
                *arguments(child_lifeline, box.fd),
                stdin=child_stdin,
                stdout=child_stdout,
                stderr=child_stderr,
                pass_fds=(child_lifeline, box.fd),
                env=environment,
                start_new_session=True,
            )
            memory.begin(process.pid)
            drain = StderrDrain(stderr, group=group, worker_id=worker_id)
            child = cls(process, (stdin, stdout, stderr, lifeline), drain, box, memory)
            ours.pop_all()
            return child

    # -- what it tells

    def watch(self, *, on_readable: Callable[[], object], on_hang_up: Callable[[], None], on_exit: Callable[[], None]) -> None:
        """Start to call back: its stdout can be read; it has closed its stdin; it has ended, whoever still holds its pipes."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._stdout, on_readable)
        # The write end becomes "readable" when the other side closes it.
        loop.add_reader(self._stdin, on_hang_up)
        self._stderr.open()
        if self._pidfd is None:
            self._waiter = loop.create_task(self._wait(on_exit))
        else:
            loop.add_reader(self._pidfd, self._see_end, on_exit)

    def _see_end(self, on_exit: Callable[[], None]) -> None:
        assert self._pidfd is not None
        asyncio.get_running_loop().remove_reader(self._pidfd)
        on_exit()

    async def _wait(self, on_exit: Callable[[], None]) -> None:
        await self._process.wait()
        on_exit()

    def watch_writable(self, on_writable: Callable[[], None] | None) -> None:
        """Call back while its stdin takes bytes; None: no more."""
        if self._stdin not in self._fds:
            return
        if on_writable is None:
            asyncio.get_running_loop().remove_writer(self._stdin)
        else:
            asyncio.get_running_loop().add_writer(self._stdin, on_writable)

    def unwatch_stdout(self) -> None:
        """No more `on_readable`."""
        if self._stdout in self._fds:
            asyncio.get_running_loop().remove_reader(self._stdout)

    def unwatch_stdin(self) -> None:
        """No more `on_hang_up` and `on_writable`."""
        if self._stdin in self._fds:
            asyncio.get_running_loop().remove_reader(self._stdin)
            asyncio.get_running_loop().remove_writer(self._stdin)

    def read(self) -> bytes | None:
        """What its stdout holds now, at most a chunk; None: nothing; empty: its end, or an error, which is the same."""
        if self._stdout not in self._fds:
            return b""
        try:
            data = os.read(self._stdout, _CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        if len(data) == _CHUNK:
            self._roomy_stdout.was_full()
        return data

    def write(self, data: bytes | bytearray) -> int:
        """How many bytes its stdin took, 0 when it is full. Raises `OSError` when nobody reads it any more."""
        if self._stdin not in self._fds:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        try:
            written = os.write(self._stdin, data)
        except BlockingIOError:
            return 0
        if written < len(data):
            self._roomy_stdin.was_full()
        return written

    def close_stdin(self) -> None:
        """Let it read the end of its stdin; what is written from now on raises `OSError`."""
        if self._stdin in self._fds:
            self.unwatch_stdin()
            self._fds.discard(self._stdin)
            os.close(self._stdin)

    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines of its stderr, oldest first, escaped."""
        return self._stderr.tail()

    def progress(self) -> Progress | None:
        """What it noted last of the command at work; also after its death."""
        return self._box.progress()

    def begun(self) -> float | None:
        """When it began that command, in seconds of `time.monotonic()`; also after its death."""
        return self._box.begun()

    def stacks(self) -> str:
        """The Python stacks that it has written at its end, of its own accord (a crash) or asked to; also after its death."""
        return self._box.stacks()

    def resident_bytes(self) -> int | None:
        """The memory that it holds now; None where that cannot be seen."""
        return self._memory.sample() if self._release.alive else None

    def peak_rss_bytes(self) -> int | None:
        """The most memory that it held, as far as it was seen; also after `reap`."""
        return self._memory.peak_bytes

    def is_peak_exact(self) -> bool:
        """After `reap`: whether it never held more than that."""
        return self._memory.is_peak_exact

    def out_of_memory(self, status: ExitStatus) -> OutOfMemory:
        """After `reap`, of an end that we did not bring about: whether it was killed for want of memory."""
        return self._memory.out_of_memory(status)

    # -- how it ends

    def freeze(self) -> None:
        """Stop it where it is, not what it has started; returns before it has stopped."""
        if self._release.alive:
            self._memory.sample()  # what ends it afterwards leaves no other moment
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def end_with_stacks(self) -> None:
        """Have it write its Python stacks, as far as it can, and end by that, also when it is frozen; returns at once."""
        if not self._signal_first_thread(STACKS_SIGNAL):
            self._signal(STACKS_SIGNAL)
        self._signal(signal.SIGCONT)  # the first thing that this thread does then is to heed the other

    def _signal_first_thread(self, number: int) -> bool:
        """To the thread that runs the nodes and to no other: a signal to a process is taken by whichever thread comes first, while the
        others go on. False where the system has no such call, or it fails.
        """
        if _TGKILL is None or not self._release.alive or self._process.returncode is not None or self._tree.is_somebody_else():
            return False
        return bool(_TGKILL(self.pid, self.pid, number) == 0)

    def _signal(self, number: int) -> None:
        """To itself, and not to its tree."""
        if self._release.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if self._pidfd is not None:
                    signal.pidfd_send_signal(self._pidfd, number)
                elif self._process.returncode is None:
                    os.kill(self.pid, number)

    def terminate_tree(self) -> None:
        """SIGTERM to its process tree."""
        if self._release.alive:
            self._memory.sample()  # it may be the last moment at which it tells
            self._tree.signal(signal.SIGTERM)

    def kill_tree(self) -> None:
        """SIGKILL to the process and to everything in its session's process group."""
        if self._release.alive:
            self._memory.sample()  # the last moment at which it tells
            self._tree.signal(signal.SIGKILL)

    async def reap(self, timeout_seconds: float) -> ExitStatus:
        """Wait, for a bounded time, until the process is gone."""
        try:
            code = await asyncio.wait_for(self._process.wait(), timeout_seconds)
        except TimeoutError:
            QuietLogger("stream_kernel").error("worker process %d does not end after SIGKILL; it is left behind", self.pid)
            return ExitStatus()
        self._memory.note_end()
        if code == _ASYNCIO_DOES_NOT_KNOW and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # then the system keeps no status
            return ExitStatus()
        if code >= 0:
            return ExitStatus(exit_code=code)
        return ExitStatus(signal=signal_name(-code))

    def close(self) -> None:
        """Kill what is left of the tree, take what is left on stderr, release all descriptors."""
        if not self._release.alive:
            return
        self._tree.signal(signal.SIGKILL)
        self._stderr.close()
        self.unwatch_stdout()
        self.unwatch_stdin()
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
        if self._waiter is not None:
            self._waiter.cancel()
        self._release()

    def disown(self) -> None:
        """In a forked copy of this process: close the descriptors and leave the worker alone."""
        if self._release.detach() is not None:
            self._box.close()
            for fd in self._fds:
                os.close(fd)
            self._fds.clear()


class _Tree:
    """The process group of a worker. Its number is that of the worker: once both are gone, it may be given to somebody else."""

    def __init__(self, pid: int, pidfd: int | None) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._is_killed = False

    def signal(self, number: int) -> None:
        """To the worker and to all in its group; after SIGKILL nobody is left to send anything to."""
        if not self._is_killed and not self.is_somebody_else():
            self._is_killed = number == signal.SIGKILL
            _signal_group(self.pid, number)

    def is_somebody_else(self) -> bool:
        """The worker has been reaped, and a process has its number: nothing can have been left of the group then."""
        if self._pidfd is not None:
            try:
                signal.pidfd_send_signal(self._pidfd, 0)
            except ProcessLookupError:
                return is_there(self.pid)
            except PermissionError:
                pass
        return False


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    reader.callback(os.close, read_fd)
    writer.callback(os.close, write_fd)
    return read_fd, write_fd


def _find_tgkill() -> Callable[[int, int, int], int] | None:
    try:
        import ctypes
    except ImportError:
        return None
    return getattr(ctypes.CDLL(None), "tgkill", None)


_TGKILL = _find_tgkill()


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an old kernel, no descriptor to be had, or it has been reaped already
        return None


def _release(owner: int, loop_of: weakref.ref[asyncio.AbstractEventLoop], tree: _Tree, box: BlackBox, fds: set[int]) -> None:
    if os.getpid() != owner:  # a copy in a forked process, whose descriptors are closed already
        return
    tree.signal(signal.SIGKILL)
    loop = loop_of()
    if (loop is None or loop.is_closed()) and not tree.is_somebody_else():  # asyncio cannot reap it
        end_orphans_soon([tree.pid])
    box.close()
    while fds:
        os.close(fds.pop())


_LIVE: weakref.WeakSet[Child] = weakref.WeakSet()
_SPAWNING: weakref.WeakSet[contextlib.ExitStack] = weakref.WeakSet()
"""What closes the descriptors of a worker that no `Child` has yet; nothing, when one has them."""


def _close_in_forked_child() -> None:
    """A process forked from this one must not hold the lifelines: workers would outlive their parent for as long as it lives."""
    if is_spawning():
        return  # it is a worker, which needs its pipes; all others close by themselves
    for child in list(_LIVE):
        child.disown()
    for stack in list(_SPAWNING):
        with contextlib.suppress(OSError):  # of a child that was disowned just now
            stack.close()


os.register_at_fork(after_in_child=_close_in_forked_child)
