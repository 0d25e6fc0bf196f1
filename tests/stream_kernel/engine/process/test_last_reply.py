"""What a worker wrote before it died, and its parent has not read yet."""

from __future__ import annotations

import pytest

from engine_on_fakes import EngineOnFakes
from stream_kernel.engine.base import Answer
from stream_kernel.testing.fake_process import ChildTraits
from virtual_clock import on_virtual_clock


@on_virtual_clock
@pytest.mark.parametrize("exit_comes_first", [False, True])
async def test_a_reply_longer_than_a_read_is_taken_to_its_end_after_the_death(exit_comes_first: bool) -> None:
    async with EngineOnFakes(traits=ChildTraits(exit_comes_first=exit_comes_first, chunk_bytes=64)) as fakes:
        ticket = fakes.submit("c", "x" * 1000)
        child = fakes.latest
        await child.next_command()
        child.answer()
        child.die(signal="SIGKILL")
        outcome = await ticket.future
        assert isinstance(outcome, Answer)
        assert [bytes(emission.packed.data) for emission in outcome.emissions] == [b'"' + b"x" * 1000 + b'"']
