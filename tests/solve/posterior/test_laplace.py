"""The Laplace posterior where a Gaussian is not all there is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.posterior.ensemble import Trust
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
