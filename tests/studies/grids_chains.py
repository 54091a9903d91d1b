"""Cases on grids against long chains: heat pulses, and full-waveform inversion.

make study NAME=grids_chains [ARGS="--chains 2 full_waveform_shot"]

NUTS, a batch by each seed, with every estimated parameter and every value of the initial fields.
Against all batches together: the Laplace Gaussian of Gauss-Newton's Hessian and of the exact one,
and the posterior that the case publishes. `full_waveform_shot` has one shot in the middle of the
well, in wider cells. Both run where they are asked for: with 24 GB of memory, shared with others,
the chain of one shot was killed before its first draw, and that of the whole case takes hours.

Means are off in standard deviations of the chains; standard deviations relative to theirs. The
chains' own standard error of a mean is that of their effective draws, of all batches together.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from assim import Analysis
from assim.case.case import read_case
from assim.case.pose import Posed, pose
from assim.run.terminal.runtime import configure
from assim.solve.posterior.chains.samplers import NUTS
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from tests.studies.batches import Batches

CASES = Path(__file__).parents[2] / "cases"
SHOT = {
    "model.nx": 41,
    "model.ny": 38,
    "model.dx": 20.0,
    "model.dt": 1 / 300,
    "model.edge": 9,
    "model.shots": [[243.75, 375.0, 0.13]],
    "window.slots": 50,
    "window.steps": 3,
    "posterior": '{ use = "none" }',
}
PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "heat_pulse": ("heat_pulse", {}),
    "full_waveform_shot": ("full_waveform", SHOT),
    "full_waveform": ("full_waveform", {}),
}
QUICK = ("heat_pulse",)
DRAWS, TOGETHER = 20_000, 500  # of a Gaussian, and how many are made physical at once
SHORT = {"accuracy": 0.03, "warm_up": 80, "chains": 4}  # batches of NUTS, which add up
HESSIANS = {"laplace": "gauss_newton", "laplace_exact": "exact"}


def posed(name: str) -> Posed:
    """A problem, with what its case is overridden with."""
    folder, given = PROBLEMS[name]
    assignments = [f"{key}={value}" for key, value in given.items()]
    return pose(read_case(CASES / folder / "case.toml", assignments))


def moments(problem: Any, members: Any, weights: Any) -> dict[str, Any]:
    """Means and standard deviations, a list for each field and parameter that is estimated."""

    def physical(chi: jax.Array) -> dict[str, jax.Array]:
        given = problem.control(chi)
        fields = {name: given.state[name].ravel() for name in problem.control.covariance.fields()}
        return fields | {n: given.parameters[n].ravel() for n in problem.control.parameters}

    made, several = jax.jit(jax.vmap(physical)), jnp.asarray(members)
    parts = [made(several[at : at + TOGETHER]) for at in range(0, len(several), TOGETHER)]
    values = jax.tree.map(lambda *a: np.concatenate(a), *parts)
    w = np.asarray(weights)[:, None]
    mean = {name: (w * value).sum(0) for name, value in values.items()}
    spread = {n: np.sqrt((w * (value - mean[n]) ** 2).sum(0)) for n, value in values.items()}
    return {"mean": rounded(mean), "stdev": rounded(spread)}


def rounded(values: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """To six digits, which a file of text holds."""
    return {n: [float(f"{v:.6g}") for v in np.ravel(value)] for n, value in values.items()}


def published(analysis: Analysis) -> dict[str, Any]:
    """What the case states: fields at the window's start, and scalars."""
    problem, posterior = analysis.problem, analysis.posterior
    assert posterior is not None
    means = {
        n: v[0] for n, v in posterior.trajectory_mean.items()
    } or analysis.analysis.control.state
    names = problem.control.covariance.fields()
    scalars = {n: posterior.quantities[n] for n in problem.control.parameters}
    mean = {n: np.asarray(means[n]) for n in names}
    spread = {n: np.asarray(posterior.state_stdev[n]) for n in names}
    return {
        "mean": rounded(mean | {n: np.array(q.mean) for n, q in scalars.items()}),
        "stdev": rounded(spread | {n: np.array(q.stddev) for n, q in scalars.items()}),
        "trust": str(posterior.trust),
        "certificates": dict(posterior.certificates),
        "gradients": posterior.gradients,
    }


class Study:
    """One problem, whose minimum is found when it is first needed."""

    def __init__(self, name: str, batches: Batches) -> None:
        self.name, self.batches = name, batches
        self._analysis: Analysis | None = None

    def missing(self, method: str, seed: int = 0) -> bool:
        """Whether a batch is not there."""
        return not self.batches.of(problem=self.name, method=method, seed=seed)

    @property
    def analysis(self) -> Analysis:
        """That of the case."""
        if self._analysis is None:
            self._analysis = posed(self.name).analysis()
        return self._analysis

    def around(self, hessian: str) -> LaplacePosterior:
        """The Gaussian about the minimum."""
        settings = Laplace(hessian=hessian, certificate=500)
        return laplace(
            self.analysis.problem, self.analysis.solution.chi, settings, jax.random.key(1)
        )

    def make(self, chains: int) -> None:
        """Every batch that is missing."""
        if "posterior" not in PROBLEMS[self.name][1] and self.missing("published"):
            self.keep("published", 0, published(self.analysis))
        for method, hessian in HESSIANS.items():
            if self.missing(method):
                around = self.around(hessian)
                chi, w = around.gaussian.draws(jax.random.key(2), DRAWS), np.full(DRAWS, 1 / DRAWS)
                result = moments(self.analysis.problem, chi, w)
                self.keep(method, 0, result | {"k_hat": around.k_hat})
        for seed in range(chains):
            if self.missing("NUTS", seed):
                self.keep("NUTS", seed, self.chain(seed))

    def chain(self, seed: int) -> dict[str, Any]:
        """One run of NUTS to its accuracy."""
        begin, problem = time.process_time(), self.analysis.problem
        method = NUTS(**SHORT)
        found = method.sample(problem, self.around("gauss_newton"), jax.random.key(seed), print)
        result = moments(problem, found.members, found.weights)
        spent = {"gradients": found.gradients, "cpu_seconds": round(time.process_time() - begin)}
        told = {"trust": str(found.trust), "certificates": dict(found.certificates)}
        return result | spent | told

    def keep(self, method: str, seed: int, result: dict[str, Any]) -> None:
        """Append a batch."""
        self.batches.keep(result, problem=self.name, method=method, seed=seed)
        print(
            self.name, method, seed, {n: v for n, v in result.items() if n[:4] in ("trus", "grad")}
        )


def pooled(lines: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and standard deviation of all chains together, and the mean's standard error in sds."""
    means, spreads = (np.array([line[of][name] for line in lines]) for of in ("mean", "stdev"))
    mean = means.mean(0)
    stdev = np.sqrt((spreads**2).mean(0) + means.var(0))
    draws = sum(line["certificates"]["effective_draws"] for line in lines)
    return mean, stdev, float(1 / np.sqrt(draws))


def table(problem: str, batches: Batches) -> None:
    """Each method against the chains."""
    chains = batches.of(problem=problem, method="NUTS")
    if not chains:
        return
    for method in ("published", *HESSIANS):
        for line in batches.of(problem=problem, method=method):
            for name in line["mean"]:
                mean, stdev, error = pooled(chains, name)
                known = stdev > 1e-9 * np.max(stdev)
                off = np.abs(np.array(line["mean"][name]) - mean)[known] / stdev[known]
                ratio = (np.array(line["stdev"][name])[known] / stdev[known]) - 1
                cells = [
                    *(problem, method, name, str(off.size)),
                    *(f"{value:.3f}" for value in (np.sqrt(np.mean(off**2)), off.max(), error)),
                    f"{np.sqrt(np.mean(ratio**2)):.1%}",
                    f"{ratio.min():+.1%} to {ratio.max():+.1%}",
                    ", ".join(sorted({line["commit"], *(each["commit"] for each in chains)})),
                ]
                print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Make what is missing, then print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("problems", nargs="*", choices=[*PROBLEMS, []])
    parser.add_argument("--chains", type=int, default=2)
    asked, batches = parser.parse_args(), Batches("grids_chains")
    configure("cpu", "float64")
    for problem in asked.problems or QUICK:
        Study(problem, batches).make(asked.chains)
    heads = ("problem", "method", "of", "values", "mean off, rms", "largest", "chains' own error")
    heads += ("sd off, rms", "from", "commits")
    print(f"| {' | '.join(heads)} |\n|{len(heads) * '---|'}")
    for problem in PROBLEMS:
        table(problem, batches)


if __name__ == "__main__":
    main()
