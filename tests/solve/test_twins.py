"""Statistics over twins: B and R are right, so the minimum of J and the error bars must be too.

Lorenz-96, n = 40, ten slots of one step of 0.05, R = I, everything observed at every slot edge but
the first, B = 0.5 I; the truth is drawn from N(x_b, B).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import Observations, Points, Status, Window, strong_constraint
from assim.models import Lorenz96
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.solve.minimise.compiled import minimise_compiled
from assim.solve.minimise.gauss_newton import GaussNewton

N, SLOTS, VARIANCE = 40, 10, 0.5
Z90 = 1.6448536269514722


class Twins(NamedTuple):
    cost: np.ndarray  # (twins,)
    status: np.ndarray  # (twins,)
    error: np.ndarray  # truth less analysis of the initial state, (twins, n)
    stdev: np.ndarray  # by Laplace, (twins, n)


def spun_up():
    """A state on the attractor, by NumPy."""
    x = 8.0 + 0.01 * np.sin(np.arange(N))
    tendency = lambda x: (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 8  # noqa: E731
    for _ in range(2000):
        k1 = tendency(x)
        k2 = tendency(x + 0.025 * k1)
        k3 = tendency(x + 0.025 * k2)
        x = x + 0.05 / 6 * (k1 + 2 * k2 + 2 * k3 + tendency(x + 0.05 * k3))
    return x


def blank(background):
    """The problem with zeros for observations."""
    model = Lorenz96(n=N)
    window = Window.regular(model, SLOTS)
    times = np.repeat(np.asarray(window.edges)[1:], N)
    points = Points.at(times, {"site": np.tile(np.arange(float(N)), SLOTS)})
    observations = Observations("x", np.zeros(SLOTS * N), points, PointSample("x"))
    stdev = np.sqrt(VARIANCE)
    return strong_constraint(model, window, {"x": background}, Diagonal(stdev), observations)


@eqx.filter_jit
def analyses(problem, minimiser, keys):
    """Draw a truth and its data, minimise, and take the diagonal of the Hessian's inverse."""

    def one(key):
        for_truth, for_noise = jax.random.split(key)
        truth = jax.random.normal(for_truth, (N,))
        exact = -problem(truth).normalised  # the data are zeros, and R = I
        data = exact + jax.random.normal(for_noise, exact.shape)
        twin = eqx.tree_at(lambda p: p.observations[0].values, problem, data)
        state = minimise_compiled(twin, minimiser, jnp.zeros(N))
        variance = VARIANCE * jnp.diagonal(jnp.linalg.inv(state.hessian))
        return state.cost, state.status, np.sqrt(VARIANCE) * (truth - state.chi), jnp.sqrt(variance)

    return jax.vmap(one)(keys)


def run(number, seed):
    problem = blank(jnp.asarray(spun_up()))
    keys = jax.random.split(jax.random.key(seed), number)
    return Twins(*map(np.asarray, analyses(problem, GaussNewton(), keys)))


@pytest.mark.slow
def test_minimum_and_intervals(capsys):
    """2J/p is one on average, and 90 per cent intervals hold 90 per cent."""
    number = 200
    twins = run(number, seed=1)
    p = SLOTS * N
    ratio = 2 * twins.cost / p
    error = ratio.std(ddof=1) / np.sqrt(number)
    inside = 100 * np.mean(np.abs(twins.error) < Z90 * twins.stdev)
    score = np.mean((twins.error / twins.stdev) ** 2)
    with capsys.disabled():
        print(
            f"\n{number} twins: 2J/p = {ratio.mean():.4f} ± {error:.4f}, 90 % intervals hold "
            f"{inside:.1f} %, mean squared standardised error {score:.3f}"
        )
    assert np.all(twins.status == Status.CONVERGED)
    assert abs(ratio.mean() - 1) < 3 * error
    # 2J is a χ² variable of p degrees of freedom: its standard deviation is known too.
    assert abs(ratio.std() / np.sqrt(2 / p) - 1) < 4 / np.sqrt(2 * number)
    assert abs(inside - 90) < 2
