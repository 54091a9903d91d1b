"""Mutants end as a command may end: no traceback, no exit 1, no abort, nothing without end.

Those that change nothing have the results of the sound case, and so have those that are invalid
where they are not refused.

They run in a process of their own, whose forks begin before JAX has begun to compute.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.known import differ
from tests.fuzz.workers import CODES, WRONG, Outcome, table

FAST, SLOW = 40, 1000


def test_the_table_counts_every_outcome_once() -> None:
    ends = [*CODES.values(), *WRONG]
    outcomes = [Outcome(n, "window", f"kind {n % 2}", end, 1.0, "") for n, end in enumerate(ends)]
    last = table(outcomes).splitlines()[-1]
    assert sum(int(cell) for cell in last.split("|")[2:-1] if cell.strip()) == len(ends)
    assert [outcome.wrong for outcome in outcomes] == [False] * len(CODES) + [True] * len(WRONG)


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
