"""Laws of priors, as maps θ = T(w) from a standard normal variable."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from assim.problem.prior import HalfNormal, TruncatedNormal, Uniform
from tests.registry import BAD_PRIORS, PRIORS

W = np.arange(-60, 61) / 10  # 0 included: the first guess of every search from the prior
STEP = 1e-4
PROPER = [name for name, entry in PRIORS.items() if entry.distribution is not None]
IMPROPER = [name for name in PRIORS if name not in PROPER]
WITH_MOMENTS = [name for name in PROPER if np.isfinite(PRIORS[name].distribution.std())]


class Values(NamedTuple):
    theta: np.ndarray  # T at W
    inverse: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    before: np.ndarray  # T at W - STEP
    after: np.ndarray


@functools.cache
def values(name):
    prior = PRIORS[name].make()

    @jax.jit
    def all_at(w):
        one = jnp.ones_like(w)
        slope = lambda w: jax.jvp(prior, (w,), (one,))[1]  # noqa: E731
        derivatives = jax.jvp(slope, (w,), (one,))
        return Values(
            prior(w), prior.inverse(prior(w)), *derivatives, prior(w - STEP), prior(w + STEP)
        )

    return Values(*(np.asarray(value) for value in all_at(jnp.asarray(W))))


@pytest.mark.parametrize("name", PRIORS)
def test_increases(name):
    theta = values(name).theta
    assert np.all(np.isfinite(theta))
    assert np.all(np.diff(theta) > 0)


@pytest.mark.parametrize("name", PRIORS)
def test_inverse(name):
    found = values(name).inverse
    np.testing.assert_allclose(found, W, atol=1e-6)
    middle = np.abs(W) <= 3
    np.testing.assert_allclose(found[middle], W[middle], atol=1e-11)


@pytest.mark.parametrize("name", PROPER)
def test_quantiles(name):
    expected, theta = PRIORS[name].distribution, values(name).theta
    lower, upper = W <= 0, W >= 0
    low, high = scipy.stats.norm.cdf(W[lower]), scipy.stats.norm.sf(W[upper])
    np.testing.assert_allclose(theta[lower], expected.ppf(low), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(theta[upper], expected.isf(high), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", PROPER)
def test_density_by_change_of_variables(name):
    density = scipy.stats.norm.pdf(W) / values(name).slope
    expected = PRIORS[name].distribution.pdf(values(name).theta)
    np.testing.assert_allclose(density, expected, rtol=2e-6)


@pytest.mark.parametrize("name", IMPROPER)
def test_improper_density(name):
    # p(θ) ∝ 1/θ: the flat density of w over the slope of T.
    np.testing.assert_allclose(values(name).slope, values(name).theta, rtol=1e-13)


@pytest.mark.parametrize("name", PRIORS)
def test_derivatives(name):
    v = values(name)
    middle = np.abs(W) <= 3
    slope, curvature = (
        (v.after - v.before) / (2 * STEP),
        (v.after - 2 * v.theta + v.before) / STEP**2,
    )
    np.testing.assert_allclose(v.slope[middle], slope[middle], rtol=1e-6)
    scale = np.max(np.abs(v.slope[middle]))
    np.testing.assert_allclose(v.curvature[middle], curvature[middle], rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.parametrize("name", PROPER)
def test_moments(name):
    prior, expected = PRIORS[name].make(), PRIORS[name].distribution
    if name not in WITH_MOMENTS:
        assert np.isnan(prior.mean())
        assert np.isinf(prior.stdev())
        return
    np.testing.assert_allclose(prior.mean(), expected.mean(), rtol=1e-10)
    np.testing.assert_allclose(prior.stdev(), expected.std(), rtol=1e-8)


@pytest.mark.parametrize("name", WITH_MOMENTS)
def test_moments_by_quadrature(name):
    prior, theta = PRIORS[name].make(), values(name).theta
    weights = scipy.stats.norm.pdf(W) * (W[1] - W[0])  # spectrally accurate
    mean = np.sum(weights * theta)
    np.testing.assert_allclose(prior.mean(), mean, rtol=1e-6)
    np.testing.assert_allclose(prior.stdev() ** 2, np.sum(weights * (theta - mean) ** 2), rtol=1e-5)


@pytest.mark.parametrize("name", PRIORS)
def test_weight(name):
    assert PRIORS[name].make().weight() == (0.0 if name in IMPROPER else 1.0)


@pytest.mark.parametrize("name", PROPER)
def test_outside_the_support(name):
    low, high = PRIORS[name].distribution.support()
    for outside in (low - 1.0, high + 1.0):
        if np.isfinite(outside):
            assert not np.isfinite(PRIORS[name].make().inverse(jnp.asarray(outside)))


NEAR = {"middle": (-0.5, 0.5), "off": (-0.01, 0.99), "edge": (0.0, 1.0), "upper edge": (-1.0, 0.0)}
OPEN = {"half": (0.0, np.inf), "lower half": (-np.inf, 0.0), "tail": (-40.0, np.inf)}
DECADES = 10.0 ** np.arange(-3, 13)
PRECISIONS = {"double": (np.float64, 1e-11), "single": (np.float32, 1e-5)}


def exact_moments(alpha, beta):
    """Mean and standard deviation of N(0, 1) between α and β, whichever is within 40.

    By Gauss-Legendre quadrature, 16 nodes for every unit of length, in extended precision.
    """
    a, b = max(alpha, -40.0), min(beta, 40.0)
    nodes, shares = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(a, b, 1 + int(np.ceil(b - a)), dtype=np.longdouble)
    half = np.diff(edges)[:, None] / 2
    z = edges[:-1, None] + half * (1 + nodes)
    density = half * shares * np.exp(-z * z / 2)
    mean = np.sum(density * z) / np.sum(density)
    return float(mean), float(np.sqrt(np.sum(density * (z - mean) ** 2) / np.sum(density)))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("bounds", [*NEAR, *OPEN])
def test_moments_of_truncated_normals_keep_their_digits(bounds, precision):
    """From bounds far out in the tails to a prior that is uniform but for rounding."""
    dtype, close = PRECISIONS[precision]
    lower, upper = {**NEAR, **OPEN}[bounds]
    for stdev in DECADES:
        mean, deviation = exact_moments(lower / stdev, upper / stdev)
        with jax.enable_x64(dtype == np.float64):
            prior = TruncatedNormal(0.0, stdev, lower, upper)
            np.testing.assert_allclose(prior.stdev(), stdev * deviation, rtol=close)
            size = stdev * max(deviation, abs(mean))
            np.testing.assert_allclose(prior.mean(), stdev * mean, atol=close * size)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_truncated_normals_that_are_uniform(precision):
    """The map and its inverse, too: a wide normal on [0, 1] is uniform there."""
    dtype, close = PRECISIONS[precision]
    w = np.linspace(-4, 4, 33)
    for stdev in DECADES[DECADES > 1e4]:
        with jax.enable_x64(dtype == np.float64):
            prior, theta = TruncatedNormal(0.5, stdev, 0.0, 1.0), scipy.stats.norm.cdf(w)
            np.testing.assert_allclose(prior(jnp.asarray(w)), theta, atol=close)
            there = prior(jnp.asarray(w))
            inside = np.abs(w) < 3
            np.testing.assert_allclose(prior.inverse(there)[inside], w[inside], atol=1e3 * close)
            assert not np.isfinite(prior.inverse(jnp.asarray(1.1)))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inverses_keep_their_digits_at_a_bound(precision):
    """Near a bound at zero, where values have all of theirs."""
    dtype, close = PRECISIONS[precision]
    w = np.array([-6.0, -5.5, -4.0])
    with jax.enable_x64(dtype == np.float64):
        for prior, at in ((HalfNormal(2.0), w), (Uniform(0.0, 3.0), w), (Uniform(-3.0, 0.0), -w)):
            np.testing.assert_allclose(prior.inverse(prior(jnp.asarray(at))), at, rtol=close)


def test_arrays():
    prior = TruncatedNormal(jnp.array([1.0, 2.0]), 0.5, lower=0.0)
    one = TruncatedNormal(2.0, 0.5, lower=0.0)
    assert prior(jnp.zeros(2)).shape == (2,)
    np.testing.assert_allclose(prior(jnp.ones(2))[1], one(jnp.ones(())), rtol=1e-15)


@pytest.mark.parametrize(("kind", "arguments", "argument"), BAD_PRIORS)
def test_bad_arguments(kind, arguments, argument):
    with pytest.raises(ValueError, match=rf"(?s){kind.__name__}.*\b{argument}\b"):
        kind(*arguments)
