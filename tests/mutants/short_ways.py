"""Mutants of what makes a call fast: each short way may be taken only where it gives what the long one would."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["SHORT_WAYS"]

_BULK = "engine/test_bulk.py"
_PLAIN = "protocol/test_plain.py"
_RUNNER = "nodes/test_runner.py"

SHORT_WAYS = (
    Mutant(
        "replies-are-acted-on-before-a-violation",
        "nothing is given to a worker while what came with its reply may be a violation",
        "engine/process/incarnation.py",
        "                self._has_answered = True\n",
        "                self._has_answered = True\n                self._on_pause()\n",
        ("engine/process/test_group.py::test_nothing_goes_again_after_a_violation_of_the_protocol",),
    ),
    Mutant(
        "bulk-of-several-nodes",
        "only inputs for one node go side by side",
        "engine/bulk.py",
        "    return [one.target for one in inputs].count(route.name) == count == ",
        "    return count == ",
        (_BULK,),
    ),
    Mutant(
        "bulk-forgets-meta",
        "inputs with meta do not go side by side",
        "engine/bulk.py",
        "    if any(map(_meta_of, inputs)):\n",
        "    if not inputs:\n",
        (_BULK,),
    ),
    Mutant(
        "bulk-takes-outputs-as-they-come",
        "outputs have the order of their inputs, whatever a worker sends",
        "engine/bulk.py",
        " or columns.index != sorted(columns.index)",
        "",
        (_BULK,),
    ),
    Mutant(
        "next-hop-of-a-bulk-misses-one",
        "what goes on side by side is one output of each input",
        "engine/bulk.py",
        " or columns.index != list(range(len(given.payload)))",
        "",
        (_BULK,),
    ),
    Mutant(
        "large-values-are-trusted",
        "a large value is looked through like a small one",
        "protocol/plain.py",
        "        if not kinds <= PLAIN_TYPES:\n",
        "        if not kinds:\n",
        (_PLAIN,),
    ),
    Mutant(
        "large-floats-are-trusted",
        "a NaN in a large value is refused",
        "protocol/plain.py",
        "        if may_lose_floats and float in kinds and ",
        "        if not kinds and ",
        (_PLAIN,),
    ),
    Mutant(
        "small-results-keep-their-buffer",
        "a small result holds no more memory than it needs",
        "protocol/plain.py",
        " if len(data) < _BUFFER else data",
        " if not data else data",
        (_PLAIN,),
    ),
    Mutant(
        "ctrl-c-forgets-a-call-without-a-task",
        "Ctrl-C cancels a call that needed no task",
        "platform/services/loop_thread.py",
        "            self._ticket.cancel()\n",
        "            pass\n",
        ("faults/test_facade.py",),
    ),
    Mutant(
        "known-way-without-end",
        "a chain that is too long ends on a known way, too",
        "nodes/outputs.py",
        " or not (way.terminal or steps < self._max_hops)",
        "",
        (_RUNNER,),
    ),
    Mutant(
        "known-way-forgets-what-is-its-own",
        "what says something of its own takes no known way",
        "nodes/outputs.py",
        "            if output.trace_id is not None or output.reply_to is not None or output.meta or output.type is not None:\n",
        "            if output.type is not None:\n",
        (_RUNNER,),
    ),
    Mutant(
        "known-way-past-a-wrong-type",
        "a type that an output claims is looked at, known way or not",
        "nodes/outputs.py",
        " or output.type is not None:\n",
        ":\n",
        (_RUNNER,),
    ),
    Mutant(
        "known-way-past-local-consumers",
        "only what goes to no node of the group takes a known way",
        "nodes/outputs.py",
        "            if event is None and not local:\n",
        "            if event is None:\n",
        (_RUNNER,),
    ),
    Mutant(
        "list-is-one-output",
        "a list that a node gives is several outputs, whatever is in it",
        "nodes/outputs.py",
        " and key is not list:\n",
        ":\n",
        (_RUNNER,),
    ),
    Mutant(
        "no-way-is-known",
        "what goes on to other groups needs no emission once its way is known",
        "nodes/outputs.py",
        "                _learn(work, output, emission)\n",
        "                pass\n",
        (_RUNNER,),
    ),
    Mutant(
        "known-ways-all-end",
        "what takes a known way goes on or ends as the way says",
        "worker/reply.py",
        "        (self._terminal if way.terminal else self._onward).add_plain",
        "        self._terminal.add_plain",
        ("worker/test_reply.py",),
    ),
    Mutant(
        "last-way-for-all-that-follow",
        "outputs of different nodes, types, or targets are told apart in a reply",
        "protocol/columns.py",
        "        if last is None or last.node != node or last.tag != tag or last.target != target:\n",
        "        if last is None:\n",
        ("protocol/test_columns.py",),
    ),
    Mutant(
        "map-starves-a-chain",
        "`map` keeps a batch at work for each worker of all groups that its target leads to",
        "platform/services/async_supervisor.py",
        " if home == group.name or home in upstream(group.name)) + 1",
        " if home == group.name or home is upstream) + 1",
        ("platform/services/test_call_and_map.py",),
    ),
)
