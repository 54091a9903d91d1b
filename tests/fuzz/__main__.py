"""Mutants of these seeds: python -m tests.fuzz FOLDER FIRST NUMBER WORKERS."""

import sys
from pathlib import Path

from tests.fuzz.workers import Fuzz, table


def main() -> int:
    """Run them, and print the table and those that are wrong."""
    folder, (first, number, workers) = Path(sys.argv[1]), map(int, sys.argv[2:5])
    outcomes = list(Fuzz(folder, workers).outcomes(range(first, first + number)))
    print(table(outcomes))
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    for outcome in wrong:
        print(f"\n{outcome.seed}: {outcome.kind} of {outcome.case}: {outcome.end}\n{outcome.said}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
