"""Long windows of Lorenz-96: how often the global minimum is found, with and without lengthening.

n = 40, F = 8, dt = 0.05, everything observed at each 0.1 with R = I; the background is the truth at
the window's start plus noise of B = σ_b² I. A run has found the global minimum where its J is
within 1 % of that of a run started from the truth.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import Observations, Points, Window, strong_constraint
from assim.models import Lorenz96
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.solve.minimise.compiled import minimise_compiled, minimise_quasi_static_compiled
from assim.solve.minimise.gauss_newton import GaussNewton

N, EACH, STEPS, B_STDEV = 40, 0.1, 2, 0.3
STAGE = 0.5  # time units by which a window is lengthened
LENGTHS, TWINS = (2, 3, 4, 5, 6), 40
METHOD = GaussNewton(tolerance=1e-3)


class Costs(NamedTuple):
    """J reached from the truth, from the background, and from there with lengthening."""

    truth: np.ndarray
    plain: np.ndarray
    lengthened: np.ndarray


def spun_up():
    model = Lorenz96(n=N)
    start = {"x": 8 + jnp.asarray(np.random.default_rng(0).normal(size=N))}
    edges = jnp.arange(TWINS + 1.0) * 2.0
    run = jax.jit(lambda x: model.states(x, model.parameters, edges + 20.0, 40))(start)
    return run["x"][1:]


def blank(length):
    slots = round(length / EACH)
    model, window = Lorenz96(n=N), Window.regular(Lorenz96(n=N), slots, STEPS)
    times = np.repeat(np.asarray(window.edges)[1:], N)
    points = Points.at(times, {"site": np.tile(np.arange(float(N)), slots)})
    values = Observations("x", np.zeros(slots * N), points, PointSample("x"))
    return strong_constraint(model, window, {"x": np.zeros(N)}, Diagonal(B_STDEV), values)


@eqx.filter_jit
def costs(problem, truths, keys, stages):
    """For each truth a background and data, and the three minimisations one after the other."""

    def one(inputs):
        truth, key = inputs
        for_background, for_data = jax.random.split(key)
        chi = jax.random.normal(for_background, (N,))
        background = truth - B_STDEV * chi
        twin = eqx.tree_at(lambda p: p.control.state["x"], problem, background)
        exact = -twin(chi).normalised  # the data are zeros, and R = I
        data = exact + jax.random.normal(for_data, exact.shape)
        twin = eqx.tree_at(lambda p: p.observations[0].values, twin, data)
        right = minimise_compiled(twin, METHOD, chi)
        plain = minimise_compiled(twin, METHOD, jnp.zeros(N))
        steps = minimise_quasi_static_compiled(twin.lengthened(stages), METHOD, jnp.zeros(N))
        return right.cost, plain.cost, steps.cost

    return jax.lax.map(one, (truths, keys))


def measured(length, twins):
    keys = jax.random.split(jax.random.key(length), twins)
    result = costs(blank(length), spun_up()[:twins], keys, round(length / STAGE))
    return Costs(*map(np.asarray, result))


def found(cost, least):
    """Per cent within 1 % of the lowest J that is known."""
    return 100 * np.mean(cost <= 1.01 * least)


@pytest.mark.slow
def test_share_of_windows_that_find_the_global_minimum(capsys):
    shares = {}
    for length in LENGTHS:
        reached = measured(length, TWINS)
        shares[length] = (
            found(reached.plain, reached.truth),
            found(reached.lengthened, reached.truth),
        )
    with capsys.disabled():
        print(f"\nwindows that find the global minimum, %, of {TWINS} twins, σ_b = {B_STDEV}")
        print("| Window, time units | at once | lengthened by 0.5 |")
        print("|---|---|---|")
        for length, (plain, lengthened) in shares.items():
            print(f"| {length} | {plain:.0f} | {lengthened:.0f} |")
    plain, lengthened = np.array(list(shares.values())).T
    assert np.all(lengthened >= plain)
    assert lengthened[-1] - plain[-1] > 30
    assert lengthened[-1] > 80
