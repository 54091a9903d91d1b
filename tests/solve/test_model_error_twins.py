"""A model that is wrong: Lorenz-96 forced by 8 against a truth that is forced by 8.5.

Forty sites, twelve slots of two steps of 0.05, every site observed at every slot edge but the first
with a standard deviation of 0.5, background error 0.5; jumps of 0.1 at every edge as model error,
where the wrong forcing misses 0.05. RMSE and coverage are of the state at all thirteen edges.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    ModelError,
    Observations,
    Points,
    Status,
    Window,
    strong_constraint,
    weak_constraint,
)
from assim.models import Lorenz96
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.solve.cost import gauss_newton_linearisation
from assim.solve.minimise.compiled import minimise_compiled
from assim.solve.minimise.gauss_newton import GaussNewton

N, SLOTS, STEPS, STDEV = 40, 12, 2, 0.5
TRUE = {"F": jnp.asarray(8.5)}
Z90 = 1.6448536269514722


class Windows(NamedTuple):
    status: np.ndarray  # (windows,)
    error: np.ndarray  # analysis less truth, (windows, edges, n)
    stdev: np.ndarray  # by the Gauss–Newton Hessian, the same shape


def problems():
    """Strong and weak constraint, with zeros for background and observations."""
    model = Lorenz96(n=N)
    window = Window.regular(model, SLOTS, STEPS)
    times = np.repeat(np.asarray(window.edges)[1:], N)
    points = Points.at(times, {"site": np.tile(np.arange(float(N)), SLOTS)})
    observations = Observations("x", np.zeros(SLOTS * N), points, PointSample("x"), stdev=STDEV)
    given = (model, window, {"x": np.zeros(N)}, Diagonal(STDEV), observations)
    error = ModelError(Diagonal(0.1))
    return {
        "strong": strong_constraint(*given),
        "weak": weak_constraint(*given, model_error=error),
    }


@eqx.filter_jit
def windows(problem, minimiser, keys):
    """Draw a truth, its background and its data; minimise; error and spread of the trajectory."""
    model, edges = problem.model, problem.window.edges

    def one(key):
        for_spin_up, for_background, for_data = jax.random.split(key, 3)
        x = {"x": 8 + jax.random.normal(for_spin_up, (N,))}
        start = model.states(x, TRUE, jnp.asarray([0.0, 50.0]), 1000)["x"][-1]
        truth = model.states({"x": start}, TRUE, edges, STEPS)["x"]
        background = start + STDEV * jax.random.normal(for_background, (N,))
        data = truth[1:].ravel() + STDEV * jax.random.normal(for_data, (SLOTS * N,))
        where = lambda p: (p.observations[0].values, p.control.state["x"])  # noqa: E731
        twin = eqx.tree_at(where, problem, (data, background))
        state = minimise_compiled(twin, minimiser, jnp.zeros(twin.size()))
        field = lambda chi: twin.trajectory(chi).states["x"].ravel()  # noqa: E731
        hessian = gauss_newton_linearisation(twin, state.chi).hessian
        matrix = jax.vmap(hessian)(jnp.eye(twin.size()))
        root = jnp.linalg.cholesky(matrix)
        tangent = jax.jacfwd(field)(state.chi)
        pushed = jax.scipy.linalg.solve_triangular(root, tangent.T, lower=True)
        stdev = jnp.sqrt(jnp.sum(pushed**2, axis=0)).reshape(truth.shape)
        return state.status, field(state.chi).reshape(truth.shape) - truth, stdev

    return jax.lax.map(one, keys)


@pytest.mark.slow
def test_weak_constraint_sees_through_a_wrong_model(capsys):
    """Its analysis is nearer to the truth than the strong constraint's, and knows how near."""
    keys = jax.random.split(jax.random.key(0), 100)
    found = {
        name: Windows(*map(np.asarray, windows(problem, GaussNewton(n_outer=60), keys)))
        for name, problem in problems().items()
    }
    rmse = {name: np.sqrt(np.mean(w.error**2, axis=(1, 2))) for name, w in found.items()}
    whole = {name: np.sqrt(np.mean(w.error**2)) for name, w in found.items()}
    inside = {n: 100 * np.mean(np.abs(w.error) < Z90 * w.stdev) for n, w in found.items()}
    with capsys.disabled():
        print()
        for name, w in found.items():
            print(
                f"{name:>6}: RMSE {whole[name]:.3f} (median over windows "
                f"{np.median(rmse[name]):.3f}), 90 % intervals hold {inside[name]:.1f} %, "
                f"{np.sum(w.status == Status.CONVERGED)} of 100 windows converged"
            )
    assert np.all(found["weak"].status == Status.CONVERGED)
    assert np.median(rmse["strong"]) > 1.1 * np.median(rmse["weak"])
    assert whole["strong"] > 1.5 * whole["weak"]
    assert 85 < inside["weak"] < 95
