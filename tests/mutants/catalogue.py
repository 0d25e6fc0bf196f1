"""All mutants, by area."""

from __future__ import annotations

from tests.mutants.calls import AT_WORK, ENTRY, LOSSES
from tests.mutants.fan_out import FAN_OUT
from tests.mutants.mutant import Mutant
from tests.mutants.processes import BREADCRUMB, LIFELINE, PROCESSES
from tests.mutants.restarts import RESTARTS
from tests.mutants.short_ways import SHORT_WAYS
from tests.mutants.supervision import ENDINGS, FACADE, PINGS, REPLACEMENT
from tests.mutants.wire import PAYLOADS, PROTOCOL, SECRETS, STDERR, WIRE

__all__ = ["AREAS", "MUTANTS"]

AREAS: dict[str, tuple[Mutant, ...]] = {
    "The wire of a worker": WIRE,
    "Frames and their order": PROTOCOL,
    "Payloads that cannot travel": PAYLOADS,
    "What workers say on stderr": STDERR,
    "Secrets": SECRETS,
    "Processes and their trees": PROCESSES,
    "Workers die with their parent": LIFELINE,
    "What was at work": BREADCRUMB,
    "How a call enters": ENTRY,
    "Batches that are split": FAN_OUT,
    "A command at a worker": AT_WORK,
    "Short ways": SHORT_WAYS,
    "Lost workers": LOSSES,
    "Restarts": RESTARTS,
    "Replacement before retirement": REPLACEMENT,
    "Signs of life": PINGS,
    "The end": ENDINGS,
    "The two faces": FACADE,
}
MUTANTS: tuple[Mutant, ...] = tuple(mutant for mutants in AREAS.values() for mutant in mutants)
