"""Ten thousand mutants of small cases and how each ended: make study NAME=fuzz ARGS="2".

The argument is how many run at a time, 1 if absent. Batches that are kept are not run again.
"""

import sys
import tempfile
from pathlib import Path

from tests.fuzz.workers import Fuzz, Outcome, table
from tests.studies.batches import Batches

FIRST, BATCHES, MUTANTS = 10_000, 100, 100  # seeds that no test has


def main() -> None:
    """Run the batches that are missing, then print the table."""
    batches = Batches("fuzz")
    missing = [number for number in range(BATCHES) if not batches.of(batch=number)]
    if missing:
        with tempfile.TemporaryDirectory(prefix="assim-fuzz-") as folder:
            fuzz = Fuzz(Path(folder), int(sys.argv[1]) if sys.argv[1:] else 1)
            for number in missing:
                first = FIRST + MUTANTS * number
                outcomes = list(fuzz.outcomes(range(first, first + MUTANTS)))
                batches.keep({"outcomes": [_kept(one) for one in outcomes]}, batch=number)
                print(f"{number + 1} of {BATCHES}", flush=True)
    print(table([Outcome(*row) for line in batches.lines for row in line["outcomes"]]))


def _kept(outcome: Outcome) -> list[object]:
    """What is kept of it: its words only where it is wrong."""
    return [*outcome[:-2], round(outcome.seconds, 1), outcome.said if outcome.wrong else ""]


if __name__ == "__main__":
    main()
