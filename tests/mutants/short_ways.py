"""Mutants of what makes a call fast: each short way may be taken only where it gives what the long one would."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["SHORT_WAYS"]

_BULK = "engine/test_bulk.py"
_PLAIN = "protocol/test_plain.py"
_LENT = "platform/services/lent_loop.py"
_LENT_TESTS = "platform/services/test_lent_loop.py"

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
        "the-main-thread-borrows-the-loop",
        "a thread that signal handlers interrupt never works with the engine",
        "platform/services/loop_thread.py",
        "        return threading.get_ident() != threading.main_thread().ident\n",
        "        return True\n",
        ("faults/test_facade.py",),
    ),
    Mutant(
        "nobody-borrows-the-loop",
        "a call of another thread is begun by that thread where the loop sleeps",
        "platform/services/loop_thread.py",
        "        if not (self._is_begun_here and loop.borrow(self._start)):\n",
        "        if not self._is_begun_here or True:\n",
        ("faults/test_facade.py",),
    ),
    Mutant(
        "a-borrowers-callback-waits",
        "the loop wakes for what a borrower has left to it",
        _LENT,
        "        self._has_more = True\n        return super().call_soon(",
        "        return super().call_soon(",
        (_LENT_TESTS,),
    ),
    Mutant(
        "a-borrowers-timer-waits",
        "the loop wakes for a timer of a borrower that is due before it wakes by itself",
        _LENT,
        "        if when < self._bed.until:\n",
        "        if when < 0:\n",
        (_LENT_TESTS,),
    ),
    Mutant(
        "every-timer-of-a-borrower-wakes-the-loop",
        "a deadline that is far away does not wake the loop",
        _LENT,
        "        if when < self._bed.until:\n",
        "        if when:\n",
        (_LENT_TESTS,),
    ),
    Mutant(
        "a-loop-that-is-awake-is-lent",
        "one thread at a time works with the engine",
        _LENT,
        "            self.free.acquire()\n\n\ndef",
        "            self.until = inf\n\n\ndef",
        (_LENT_TESTS,),
    ),
)
