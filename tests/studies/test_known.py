"""What the study of trust compares with, and how it judges."""

import jax.numpy as jnp
import numpy as np
import pytest

from assim import analyse, prior
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.marginal import Quantity
from tests.studies.known import FAMILIES, Exact, by_quadrature, of_normals, of_values
from tests.studies.trust import fault

NORMAL = 1.6448536269514722  # of 95 per cent


def test_quadrature_is_the_closed_form_of_a_line():
    """Three readings of 2a + b, whose priors are N(1, 2²) and N(0, 1)."""
    laws = {"a": prior.Normal(1.0, 2.0), "b": prior.Normal(0.0, 1.0)}
    values, stdev, row = np.array([3.0, 3.4, 2.9]), 0.5, np.array([2.0, 1.0])
    precision = np.diag([1 / 4, 1.0]) + 3 * np.outer(row, row) / stdev**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ (np.array([1 / 4, 0.0]) + row * values.sum() / stdev**2)

    def log_density(w):
        theta = 2 * (1 + 2 * w[0]) + w[1]
        return -jnp.sum((jnp.asarray(values) - theta) ** 2) / stdev**2 / 2 - w @ w / 2

    exact = by_quadrature(log_density, laws)
    for k, name in enumerate(laws):
        np.testing.assert_allclose(exact[name].mean, mean[k], atol=1e-4)
        np.testing.assert_allclose(exact[name].stdev, covariance[k, k] ** 0.5, rtol=1e-4)


def test_moments_of_normals_and_of_values_agree():
    x = np.linspace(-9.0, 9.0, 4001)
    mass = np.exp(-(x**2) / 2)
    of_grid = of_values(3 + 2 * x, mass / mass.sum())
    of_one = of_normals(np.array([3.0]), np.array([2.0]), np.ones(1))
    for exact in (of_grid, of_one):
        np.testing.assert_allclose(exact[:2], [3.0, 2.0], rtol=1e-6)
        np.testing.assert_allclose(exact.quantiles, 3 + 2 * NORMAL * np.arange(-1, 2), atol=2e-3)


def test_a_tail_rules_a_standard_deviation():
    """That of 1/w² does not exist; half of its mass is none the less where it was."""
    w = np.linspace(1e-6, 1.0, 200_001)
    exact = of_values(1 / w[::-1] ** 2, np.full(w.size, 1 / w.size))
    assert exact.stdev == np.inf
    np.testing.assert_allclose(exact.quantiles[1], 4.0, rtol=1e-3)


def test_a_tail_beyond_all_draws_leaves_no_standard_deviation():
    """A half-Cauchy rate that readings of θ/(1 + θ) hold from above, but not far out."""
    rng = np.random.default_rng([38, sorted(FAMILIES).index("heavy tails")])
    known = FAMILIES["heavy tails"](rng)
    analysis = analyse(known.problem, posterior=Laplace())
    rate = analysis.posteriors["laplace"].quantities["a"]
    assert known.exact["a"].stdev == np.inf
    assert np.isnan(rate.stddev) and "one draw in a hundred thousand" in rate.note
    quantiles = [rate.q05, rate.q50, rate.q95]
    np.testing.assert_allclose(quantiles, known.exact["a"].quantiles, rtol=0.02)


EXACT = Exact(0.0, 1.0, np.array([-NORMAL, 0.0, NORMAL]))


@pytest.mark.parametrize(
    ("mean", "stdev", "quantile", "stated", "exact", "expected"),
    [
        (0.09, 1.04, 0.0, (0.03, 0.015), EXACT, ""),
        (0.11, 1.0, 0.0, (0.03, 0.015), EXACT, "mean"),
        (0.11, 1.0, 0.0, (0.04, 0.015), EXACT, ""),
        (0.05, 1.0, 0.0, (0.01, 0.015), EXACT, "error of mean"),
        (0.0, 1.06, 0.0, (0.03, 0.015), EXACT, "stdev"),
        (0.0, 0.97, 0.0, (0.03, 0.005), EXACT, "error of stdev"),
        (np.nan, 1.0, 0.0, (0.03, 0.015), EXACT, "mean"),
        (0.0, np.nan, 0.1, (0.03, 0.015), EXACT, ""),
        (0.0, np.nan, 0.3, (0.03, 0.015), EXACT, "quantiles"),
        (0.0, 1.0, 0.0, (0.03, 0.015), EXACT._replace(stdev=np.inf), "tail"),
    ],
)
def test_what_is_wrong(mean, stdev, quantile, stated, exact, expected):
    quantiles = EXACT.quantiles + quantile
    quantity = Quantity(mean, stdev, mean, *quantiles, "1")
    assert fault(quantity, exact, stated) == expected
