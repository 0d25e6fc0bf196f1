"""Mutants of restarts: what counts of the deaths of workers, when a lost one is replaced, and when its group is given up."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["RESTARTS"]

_GROUP = "engine/process/test_group.py"
_RESTART = "engine/process/test_restart.py"

RESTARTS = (
    Mutant(
        "no-intensity",
        "a group whose workers die too often is given up",
        "engine/process/restart.py",
        "        if len(self._deaths) > self._config.intensity:\n",
        "        if len(self._deaths) < 0:\n",
        (_RESTART,),
    ),
    Mutant(
        "intensity-is-one-less",
        "more deaths than the intensity fail a group, as many do not",
        "engine/process/restart.py",
        "        if len(self._deaths) > self._config.intensity:\n",
        "        if len(self._deaths) >= self._config.intensity:\n",
        (_RESTART,),
    ),
    Mutant(
        "deaths-are-never-forgotten",
        "deaths older than the period do not count",
        "engine/process/restart.py",
        "        while self._deaths[0] <= now - self._config.period_seconds:\n",
        "        while self._deaths[0] < 0:\n",
        (_RESTART,),
    ),
    Mutant(
        "no-backoff",
        "further replacements wait longer and longer",
        "engine/process/restart.py",
        "        return Replace(0.0 if in_row == 1 else self._jitter(0.0, bound))\n",
        "        return Replace(0.0)\n",
        (_RESTART,),
    ),
    Mutant(
        "first-replacement-waits",
        "the first replacement comes at once",
        "engine/process/restart.py",
        "Replace(0.0 if in_row == 1 else self._jitter(0.0, bound))",
        "Replace(self._jitter(0.0, bound))",
        (_RESTART,),
    ),
    Mutant(
        "health-is-not-honoured",
        "a worker that has lived long starts over with its pause",
        "engine/process/restart.py",
        "if end is not None and end.uptime_seconds >= _HEALTHY_SECONDS:",
        "if end is not None and end.uptime_seconds < 0:",
        (_RESTART,),
    ),
    Mutant(
        "inflicted-deaths-count",
        "deaths that we inflict never count",
        "engine/process/group.py",
        "            return self._policy.after_inflicted(end.exit)\n",
        "            return self._policy.after_death(slot.index, now, end.exit)\n",
        (_GROUP,),
    ),
    Mutant(
        "poison-counts-twice",
        "the death that shows an input to be poison says nothing of the health of its group",
        "engine/process/slot.py",
        "self._killed_for is not None or (burial is not None and burial.was_on_trial)",
        "self._killed_for is not None",
        (_GROUP,),
    ),
    Mutant(
        "start-remembers-the-deaths-before",
        "a group that is started again begins with nothing counted",
        "engine/process/group.py",
        "        self._policy.forget()\n        self.spawn()\n",
        "        self.spawn()\n",
        (_GROUP,),
    ),
    Mutant(
        "restart-remembers-the-deaths-before",
        "a restart from scratch begins with nothing counted",
        "engine/process/group.py",
        "        self._policy.forget()\n        for slot in self._all():\n",
        "        for slot in self._all():\n",
        (_GROUP,),
    ),
    Mutant(
        "failed-boots-add-up",
        "boots that failed before a worker came up are forgotten",
        "engine/process/group.py",
        "        self._policy.became_ready(slot.index)\n",
        "",
        (_GROUP,),
    ),
    Mutant(
        "boots-without-end",
        "a worker that could not boot twice in a row before it was ever ready fails its group",
        "engine/process/restart.py",
        "        if not was_ever_ready and boots >= _BOOTS_BEFORE_FIRST_READY:\n",
        "        if not was_ever_ready and boots < 0:\n",
        (_RESTART,),
    ),
    Mutant(
        "one-boot-only",
        "a worker that could not boot is tried once more",
        "engine/process/restart.py",
        "_BOOTS_BEFORE_FIRST_READY = 2",
        "_BOOTS_BEFORE_FIRST_READY = 1",
        (_RESTART,),
    ),
    Mutant(
        "hanging-boots-are-far-apart",
        "replacements that cannot boot are given up however far apart they fail",
        "engine/process/restart.py",
        "        if boots > max(self._config.intensity, 1):",
        "        if boots < 0:",
        (_RESTART,),
    ),
    Mutant(
        "failed-group-keeps-its-queue",
        "a group that fails answers those who wait in its queue",
        "engine/process/group.py",
        '        self._drop_queue(f"the group has failed: {reason}")\n',
        "",
        (_GROUP,),
    ),
    Mutant(
        "failure-without-a-word",
        "a group is given up loudly",
        "engine/process/group.py",
        "        _logger.error(\"group '%s' has failed: %s; restart_group('%s') starts afresh\", self.name, reason, self.name)\n",
        "",
        ("engine/process/test_group_gives_up.py",),
    ),
    Mutant(
        "run-stops-without-the-reason",
        "a run that a failed group stops says why it has failed",
        "execution/orchestration/stream_run.py",
        "failure, f\"group '{failure.group}' has failed: {why}\", report)",
        "failure, None, report)",
        ("execution/orchestration/test_stream_run.py::test_a_group_that_has_failed_ends_the_run_instead_of_every_line_that_is_left",),
    ),
    Mutant(
        "replacement-may-declare-anything",
        "a replacement whose nodes are not those of the workers before it is refused",
        "engine/process/group.py",
        "        if self.nodes and tuple(nodes) != self.nodes:\n",
        "        if self.nodes and not nodes:\n",
        (_GROUP,),
    ),
)
