"""What the default number of first guesses costs on the shipped cases of one window.

python -m tests.benchmarks.first_guesses

Each case is minimised and given its Laplace posterior as its file asks, by default (`starts` not
given) and from the prior median alone, compiled before: how many first guesses there were, the
distinct minima, the lowest J, and CPU seconds of each.
"""

import time
from pathlib import Path

from assim.analysis.analyse import Analysis, analyse
from assim.case.case import read_case
from assim.case.pose import Posed, pose
from assim.run.terminal.runtime import configure
from assim.solve.posterior.laplace import Laplace

ROOT = Path(__file__).resolve().parents[2]
CASES = ("case.toml", "strong.toml", "weak.toml")


def timed(posed: Posed, starts: int | None) -> tuple[Analysis, float]:
    """An analysis, and the CPU seconds of the second of two."""
    for _ in range(2):
        begin = time.process_time()
        minimiser = posed.case.checked.minimiser
        analysis = analyse(
            posed.problem, posed.minimiser, Laplace(), starts=starts, stages=minimiser.stages,
            first_guess=posed.first_guess, seed=posed.case.checked.runtime.seed,
        )  # fmt: skip
        seconds = time.process_time() - begin
    return analysis, seconds


def main() -> None:
    """Print a row for each case."""
    configure("cpu", "float64")
    print("| case | controls | first guesses | minima | lowest J | from the median alone | s | s |")
    print("|---|---|---|---|---|---|---|---|")
    for path in sorted(ROOT.glob("cases/*/*.toml")):
        if path.name not in CASES or read_case(path).checked.cycle is not None:
            continue
        posed = pose(read_case(path))
        (default, took), (alone, took_alone) = timed(posed, None), timed(posed, 1)
        solution, name = default.solution, f"{path.parent.name}/{path.stem}"
        print(
            f"| {name} | {posed.problem.size()} | {solution.starts} | {len(solution.minima)} "
            f"| {solution.cost:.6g} | {alone.solution.cost:.6g} | {took:.2f} | {took_alone:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
