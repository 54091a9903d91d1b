"""Standard deviations that are luck are not stated; those that are not luck are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.marginal import WeightedDraws, marginals, pushed, ruling_draws
from tests.solve.posterior.closed_posteriors import given

NUMBER = 10_000
STANDARD = given([0.0], [1.0 - 1e-12])


def heavy(chi):
    """Half-Cauchy: a variance that is infinite."""
    return {"f": jnp.tan(jnp.pi / 2 * jax.scipy.stats.norm.cdf(chi[0]))}


def skewed(chi):
    """Log-normal, σ = 1: a variance that 10,000 draws know within a few per cent."""
    return {"f": jnp.exp(chi[0])}


def infinite_variance(chi):
    """Pareto of shape 0.55: a mean, 1/0.45, and no variance."""
    return {"f": (1 - jax.scipy.stats.norm.cdf(chi[0])) ** -0.55}


def rare(chi):
    """An indicator of probability 3e-7."""
    return {"f": jnp.where(chi[0] > 5.0, 1.0, 0.0)}


def of_draws(function, seed):
    chi = jnp.asarray(np.random.default_rng(seed).normal(size=(NUMBER, 1)))
    drawn = WeightedDraws(chi, np.full(NUMBER, 1 / NUMBER))
    return pushed(function, jnp.zeros(1), drawn, {}, NUMBER)["f"].quantity


@pytest.mark.parametrize("seed", range(3))
def test_draws_of_a_half_cauchy_have_a_median_and_no_deviation(seed):
    found = of_draws(heavy, seed)
    assert np.isnan([found.mean, found.stddev]).all()
    assert found.note.startswith("mean and standard deviation are ruled by the")
    assert "farthest out" in found.note
    assert found.q50 == pytest.approx(1.0, abs=0.06)
    exact = np.tan(np.pi / 2 * 0.95)
    assert found.q95 == pytest.approx(exact, rel=0.15)


def test_a_mean_that_exists_is_stated_without_a_deviation():
    found = of_draws(infinite_variance, 3)
    assert np.isnan(found.stddev) and found.note.startswith("the standard deviation is ruled")
    assert found.mean == pytest.approx(1 / 0.45, rel=0.2)


def test_what_no_draw_shows_has_no_deviation_of_zero():
    found = of_draws(rare, 0)
    assert found.mean == found.q95 == 0.0 and np.isnan(found.stddev)
    assert found.note.startswith(f"no draw of {NUMBER} has another value")


@pytest.mark.parametrize("seed", range(3))
def test_a_skewed_quantity_keeps_its_deviation(seed):
    found = of_draws(skewed, seed)
    exact = np.sqrt(np.expm1(1.0) * np.e)
    assert not found.note and found.stddev == pytest.approx(exact, rel=0.25)


def test_integrals_over_the_gaussian_too():
    heavy_tailed, fine = (marginals(f, STANDARD)["f"] for f in (heavy, skewed))
    assert np.isnan([heavy_tailed.mean, heavy_tailed.stddev]).all()
    assert "one draw in a hundred thousand" in heavy_tailed.note
    pareto = marginals(infinite_variance, STANDARD)["f"]
    assert np.isnan(pareto.stddev) and pareto.mean == pytest.approx(1 / 0.45, rel=0.02)
    assert heavy_tailed.q50 == pytest.approx(1.0, rel=1e-6)
    assert fine.stddev == pytest.approx(np.sqrt(np.expm1(1.0) * np.e), rel=1e-6) and not fine.note


def test_few_draws_are_no_heavy_tail():
    """Twenty draws of a Gaussian know a deviation badly, but no draw rules it."""
    values = np.random.default_rng(0).normal(size=20)
    assert ruling_draws(values, np.full(20, 1 / 20)) == np.inf


def test_one_weight_rules():
    weights = np.full(1000, 1e-3)
    weights[0] = 0.2
    values = np.random.default_rng(0).normal(size=1000)
    values[0] = 6.0
    assert ruling_draws(values, weights / weights.sum()) < 2
    assert ruling_draws(np.ones(5), np.full(5, 0.2)) == np.inf
