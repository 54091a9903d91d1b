"""Quantiles of weighted draws against NumPy's of equal weights, and against a distribution."""

import numpy as np
import scipy.stats

from assim.statistics.weighted import weighted_quantiles

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
