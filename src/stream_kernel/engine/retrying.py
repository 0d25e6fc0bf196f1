"""What is run again after a worker was lost: only in groups whose nodes may run twice, and no input that was at work in two deaths."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from stream_kernel.engine.base import Loss
from stream_kernel.engine.settlement import Step
from stream_kernel.reports import Delivery

__all__ = ["POISON", "Aftermath", "after_loss", "delivery_of", "is_poison", "pause_before_retry"]

POISON = "poison: two workers died with this input at work, so it is not tried a third time"
_DEATHS_OF_POISON = 2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0


class Aftermath(msgspec.Struct, frozen=True):
    """What becomes of the steps of a command that was lost."""

    again: list[list[Step]]
    """To be run again, each list in a command of its own."""
    failed: list[Step]
    """Lost for good."""


def after_loss(part: Sequence[Step], loss: Loss, *, retries: int) -> Aftermath:
    """Decide for each step of a command, and take note in the steps of what may have run.

    The one that was at work goes alone from now on, so that it can harm no other; where nothing is known of that, each goes alone. The
    others of its command have done nothing wrong as far as can be seen, so that they are run again does not count. When they are lost once
    more, each of them goes alone too: one that harms its worker later than while it is at work can hide among others only once.
    """
    at = None if loss.at_work is None else loss.at_work.index
    may_repeat = retries > 0 and loss.category == "transport" and loss.report.delivery == "maybe_executed"
    suspects: list[Step] = []
    others: list[Step] = []
    for index, step in enumerate(part):
        step.losses += 1
        step.may_have_run = step.may_have_run or delivery_of(index, loss) != "not_executed"
        if at in (None, index):
            suspects.append(step)
            step.attempts += 1
            step.deaths += at is not None and loss.category == "transport" and not loss.is_inflicted
        else:
            others.append(step)
    if not may_repeat:
        return Aftermath([], list(part))
    failed = [step for step in suspects if step.attempts > retries or is_poison(step)]
    again = [[step] for step in suspects if step not in failed]
    first_time = [step for step in others if step.losses == 1]
    again = [*([first_time] if first_time else []), *[[step] for step in others if step.losses > 1], *again]
    return Aftermath(again, failed)


def is_poison(step: Step) -> bool:
    """Whether two workers died with it at work, of their own accord."""
    return step.deaths >= _DEATHS_OF_POISON


def delivery_of(index: int, loss: Loss) -> Delivery:
    """Whether node code ran for the item at `index` of a command that was lost: those before the one at work are done, those behind it have
    not begun.
    """
    if loss.at_work is None or loss.report.delivery != "maybe_executed" or index == loss.at_work.index:
        return loss.report.delivery
    return "executed" if index < loss.at_work.index else "not_executed"


def pause_before_retry(attempt: int, jitter: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds before the attempt (1 is the first repetition): at random, up to a bound that doubles."""
    return jitter(0.0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (attempt - 1)))
