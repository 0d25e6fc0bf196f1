"""Takes one mechanism after the other away and sees whether the tests notice.

    python tests/mutants/mutants.py
    python tests/mutants/mutants.py NAME ...
    python tests/mutants/mutants.py --record

Exit code 0: every mutant was killed by a test; 1: one was not; 2: the tests fail without any mutant. `--record` writes docs/mutants.md.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.mutants.catalogue import AREAS, MUTANTS
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.trial import Trial, copy_project, run_tests

_AT_ONCE = 2
_SECONDS = 240
_SECONDS_WITHOUT = 900
_TAIL = 30

_HEAD = """# Mutants

Each line is a mutant: a patch of a line or two that takes one mechanism away. It is killed when a test fails. How to run them is in
[testing.md](testing.md#mutants); this page is written by `tox -e mutants -- --record`.

Seen with Python {python} on {system}: {killed} of {all} were killed.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants that the command line names, by default all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to run; default: all")
    parser.add_argument("--list", action="store_true", help="name the mutants and end")
    parser.add_argument("--record", action="store_true", help="write docs/mutants.md; needs all mutants")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{mutant.name:<44} {mutant.rule}" for mutant in MUTANTS))
        return 0
    unknown = set(options.names) - {mutant.name for mutant in MUTANTS}
    if unknown or (options.record and options.names):
        parser.error(f"there is no mutant {', '.join(sorted(unknown))}" if unknown else "--record needs all mutants")
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    with tempfile.TemporaryDirectory(prefix="skm-") as folder:
        trials = _try_all(chosen, Path(folder))
    if trials is None:
        return 2
    print(_table(chosen, trials))
    if options.record:
        (ROOT / "docs" / "mutants.md").write_text(_page(trials), encoding="utf-8")
    return 0 if all(trial.verdict == "killed" for trial in trials.values()) else 1


def _try_all(chosen: Sequence[Mutant], folder: Path) -> dict[str, Trial] | None:
    """The trial of each mutant by its name; None when the tests fail without any."""
    whole = folder / "whole"
    copy_project(ROOT, whole)
    tests = _union(chosen)
    print(f"without a mutant: {len(tests)} files and tests …", flush=True)
    trial = run_tests(whole, tests, seconds=_SECONDS_WITHOUT, stops_at_failure=False)
    if trial.verdict != "survived":
        print(_tail(trial.output))
        print("The tests fail without any mutant: what they say of mutants means nothing.")
        return None
    shutil.rmtree(whole / "tmp")

    def attempt(numbered: tuple[int, Mutant]) -> tuple[str, Trial]:
        number, mutant = numbered
        copy = folder / str(number)
        copy_project(whole, copy)
        mutant.apply(copy)
        began = time.monotonic()
        trial = run_tests(copy, list(mutant.tests), seconds=_SECONDS)
        shutil.rmtree(copy, ignore_errors=True)
        print(f"{trial.verdict:<9} {time.monotonic() - began:5.1f} s  {mutant.name}  {trial.killer}", flush=True)
        if trial.verdict == "unclear":
            print(_tail(trial.output), flush=True)
        return mutant.name, trial

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return dict(threads.map(attempt, enumerate(chosen)))


def _union(chosen: Iterable[Mutant]) -> list[str]:
    """What all of them need, nothing twice."""
    tests = dict.fromkeys(test for mutant in chosen for test in mutant.tests)
    return [test for test in tests if "::" not in test or test.partition("::")[0] not in tests]


def _tail(output: str) -> str:
    return "\n".join(output.splitlines()[-_TAIL:])


def _outcome(trial: Trial) -> str:
    return trial.killer if trial.verdict == "killed" else trial.verdict.upper()


def _table(chosen: Sequence[Mutant], trials: dict[str, Trial]) -> str:
    width = max(len(mutant.name) for mutant in chosen)
    lines = [f"{mutant.name:<{width}}  {mutant.rule}\n{'':<{width}}  → {_outcome(trials[mutant.name])}" for mutant in chosen]
    killed = sum(trial.verdict == "killed" for trial in trials.values())
    return "\n".join(["", *lines, "", f"{killed} of {len(chosen)} killed"])


def _page(trials: dict[str, Trial]) -> str:
    killed = sum(trial.verdict == "killed" for trial in trials.values())
    page = [_HEAD.format(python=platform.python_version(), system=platform.system(), killed=killed, all=len(trials))]
    for area, mutants in AREAS.items():
        page += [f"## {area}\n", "| what holds | mutant | killed by |", "|---|---|---|"]
        for mutant in mutants:
            killer = _outcome(trials[mutant.name]).replace("|", "\\|")
            page.append(f"| {mutant.rule} | {mutant.name} | `{killer}` |")
        page.append("")
    return "\n".join(page)


if __name__ == "__main__":
    sys.exit(main())
