"""Ranks of a thousand simulations a method, on the problems of the calibration tests.

make study NAME=calibration ARGS="lorenz63 mclmc"
make study NAME=calibration ARGS="lynx_hare auto"

Without arguments, every method on both problems, but `auto`, which is what is published by
default: `posterior = "auto"` with its weights and its stopping rules. As it may end in chains of
millions of gradients, two hundred of these, in small batches. No test uses the keys of the batches.
"""

import sys
from itertools import product

import jax
import numpy as np

import assim
from assim.findings.calibration import calibrate
from assim.problem.departure import Problem
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.ensemble import AbstractPosterior, Ensemble, Report
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.statistics.uniformity import chi_squared_uniform, choose_bins, ecdf_p_value
from assim.statistics.uniformity import rank_histogram as histogram
from tests.findings.test_calibration_methods import METHODS, lorenz, lynx_hare
from tests.studies.batches import Batches

AUTO = "auto"
PROBLEMS = {"lorenz63": lorenz, "lynx_hare": lynx_hare}
SIMULATIONS, A_BATCH = 1000, 100
OF_AUTO, A_BATCH_OF_AUTO = 200, 2
FIRST_KEY = 1000


class Published(AbstractPosterior):
    """What `analyse(posterior="auto")` reports, from the search for the minimum on."""

    def name(self) -> str:
        """Its word in a case."""
        return AUTO

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: jax.Array,
        report: Report | None = None,
    ) -> Ensemble:
        """The members of the method that is chosen; `around` is not used."""
        assert isinstance(problem, Problem)
        seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
        posterior = assim.analyse(problem, posterior=AUTO, seed=seed, report=report).posterior
        assert posterior is not None
        return Ensemble(
            posterior.chi,
            posterior.weights,
            posterior.trust,
            posterior.advice,
            dict(posterior.certificates),
            gradients=posterior.gradients,
        )


def ranked(
    problem: Problem, method: AbstractPosterior, key: int, simulations: int
) -> dict[str, object]:
    """Ranks of one batch of simulations."""
    calibration = calibrate(
        problem,
        method,
        simulations,
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
    methods = {"laplace": assim.posterior.Laplace(), **METHODS, AUTO: Published()}
    asked = sys.argv[1:]
    for problem, method in product(PROBLEMS, methods):
        if not {problem, method} >= set(asked) or (method == AUTO and AUTO not in asked):
            continue
        size = A_BATCH_OF_AUTO if method == AUTO else A_BATCH
        total = (OF_AUTO if method == AUTO else SIMULATIONS) // size
        for number in range(total):
            if not batches.of(problem=problem, method=method, batch=number):
                result = ranked(PROBLEMS[problem](), methods[method], FIRST_KEY + number, size)
                batches.keep(result, problem=problem, method=method, batch=number)
                print(problem, method, f"{number + 1} of {total}", flush=True)
    table(batches)


if __name__ == "__main__":
    main()
