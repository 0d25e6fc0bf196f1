"""The checker finds what it is there to find: a history that keeps every rule passes, and one broken rule is named alone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.campaign.checker import Answered, LoopLag, check, wrong_in
from tests.campaign.figures import deaths_noticed, faults_by_kind, lateness, replacements, spread_of
from tests.campaign.history import Call, GroupRule, History, Incarnation, ItemFate, Lag, Leftovers, Strike, answer_of, read_journals
from tests.campaign.processes import MARK, marked, stat_of, strike

from waiting import until

RULES = {
    "plain": GroupRule(),
    "again": GroupRule(executions=4),
    "keeper": GroupRule(is_stateful=True),
    "doomed": GroupRule(may_fail=True),
}


def call_of(number: int, group: str = "plain", *, orders: tuple[str, ...] = ("work",), inputs: int = 1, **fields: object) -> Call:
    """A call with a result, settled in time; its tokens start at a hundred times its number."""
    call = Call(number, group, orders, number * 100, inputs, "raise", started=10.0, deadline=11.0)
    call.settlements, call.settled, call.outcome = 1, 10.5, "result"
    for name, value in fields.items():
        setattr(call, name, value)
    return call


def history_of(*calls: Call, executions: dict[int, int] | None = None) -> History:
    """These calls, every input of which ran once unless `executions` says otherwise."""
    ran = {token: 1 for call in calls for token in call.tokens}
    ran.update(executions or {})
    return History(rules=RULES, calls=list(calls), executions={token: count for token, count in ran.items() if count})


def broken_rules(history: History) -> list[str]:
    return [broken.rule for broken in check(history)]


def test_a_history_that_keeps_every_rule_passes() -> None:
    history = history_of(
        call_of(1),
        call_of(2, outcome="timeout", delivery="maybe_executed", settled=11.04),
        call_of(3, outcome="transport", delivery="not_executed"),
        call_of(4, outcome="cancelled", cancelled=True),
        call_of(5, "again"),
        call_of(6, "doomed", outcome="transport", delivery="not_executed", at_once=True, settled=10.01),
        call_of(7, inputs=3, orders=("work", "fail", "work"), fates=(ItemFate(1, "execution", "executed"),)),
        call_of(8, orders=("exit",), outcome="transport", delivery="maybe_executed"),
        executions={300: 0, 500: 4, 600: 0},
    )
    history.incarnations = [Incarnation("plain", "plain#0", 1, 77, 1.0, 2.0, 3.0, endings=1)]
    history.restarts = {"keeper": [5.0], "doomed": [6.0]}
    history.lives = {"keeper": [1, 1, 2, 2]}
    assert check(history) == []


LATE = "settled within deadline + 50 ms"
ONCE = "every call is settled exactly once"
RIGHT = "answers are right, and for the right caller"
TRACE = "what was not executed left no trace"
OFTEN = "nothing ran more often than allowed"
AT_ONCE = "a failed group answers at once"

BROKEN: dict[str, tuple[str, Callable[[], History]]] = {
    "a call that was never settled": (ONCE, lambda: history_of(call_of(1, settlements=0, outcome=""))),
    "a call that was settled twice": (ONCE, lambda: history_of(call_of(1, settlements=2))),
    "an exception that no call may raise": (ONCE, lambda: history_of(call_of(1, outcome="KeyError('x')"))),
    "a cancellation that nobody asked for": (ONCE, lambda: history_of(call_of(1, outcome="cancelled"))),
    "a wrong output": (RIGHT, lambda: history_of(call_of(1, wrong="1 outputs for 2 inputs"))),
    "a result of what never ran": (RIGHT, lambda: history_of(call_of(1), executions={100: 0})),
    "a result of a node that died": (RIGHT, lambda: history_of(call_of(1, orders=("segv",)))),
    "a call not executed that ran": (TRACE, lambda: history_of(call_of(1, outcome="timeout", delivery="not_executed"))),
    "an input not executed that ran": (TRACE, lambda: history_of(call_of(1, fates=(ItemFate(0, "transport", "not_executed"),)))),
    "an input executed that never ran": (
        TRACE,
        lambda: history_of(call_of(1, fates=(ItemFate(0, "execution", "executed"),)), executions={100: 0}),
    ),
    "an input that ran twice": (OFTEN, lambda: history_of(call_of(1), executions={100: 2})),
    "an idempotent input that ran once more than retries allow": (OFTEN, lambda: history_of(call_of(1, "again"), executions={100: 5})),
    "a poisonous input that was tried a third time": (
        OFTEN,
        lambda: history_of(call_of(1, "again", orders=("exit",), outcome="transport", delivery="maybe_executed"), executions={100: 3}),
    ),
    "a token that nobody gave": ("nothing ran that was not asked for", lambda: history_of(call_of(1), executions={999: 1})),
    "a call settled too late": (LATE, lambda: history_of(call_of(1, outcome="timeout", delivery="maybe_executed", settled=11.051))),
    "a result that came too late": (LATE, lambda: history_of(call_of(1, settled=11.2))),
    "a failed group that lets its callers wait": (
        AT_ONCE,
        lambda: history_of(
            call_of(1, "doomed", at_once=True, outcome="transport", delivery="not_executed", settled=10.06), executions={100: 0}
        ),
    ),
    "a failed group that answers with something else": (
        AT_ONCE,
        lambda: history_of(call_of(1, "doomed", at_once=True, settled=10.01)),
    ),
}


@pytest.mark.parametrize(("rule", "make"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_of_a_call_is_named_and_no_other(rule: str, make: Callable[[], History]) -> None:
    assert broken_rules(make()) == [rule]


def test_an_incarnation_that_never_ended_or_ended_twice_is_named() -> None:
    history = history_of()
    history.incarnations = [Incarnation("plain", "plain#0", 1, 77, 1.0), Incarnation("plain", "plain#0", 2, 78, 1.0, endings=2)]
    assert broken_rules(history) == ["every incarnation ended, once"] * 2


def test_a_group_that_failed_for_no_reason_is_named() -> None:
    history = history_of()
    history.restarts = {"plain": [1.0], "again": []}
    assert broken_rules(history) == ["no group failed but those driven there"]


def test_a_stateful_group_with_another_process_and_no_restart_is_named() -> None:
    history = history_of()
    history.restarts = {"keeper": [1.0]}
    history.lives = {"keeper": [1, 2, 2, 3]}
    assert broken_rules(history) == ["state is never replaced in silence"]


@pytest.mark.parametrize("kind", ["processes", "descriptors", "threads", "tasks"])
def test_what_is_left_over_is_named(kind: str) -> None:
    history = history_of()
    history.left = Leftovers(**{kind: ["something"]})
    assert [(broken.rule, broken.text) for broken in check(history)] == [("nothing is left over", f"{kind}: something")]


def test_an_error_of_the_parent_is_named() -> None:
    history = history_of()
    history.complaints = ["asyncio: Task exception was never retrieved"]
    assert broken_rules(history) == ["the parent had no error of its own"]


def test_only_the_lateness_of_the_loop_after_the_deadline_is_taken_off() -> None:
    late = call_of(1, outcome="timeout", delivery="maybe_executed", settled=11.2)
    history = history_of(late)
    history.lags = [Lag(10.0, 11.05), Lag(11.06, 11.14), Lag(11.15, 30.0)]
    assert broken_rules(history) == []
    history.lags = [Lag(10.0, 11.0), Lag(11.2, 30.0)]
    assert broken_rules(history) == [LATE]


def test_the_lag_within_a_window_is_what_overlaps_it() -> None:
    lag = LoopLag([Lag(1.0, 2.0), Lag(3.0, 4.0), Lag(6.0, 7.0)])
    assert [lag.within(*window) for window in ((1.5, 3.5), (2.0, 3.0), (0.0, 9.0), (3.25, 3.5))] == [1.0, 0.0, 3.0, 0.25]


def answered(token: int, **other: object) -> Answered:
    right: dict[str, object] = {"trace_id": f"t{token}", "reply_to": f"t{token}", "token": token, "value": answer_of(token)}
    return Answered(**{**right, **other})  # type: ignore[arg-type]


def test_outputs_that_are_right_and_in_order_pass() -> None:
    assert wrong_in([1, 2], [answered(1), answered(2)]) == ""


@pytest.mark.parametrize(
    "outputs",
    [
        [answered(1)],
        [answered(1), answered(2), answered(2)],
        [answered(2), answered(1)],
        [answered(1), answered(3)],
        [answered(1), answered(2, trace_id="t1")],
        [answered(1), answered(2, reply_to=None)],
        [answered(1), answered(2, value=0)],
    ],
    ids=["too few", "too many", "out of order", "of another call", "trace of another", "nobody's", "wrong value"],
)
def test_outputs_that_are_wrong_are_told(outputs: list[Answered]) -> None:
    assert wrong_in([1, 2], outputs) != ""


def test_journals_of_all_workers_are_counted_together(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("7\n8\n")
    (tmp_path / "2").write_text("8\n")
    assert read_journals(tmp_path) == {7: 1, 8: 2}


# -- figures


def test_a_spread_gives_times_that_were_measured() -> None:
    spread = spread_of(float(number) for number in range(101))
    assert (spread.count, spread.p50, spread.p99, spread.most) == (101, 50.0, 99.0, 100.0)
    assert spread_of([]).count == 0


def test_a_death_is_matched_with_the_call_that_its_worker_had() -> None:
    history = history_of(
        call_of(1, outcome="transport", delivery="maybe_executed", lost_pid=77, settled=10.3),
        call_of(2, outcome="transport", delivery="maybe_executed", lost_pid=78, settled=10.4),
    )
    history.strikes = [
        Strike(10.25, "kill", "plain", "plain#0", 1, 77, is_busy=True),
        Strike(10.1, "stop", "plain", "plain#1", 1, 78, True),
    ]
    history.lags = [Lag(10.26, 10.28)]
    assert deaths_noticed(history, ["plain"], without_lag=False).p99 == pytest.approx(0.05)
    assert deaths_noticed(history, ["plain"], without_lag=True).p99 == pytest.approx(0.03)
    assert deaths_noticed(history, ["again"], without_lag=True).count == 0


def test_a_replacement_is_measured_from_the_death_of_the_one_before() -> None:
    history = history_of()
    history.strikes = [Strike(10.0, "kill", "plain", "plain#0", 1, 77, is_busy=False)]
    history.incarnations = [
        Incarnation("plain", "plain#0", 1, 77, 1.0, 1.5, 10.0, 1),
        Incarnation("plain", "plain#0", 2, 78, 10.02, 10.2, 11.0, 1),
    ]
    found = replacements(history)
    assert [found.to_spawned.p99, found.to_ready.p99, found.starts.most] == pytest.approx([0.02, 0.2, 0.5])


def test_faults_are_those_that_came_about() -> None:
    history = history_of(
        call_of(1, orders=("exit",)), call_of(2, orders=("segv",)), call_of(3, "doomed", orders=("exit",)), executions={200: 0}
    )
    history.strikes = [Strike(10.0, "kill", "plain", "plain#0", 1, 77, is_busy=False)]
    assert dict(+faults_by_kind(history, ["exit", "segv"])) == {"kill": 1, "exit": 1}


def test_lateness_is_measured_after_the_deadline_alone() -> None:
    assert lateness(history_of(call_of(1), call_of(2, settled=11.02))).most == pytest.approx(0.02)


# -- processes


def test_only_the_child_that_was_aimed_at_is_hit() -> None:
    with subprocess.Popen(["/bin/sleep", "60"], env={MARK: "of-this-test"}) as child:
        found = stat_of(child.pid)
        assert found is not None and found.parent == os.getpid()
        until(lambda: child.pid in marked("of-this-test"))  # its environment is there a moment after the process
        assert "sleep" in marked("of-this-test")[child.pid]
        assert strike(child.pid, signal.SIGKILL, found.started + 1) is None
        assert child.poll() is None
        assert strike(child.pid, signal.SIGKILL, found.started) == found.started
    assert child.returncode == -signal.SIGKILL
    assert strike(child.pid, signal.SIGKILL) is None
    assert marked("of-this-test") == {}


def test_a_process_that_is_no_child_is_never_hit() -> None:
    assert strike(os.getppid(), signal.SIGCONT) is None
