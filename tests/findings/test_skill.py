"""How background and analysis agree with readings: of those that count, held back or not."""

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.models import LotkaVolterra
from assim.statistics.scores import agreement

YEARS = np.arange(5.0)


@pytest.fixture(scope="module")
def analysis():
    model = LotkaVolterra(assim.FixedStep(0.25))
    hares = assim.Observations(
        "hare", [30.0, 40.0, 900.0, 35.0], assim.Points.at(YEARS[1:]),
        assim.operator.PointSample("hare"), 5.0, weight=[1.0, 1.0, 0.0, 1.0], units="1000",
    )  # fmt: skip
    problem = assim.strong_constraint(
        model,
        assim.Window.at(model, YEARS, reference="1900-01-01"),
        background={"hare": jnp.asarray(30.0), "lynx": jnp.asarray(4.0)},
        covariance=assim.covariance.Diagonal(0.3),
        observations=[hares],
    )
    return assim.analyse(problem, starts=1)


def test_only_readings_that_count_do(analysis):
    own = assim.finding.skill(analysis).instruments["hare"]
    at = np.array([1, 2, 4])
    for state, found in ((analysis.background, own.background), (analysis.analysis, own.analysis)):
        exact = agreement(state.trajectory.states["hare"][at], np.array([30.0, 40.0, 35.0]))
        np.testing.assert_allclose(found, exact, rtol=1e-12)
    assert own.analysis.number == 3 and own.units == "1000" and not own.held_back
    assert own.analysis.rmse < own.background.rmse


def test_instruments_that_were_held_back_are_compared(analysis):
    lynx = assim.Observations(
        "lynx", [5.0, 7.0], assim.Points.at(YEARS[2:4]), assim.operator.PointSample("lynx"), 1.0
    )
    own = assim.finding.skill(analysis, [lynx]).instruments["lynx"]
    away = np.asarray(analysis.analysis.trajectory.states["lynx"])[2:4] - [5.0, 7.0]
    assert own.held_back
    np.testing.assert_allclose(own.analysis.bias, away.mean(), rtol=1e-12)
    summary = assim.finding.skill(analysis, [lynx]).summary()
    assert summary["lynx"]["analysis"]["rmse"] == own.analysis.rmse
