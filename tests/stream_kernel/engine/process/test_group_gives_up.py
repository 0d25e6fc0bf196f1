"""A group that is given up says so where an operator looks."""

from __future__ import annotations

import asyncio
import logging

import pytest

from engine_on_fakes import EngineOnFakes
from virtual_clock import on_virtual_clock


@on_virtual_clock
async def test_a_group_is_given_up_loudly(caplog: pytest.LogCaptureFixture) -> None:
    async with EngineOnFakes({"g": {"restart": {"intensity": 1}}}) as fakes:
        for generation in (1, 2):
            await fakes.sink.wait_for("worker_ready", generation=generation)
            assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
            fakes.latest.die(exit_code=7)
            assert fakes.group().failure is None
        while fakes.group().state != "failed":
            await asyncio.sleep(0.01)
        why = "its workers died too often (process_groups.restart: more than 1 in 30 s), the last one: exit code 7"
        assert fakes.group().failure == why
    errors = [(record.name, record.getMessage()) for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == [
        (
            "stream_kernel.lifecycle",
            "group 'g' has failed: its workers died too often (process_groups.restart: more than 1 in 30 s), the last one: exit code 7; "
            "restart_group('g') starts afresh",
        )
    ]
