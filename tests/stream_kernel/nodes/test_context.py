"""A context can be built in a user's test, and says what a node may know."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import pytest

from stream_kernel import NodeContext


def test_every_argument_has_a_default() -> None:
    ctx = NodeContext()
    assert (ctx.trace_id, ctx.reply_to, ctx.run_id, ctx.scenario_id, ctx.group, ctx.worker_index, ctx.node) == (
        None,
        None,
        "",
        "",
        "",
        0,
        "",
    )
    assert ctx.meta == {} and ctx.meta is not NodeContext().meta
    assert ctx.remaining_seconds() == math.inf


def test_the_remaining_time_is_never_negative() -> None:
    assert 0 < NodeContext(deadline=time.monotonic() + 60).remaining_seconds() <= 60
    assert NodeContext(deadline=time.monotonic() - 1).remaining_seconds() == 0


def test_log_records_carry_the_correlation(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    NodeContext(node="score", trace_id="t", run_id="r").log.info("hello")
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("stream_kernel.node.score", "hello")
    assert (record.__dict__["trace_id"], record.__dict__["run_id"]) == ("t", "r")


@pytest.mark.fault("FAULT-34")
def test_its_repr_shows_no_meta() -> None:
    ctx = NodeContext(node="n", group="g", trace_id="t", meta={"password": "hunter2"})
    assert repr(ctx) == "NodeContext(node='n', group='g', trace_id='t')"
    assert list(ctx.__rich_repr__()) == [("node", "n"), ("group", "g"), ("trace_id", "t")]


def test_no_meta_is_an_empty_one_and_two_contexts_are_never_the_same() -> None:
    fields: dict[str, Any] = {"meta": None}
    ctx = NodeContext(**fields)
    assert ctx.meta == {} and ctx != NodeContext() and len({ctx, NodeContext()}) == 2
