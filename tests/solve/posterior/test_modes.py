"""Mass about other minima, of a square that was read: both signs fit, as likely as their prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.cost import negative_log_density
from assim.solve.minimise.gauss_newton import NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.modes import mass_elsewhere
from tests.solve.departures import Misfit

SQUARE, NOISE = 2.5, 0.05


def folded(chi, data):
    """A reading of (m + χ)² with the mean m of the prior."""
    return ((data[0] + chi) ** 2 - SQUARE) / NOISE


def elsewhere(mean):
    """What lies about the minimum of the less likely sign."""
    problem = Misfit(folded, 1, 1.0, jnp.asarray([mean]))
    minima = []
    for sign in (1, -1):
        start = jnp.asarray([sign * np.sqrt(SQUARE) - mean])
        chi = minimise(problem, NewtonCG(), start).chi
        minima.append((float(negative_log_density(problem, chi)), chi))
    return mass_elsewhere(problem, minima, Laplace(), jax.random.key(0))


def share(mean):
    """By quadrature."""
    a = np.linspace(-8.0, 8.0, 400_001)
    mass = np.exp(-(((a**2 - SQUARE) / NOISE) ** 2) / 2 - (a - mean) ** 2 / 2)
    return mass[a < 0].sum() / mass.sum()


@pytest.mark.parametrize("mean", [0.3, 1.0])
def test_the_share_is_that_of_quadrature(mean):
    other = elsewhere(mean)
    np.testing.assert_allclose(other.share, share(mean), rtol=0.02)
    assert other.chi.shape == (1, 1)


def test_little_mass_far_off_counts_by_its_distance():
    """Of 4e-4 at 200 standard deviations, which make four times the standard deviation."""
    other = elsewhere(2.5)
    np.testing.assert_allclose(other.share, share(2.5), rtol=0.05)
    assert other.share < 1e-3 and other.chi.shape == (1, 1)


def test_no_mass_counts_for_nothing():
    assert elsewhere(6.0).chi.shape == (0, 1)
