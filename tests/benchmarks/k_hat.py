"""k̂ of every shipped case beside the true error of its Laplace standard deviations.

python -m tests.benchmarks.k_hat [case ...]

The truth is a long run of chains (HMC, standard errors of 1 per cent). Errors are of what each case
reports as quantities, in per cent of the true standard deviation; where it reports none, of the
whitened coordinates.
"""

import sys
from pathlib import Path

import numpy as np

from assim.analysis.analyse import analyse
from assim.case.case import read_case
from assim.case.pose import pose
from assim.run.terminal.runtime import configure
from assim.solve.posterior.chains.samplers import HMC
from assim.solve.posterior.laplace import Laplace

ROOT = Path(__file__).resolve().parents[2]


def row(case: Path) -> str:
    posed = pose(read_case(case))
    table = posed.case.checked
    own = posed.posterior.values() if isinstance(posed.posterior, dict) else ()
    plain = next((one for one in own if isinstance(one, Laplace)), Laplace())
    analysis = analyse(
        posed.problem,
        posed.minimiser,
        {"laplace": plain, "truth": HMC(accuracy=0.01, max_gradients=5_000_000)},
        starts=table.minimiser.first_guesses(),
        stages=table.minimiser.stages,
        first_guess=posed.first_guess,
        quantities=posed.quantities,
        seed=table.runtime.seed,
    )
    assert analysis.laplace is not None
    ours, truth = (analysis.posteriors[name] for name in ("laplace", "truth"))
    if ours.quantities:
        ratio = np.array(
            [q.stddev / truth.quantities[n].stddev for n, q in ours.quantities.items()]
        )
    else:
        ratio = np.asarray(analysis.laplace.gaussian.stdev()) / np.std(truth.chi, axis=0)
    worst, rms = (
        100 * (ratio - 1)[np.argmax(np.abs(ratio - 1))],
        100 * np.sqrt(np.mean((ratio - 1) ** 2)),
    )
    r_hat = truth.certificates.get("r_hat", float("nan"))
    return (
        f"| {case.parent.name}/{case.stem} | {posed.problem.size()} | "
        f"{analysis.laplace.k_hat:.2f} | {rms:.1f} % | {worst:+.1f} % | {r_hat:.3f} |"
    )


if __name__ == "__main__":
    configure("cpu", "float64")
    wanted = [ROOT / "cases" / name for name in sys.argv[1:]] or sorted(
        (ROOT / "cases").glob("*/case.toml")
    )
    print("| Case | Controls | k̂ | rms error of sds | largest | R̂ of the truth |")
    print("|---|---|---|---|---|---|", flush=True)
    for path in wanted:
        print(row(path), flush=True)
