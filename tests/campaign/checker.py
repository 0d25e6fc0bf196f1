"""Holds a history against the rules. Pure functions: a history in, the broken rules out.

The rules: every call is settled exactly once; its outputs are right and its own; what was reported as not executed left no trace;
nothing ran more often than its group allows; every call is settled by its deadline and 50 ms, what the event loop was late not counted;
a failed group answers at once; state never goes on in silence; every incarnation of a worker ended, once; nothing is left; the parent
never complained.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec
from tests.campaign.history import Call, History, Lag, answer_of

__all__ = ["ALLOWANCE_SECONDS", "RULES", "Answered", "Broken", "LoopLag", "check", "wrong_in"]

ALLOWANCE_SECONDS = 0.05
"""How much later than its deadline a call may be settled, and how much time an answer at once may take."""

_OUTCOMES = frozenset({"result", "cancelled", "transport", "timeout", "execution", "input"})
_FATAL = frozenset(
    {"exit", "abort", "segv", "hang_python", "hang_c", "hang_sleep", "close_out", "close_out_lives", "garbage", "adopt_exit"}
)
"""Orders that end or block the worker before it can answer."""
_DEADLY = frozenset({"exit", "abort", "segv", "adopt_exit"})
"""Of these the ones that end it there and then, so that its death shows which input was at work."""


class Broken(msgspec.Struct, frozen=True):
    """One case of a broken rule."""

    rule: str
    text: str


class Answered(msgspec.Struct, frozen=True):
    """One output as its caller got it."""

    trace_id: str | None
    reply_to: str | None
    token: object
    value: object


class LoopLag:
    """When the event loop was late, to be taken off what it cannot be blamed for."""

    def __init__(self, lags: Sequence[Lag]) -> None:
        """`lags` do not overlap."""
        self._lags = sorted(lags, key=lambda lag: lag.began)
        self._ends = [lag.ended for lag in self._lags]

    def within(self, began: float, ended: float) -> float:
        """For how many seconds between two points the loop was late."""
        total = 0.0
        for lag in self._lags[bisect_left(self._ends, began) :]:
            if lag.began >= ended:
                break
            total += max(0.0, min(lag.ended, ended) - max(lag.began, began))
        return total


def wrong_in(tokens: Sequence[int], outputs: Sequence[Answered]) -> str:
    """What is wrong with the outputs for these tokens, in order; empty: nothing."""
    if len(outputs) != len(tokens):
        return f"{len(outputs)} outputs for {len(tokens)} inputs"
    for token, output in zip(tokens, outputs, strict=True):
        name = f"t{token}"
        if (output.trace_id, output.reply_to, output.token, output.value) != (name, name, token, answer_of(token)):
            return f"for token {token} came {output}"
    return ""


def settled_once(history: History) -> Iterator[str]:
    """Every call got one answer, of a kind that there is."""
    for call in history.calls:
        if call.settlements != 1:
            yield f"{_name(call)}: settled {call.settlements} times"
        elif call.outcome not in _OUTCOMES:
            yield f"{_name(call)}: ended with {call.outcome}"
        elif call.outcome == "cancelled" and not call.cancelled:
            yield f"{_name(call)}: cancelled, but not by its caller"


def right_answers(history: History) -> Iterator[str]:
    """Results are what was asked for, of work that was done."""
    for call in history.calls:
        if call.wrong:
            yield f"{_name(call)}: {call.wrong}"
        if call.outcome != "result":
            continue
        failed = {fate.index for fate in call.fates}
        for index, token in enumerate(call.tokens):
            if index in failed:
                continue
            if call.order(index) in _FATAL:
                yield f"{_name(call)}: a result of '{call.order(index)}', which cannot give one"
            if token not in history.executions:
                yield f"{_name(call)}: a result for token {token}, which never ran"


def unexecuted_untouched(history: History) -> Iterator[str]:
    """What was reported as not executed never ran; what failed in a node did."""
    for call in history.calls:
        if call.delivery == "not_executed":
            ran = [token for token in call.tokens if token in history.executions]
            if ran:
                yield f"{_name(call)}: not executed, it said, but tokens {ran[:5]} ran"
        for fate in call.fates:
            token = call.first_token + fate.index
            if fate.delivery == "not_executed" and token in history.executions:
                yield f"{_name(call)}: input {fate.index} was not executed, it said, but token {token} ran"
            elif fate.delivery == "executed" and token not in history.executions:
                yield f"{_name(call)}: input {fate.index} was executed, it said, but token {token} never ran"


def executed_at_most(history: History) -> Iterator[str]:
    """No input ran more often than its group allows, and none that kills its worker at once more than twice."""
    for call in history.calls:
        allowed = history.rules[call.group].executions
        for index, token in enumerate(call.tokens):
            limit = min(allowed, 2) if call.order(index) in _DEADLY else allowed
            if history.executions.get(token, 0) > limit:
                yield f"{_name(call)}: token {token} ('{call.order(index)}') ran {history.executions[token]} times, allowed are {limit}"


def known_tokens(history: History) -> Iterator[str]:
    """Nothing ran that nobody asked for."""
    asked = {token for call in history.calls for token in call.tokens}
    for token in history.executions:
        if token not in asked:
            yield f"token {token} ran, and no call had it"


def within_deadline(history: History) -> Iterator[str]:
    """Calls are settled by their deadlines, as far as the event loop allowed."""
    lag = LoopLag(history.lags)
    for call in history.calls:
        late = call.settled - call.deadline
        if call.settlements and late > ALLOWANCE_SECONDS:
            late -= lag.within(call.deadline, call.settled)
            if late > ALLOWANCE_SECONDS:
                yield f"{_name(call)}: settled {late * 1000:.1f} ms after its deadline"


def failed_groups_answer_at_once(history: History) -> Iterator[str]:
    """A call to a failed group is refused, and soon."""
    lag = LoopLag(history.lags)
    for call in history.calls:
        if not call.at_once or not call.settlements:
            continue
        took = call.settled - call.started - lag.within(call.started, call.settled)
        if took > ALLOWANCE_SECONDS:
            yield f"{_name(call)}: the failed group took {took * 1000:.1f} ms to answer"
        if (call.outcome, call.delivery) != ("transport", "not_executed"):
            yield f"{_name(call)}: the failed group answered with {call.outcome} {call.delivery}"


def only_driven_groups_fail(history: History) -> Iterator[str]:
    """A group fails when the campaign drives it there, or when it lost its state; the others never do."""
    for group, times in history.restarts.items():
        rule = history.rules[group]
        if times and not (rule.may_fail or rule.is_stateful):
            yield f"group '{group}' failed {len(times)} times"


def state_never_goes_on(history: History) -> Iterator[str]:
    """A stateful group has another process only after a restart that was asked for."""
    for group, pids in history.lives.items():
        changes = sum(before != after for before, after in pairwise(pids))
        if changes > len(history.restarts.get(group, ())):
            yield f"group '{group}': its process changed {changes} times, restarts were {len(history.restarts.get(group, ()))}"


def incarnations_ended(history: History) -> Iterator[str]:
    """Every process that was started ended, and was reported once."""
    for each in history.incarnations:
        if each.endings != 1:
            yield f"{each.worker_id} generation {each.generation} pid {each.pid}: {each.endings} ends"


def nothing_left(history: History) -> Iterator[str]:
    """Neither processes nor descriptors, threads and tasks stay behind."""
    for kind in history.left.__struct_fields__:
        for line in getattr(history.left, kind):
            yield f"{kind}: {line}"


def no_complaints(history: History) -> Iterator[str]:
    """Nothing went wrong in the parent itself."""
    yield from history.complaints


def _name(call: Call) -> str:
    orders = "/".join(sorted(set(call.orders)))
    return f"call {call.number} ({call.group}, {orders}, {call.inputs} inputs, {call.on_error}; {call.outcome} {call.delivery})"


RULES: Mapping[str, Callable[[History], Iterator[str]]] = {
    "every call is settled exactly once": settled_once,
    "answers are right, and for the right caller": right_answers,
    "what was not executed left no trace": unexecuted_untouched,
    "nothing ran more often than allowed": executed_at_most,
    "nothing ran that was not asked for": known_tokens,
    "settled within deadline + 50 ms": within_deadline,
    "a failed group answers at once": failed_groups_answer_at_once,
    "no group failed but those driven there": only_driven_groups_fail,
    "state is never replaced in silence": state_never_goes_on,
    "every incarnation ended, once": incarnations_ended,
    "nothing is left over": nothing_left,
    "the parent had no error of its own": no_complaints,
}


def check(history: History) -> list[Broken]:
    """Every case of a broken rule, in the order of the rules."""
    return [Broken(name, text) for name, rule in RULES.items() for text in rule(history)]
