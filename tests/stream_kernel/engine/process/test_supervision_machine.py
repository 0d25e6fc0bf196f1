"""The supervisor under everything that its workers and its callers can do, in every order, in virtual time.

`SUPERVISION_EXAMPLES=5000` makes a long run of it, `--hypothesis-seed=N` another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream_kernel.engine.base import Answer
from stream_kernel.testing import FakeChild
from supervision_invariants import Invariants
from supervision_world import Variant, World

EXAMPLES = int(os.environ.get("SUPERVISION_EXAMPLES", "0"))
STEPS = 40

variants = st.builds(
    Variant,
    workers=st.integers(1, 2),
    depth=st.sampled_from([1, 3]),
    stateful_depth=st.sampled_from([1, 3]),
    retries=st.sampled_from([0, 1, 3]),
    overflow=st.sampled_from(["wait", "refuse"]),
    max_queued=st.sampled_from([1, 2, 1024]),
    strategy=st.sampled_from(["permanent", "permanent", "transient", "temporary"]),
    intensity=st.sampled_from([1, 3, 50]),
    max_requests=st.sampled_from([None, 3]),
    ping_interval=st.sampled_from([10.0, 600.0]),
    notes=st.booleans(),
    exit_comes_first=st.booleans(),
    stdin_bytes=st.sampled_from([1 << 16, 256]),
)
numbers = st.integers(0, 5)
passes = st.sampled_from([None, None, None, 0, 0, 1, 2, 3, 5])
"""How far the loop runs after a deed: see `World.perform`."""
groups = st.sampled_from(["g", "g", "g", "s"])
seconds = st.sampled_from([0.0, 0.5, 5.0, 20.0, 60.0])
spans = st.sampled_from([0.003, 0.015, 0.02, 0.03, 0.1, 0.5, 2.0, 8.0, 31.0])
offsets = st.sampled_from([-0.001, 0.0, 0.0, 0.003, 0.006, 0.02, 0.033, 0.2, 0.25])
replies = st.sampled_from(["echo", "echo", "echo", "forward", "part", "fail", "break", "refuse", "torn", "astray"])
ends = st.sampled_from(["0", "1", "SIGKILL", "SIGSEGV", "held"])
deafness = st.frozensets(st.sampled_from(["ping", "stop", "end of stdin", "stacks", "terminate", "kill"]), max_size=6)
offences = st.sampled_from(["garbage", "unknown", "again", "mute", "deaf"])


class SupervisionMachine(RuleBasedStateMachine):
    """Two groups, their callers, their workers, and who starts and stops them."""

    @initialize(variant=variants)
    def start(self, variant: Variant) -> None:
        self.world = World(variant)
        self.law = Invariants(self.world)
        self.is_closed = False
        self.world.perform(lambda: self.world.begin(self.world.supervisor.start_groups()))

    # -- callers

    @rule(group=groups, count=st.integers(1, 3), time=seconds, after=passes)
    def submit(self, group: str, count: int, time: float, after: int | None) -> None:
        self.world.perform(lambda: self.world.submit(group, count, time), after)

    @rule(names=st.lists(groups, min_size=1, max_size=3), time=seconds, on_error=st.sampled_from(["raise", "collect"]), after=passes)
    def call(self, names: list[str], time: float, on_error: str, after: int | None) -> None:
        self.world.perform(lambda: self.world.call(names, time, on_error), after)

    @rule(number=numbers, after=passes)
    def cancel(self, number: int, after: int | None) -> None:
        self.world.perform(lambda: self.world.cancel(number), after)

    # -- workers

    def with_worker(self, number: int, deed: Callable[[FakeChild], object], *, busy: bool = False) -> Callable[[], None]:
        def act() -> None:
            workers = [child for child in self.world.workers() if child.unanswered or not busy]
            if workers:
                deed(workers[number % len(workers)])

        return act

    @rule(number=numbers, how=replies, after=passes)
    def reply(self, number: int, how: str, after: int | None) -> None:
        self.world.perform(self.with_worker(number, lambda child: self.world.reply(child, how), busy=True), after)

    @rule(number=numbers, index=st.integers(0, 2))
    def begin_input(self, number: int, index: int) -> None:
        self.world.perform(self.with_worker(number, lambda child: self.world.begin_input(child, index), busy=True))

    @rule(number=numbers, how=ends, reply=st.sampled_from([None, None, "echo", "part"]), after=passes)
    def die(self, number: int, how: str, reply: str | None, after: int | None) -> None:
        def end(child: FakeChild) -> None:
            if reply is not None:
                self.world.reply(child, reply)
            if child.is_alive:
                self.world.die(child, how)

        self.world.perform(self.with_worker(number, end), after)

    @rule(number=numbers, how=offences, after=passes)
    def misbehave(self, number: int, how: str, after: int | None) -> None:
        self.world.perform(self.with_worker(number, lambda child: self.world.misbehave(child, how)), after)

    @rule(number=numbers, reads=st.booleans())
    def read(self, number: int, reads: bool) -> None:
        self.world.perform(self.with_worker(number, lambda child: child.read_on() if reads else child.stop_reading()))

    @rule(offset=offsets, number=numbers, how=st.sampled_from(["echo", "fail", "SIGKILL", "cancel", "garbage", "part"]))
    def act_at_a_deadline(self, offset: float, number: int, how: str) -> None:
        deeds: dict[str, Callable[[FakeChild], object]] = {
            "SIGKILL": lambda child: self.world.die(child, how),
            "garbage": lambda child: self.world.misbehave(child, how),
            "cancel": lambda _: self.world.cancel(number),
        }
        deed = deeds.get(how, lambda child: self.world.reply(child, how))
        self.world.perform_at(self.world.next_deadline() + offset, self.with_worker(number, deed, busy=how in ("echo", "fail", "part")))

    # -- boots

    @rule(ignores=deafness, boots=st.booleans())
    def change_the_next_workers(self, ignores: frozenset[str], boots: bool) -> None:
        self.world.set_traits(ignores=ignores, boots=boots)

    @rule()
    def make_the_next_workers_orderly(self) -> None:
        self.world.set_traits()

    @rule(number=numbers, how=st.sampled_from(["ready", "ready", "refuse", "version"]), after=passes)
    def boot(self, number: int, how: str, after: int | None) -> None:
        def act() -> None:
            booting = [child for child in self.world.workers() if not child.traits.boots and "ready" not in child.log]
            if booting:
                self.world.boot(booting[number % len(booting)], how)

        self.world.perform(act, after)

    @rule()
    def have_a_spawn_fail(self) -> None:
        self.world.has_boot_trouble = True
        self.world.launch.failures.append(OSError(24, "Too many open files"))

    @rule(is_on=st.booleans())
    def hold_spawns(self, is_on: bool) -> None:
        self.world.perform(self.world.launch.may_spawn.clear if is_on else self.world.launch.may_spawn.set)

    # -- time

    @rule(span=spans)
    def let_time_pass(self, span: float) -> None:
        self.world.advance(span)

    @rule()
    def let_hours_pass(self) -> None:
        self.world.advance(1000)

    @rule(offset=offsets)
    def let_a_deadline_come(self, offset: float) -> None:
        self.world.advance(max(0.0, self.world.next_deadline() + offset - self.world.now))

    # -- start, stop, restart

    @rule(after=passes)
    def start_again(self, after: int | None) -> None:
        self.world.perform(lambda: self.world.begin(self.world.supervisor.start_groups()), after)

    @rule(name=groups, after=passes)
    def restart(self, name: str, after: int | None) -> None:
        self.world.perform(lambda: self.world.begin(self.world.supervisor.restart_group(name)), after)

    @rule(drain=st.booleans(), grace=st.sampled_from([None, 0.5, 20.0]), after=passes)
    def stop(self, drain: bool, grace: float | None, after: int | None) -> None:
        if not drain:
            self.world.was_abandoned = True
        supervisor = self.world.supervisor
        self.world.perform(lambda: self.world.begin(supervisor.stop_groups(graceful_timeout_seconds=grace, drain_inflight=drain)), after)

    @rule(name=st.sampled_from([None, "g", "s"]), after=passes)
    def terminate(self, name: str | None, after: int | None) -> None:
        names = None if name is None else [name]
        self.world.perform(lambda: self.world.begin(self.world.supervisor.force_terminate_groups(names)), after)

    @rule(number=numbers, after=passes)
    def cancel_a_start_or_stop(self, number: int, after: int | None) -> None:
        def act() -> None:
            under_way = [task for task in self.world.tasks if not task.done()]
            if under_way:
                under_way[number % len(under_way)].cancel()

        self.world.perform(act, after)

    @precondition(lambda self: not self.is_closed)
    @rule(is_rare=st.integers(0, 4), after=passes)
    def close(self, is_rare: int, after: int | None) -> None:
        if is_rare == 4:
            self.is_closed = True
            self.world.perform(lambda: self.world.begin(self.world.supervisor.close()), after)

    # -- what holds

    @invariant()
    def holds(self) -> None:
        self.law.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        try:
            self.calm_down()
            self.answer_everybody()
            world.perform(lambda: world.begin(world.supervisor.close()))
            world.advance(120)
            self.law.check()
            self.law.check_end()
        finally:
            world.clock.__exit__(None, None, None)

    def calm_down(self) -> None:
        """No more faults: whatever was under way comes to its end."""
        self.world.set_traits()
        self.world.launch.failures.clear()
        self.world.perform(self.world.launch.may_spawn.set)
        self.world.advance(150)
        self.law.check()
        for child in self.world.launch.alive:
            child.traits.ignores = frozenset()
            child.read_on()
        self.world.advance(150)
        self.law.check()
        under_way = [task for task in self.world.tasks if not task.done()]
        assert not under_way, f"these do not end: {under_way}"
        self.law.check_room()

    def answer_everybody(self) -> None:
        """A group that says that it is ready answers; none is for ever about to be."""
        states = {group.name: group.state for group in self.world.engine.snapshot()}
        deaf = {child.group for child in self.world.launch.alive if "stop" in child.log}  # nobody has forced them
        lasting = {state for name, state in states.items() if not (state == "stopping" and name in deaf)}
        assert lasting <= {"ready", "failed", "stopped"}, f"for ever {states}"
        for child in self.world.launch.alive:
            child.traits.answers = True
        for name, state in states.items():
            self.world.perform(lambda name=name: self.world.submit(name, 1, 60.0))  # type: ignore[misc]
            order = self.world.engine.orders[-1]
            self.world.advance(40)
            if state == "ready" and self.world.engine.is_open:
                assert isinstance(order.outcome, Answer), f"group {name} is ready and does not answer: {order.outcome}"


TestSupervision = SupervisionMachine.TestCase
TestSupervision.settings = settings(
    max_examples=EXAMPLES or 60,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=not EXAMPLES,
    suppress_health_check=list(HealthCheck),
)
