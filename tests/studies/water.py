"""Shallow water on a large grid: minutes, memory, and whether spread is the size of the errors.

make study NAME=water [ARGS="--size 128 --truths 5 --members 10 --inner 100"]
make study NAME=water ARGS="--size 512 --truths 1 --members 2 --inner 20"

A truth drawn from B by diffusion, 200 steps, 20,000 heights with errors of 10 cm; three outer loops
of so many inner ones, and as many for each member of an ensemble of perturbed analyses, whose
spread is that of the error bars. Errors and spread are those of the height at the window's start
and end. Memory is the most that the process held.
"""

import argparse
import resource
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import assim
from assim.devices import program
from assim.findings.truths import draw_truths
from assim.models import ShallowWater
from assim.problem.arrays import Array
from assim.problem.departure import Problem
from assim.problem.predictive import with_values
from assim.run.terminal.runtime import configure
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.randomise import perturbed_analysis
from tests.studies.batches import Batches

OBSERVATIONS, SLOTS, STEPS, DX, DT = 20_000, 4, 50, 10e3, 120.0
STDEV, CELLS, ERROR = {"h": 0.5, "u": 0.1, "v": 0.1}, 8.0, 0.1


def posed(size: int) -> Problem:
    """Heights at random places and times."""
    rng = np.random.default_rng(0)
    model = ShallowWater(nx=size, ny=size, dx=DX, dt=DT)
    window = assim.Window.regular(model, slots=SLOTS, steps=STEPS)
    places = {dim: DX * size * rng.uniform(size=OBSERVATIONS) for dim in ("x", "y")}
    points = assim.Points.at(rng.choice(np.asarray(window.edges), OBSERVATIONS), places)
    operator = assim.operator.PointSample("h")
    heights = assim.Observations("h", np.zeros(OBSERVATIONS), points, operator, stdev=ERROR)
    rest = {"h": np.full((size, size), 100.0), "u": np.zeros((size, size))}
    covariance = {
        name: assim.covariance.Diffusion(stdev, CELLS * DX) for name, stdev in STDEV.items()
    }
    background = {**rest, "v": rest["u"]}
    return assim.strong_constraint(model, window, background, covariance, heights)


@program
def _heights(problem: Problem, chi: Array) -> Array:
    return problem.trajectory(chi).states["h"][jnp.array([0, -1])]


@program
def _member(problem: Problem, search: GaussNewton, chi: Array, key: Array) -> Array:
    return perturbed_analysis(problem, search, chi, key).chi


def measured(size: int, truth: int, members: int, inner: int) -> dict[str, Any]:
    """One truth, its analysis and its ensemble."""
    template, search = posed(size), GaussNewton(n_outer=3, n_inner=inner)
    truths, _ = draw_truths(template, 1, jax.random.key(truth))
    readings = {name: values[0] for name, values in truths.readings.items()}
    problem, heights = with_values(template, readings), partial(_heights, template)
    begin = time.perf_counter()
    solution = minimise(problem, search, jnp.zeros((1, problem.size())))
    seconds = time.perf_counter() - begin
    keys = jax.random.split(jax.random.key(1000 + truth), members)
    ensemble = np.stack([heights(_member(problem, search, solution.chi, key)) for key in keys])
    exact, best = heights(truths.chi[0]), heights(solution.chi)
    first = heights(jnp.zeros_like(solution.chi))
    return {
        "controls": problem.size(),
        "cost": float(solution.cost),
        "minutes": seconds / 60,
        "minutes_a_member": (time.perf_counter() - begin - seconds) / 60 / members,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "rmse_before": _rms(first - exact).tolist(),
        "rmse": _rms(best - exact).tolist(),
        "spread": np.sqrt(np.mean(ensemble.var(axis=0, ddof=1), axis=(-2, -1))).tolist(),
    }


def _rms(fields: Array) -> np.ndarray:
    return np.asarray(jnp.sqrt(jnp.mean(fields**2, axis=(-2, -1))))


def table(lines: list[dict[str, Any]]) -> None:
    """Errors and spread at the window's start and end, and spread over error of all truths."""
    print("| size | truth | J | minutes | a member | GB | before | RMSE | spread | commit |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for line in lines:
        ends = (" ".join(f"{v:.4f}" for v in line[k]) for k in ("rmse_before", "rmse", "spread"))
        times = f"{line['minutes']:.2f} | {line['minutes_a_member']:.2f}"
        print(
            f"| {line['size']}² | {line['truth']} | {line['cost']:.0f} | {times} | "
            f"{line['gigabytes']:.1f} | {' | '.join(ends)} | {line['commit']} |"
        )
    ratios = np.array([np.divide(line["spread"], line["rmse"]) for line in lines])
    error = ratios.std(axis=0, ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else [np.nan] * 2
    for end, ratio, stderr in zip(("start", "end"), ratios.mean(axis=0), error, strict=True):
        print(f"spread over RMSE at the {end}: {ratio:.3f} ± {stderr:.3f}")


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("size", 128), ("truths", 5), ("members", 10), ("inner", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    configure()
    batches = Batches("water")
    sizes = {"size": given.size, "members": given.members, "inner": given.inner}
    for truth in range(given.truths):
        which = {**sizes, "truth": truth}
        if not batches.of(**which):
            batches.keep(measured(**which), **which)
    table(batches.of(**sizes))


if __name__ == "__main__":
    main()
