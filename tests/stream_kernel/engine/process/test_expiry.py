"""The last moments of a worker past a deadline, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from stream_kernel.engine.process.expiry import Expiry
from stream_kernel.engine.process.worker_process import ExitStatus
from stream_kernel.testing import FakeChild, FakeLaunch
from virtual_clock import START, on_virtual_clock


class Watched:
    """An expiry of a worker that answers when the test says so, and what it came to: whether late, and after how many milliseconds."""

    def __init__(self, child: FakeChild) -> None:
        self.has_answered = False
        self.concluded: list[tuple[bool, float]] = []
        self.expiry = Expiry(child, lambda: self.has_answered, self._conclude)

    def _conclude(self, is_late: bool) -> None:
        passed = asyncio.get_running_loop().time() - START
        self.concluded.append((is_late, round(passed * 1000, 3)))


async def launched(**traits: frozenset[str]) -> FakeChild:
    child = await FakeLaunch()(lambda lifeline, box: [], {}, group="g", worker_id="g#0")
    child.traits.ignores = traits.get("ignores", frozenset())  # type: ignore[assignment]
    return child


@on_virtual_clock
async def test_it_is_stopped_and_when_it_has_not_answered_by_then_it_ends_with_its_stacks() -> None:
    child = await launched()
    watched = Watched(child)
    assert (child.log, child.is_frozen) == (["freeze"], True)
    await child.told("stacks")
    assert (watched.concluded, child.is_frozen) == ([], False)
    await child.reap(1)
    assert child.status == ExitStatus(signal="SIGRTMIN+10")
    watched.expiry.process_ended()
    assert watched.concluded == [(False, 3.0)]
    await asyncio.sleep(1)
    assert len(watched.concluded) == 1


@on_virtual_clock
async def test_one_whose_reply_was_on_its_way_goes_on_and_is_late() -> None:
    child = await launched()
    watched = Watched(child)
    watched.has_answered = True
    await asyncio.sleep(1)
    assert watched.concluded == [(True, 3.0)]
    assert (child.log, child.is_frozen, child.is_alive) == (["freeze", "thaw"], False, True)


@pytest.mark.fault("FAULT-12")
@on_virtual_clock
async def test_one_that_does_not_heed_the_signal_gets_no_more_than_thirty_milliseconds() -> None:
    child = await launched(ignores=frozenset({"stacks"}))
    watched = Watched(child)
    await asyncio.sleep(1)
    assert watched.concluded == [(False, 25.0)]
    assert child.is_alive


@on_virtual_clock
async def test_an_end_that_nobody_has_asked_for_here_concludes_nothing() -> None:
    child = await launched()
    watched = Watched(child)
    child.die(signal="SIGSEGV")
    watched.expiry.process_ended()
    assert watched.concluded == []
    watched.expiry.close()


@on_virtual_clock
async def test_after_its_close_nothing_is_concluded() -> None:
    child = await launched()
    for moment in (0.0, 0.004):
        watched = Watched(child)
        await asyncio.sleep(moment)
        watched.expiry.close()
        watched.expiry.process_ended()
        await asyncio.sleep(1)
        assert watched.concluded == []
