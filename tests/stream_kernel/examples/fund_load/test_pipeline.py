"""The whole pipeline, as it is delivered: the known answer, an oracle of its own, hostile lines, and what a run must not do to another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from documents import ROOT
from fund_load_oracle import Oracle
from fund_load_runs import line, profile, run
from stream_kernel import LocalBootstrapSupervisor
from stream_kernel.config.model import Mode
from stream_kernel.examples.fund_load.generator import generate_attempts

KNOWN = ROOT.parent / "shared" / "data" / "fund_load"

both = pytest.mark.parametrize("name", ["baseline", "sanctions"])
HEAVY = ["pydantic", "pydantic_settings", "orjson", "anyio", "typer", "rich"]


@pytest.mark.skipif(not KNOWN.exists(), reason="the real input is not here")
@pytest.mark.parametrize("mode", ["inline", "inline_wire", "process_supervisor"])
def test_real_input_gives_the_known_answer(mode: Mode) -> None:
    lines, expected = (Path(KNOWN, name).read_text(encoding="utf-8").splitlines() for name in ("input.jsonl", "expected_baseline.jsonl"))
    outputs = run(profile("baseline", mode), lines)
    assert [json.dumps(output, separators=(",", ":")) for output in outputs] == expected


@pytest.mark.slow
@both
def test_generated_input_gives_what_the_rules_say(name: str) -> None:
    lines = list(generate_attempts(20_000, seed=11))
    outputs = run(profile(name, "process_supervisor"), lines, batch_size=1_000)
    assert outputs == Oracle(sanctions=name == "sanctions").decide_all(lines)


@both
@pytest.mark.parametrize("mode", ["inline", "inline_wire"])
def test_generated_input_gives_the_same_in_every_mode_and_with_any_size_of_batch(name: str, mode: Mode) -> None:
    lines = list(generate_attempts(1_000, seed=12))
    expected = Oracle(sanctions=name == "sanctions").decide_all(lines)
    assert run(profile(name, mode), lines, batch_size=7) == expected


HOSTILE = [
    ("", "", ""),
    ("\0", "", ""),
    ("[" * 200_000, "", ""),
    ('{"id":' * 200_000, "", ""),
    ("9" * 200_000, "", ""),
    ('{"id": "\\ud800", "customer_id": "\\udc00"}', "", ""),
    (line("4", amount="\ud800"), "4", "7"),
    (line("\ud83d\ude00", customer="é\0"), "\U0001f600", "é\0"),
    (line("4", amount="$" + "9" * 200_000 + "."), "4", "7"),
    (line("4", amount=" " * 200_000), "4", "7"),
    (line("4", amount="USD" * 50_000), "4", "7"),
    (line("4", time="0001-01-01T00:00:00+23:59"), "4", "7"),
    (line("4", time="9999-12-31T23:59:59-23:59"), "4", "7"),
    (line("4", time="2000-01-01T00:00:00." + "9" * 200_000), "4", "7"),
    (line("x" * 200_000), "x" * 200_000, "7"),
    ('{"id": 4e999999999, "customer_id": -0, "load_amount": NaN}', "", ""),
    ('{"id": ' + "9" * 200_000 + ', "customer_id": "7"}', "", "7"),
    ('{"id": "4", "id": "6", "customer_id": "7"}', "6", "7"),
    ('{"__class__": "Decision", "id": {"$type": "str"}}', "", ""),
]


@both
@pytest.mark.parametrize("mode", ["inline", "inline_wire"])
def test_a_hostile_line_is_declined_and_costs_the_lines_around_it_nothing(name: str, mode: Mode) -> None:
    lines = [line("1", customer="1"), *(hostile for hostile, _, _ in HOSTILE), line("4", customer="1")]
    declined = [{"id": identifier, "customer_id": customer, "accepted": False} for _, identifier, customer in HOSTILE]
    accepted = [{"id": identifier, "customer_id": "1", "accepted": True} for identifier in ("1", "4")]
    assert run(profile(name, mode), lines) == [accepted[0], *declined, accepted[1]]


@pytest.mark.parametrize("mode", ["inline", "inline_wire"])
def test_the_bound_of_nesting_is_the_same_in_every_mode(mode: Mode) -> None:
    deepest, too_deep = (f'{line("4")[:-1]}, "note": {"[" * depth}{"]" * depth}}}' for depth in (99, 100))
    malformed, accepted = {"id": "", "customer_id": "", "accepted": False}, {"id": "4", "customer_id": "7", "accepted": True}
    assert run(profile("baseline", mode), [too_deep, deepest]) == [malformed, accepted]


@both
def test_well_formed_fields_may_be_as_long_as_a_payload(name: str) -> None:
    long = "1" * 200_000
    outputs = run(
        profile(name), [line(long, customer=long), line(long), line("4", amount=f"${long}"), line("6", amount=f"${'0' * 200_000}1")]
    )
    assert [output["accepted"] for output in outputs] == [True, False, False, True]


def test_two_runs_in_one_process_do_not_see_each_other() -> None:
    with LocalBootstrapSupervisor(profile("baseline")) as one, LocalBootstrapSupervisor(profile("baseline")) as other:
        spent = line("4", amount="$5000.00")
        assert [supervisor.call("parse_load_attempt", spent)["accepted"] for supervisor in (one, other, one)] == [True, True, False]


def test_a_worker_that_imports_the_nodes_imports_nothing_heavy() -> None:
    program = f"import sys, stream_kernel.examples.fund_load.nodes; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
