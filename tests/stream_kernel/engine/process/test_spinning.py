"""Which workers may poll before they sleep, and how many CPUs there are for that."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from engine_on_fakes import EngineOnFakes, fake_config
from stream_kernel.engine.process import spinning
from stream_kernel.engine.process.spinning import cpu_quota, spinning_workers, usable_cpus
from stream_kernel.testing import FakeChild


def cpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(spinning, "usable_cpus", lambda: count)


def spins(workers: int) -> dict[str, int]:
    return {"workers": workers, "spin_microseconds": 50}


def told(child: FakeChild) -> int:
    assert child.bootstrap is not None
    return child.bootstrap.limits.spin_microseconds


@pytest.mark.parametrize(
    ("count", "a", "b"),
    [
        (9, {0, 1, 2}, {0, 1}),
        (6, {0, 1, 2}, {0, 1}),
        (5, {0, 1}, {0, 1}),
        (4, {0, 1}, {0}),
        (2, {0}, set()),
        (1, set(), set()),
        (0, set(), set()),
    ],
)
def test_one_cpu_is_left_for_the_parent_and_each_group_has_its_share(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, count: int, a: set[int], b: set[int]
) -> None:
    cpus(monkeypatch, count)
    config = fake_config({"a": spins(3), "sleeps": {"workers": 4}, "b": spins(2)})
    assert spinning_workers(config) == {"a": a, "sleeps": set(), "b": b}
    chosen = len(a) + len(b)
    said = f"{chosen} of 5 workers poll before they sleep; this process may use {count} CPUs, of which one is left for itself"
    assert [record.getMessage() for record in caplog.records] == ([] if chosen == 5 else [f"spin_microseconds: {said}"])
    assert {record.levelno for record in caplog.records} <= {logging.WARNING}


def test_where_no_worker_is_to_poll_nobody_counts_cpus(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delattr(spinning, "usable_cpus")
    assert spinning_workers(fake_config()) == {"g": set()}
    assert not caplog.records


async def test_workers_are_told_whether_to_poll_and_their_replacements_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus(monkeypatch, 2)
    async with EngineOnFakes({"g": spins(2)}) as fakes:
        first, second = fakes.launch.children
        assert (told(first), told(second)) == (50, 0)
        first.die(signal="SIGKILL")
        successor = await fakes.launch.child(3)
        await successor.told("bootstrap")
        assert (successor.worker_id, told(successor)) == ("g#0", 50)


def test_what_is_usable_is_what_this_process_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "cpu_quota", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5})
    assert usable_cpus() == 3


@pytest.mark.parametrize(("quota", "count"), [(8.0, 3), (2.0, 2), (1.99, 1), (0.5, 0)])
def test_a_quota_counts_in_whole_cpus(monkeypatch: pytest.MonkeyPatch, quota: float, count: int) -> None:
    monkeypatch.setattr(spinning, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5})
    assert usable_cpus() == count


def files(root: Path, **texts: str) -> Path:
    """Files under `root`, by path with `__` for `/`."""
    for name, text in texts.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_least_quota_from_the_own_cgroup_upwards_counts(tmp_path: Path) -> None:
    root = files(tmp_path, proc__self__cgroup="0::/outer/inner\n")
    assert cpu_quota(root) is None
    (root / "sys/fs/cgroup/outer/inner").mkdir(parents=True)
    (root / "sys/fs/cgroup/outer/inner/cpu.max").write_text("max 100000\n")
    assert cpu_quota(root) is None
    (root / "sys/fs/cgroup/outer/cpu.max").write_text("250000 100000\n")
    (root / "sys/fs/cgroup/cpu.max").write_text("400000 100000\n")
    assert cpu_quota(root) == 2.5


def test_a_container_that_shows_its_own_cgroup_only_has_the_quota_at_the_root(tmp_path: Path) -> None:
    root = files(tmp_path, proc__self__cgroup="0::/docker/of/the/host\n", sys__fs__cgroup__cpu_max="")
    (root / "sys/fs/cgroup/cpu.max").write_text("150000 100000\n")
    assert cpu_quota(root) == 1.5


def test_the_first_version_of_cgroups_has_quotas_too(tmp_path: Path) -> None:
    root = files(tmp_path, proc__self__cgroup="4:memory:/m\n2:cpu,cpuacct:/c\n0::/\n")
    folder = root / "sys/fs/cgroup/cpu,cpuacct/c"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(root) is None
    (folder / "cpu.cfs_quota_us").write_text("300000\n")
    assert cpu_quota(root) == 3.0


def test_where_there_are_no_cgroups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
