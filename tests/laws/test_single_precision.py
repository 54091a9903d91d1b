"""Covariances, likelihoods and inputs in single precision, by the laws of double precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import Coordinate, Forcing
from assim.models import TwoLayer
from assim.problem.covariance import Diagonal, Diffusion, Spectral
from assim.problem.forcing import check_span
from assim.problem.likelihood import Poisson, StudentT
from assim.problem.window import Window
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.valleys import on_lines
from tests.registry import COVARIANCES, LIKELIHOODS

EPS = float(np.finfo(np.float32).eps)
RING = Coordinate(np.arange(64.0), period=64.0)


@pytest.fixture(autouse=True)
def single():
    with jax.enable_x64(False):
        yield


@jax.jit
def columns(covariance):
    return jax.vmap(covariance.sqrt)(jnp.eye(covariance.size()))


@jax.jit
def there_and_back(covariance, w):
    return covariance.whiten(covariance.sqrt(w))


@pytest.mark.parametrize("name", COVARIANCES)
def test_covariances(name):
    """The matrix to rounding, and an inverse as good as the condition of L lets it be."""
    entry = COVARIANCES[name]
    covariance, matrix = entry.make().on(entry.shape, entry.axes), entry.matrix()
    found = np.asarray(columns(covariance))
    assert found.dtype == np.float32
    factor = found.reshape(len(found), -1).T.astype(float)
    sampled = 4 * covariance.uncertainty() if isinstance(covariance, Diffusion) else 0.0
    tolerance = (500 * EPS + sampled) * np.max(matrix)
    np.testing.assert_allclose(factor @ factor.T, matrix, atol=tolerance)
    if not covariance.no_inverse():
        w = np.random.default_rng(0).normal(size=covariance.size()).astype(np.float32)
        back = there_and_back(covariance, w)
        assert np.max(np.abs(back - w)) < 10 * EPS * max(np.linalg.cond(factor), 10)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Spectral(1.0, 2.0), "0 to rounding"),
        (lambda: Spectral(1.0, 4.0, "Matern32"), ""),
        (lambda: Diffusion(1.0, 5.0), ""),
        (lambda: Diffusion(1.0, 10.0), "fewer iterations"),
    ],
    ids=["gaussian", "matern", "diffusion", "diffusion-long"],
)
def test_an_inverse_that_rounding_spoils_is_refused(make, reason):
    """White values come back to within a hundredth, or there is no inverse."""
    fitted = make().on((64,), (RING,))
    w = np.random.default_rng(0).normal(size=64).astype(np.float32)
    assert reason in fitted.no_inverse() and bool(reason) == bool(fitted.no_inverse())
    if reason:
        with pytest.raises(ValueError, match="cannot be inverted"):
            fitted.whiten(fitted.sqrt(w))
    else:
        assert np.max(np.abs(there_and_back(fitted, w) - w)) < 1e-2


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods(name):
    """½ dᵀd of the density, in single precision, and derivatives that are finite."""
    entry = LIKELIHOODS[name]
    observed = jnp.asarray(entry.observed, dtype=float)
    predicted = jnp.asarray(entry.predicted, dtype=float)
    error = Diagonal(0.7).on(observed.shape)

    @jax.jit
    def all_at(hx):
        d = lambda hx: entry.make().departures(observed, hx, error, jnp.ones(()))  # noqa: E731
        return d(hx), jax.jvp(d, (hx,), (jnp.ones_like(hx),))[1]

    d, slope = all_at(predicted)
    assert d.dtype == jnp.float32
    assert np.isfinite(d).all() and np.isfinite(slope).all()
    ours = float(entry.make().log_constant(observed, error)) - 0.5 * np.sum(np.float64(d) ** 2)
    densities = entry.log_density(np.array(entry.observed), np.array(entry.predicted), 0.7)
    np.testing.assert_allclose(ours, np.sum(densities), rtol=100 * EPS, atol=1e-3)


@pytest.mark.parametrize(("likelihood", "observed"), [(StudentT(4.0), 1e6), (Poisson(), 5e5)])
def test_gradients_of_gross_errors_are_finite(likelihood, observed):
    error = Diagonal(1.0).on((1,))
    y = jnp.array([observed])

    def cost(hx):
        return jnp.sum(likelihood.departures(y, hx, error, jnp.ones(())) ** 2) / 2

    hx = jnp.ones(1)
    r = observed - 1.0
    expected = -5 * r / (4 + r**2) if isinstance(likelihood, StudentT) else 1 - observed
    np.testing.assert_allclose(jax.grad(cost)(hx), [expected], rtol=1e-4)


def test_inputs_reach_as_far_as_rounded_times():
    """The last edge of a window is the last time of the input, but for rounding."""
    beyond = np.nextafter(np.float32(100.0), np.float32(200.0))
    forcing = Forcing([0.0, 100.0], [1.0, 2.0])
    np.testing.assert_allclose(forcing(jnp.float32(beyond)), 2.0, rtol=1e-6)
    assert np.isnan(forcing(jnp.float32(100.1)))
    model = TwoLayer(forcing)
    check_span(model, Window.at(model, [0.0, 50.0, float(beyond)]))


def test_lines_through_a_minimum_after_some_in_double_precision():
    """Program after program in one process, each in its own precision."""
    points = eqx.filter_jit(lambda gaussian: on_lines(gaussian))
    gaussian = Gaussian(jnp.zeros(2), jnp.zeros(1), jnp.eye(2)[:, :1])
    with jax.enable_x64(True):
        double = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), gaussian)
        assert points(double).dtype == jnp.float64
    assert points(gaussian).dtype == jnp.float32
