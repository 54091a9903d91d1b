"""Predictive draws against closed forms: what they spread, and the densities beside them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from assim import (
    BiasCorrection,
    ErrorScale,
    FixedStep,
    Observations,
    Points,
    Window,
    likelihood,
    strong_constraint,
)
from assim.models import LotkaVolterra
from assim.problem.covariance import Dense
from assim.problem.operator import PointSample
from assim.problem.predictive import (
    drawn_readings,
    observing,
    predictive,
    prior_draws,
    prior_predictive,
    samples_its_density,
    with_values,
)
from assim.problem.prior import Jeffreys, LogNormal, Normal
from tests.solve import linear

N = 4000


@pytest.fixture(scope="module")
def case():
    return linear.driven()


@pytest.fixture(scope="module")
def prior(case):
    return prior_predictive(case.problem, N, jax.random.key(0))


def test_prior_predictive_of_a_linear_problem(case, prior):
    """Mean G z_b and covariance G B Gᵀ + R, as the innovations have."""
    innovation, g, r = linear.stacked(case)
    y = np.asarray(case.problem.observations[0].values)
    readings = np.asarray(prior.readings["u"])
    total = g @ case.covariance @ g.T + r
    scale = np.sqrt(np.diag(total))
    assert np.all(np.abs(readings.mean(axis=0) - (y - innovation)) < 4.5 * scale / np.sqrt(N))
    found = np.cov(readings.T)
    np.testing.assert_allclose(
        found / np.outer(scale, scale), total / np.outer(scale, scale), atol=0.09
    )
    signal = np.cov(np.asarray(prior.predicted["u"]).T)
    exact = g @ case.covariance @ g.T
    np.testing.assert_allclose(
        signal / np.outer(scale, scale), exact / np.outer(scale, scale), atol=0.09
    )


def test_density_of_all_values_of_an_instrument(case, prior):
    _, _, r = linear.stacked(case)
    o = case.problem.observations[0]
    expected = [
        scipy.stats.multivariate_normal.logpdf(o.values, hx, r) for hx in prior.predicted["u"][:5]
    ]
    np.testing.assert_allclose(prior.log_density["u"][:5], expected, rtol=1e-9)
    assert "u" not in prior.log_densities  # correlated errors: no value has a density of its own
    assert not o.covariance.independent()


def test_evidence_is_the_mean_of_the_likelihood(case, prior):
    """log E[p(y | χ)] over the prior, for a problem of so few data that draws reach it."""
    o = case.problem.observations[0]
    few = o.subset(np.arange(o.values.size) < 2)
    problem = observing(case.problem, few)
    found = prior_predictive(problem, N, jax.random.key(1)).log_density["u"]
    _, g, _ = linear.stacked(case)
    total = g[:2] @ case.covariance @ g[:2].T + case.errors[0]
    exact = scipy.stats.multivariate_normal.logpdf(few.values, g[:2] @ case.background, total)
    weights = np.exp(np.asarray(found))
    stderr = np.std(weights) / np.mean(weights) / np.sqrt(N)
    assert abs(np.log(np.mean(weights)) - exact) < 4 * stderr < 0.2


# ---- scales, biases, likelihoods -----------------------------------------------------------------

YEARS = np.arange(0.0, 5.0)


def instrument(name="hare", stdev=1.0, kind=None, years=YEARS, bias=None, scale="sigma"):
    return Observations(
        name,
        np.linspace(20.0, 30.0, years.size),
        Points.at(years),
        PointSample(name),
        stdev,
        kind,
        ErrorScale(scale, LogNormal(0.3, 0.5)) if scale else None,
        bias=bias,
    )


def lotka(*observations, priors=None):
    model = LotkaVolterra(FixedStep(0.25))
    return strong_constraint(
        model,
        Window.at(model, YEARS),
        {"hare": LogNormal(30.0, 0.1), "lynx": LogNormal(5.0, 0.1)},
        observations=list(observations),
        parameters=priors or {},
    )


@pytest.fixture(scope="module")
def scaled():
    """Log-normal errors of unknown scale, and t errors about a bias."""
    bias = BiasCorrection({"shift": Normal(2.0, 1.0)})
    problem = lotka(
        instrument(kind=likelihood.LogNormal()),
        instrument("lynx", 0.5, likelihood.StudentT(5.0), bias=bias, scale=None),
    )
    chi = prior_draws(problem, 3, jax.random.key(2))
    return problem, chi, predictive(problem, jnp.repeat(chi, 3000, axis=0), jax.random.key(3))


def test_errors_have_the_scale_of_their_draw(scaled):
    problem, chi, found = scaled
    for i in range(3):
        sigma = float(problem.control(chi[i]).scales["sigma"])
        rows = slice(3000 * i, 3000 * (i + 1))
        errors = np.log(found.readings["hare"][rows] / found.predicted["hare"][rows])
        np.testing.assert_allclose(np.std(errors), sigma, rtol=0.03)
        of_t = np.asarray(found.readings["lynx"][rows] - found.predicted["lynx"][rows])
        np.testing.assert_allclose(
            np.median(np.abs(of_t)), 0.5 * scipy.stats.t(5).ppf(0.75), rtol=0.05
        )


def test_predictions_have_the_bias(scaled):
    problem, chi, found = scaled
    simulated = eqx.filter_jit(lambda problem, chi: problem.simulate(chi))(problem, chi[0])
    exact = simulated.trajectory.states["lynx"] + simulated.control.biases["shift"]
    np.testing.assert_allclose(found.predicted["lynx"][0], exact, rtol=1e-10)


def test_density_of_each_value(scaled):
    problem, chi, found = scaled
    hare, lynx = problem.observations
    sigma = float(problem.control(chi[0]).scales["sigma"])
    hx = np.asarray(found.predicted["hare"][0])
    expected = scipy.stats.lognorm.logpdf(hare.values, sigma, scale=hx)
    np.testing.assert_allclose(found.log_densities["hare"][0], expected, rtol=1e-9)
    expected = scipy.stats.t.logpdf(lynx.values, 5.0, found.predicted["lynx"][0], 0.5)
    np.testing.assert_allclose(found.log_densities["lynx"][0], expected, rtol=1e-9)
    for name in ("hare", "lynx"):
        total = np.sum(np.asarray(found.log_densities[name]), axis=1)
        np.testing.assert_allclose(found.log_density[name], total, rtol=1e-9)


def test_readings_that_were_held_back(scaled):
    problem, chi, whole = scaled
    later = instrument(kind=likelihood.LogNormal(), years=YEARS[3:])
    found = predictive(problem, chi, jax.random.key(4), later)
    assert set(found.readings) == {"hare"}
    np.testing.assert_allclose(
        found.predicted["hare"], whole.predicted["hare"][::3000, 3:], rtol=1e-10
    )


def test_readings_of_a_scale_that_is_not_estimated(scaled):
    problem, chi, _ = scaled
    other = instrument(kind=likelihood.LogNormal(), scale="sigma_2")
    with pytest.raises(ValueError, match=r"'sigma_2' is not estimated.*sigma"):
        predictive(problem, chi, jax.random.key(0), other)
    with pytest.raises(ValueError, match=r"shape \(N, 4\), got \(3, 3\)"):
        predictive(problem, chi[:, :3], jax.random.key(0))


def test_other_values(scaled):
    problem, chi, _ = scaled
    drawn = eqx.filter_jit(drawn_readings)(problem, chi[0], jax.random.key(5))
    again = with_values(problem, drawn)
    for o in again.observations:
        np.testing.assert_array_equal(o.values, drawn[o.name])
    assert jax.tree.structure(again) == jax.tree.structure(problem)


def test_a_model_that_fails_gives_no_readings(scaled):
    problem, chi, _ = scaled
    wild = chi.at[0].set(jnp.nan)
    found = predictive(problem, wild, jax.random.key(6))
    assert np.isnan(found.readings["hare"][0]).all()
    assert found.log_density["hare"][0] == -np.inf
    assert np.isfinite(found.readings["hare"][1:]).all()


def test_a_flat_prior_has_no_draws():
    flat = lotka(instrument(), priors={"alpha": Jeffreys()})
    with pytest.raises(ValueError, match="prior of 'alpha' is flat"):
        prior_predictive(flat, 10, jax.random.key(0))


def test_which_likelihoods_draw_from_their_own_density():
    problem = lotka(instrument(), instrument("lynx", kind=likelihood.Huber(), scale=None))
    assert samples_its_density(problem) == {"hare": True, "lynx": False}
    assert Dense(np.eye(2)).independent() is False
