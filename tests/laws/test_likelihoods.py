"""Laws of likelihoods: -log p(y | Hx) = ½ dᵀd + c - log_constant."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.problem.covariance import Dense, Diagonal
from assim.problem.likelihood import Gaussian, Huber, LogNormal, Poisson, StudentT, VariationalQC
from assim.problem.observation import ErrorScale, Observations
from assim.problem.operator import PointSample
from assim.problem.points import Points
from assim.problem.prior import Jeffreys
from tests.registry import LIKELIHOODS

STDEV = 0.7
SCALED = [name for name, entry in LIKELIHOODS.items() if entry.has_scale]


@pytest.fixture(params=LIKELIHOODS)
def entry(request):
    return LIKELIHOODS[request.param]


def arrays(entry):
    observed, predicted = jnp.asarray(entry.observed), jnp.asarray(entry.predicted)
    return observed, predicted, Diagonal(STDEV).on(observed.shape)


def departures(entry, scale=1.0):
    """Departures as a function of the prediction, and the prediction."""
    observed, predicted, error = arrays(entry)
    return lambda hx: entry.make().departures(observed, hx, error, jnp.asarray(scale)), predicted


def test_negative_log_density(entry):
    observed, predicted, error = arrays(entry)
    d, hx = departures(entry)
    ours = -0.5 * jnp.sum(d(hx) ** 2) + entry.make().log_constant(observed, error)
    expected = np.sum(entry.log_density(np.array(observed), np.array(predicted), STDEV))
    np.testing.assert_allclose(ours, expected, rtol=1e-10)


@pytest.mark.parametrize("name", SCALED)
def test_negative_log_density_with_a_scale(name):
    entry, scale = LIKELIHOODS[name], 1.9
    observed, predicted, error = arrays(entry)
    d, hx = departures(entry, scale)
    # As Observations with an estimated scale does it: c = m log(scale) + log|R^(1/2)|.
    c = observed.size * jnp.log(scale) + error.log_sqrt_determinant()
    constant = entry.make().log_constant(observed, error) + error.log_sqrt_determinant()
    expected = np.sum(entry.log_density(np.array(observed), np.array(predicted), scale * STDEV))
    np.testing.assert_allclose(-0.5 * jnp.sum(d(hx) ** 2) - c + constant, expected, rtol=1e-10)


@pytest.mark.parametrize("name", SCALED)
def test_observations_keep_the_book(name):
    """The instrument's own normaliser and constant give the density, scale or no scale."""
    entry = LIKELIHOODS[name]
    observed, predicted, _ = arrays(entry)
    points = Points.at(jnp.zeros(observed.shape))
    for scale in (None, ErrorScale("sigma", Jeffreys())):
        one = Observations("y", observed, points, PointSample("x"), STDEV, entry.make(), scale)
        sigma = {"sigma": jnp.asarray(1.9)} if scale else {}
        d = one.likelihood.departures(observed, predicted, one.covariance, sigma.get("sigma", 1.0))
        ours = one.log_constant() - 0.5 * jnp.sum(d**2) - one.normaliser(sigma)
        stdev = STDEV * (1.9 if scale else 1.0)
        expected = np.sum(entry.log_density(np.array(observed), np.array(predicted), stdev))
        np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_log_densities_of_each_value(entry):
    observed, predicted, _ = arrays(entry)
    stdevs = jnp.linspace(0.4, 1.3, observed.size)
    scale = 1.9 if entry.has_scale else 1.0
    ours = entry.make().log_densities(observed, predicted, Diagonal(stdevs), jnp.asarray(scale))
    expected = entry.log_density(np.array(observed), np.array(predicted), scale * stdevs)
    np.testing.assert_allclose(ours, expected, rtol=1e-10)


@pytest.mark.parametrize(("likelihood", "impossible"), [(LogNormal(), 0.0), (Poisson(), -1.0)])
def test_no_draw_about_what_cannot_be_predicted(likelihood, impossible):
    hx = jnp.array([2.0, impossible, jnp.nan])
    drawn = likelihood.sample(jax.random.key(0), hx, Diagonal(1.0).on((3,)), jnp.ones(()))
    assert list(np.isfinite(drawn)) == [True, False, False]


def test_sign_and_zero(entry):
    d, hx = departures(entry)
    observed = jnp.asarray(entry.observed)
    assert np.array_equal(np.sign(d(hx)), np.sign(observed - hx))
    assert np.any(np.asarray(d(hx)) == 0)  # the registry holds one y = Hx


@functools.cache
def derivatives(name):
    """What the two laws below compare, compiled once."""
    d, hx = departures(LIKELIHOODS[name])
    direction, weights = jnp.cos(jnp.arange(hx.size)), jnp.sin(1.0 + jnp.arange(hx.size))
    gradient = jax.grad(lambda hx: 0.5 * jnp.sum(d(hx) ** 2))

    @jax.jit
    def all_at(hx):
        pushed = jax.jvp(d, (hx,), (direction,))[1]
        pulled = jax.vjp(d, hx)[1](weights)[0]
        curvature = jax.jvp(gradient, (hx,), (jnp.ones_like(hx),))[1]
        return {
            "d": d(hx),
            "pushed": pushed,
            "gradient": gradient(hx),
            "curvature": curvature,
            "mismatch": weights @ pushed - pulled @ direction,
        }

    return all_at, hx, direction


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_derivatives(name):
    at, hx, direction = derivatives(name)
    there, step = at(hx), 1e-6
    assert np.all(np.isfinite(there["pushed"]))
    assert abs(there["mismatch"]) <= 1e-13 * jnp.linalg.norm(there["pushed"])
    difference = at(hx + step * direction)["d"] - at(hx - step * direction)["d"]
    np.testing.assert_allclose(there["pushed"], difference / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_second_derivatives(name):
    at, hx, _ = derivatives(name)
    there, step = at(hx), 1e-5
    assert np.all(np.isfinite(there["curvature"]))
    difference = (at(hx + step)["gradient"] - at(hx - step)["gradient"]) / (2 * step)
    np.testing.assert_allclose(there["curvature"], difference, rtol=1e-5, atol=1e-6)


def test_sample_moments(entry):
    mean, n = 3.0, 40_000
    hx = jnp.full(n, mean)
    error, scale = Diagonal(0.2).on((n,)), jnp.asarray(2.0)
    drawn = entry.make().sample(jax.random.key(0), hx, error, scale)
    expected_mean, expected_variance = entry.moments(mean, 0.4)
    assert drawn.shape == hx.shape
    assert drawn.dtype == hx.dtype
    assert abs(jnp.mean(drawn) - expected_mean) < 4 * np.sqrt(expected_variance / n)
    np.testing.assert_allclose(jnp.var(drawn), expected_variance, rtol=0.08)
    assert entry.make().check(drawn) is None


def test_a_gross_error_costs_no_more_than_the_flat_part():
    """d is bounded, and its derivative falls to nothing where the Gaussian part has."""
    one, stdev = VariationalQC(0.01, 5.0), Diagonal(1.0).on((4,))
    observed = jnp.array([6.0, 10.0, 50.0, 1e6])

    def departures(hx):
        return one.departures(observed, hx, stdev, jnp.ones(()))

    slope = jax.jvp(departures, (jnp.zeros(4),), (jnp.ones(4),))[1]
    flat = 0.01 * np.sqrt(2 * np.pi) / (0.99 * 10)
    bound = np.sqrt(2 * np.log(1 + 1 / flat))
    np.testing.assert_allclose(departures(jnp.zeros(4)), np.full(4, bound), rtol=1e-5)
    assert np.all(np.abs(slope) < 1e-4)
    assert np.all(np.abs(slope[1:]) < 1e-15)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_density_has_the_integral_one_where_it_is_one(name):
    one, hx, r = LIKELIHOODS[name].make(), 3.0, np.sinh(np.linspace(-9.0, 9.0, 40_001))
    y = hx + STDEV * r
    if isinstance(one, LogNormal):
        y = hx * np.exp(STDEV * r[np.abs(r) < 30])
    if isinstance(one, Poisson):
        y = np.arange(100.0)
    each = np.ones(y.size) if isinstance(one, Poisson) else np.gradient(y)
    given = (jnp.asarray(y), jnp.full(y.size, hx), Diagonal(STDEV).on((y.size,)), jnp.ones(()))
    density, there = np.exp(one.log_densities(*given)), np.asarray(one.is_density(*given))
    np.testing.assert_allclose(np.sum(each * np.where(there, density, 0.0)), 1.0, rtol=1e-3)
    assert there.all() != isinstance(one, VariationalQC)
    np.testing.assert_array_equal(~there, getattr(one, "width", np.inf) < np.abs(y - hx) / STDEV)


def test_own_data_are_accepted(entry):
    assert entry.make().check(jnp.asarray(entry.observed)) is None


def test_correlated_errors():
    matrix = np.array([[1.0, 0.6], [0.6, 2.0]])
    y, hx = jnp.array([1.0, 3.0]), jnp.array([0.5, 1.0])
    d = Gaussian().departures(y, hx, Dense(matrix), jnp.ones(()))
    r = np.asarray(y - hx)
    np.testing.assert_allclose(jnp.sum(d**2), r @ np.linalg.solve(matrix, r), rtol=1e-13)


@pytest.mark.parametrize(
    ("likelihood", "values", "words"),
    [
        (LogNormal(), [1.0, 0.0], "values > 0"),
        (Poisson(), [1.0, -1.0], "whole counts"),
        (Poisson(), [1.5], "whole counts"),
    ],
)
def test_values_outside_the_support(likelihood, values, words):
    assert words in likelihood.check(jnp.asarray(values))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: StudentT(0.0), "StudentT.*dof"),
        (lambda: Huber(-1.0), "Huber.*threshold"),
        (lambda: VariationalQC(0.0), "VariationalQC.*probability"),
        (lambda: VariationalQC(1.0), "VariationalQC.*probability"),
        (lambda: VariationalQC(width=0.0), "VariationalQC.*width"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
