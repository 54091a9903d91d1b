"""Quantiles of weighted draws against NumPy's of equal weights, and against a distribution."""

import numpy as np
import pytest
import scipy.stats

from assim.statistics.weighted import LEVELS as PUBLISHED
from assim.statistics.weighted import quantile_error, weighted_quantiles

NUMBER, REPEATS = 1000, 400
LEVELS = (0.003, 0.05, 0.25, 0.5, 0.95)


def test_equal_weights_give_hazens_quantiles():
    draws = np.random.default_rng(0).gamma(2.0, size=(57, 3, 2))
    expected = np.quantile(draws, LEVELS, axis=0, method="hazen")
    weights = np.full(57, 1 / 57)
    np.testing.assert_allclose(weighted_quantiles(draws, weights, LEVELS), expected, rtol=1e-12)
    alone = weighted_quantiles(draws[:, 0, 0], weights, LEVELS)
    np.testing.assert_allclose(alone, expected[:, 0, 0], rtol=1e-12)


def test_weights_move_the_draws_of_one_density_to_another():
    x = 2 * np.random.default_rng(1).normal(size=200_000)
    w = scipy.stats.norm.pdf(x) / scipy.stats.norm.pdf(x, scale=2)
    found = weighted_quantiles(x, w / w.sum(), LEVELS)
    np.testing.assert_allclose(found, scipy.stats.norm.ppf(LEVELS), atol=0.05)


def test_no_columns_have_no_quantiles():
    assert weighted_quantiles(np.zeros((4, 0)), np.full(4, 0.25), LEVELS).shape == (5, 0)


def plain(rng):
    return rng.normal(size=NUMBER), np.full(NUMBER, 1 / NUMBER), {}


def heavy(rng):
    """|Cauchy|, whose 95 % quantile is known badly for the width of the interval."""
    return np.abs(rng.standard_cauchy(size=NUMBER)), np.full(NUMBER, 1 / NUMBER), {}


def antithetic(rng):
    half = rng.normal(size=NUMBER // 2)
    return np.concatenate([half, -half]), np.full(NUMBER, 1 / NUMBER), {"paired": True}


def tilted(rng):
    """N(0.1, 1) from antithetic draws of N(0, 1), whose own quantiles are known."""
    values = antithetic(rng)[0]
    weights = np.exp(0.1 * values)
    return values, weights / weights.sum(), {"paired": True, "against": True}


@pytest.mark.parametrize("draw", [plain, heavy, antithetic, tilted])
def test_stated_errors_of_quantiles_are_those_over_repetitions(draw):
    """The worst of three levels; within a quarter: few draws are near a quantile."""
    rng = np.random.default_rng(0)
    quantiles, widths, stated = [], [], []
    for _ in range(REPEATS):
        values, weights, how = draw(rng)
        each = weighted_quantiles(values, weights, PUBLISHED)
        widths.append(each[2] - each[0])
        known = weighted_quantiles(values, np.full(NUMBER, 1 / NUMBER), PUBLISHED)
        quantiles.append(each - known if "against" in how else each)
        stated.append(quantile_error(values, weights, **how))
    scatter = np.max(np.std(quantiles, axis=0)) / np.mean(widths)
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(stated))), scatter, rtol=0.25)


def test_a_constant_has_no_error():
    assert quantile_error(np.ones(10), np.full(10, 0.1)) == 0.0
