"""The steps from a line to its decision, in the order in which an attempt takes them.

A line that is malformed, and an attempt whose id is known, skip what lies between them and `format_decision`. All state is in the two
nodes of the policy group, so that group alone has to see every attempt, in order.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import blake2b
from typing import Any

from stream_kernel import NodeContext, node
from stream_kernel.examples.fund_load.amounts import EXACT
from stream_kernel.examples.fund_load.messages import (
    CanonicalAttempt,
    ClassifiedAttempt,
    DatedAttempt,
    Decision,
    LoadAttempt,
    Verdict,
    WeightedAttempt,
)
from stream_kernel.examples.fund_load.parsing import parse_line
from stream_kernel.examples.fund_load.policy import Limits, amount_setting, count_setting
from stream_kernel.examples.fund_load.primes import is_prime
from stream_kernel.examples.fund_load.windows import Windows

_MONDAY = 0


@node(name="parse_load_attempt", emits=[LoadAttempt, Decision], idempotent=True)
def parse_load_attempt(message: str, ctx: NodeContext) -> LoadAttempt | Decision:
    """Read one line."""
    return parse_line(message)


@node(name="compute_time_keys", consumes=[LoadAttempt], emits=[DatedAttempt], idempotent=True)
def compute_time_keys(message: LoadAttempt, ctx: NodeContext) -> DatedAttempt:
    """Find the day and the week of an attempt, both in UTC."""
    day = message.time.date()
    return DatedAttempt(**vars(message), day=day, week=day - timedelta(days=day.weekday()))


@node(name="classify_id", consumes=[DatedAttempt], emits=[ClassifiedAttempt], idempotent=True)
def classify_id(message: DatedAttempt, ctx: NodeContext) -> ClassifiedAttempt:
    """Find out whether the id is a prime number."""
    return ClassifiedAttempt(**vars(message), is_prime=is_prime(message.id))


@node(name="apply_monday_factor", consumes=[ClassifiedAttempt], emits=[WeightedAttempt], idempotent=True)
class ApplyMondayFactor:
    """Multiply the amounts of Mondays by `factor`."""

    def __init__(self, *, factor: int = 1) -> None:
        self._factor = count_setting("nodes.apply_monday_factor.factor", factor)

    def __call__(self, message: ClassifiedAttempt, ctx: NodeContext) -> WeightedAttempt:
        factor = self._factor if message.day.weekday() == _MONDAY else 1
        return WeightedAttempt(**vars(message), effective_amount=EXACT.multiply(message.amount, factor))


@node(name="check_idempotency", consumes=[WeightedAttempt], emits=[CanonicalAttempt, Decision], stateful=True)
class CheckIdempotency:
    """Let the first attempt with an id pass, and decline every other: what follows never sees them."""

    def __init__(self) -> None:
        self._content_of: dict[str, bytes] = {}

    def __call__(self, message: WeightedAttempt, ctx: NodeContext) -> CanonicalAttempt | Decision:
        # A digest, because it is kept for every id of the run, and customers and amounts may have any length.
        text = f"{message.customer_id} {message.amount} {message.time.isoformat()}"
        content = blake2b(text.encode(), digest_size=16).digest()
        known = self._content_of.get(message.id)
        if known is None:
            self._content_of[message.id] = content
            return CanonicalAttempt(**vars(message))
        return Decision(message.id, message.customer_id, Verdict.REPLAY if known == content else Verdict.CONFLICT)


@node(name="evaluate_policies", consumes=[CanonicalAttempt], emits=[Decision], stateful=True)
class EvaluatePolicies:
    """Decide by the limits and by what was decided before."""

    def __init__(
        self,
        *,
        daily_attempts: int = 3,
        daily_amount: str = "5000.00",
        weekly_amount: str = "20000.00",
        prime_amount: str | None = None,
        prime_accepted_per_day: int | None = None,
    ) -> None:
        """Without the last two there are no rules for primes."""
        path = "nodes.evaluate_policies"
        per_day = prime_accepted_per_day
        self._limits = Limits(
            daily_attempts=count_setting(f"{path}.daily_attempts", daily_attempts),
            daily_amount=amount_setting(f"{path}.daily_amount", daily_amount),
            weekly_amount=amount_setting(f"{path}.weekly_amount", weekly_amount),
            prime_amount=None if prime_amount is None else amount_setting(f"{path}.prime_amount", prime_amount),
            prime_accepted_per_day=None if per_day is None else count_setting(f"{path}.prime_accepted_per_day", per_day),
        )
        self._windows = Windows()

    def __call__(self, message: CanonicalAttempt, ctx: NodeContext) -> Decision:
        totals = self._windows.enter(message)
        verdict = self._limits.verdict(message, totals)
        if verdict is Verdict.ACCEPTED:
            self._windows.accept(message, totals)
        return Decision(message.id, message.customer_id, verdict)


@node(name="format_decision", consumes=[Decision], idempotent=True)
def format_decision(message: Decision, ctx: NodeContext) -> dict[str, Any]:
    """Make the output record, its keys in this order."""
    return {"id": message.id, "customer_id": message.customer_id, "accepted": message.verdict is Verdict.ACCEPTED}
