"""Ranks of a thousand simulations a method, on the problems of the calibration tests.

make study NAME=calibration ARGS="lorenz63 mclmc"

Without arguments, every method on both problems. No test uses the keys of the batches.
"""

import sys
from itertools import product

import jax
import numpy as np

import assim
from assim.findings.calibration import calibrate
from assim.problem.departure import Problem
from assim.solve.posterior.ensemble import AbstractPosterior
from assim.statistics.uniformity import chi_squared_uniform, choose_bins, ecdf_p_value
from assim.statistics.uniformity import rank_histogram as histogram
from tests.findings.test_calibration_methods import METHODS, lorenz, lynx_hare
from tests.studies.batches import Batches

PROBLEMS = {"lorenz63": lorenz, "lynx_hare": lynx_hare}
BATCHES, SIMULATIONS = 10, 100
FIRST_KEY = 1000


def ranked(problem: Problem, method: AbstractPosterior, key: int) -> dict[str, object]:
    """Ranks of one batch of simulations."""
    calibration = calibrate(
        problem,
        method,
        SIMULATIONS,
        jax.random.key(key),
        starts=1,
        minimiser=assim.minimiser.NewtonCG(tolerance=1e-4),
        together=10,
    )
    return {
        "names": list(calibration.names),
        "draws": calibration.draws,
        "ranks": calibration.ranks.T.tolist(),
        "certified": calibration.certified,
        "doubtful": calibration.doubtful,
        "failed": calibration.failed,
        "seconds": round(calibration.seconds),
    }


def table(batches: Batches) -> None:
    """Tests of all ranks of each method, as rows of Markdown."""
    print("| problem | method | simulations | certified | quantity | χ² p | ECDF p | commits |")
    print("|---|---|---|---|---|---|---|---|")
    for problem, method in sorted({(b["problem"], b["method"]) for b in batches.lines}):
        lines = batches.of(problem=problem, method=method)
        ranks = np.concatenate([np.array(line["ranks"]) for line in lines], axis=1)
        draws, commits = lines[0]["draws"], ", ".join(sorted({line["commit"] for line in lines}))
        certified = sum(line["certified"] for line in lines)
        for name, row in zip(lines[0]["names"], ranks, strict=True):
            counts = histogram(row, draws, choose_bins(draws, row.size))
            p_values = f"{chi_squared_uniform(counts):.3g} | {ecdf_p_value(row, draws):.3g}"
            cells = (
                f"{problem} | {method} | {row.size} | {certified} | {name} | {p_values} | {commits}"
            )
            print(f"| {cells} |")


def main() -> None:
    """Make the batches that are missing, then print the table."""
    batches = Batches("calibration")
    methods = {"laplace": assim.posterior.Laplace(), **METHODS}
    asked = sys.argv[1:]
    for problem, method in product(PROBLEMS, methods):
        if asked and not {problem, method} >= set(asked):
            continue
        for number in range(BATCHES):
            if not batches.of(problem=problem, method=method, batch=number):
                result = ranked(PROBLEMS[problem](), methods[method], FIRST_KEY + number)
                batches.keep(result, problem=problem, method=method, batch=number)
                print(problem, method, f"{number + 1} of {BATCHES}", flush=True)
    table(batches)


if __name__ == "__main__":
    main()
