"""What a step that came to nothing is told to be, by what happened to it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stream_kernel.engine.base import Loss
from stream_kernel.engine.retrying import POISON, delivery_of, is_poison
from stream_kernel.engine.settlement import Failure, Step
from stream_kernel.reports import CommandReport, Delivery, FailureReport
from stream_kernel.routing.items import ItemFailure

__all__ = ["item_failure", "loss_of", "overloaded"]


def item_failure(step: Step, failed: ItemFailure, report: CommandReport) -> Failure:
    """Its group answered that it failed."""
    category, group, node, reason = failed.category, step.group, failed.node, failed.reason
    delivery: Delivery = "executed"
    if not failed.executed:
        delivery = "maybe_executed" if step.may_have_run else "not_executed"
    message = None
    if category == "input" and step.emitter is not None:
        # What a node gave does not fit the next one: that is the failure of the node that gave it.
        category, delivery = "execution", "executed"
        group, node = step.emitter
        reason = f"output of node '{node}' does not fit: {failed.reason}"
    elif category == "input":
        message = f"input {step.root}: {reason}"
    return Failure(
        place=step.place,
        root=step.root,
        category=category,
        delivery=delivery,
        follows=step.emitter is not None,
        group=group,
        trace_id=step.item.trace_id,
        reply_to=step.item.reply_to,
        node=node,
        message=message,
        correlation_id=report.correlation_id,
        report=FailureReport(
            reason=reason,
            node=node,
            input_index=step.root,
            exception_type=failed.exception_type,
            detail=failed.detail,
            commands=(report,),
        ),
    )


def loss_of(part: Sequence[Step], index: int, loss: Loss) -> Failure:
    """The one at `index` was in a command that was lost."""
    step, at_work = part[index], loss.at_work
    delivery = delivery_of(index, loss)
    report = FailureReport(
        reason=POISON if is_poison(step) else loss.reason,
        node=None if at_work is None else at_work.node,
        input_index=None if at_work is None else part[at_work.index].root,
        is_poison=is_poison(step),
        exit=loss.exit,
        commands=(loss.report,),
    )
    node = at_work.node if at_work is not None and at_work.index == index else None
    before = step.lost_before
    if before is not None and report.exit is None and report.node is None:
        node, report = before.node, _with_earlier_loss(report, before.report)
    return Failure(
        place=step.place,
        root=step.root,
        category=loss.category,
        delivery="maybe_executed" if delivery == "not_executed" and step.may_have_run else delivery,
        follows=step.emitter is not None,
        group=step.group,
        trace_id=step.item.trace_id,
        reply_to=step.item.reply_to,
        node=node,
        correlation_id=loss.report.correlation_id,
        report=report,
    )


def overloaded(step: Step) -> Failure:
    """It found no room in the queue."""
    return Failure(
        place=step.place,
        root=step.root,
        category="transport",
        delivery="not_executed",
        group=step.group,
        trace_id=step.item.trace_id,
        reply_to=step.item.reply_to,
        node=step.item.target,
        report=FailureReport(reason="the queue of the group is full", node=step.item.target, input_index=step.root),
        is_overloaded=True,
    )


def _with_earlier_loss(report: FailureReport, earlier: FailureReport) -> FailureReport:
    """What ended it in the end says nothing of a worker: what was to be run again was lost with one before, and that is the cause."""
    return msgspec.structs.replace(
        earlier,
        reason=f"{report.reason}; it was to be run again after its worker was lost: {earlier.reason}",
        commands=(*earlier.commands, *report.commands),
    )
