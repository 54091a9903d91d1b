"""The exact Hessian by parts is the exact Hessian."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import ErrorScale
from assim.problem.prior import LogNormal
from assim.solve.cost import exact_linearisation
from assim.solve.posterior import laplace
from assim.solve.posterior.laplace import exact_hessian
from tests.solve.test_weak_constraint import twin, weakened

SCALE = ErrorScale("amplitude", LogNormal(median=1.0, log_stdev=0.5))


def linear():
    return weakened("ring", 1, "forcing", scale=SCALE)[1], 1


def nonlinear():
    problem = twin("forcing", n=12, slots=6)
    error = problem.control.model_error
    scaled = type(error)(error.covariance, None, error.every, error.acts, SCALE)
    where = lambda p: (p.control.model_error, p.control.scales)  # noqa: E731
    weak = eqx.tree_at(where, problem, (scaled, {"amplitude": SCALE.prior}))
    return weak, weak.size() - 12


@pytest.mark.slow
@pytest.mark.parametrize("make", [linear, nonlinear])
def test_by_parts(make, monkeypatch):
    """Of a linear problem, the volume's part is one column: that of the amplitude.

    Of Lorenz-96 it is every column but those of the last jump, in which departures are linear.
    """
    problem, expected = make()
    n = problem.size()
    chi = 0.2 * jax.random.normal(jax.random.key(1), (n,))
    counted = []
    columns = laplace._volume_columns
    monkeypatch.setattr(
        laplace, "_volume_columns", lambda p, c, d: counted.append(len(d)) or columns(p, c, d)
    )
    got = exact_hessian(problem, chi)
    whole = eqx.filter_jit(
        lambda p, c: jax.lax.map(exact_linearisation(p, c).hessian, jnp.eye(n), batch_size=50)
    )
    np.testing.assert_allclose(got, whole(problem, chi), rtol=0, atol=1e-9 * np.abs(got).max())
    assert counted == [expected]


def test_the_volume_stays_where_the_model_is_not_finite_nearby(monkeypatch):
    problem, _ = linear()
    chi = jnp.zeros(problem.size())
    whole, slopes = exact_hessian(problem, chi), laplace._volume_slopes

    def not_finite(problem, chi):
        return np.concatenate([slopes(problem, chi)[:1], np.full((2, chi.shape[1]), np.nan)])

    monkeypatch.setattr(laplace, "_volume_slopes", not_finite)
    np.testing.assert_array_equal(exact_hessian(problem, chi), whole)
    monkeypatch.setattr(laplace, "_volume_slopes", lambda problem, chi: 0 * slopes(problem, chi))
    assert np.abs(exact_hessian(problem, chi) - whole).max() > 0.01
