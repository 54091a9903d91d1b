"""Diagnostics of an analysis, against dense matrices in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    Diagonal,
    ErrorScale,
    Jeffreys,
    Observations,
    Points,
    PointSample,
    Window,
    innovation_stdev,
    likelihood,
    strong_constraint,
)
from assim.models import Lorenz96
from assim.solve import diagnose
from tests.solve.linear import driven, ring, stacked

CLOSE = 1e-10  # relative to the largest entry
CASES = {"driven": driven, "ring": ring}


def apart(got, expected):
    return np.max(np.abs(np.asarray(got) - expected)) / np.max(np.abs(expected))


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]()


# ---- innovations ---------------------------------------------------------------------------------


def test_innovation_stdev_is_that_of_hbht_and_r(case):
    _, g, r = stacked(case)
    (got,) = innovation_stdev(case.problem).values()
    assert apart(got, np.sqrt(np.diag(g @ case.covariance @ g.T + r))) < CLOSE


def test_prior_variance_from_random_columns(case, monkeypatch):
    """Within four of its own standard errors, √(2/200) of the variance."""
    _, g, _ = stacked(case)
    monkeypatch.setattr(diagnose, "EXACT_LIMIT", 3)
    predictions = lambda chi: case.problem.simulate(chi).predictions  # noqa: E731
    origin = jnp.zeros(case.problem.size())
    (got,) = diagnose.prior_variance(predictions, origin, None, jax.random.key(3)).values()
    error = np.asarray(got) / np.diag(g @ case.covariance @ g.T) - 1
    assert 0 < np.max(np.abs(error)) < 4 * 0.1
    assert np.sqrt(np.mean(error**2)) < 0.2


def observed(kind, scale=None, model=None):
    """The state of Lorenz-96 at the window's start, read as it is."""
    model = model or Lorenz96(n=8)
    window = Window.regular(model, 2, 1)
    points = Points.at(np.zeros(8), {"site": np.arange(8.0)})
    o = Observations("x", np.full(8, 3.0), points, PointSample("x"), 0.5, kind, scale)
    background = {"x": np.linspace(2.0, 4.0, 8)}
    return strong_constraint(model, window, background, Diagonal(0.3), o)


@pytest.mark.parametrize(
    ("kind", "variance"),
    [
        (likelihood.Gaussian(), lambda p: 0.25 + 0 * p),
        (likelihood.LogNormal(), lambda p: 0.25 * p**2),
        (likelihood.Poisson(), lambda p: p),
    ],
)
def test_innovation_stdev_of_every_kind_of_error(kind, variance):
    (got,) = innovation_stdev(observed(kind)).values()
    expected = np.sqrt(0.09 + variance(np.linspace(2.0, 4.0, 8)))
    assert apart(got, expected) < CLOSE


def test_error_scale_enters_at_its_median_and_moves_nothing():
    problem = observed(likelihood.Gaussian(), ErrorScale("sigma", Jeffreys(2.0)))
    (got,) = innovation_stdev(problem).values()
    assert apart(got, np.full(8, np.sqrt(0.09 + 4 * 0.25))) < CLOSE


def test_a_flat_coordinate_makes_innovations_infinite():
    variance = diagnose.prior_variance(
        lambda chi: {"p": jnp.stack([chi[0] + chi[1], 2 * chi[1]])},
        jnp.zeros(2),
        jnp.array([1.0, 0.0]),
        None,
    )
    np.testing.assert_allclose(variance["p"], [np.inf, 4.0])
