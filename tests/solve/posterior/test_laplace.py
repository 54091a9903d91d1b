"""The Laplace posterior where a Gaussian is not all there is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace, laplace, local_gaussian
from tests.solve.departures import Departures, Misfit

KEY = jax.random.key(0)


def edged(chi, data):
    """One coordinate observed; beside it, no model beyond half a standard deviation."""
    return jnp.where(chi[1] > 0.5, jnp.nan, 3 * (chi[:1] - 1))


def test_an_edge_is_doubtful_whatever_k_hat():
    """P(χ₁ > 1/2) = 0.309 of the draws; weights of the others are equal, so that k̂ = 0."""
    found = laplace(Misfit(edged, 2, 1.0), jnp.array([0.9, 0.0]), Laplace(), KEY)
    assert found.k_hat == 0
    assert abs(found.outside - 0.3085) < 0.02
    assert found.trust() is Trust.DOUBTFUL
    assert "edge" in found.advice()


def test_no_edge():
    problem = Misfit(lambda chi, data: 3 * (chi[:1] - 1), 2, 1.0)
    for draws in (0, 500):
        found = laplace(problem, jnp.array([0.9, 0.0]), Laplace(certificate=draws), KEY)
        assert found.outside == 0
    assert found.trust() is Trust.CERTIFIED


@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_deviations_that_rounding_hides_from_a_difference(rank, dtype):
    """(1 + λ)^(-1/2) of axes along and across the entries, some left to the prior."""
    turned = np.array([[0.6, -0.8], [0.8, 0.6]])
    axes = np.eye(4)
    axes[1:3, 1:3] = turned
    values = np.array([1e20, 1e17, 3.0, 0.0])
    parts = (jnp.asarray(v, dtype) for v in (np.zeros(4), values[:rank], axes[:, :rank]))
    gaussian = Gaussian(*parts)
    kept = np.append(values[:rank], np.zeros(4 - rank))
    exact = (axes / (1 + kept)) @ axes.T
    close = 1e-12 if dtype == jnp.float64 else 1e-5
    np.testing.assert_allclose(gaussian.stdev(), np.sqrt(np.diag(exact)), rtol=close)
    root = np.asarray(gaussian.root(jnp.arange(4)))
    np.testing.assert_allclose(root @ root.T, exact, rtol=close, atol=close)
    stiffest = gaussian.covariance(jnp.asarray(axes[:, 1], dtype))
    if dtype == jnp.float64:
        np.testing.assert_allclose(axes[:, 1] @ stiffest, 1e-17, rtol=1e-6)


SIGNS = np.where(np.arange(40) % 2, 0.5, -0.5)


def bent(chi, data):
    """One departure of curvature ±½ at 0, where the Gauss-Newton Hessian is W; and some data."""
    return jnp.concatenate([(1 + SIGNS @ chi**2 / 2)[None], data @ chi])


def test_what_eigenvalues_of_both_signs_leave_out_does_not_cancel():
    """20 of ½ and 20 of -½, whose logarithms make -5.8: at least 18 in the 36 that are left."""
    problem = Misfit(bent, 40, 1.0, jnp.zeros((1, 40)))
    settings = Laplace(hessian="exact", dense_limit=10, rank=4, certificate=0)
    found = laplace(problem, jnp.zeros(40), settings, KEY)
    assert found.hessian == "exact Hessian"
    np.testing.assert_allclose(found.left_out, 18, rtol=0.1)
    assert np.isnan(found.log_evidence) and "left out" in found.advice()


def test_what_an_exact_hessian_leaves_out_of_linear_departures_is_their_trace():
    """Of λ = 11 to 4 along the axes, 5 + 4 and no curvature: signs probe a diagonal exactly."""
    data = jnp.sqrt(jnp.arange(11.0, 3.0, -1.0))[:, None] * jnp.eye(40)[:8]
    problem = Misfit(lambda chi, data: data @ chi, 40, 1.0, data)
    settings = Laplace(hessian="exact", dense_limit=10, rank=6, certificate=0)
    found = laplace(problem, jnp.zeros(40), settings, KEY)
    np.testing.assert_allclose(found.left_out, 9, rtol=1e-6)


class Loose(eqx.Module):
    """Six coordinates, the last with neither a prior nor observations."""

    def __call__(self, chi):
        return Departures(2 * (chi[:2] - 1), jnp.zeros(()), jnp.zeros(()))

    def size(self):
        return 6

    def weight(self):
        return jnp.ones(6).at[5].set(0.0)

    def has_normaliser(self):
        return False

    def proper(self):
        return False

    def workspace(self):
        return 8


def test_a_loose_coordinate_above_the_dense_limit():
    """Its λ = -1 + rounding is clipped, so that nothing is NaN."""
    gaussian = local_gaussian(Loose(), jnp.zeros(6), Laplace(dense_limit=2, rank=6), KEY)
    stdev = np.asarray(gaussian.stdev())
    np.testing.assert_allclose(stdev[:5], [5**-0.5, 5**-0.5, 1, 1, 1], rtol=1e-6)
    assert np.isfinite(stdev[5]) and stdev[5] > 100
    assert np.all(np.isfinite(gaussian.sqrt(jnp.ones(6))))
