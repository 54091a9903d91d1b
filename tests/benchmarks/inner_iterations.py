"""Outer and inner iterations on Lorenz-96 windows, with and without the preconditioner.

python -m tests.benchmarks.inner_iterations
"""

import jax
import jax.numpy as jnp
import numpy as np

from assim import (
    ModelError,
    Observations,
    Points,
    Problem,
    Window,
    strong_constraint,
    weak_constraint,
)
from assim.models import Lorenz96
from assim.problem.covariance import Dense
from assim.problem.operator import PointSample
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.minimise.loop import minimise

R_STDEV, B_STDEV, Q_STDEV, LENGTH = 0.2, 1.0, 0.1, 2.0
NEAR = 0.3  # how far the truth is from the background, in its standard deviations


def correlated(n: int, stdev: float) -> np.ndarray:
    """Gaussian correlations of length 2 sites on the ring, with 1 % of white noise."""
    away = np.abs(np.arange(n)[:, None] - np.arange(n))
    away = np.minimum(away, n - away)
    return stdev**2 * (0.99 * np.exp(-((away / LENGTH) ** 2) / 2) + 0.01 * np.eye(n))


def lorenz96_window(
    n: int, slots: int = 8, formulation: str | None = None, seed: int = 0
) -> Problem:
    """Every second site observed at every edge of `slots` slots of 0.1, by σ_o = 0.2.

    The truth is drawn from N(x_b, 0.3² B) about a state on the attractor; with a formulation of
    weak constraint, model errors of Q = 0.1² C act at every edge.
    """
    rng = np.random.default_rng(seed)
    model = Lorenz96(n=n)
    window = Window.regular(model, slots, 2)
    sites = np.arange(0.0, n, 2)
    points = Points.at(
        np.repeat(np.asarray(window.edges)[1:], sites.size), {"site": np.tile(sites, slots)}
    )
    background = {"x": _on_attractor(model, rng)}
    b = Dense(correlated(n, B_STDEV))

    def problem(values: np.ndarray) -> Problem:
        observations = Observations("x", values, points, PointSample("x"), R_STDEV)
        if formulation is None:
            return strong_constraint(model, window, background, b, observations)
        error = ModelError(Dense(correlated(n, Q_STDEV)))
        return weak_constraint(
            model, window, background, b, observations, model_error=error, formulation=formulation
        )

    blank = problem(np.zeros(slots * sites.size))
    truth = jnp.asarray(NEAR * rng.normal(size=blank.size()))
    exact = np.asarray(jax.jit(lambda chi: blank.simulate(chi).predictions["x"])(truth))
    return problem(exact + R_STDEV * rng.normal(size=exact.size))


def _on_attractor(model: Lorenz96, rng: np.random.Generator) -> np.ndarray:
    start = {"x": 8 + jnp.asarray(rng.normal(size=model.n))}
    spun = jax.jit(lambda x: model.states(x, model.parameters, jnp.array([0.0, 20.0]), 400))(start)
    return np.asarray(spun["x"][-1])


def iterations(problem: Problem, precondition: int) -> tuple[int, int]:
    """Outer and inner iterations until |∇J| ≤ 10⁻⁴, from the background."""
    method = GaussNewton(n_outer=60, n_inner=200, precondition=precondition, tolerance=1e-4)
    loops = minimise(problem, method, jnp.zeros(problem.size())).loops
    inner = [loop.inner_iterations for loop in loops]
    return sum(i > 0 for i in inner), sum(inner)


def main() -> None:
    """Print the table of docs/performance.md: means of three windows."""
    print("| Window | Controls | outer, without | inner | outer, with 100 pairs | inner |")
    print("|---|---|---|---|---|---|")
    for n, formulation in ((40, None), (400, None), (40, "forcing"), (40, "state")):
        windows = [lorenz96_window(n, 8, formulation, seed) for seed in range(3)]
        cells = [np.mean([iterations(w, pairs) for w in windows], axis=0) for pairs in (0, 100)]
        numbers = " | ".join(f"{value:.0f}" for value in np.concatenate(cells))
        name = formulation or "strong"
        print(f"| {name}, n = {n} | {windows[0].size()} | {numbers} |", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
