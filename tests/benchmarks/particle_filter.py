"""What the observations of the Lorenz-63 twin can say at best: a particle filter of 20,000.

    python -m tests.benchmarks.particle_filter [--seeds 1 2 3]

Bootstrap particles of cases/lorenz63_sakov2012, resampled systematically and moved by 0.02 of their
covariance's root. Prints RMSE and spread as the case does, and the ratio of quadratic means.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from assim.case.case import read_case
from assim.case.setting import set_up
from assim.problem.window import Window, integrate
from assim.run.cycle.cycle import pose_experiment
from assim.run.terminal.runtime import configure
from tests.benchmarks.published_twins import CASES

PARTICLES, MOVED = 20_000, 0.02
NAMES = ("x", "y", "z")


def resampled(key, weights):
    """Rows of particles by systematic resampling from weights of sum one."""
    number = weights.size
    places = (jnp.arange(number) + jax.random.uniform(key)) / number
    return jnp.clip(jnp.searchsorted(jnp.cumsum(weights), places), 0, number - 1)


def filtered(posed, batches, truth, key):
    """Root mean square error and root mean variance of every window."""
    problem, plan = posed.cycle.problem, posed.cycle.plan
    window, model = problem.window, problem.model
    length = window.edges[plan.shift] - window.edges[0]
    step = Window(jnp.stack([jnp.zeros(()), length]), window.steps)
    values = jnp.stack([rows.values[:, 0] for rows in batches], axis=1)
    true = jnp.stack([truth[name][plan.shift :: plan.shift] for name in NAMES], axis=1)
    variance = batches[0].stdev[0, 0] ** 2
    first = jnp.stack([problem.control.state[name] for name in NAMES])
    for_start, key = jax.random.split(key)
    start = jax.random.normal(for_start, (PARTICLES, 3)) * jnp.sqrt(variance) + first[None]

    def forecast(x):
        state = dict(zip(NAMES, x, strict=True))
        end = integrate(model, state, dict(model.parameters), step).at_end()
        return jnp.stack([end[name] for name in NAMES])

    def one(carry, inputs):
        particles, key = carry
        seen, x = inputs
        key, for_rows, for_moves = jax.random.split(key, 3)
        particles = jax.vmap(forecast)(particles)
        misfit = jnp.sum((seen[None] - particles) ** 2, axis=1) / variance
        weights = jax.nn.softmax(-misfit / 2)
        mean = weights @ particles
        about = particles - mean[None]
        covariance = (about * weights[:, None]).T @ about
        rows = resampled(for_rows, weights)
        root = jnp.linalg.cholesky(covariance + 1e-9 * jnp.eye(3))
        moves = MOVED * jax.random.normal(for_moves, (PARTICLES, 3)) @ root.T
        error = jnp.sqrt(jnp.mean((mean - x) ** 2))
        return (particles[rows] + moves, key), (error, jnp.sqrt(jnp.trace(covariance) / 3))

    return jax.lax.scan(one, (start, key), (values, true[: len(values)]))[1]


def main():
    """Print a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    configure("cpu", "float64")
    for seed in parser.parse_args().seeds:
        path = CASES / "lorenz63_sakov2012" / "case.toml"
        posed, batches, truth = pose_experiment(set_up(read_case(path, [f"twin.seed={seed}"])))
        run = jax.jit(lambda key, given=(posed, batches, truth): filtered(*given, key))
        error, spread = (
            np.asarray(v)[posed.tables.cycled().burn_in :] for v in run(jax.random.key(seed))
        )
        ratio = np.sqrt(np.mean(spread**2) / np.mean(error**2))
        plain = np.mean(spread) / np.mean(error)
        told = f"RMSE {np.mean(error):.3f}, spread {np.mean(spread):.3f}"
        print(f"seed {seed}: {told}; ratio of means {plain:.2f}, of quadratic means {ratio:.2f}")


if __name__ == "__main__":
    main()
