"""How far departures lie from entries of χ."""

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from tests.couple import heat


def test_rows_are_departures_and_columns_entries_the_shorter_way_round():
    k = {"k": assim.prior.LogNormal(0.2, 0.3)}
    rate = heat.DEFAULTS
    problem = heat.problem(heat.InJax(rate), parameters=k, every=3)
    found = np.asarray(problem.distances(2.0))
    assert found.shape == (12, problem.size()) and problem.control.names()[-1] == "k"
    places = np.tile(np.arange(0.0, 12.0, 3), 3)
    apart = np.abs(places[:, None] - np.arange(12.0))
    np.testing.assert_allclose(found[:, :12], np.minimum(apart, 12 - apart) / 2)
    assert not found[:, -1].any()  # a parameter is everywhere
    assert not np.asarray(problem.distances({}))[:, :12].any()


def test_what_cannot_be_localised():
    problem = heat.problem(heat.InJax(heat.DEFAULTS))
    with pytest.raises(ValueError, match="no dimension 'y'; the model has x"):
        problem.distances({"y": 1.0})
    (seen,) = problem.observations
    correlated = assim.Observations(
        "T",
        seen.values,
        seen.points,
        seen.operator,
        covariance=assim.covariance.Dense(jnp.eye(seen.values.size)),
    )
    model, window = problem.model, problem.window
    given = {"background": {"T": jnp.zeros(heat.N)}, "covariance": assim.covariance.Diagonal(1.0)}
    posed = assim.strong_constraint(model, window, **given, observations=correlated)
    with pytest.raises(ValueError, match="those of 'T' are Dense; give stdev"):
        posed.distances(1.0)
    rate = {"k": assim.prior.LogNormal(0.2, 0.3)}
    fixed = assim.strong_constraint(
        model, window, {"T": jnp.zeros(heat.N)}, observations=seen, parameters=rate
    )
    with pytest.raises(ValueError, match="no entry of the control lies at a grid point"):
        fixed.distances(1.0)
