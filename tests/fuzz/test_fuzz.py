"""Mutants end as a command may end: no traceback, no exit 1, no abort, nothing without end.

They run in a process of their own, whose forks begin before JAX has begun to compute.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.workers import ABORT, CODES, HANG, INTERNAL, Outcome, table

FAST, SLOW = 40, 1000


def test_the_table_counts_every_outcome_once() -> None:
    ends = [*CODES.values(), HANG, ABORT, INTERNAL]
    outcomes = [Outcome(n, "window", f"kind {n % 2}", end, 1.0, "") for n, end in enumerate(ends)]
    last = table(outcomes).splitlines()[-1]
    assert sum(int(cell) for cell in last.split("|")[2:-1] if cell.strip()) == len(ends)
    assert [outcome.wrong for outcome in outcomes] == [False] * len(CODES) + [True] * 3


@pytest.mark.parametrize(
    ("first", "number"), [(0, FAST), pytest.param(FAST, SLOW, marks=pytest.mark.slow)]
)
def test_mutants(tmp_path: Path, first: int, number: int) -> None:
    command = [sys.executable, "-m", "tests.fuzz", str(tmp_path), str(first), str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
