"""Events are frozen records."""

from __future__ import annotations

import pytest

from stream_kernel.observability.events import LifecycleEvent


def test_an_event_is_frozen_and_what_does_not_apply_is_none() -> None:
    event = LifecycleEvent(kind="worker_spawned", group="g", worker_id="g-0", generation=1, time=1.0, monotonic=2.0)
    assert (event.pid, event.mode, event.reason, event.exit) == (None, None, None, None)
    with pytest.raises(AttributeError):
        event.pid = 7  # type: ignore[misc]
