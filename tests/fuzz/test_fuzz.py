"""Mutants end as a command may end: no traceback, no exit 1, no abort, nothing without end.

Those that change nothing have the results of the sound case. Those that are invalid are refused; a
command that goes on from results, which reads some inputs no more, may have the sound results, too.

They run in a process of their own, whose forks begin before JAX has begun to compute.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.fuzz.known import differ
from tests.fuzz.workers import ACCEPTED, CODES, WRONG, Fuzz, Outcome, table

FAST, SLOW = 40, 1000


def test_the_table_counts_every_outcome_once() -> None:
    ends = [*CODES.values(), *WRONG]
    outcomes = [Outcome(n, "window", f"kind {n % 2}", end, 1.0, "") for n, end in enumerate(ends)]
    last = table(outcomes).splitlines()[-1]
    assert sum(int(cell) for cell in last.split("|")[2:-1] if cell.strip()) == len(ends)
    assert [outcome.wrong for outcome in outcomes] == [False] * len(CODES) + [True] * len(WRONG)


def test_an_invalid_mutant_that_is_accepted_is_wrong(tmp_path: Path) -> None:
    """Whatever its results; only what goes on from results need not read it."""
    judged = partial(Fuzz._judged, SimpleNamespace(expected={"window": {}, "forecast": {}}))
    for kind in ("invalid_key", "invalid_units"):
        assert judged("done", "window", kind, tmp_path) == ACCEPTED
        assert judged("not converged", "window", kind, tmp_path) == ACCEPTED
        assert judged("case refused", "window", kind, tmp_path) == "case refused"
        assert judged("not finite", "window", kind, tmp_path) == "not finite"
        assert judged("done", "forecast", kind, tmp_path) == "done"
    assert judged("done", "window", "neutral_text", tmp_path) == "done"


def test_results_differ_by_more_than_rounding() -> None:
    sound = {"a": np.array([1.0, np.nan, 1e-12]), "n": np.arange(3)}
    assert differ(sound, {"a": np.array([1 + 1e-9, np.nan, 0.0]), "n": np.arange(3)}) == []
    assert differ(sound, {"a": np.array([1 + 1e-3, np.nan, 0.0]), "n": np.arange(4)}) == ["a", "n"]
    assert differ(sound, {}) == ["a", "n"]


@pytest.mark.parametrize(
    ("first", "number", "workers"),
    [(0, FAST, 1), pytest.param(FAST, SLOW, 2, marks=pytest.mark.slow)],
)
def test_mutants(tmp_path: Path, first: int, number: int, workers: int) -> None:
    numbers = [str(each) for each in (first, number, workers)]
    command = [sys.executable, "-m", "tests.fuzz", str(tmp_path), *numbers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
