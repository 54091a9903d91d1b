"""Quantiles of weighted draws."""

import numpy as np

from assim.statistics.weighted import weighted_quantiles


def test_whole_weights_are_draws_that_come_again():
    """Between draws that come again the distribution function is flat: middles of steps agree."""
    random = np.random.default_rng(0)
    values, times = random.standard_normal(50), random.integers(1, 5, 50)
    again = np.repeat(values, times)
    middle = (np.cumsum(times[np.argsort(values)]) - times[np.argsort(values)] / 2) / times.sum()
    np.testing.assert_allclose(
        weighted_quantiles(values, times / times.sum(), middle), np.sort(values)
    )
    levels = np.array([0.05, 0.5, 0.95])
    equal = np.full(again.size, 1 / again.size)
    gap = np.diff(np.sort(values)).max()
    np.testing.assert_allclose(
        weighted_quantiles(values, times / times.sum(), levels),
        weighted_quantiles(again, equal, levels),
        atol=gap,
    )


def test_of_equal_weights_they_are_hazens():
    values, levels = np.random.default_rng(1).standard_normal(40), np.linspace(0.02, 0.98, 7)
    found = weighted_quantiles(values, np.full(40, 1 / 40), levels)
    np.testing.assert_allclose(found, np.quantile(values, levels, method="hazen"))
