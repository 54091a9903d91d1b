"""Bias correction: b(β) = Σ β_k p_k, added to what the operator predicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import BiasCorrection, Observations, Points
from assim.problem.arrays import Coordinate, Grid, Label, Labels, Trajectory
from assim.problem.operator import PointSample
from assim.problem.prior import Normal

LABELS = Labels({"u": Label(("x",))}, coordinates={"x": Coordinate(np.arange(4.0))})
FIELD = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
TRAJECTORY = Trajectory(jnp.arange(3.0), {"u": FIELD}, {}, Grid.of(LABELS))
POINTS = Points.at([0.5, 1.0, 2.0], {"x": np.array([0.0, 1.5, 3.0])})
ANGLE = np.array([-1.0, 0.5, 2.0])
PRIORS = {"offset": Normal(0.0, 1.0), "slope": Normal(0.0, 2.0), "warm": Normal(0.0, 0.5)}
BETA = {"offset": jnp.asarray(0.3), "slope": jnp.asarray(-0.7), "warm": jnp.asarray(0.1)}


def observations(**more):
    bias = BiasCorrection(PRIORS, {"slope": ANGLE, "warm": PointSample("u")})
    return Observations("u", [1.0, 2.0, 3.0], POINTS, PointSample("u"), 0.5, bias=bias, **more)


def test_correction():
    o = observations()
    read = PointSample("u")(TRAJECTORY, POINTS)
    expected = 0.3 - 0.7 * ANGLE + 0.1 * read
    np.testing.assert_allclose(o.correction(TRAJECTORY, BETA), expected, rtol=1e-14)
    np.testing.assert_allclose(o.predict(TRAJECTORY, BETA), read + expected, rtol=1e-14)
    d = o.departures(TRAJECTORY, {}, BETA)
    np.testing.assert_allclose(d, (np.arange(1.0, 4.0) - read - expected) / 0.5, rtol=1e-13)


def test_derivatives_in_the_coefficients():
    o = observations()
    slopes = jax.jacfwd(lambda beta: o.predict(TRAJECTORY, beta))(BETA)
    np.testing.assert_allclose(slopes["offset"], np.ones(3), rtol=1e-14)
    np.testing.assert_allclose(slopes["slope"], ANGLE, rtol=1e-14)
    np.testing.assert_allclose(slopes["warm"], PointSample("u")(TRAJECTORY, POINTS), rtol=1e-14)


def test_nothing_without_a_correction():
    o = Observations("u", [1.0, 2.0, 3.0], POINTS, PointSample("u"))
    np.testing.assert_array_equal(o.correction(TRAJECTORY, {}), np.zeros(3))
    np.testing.assert_array_equal(o.predict(TRAJECTORY), PointSample("u")(TRAJECTORY, POINTS))


@pytest.mark.parametrize(
    ("predictors", "words"),
    [
        ({"angle": ANGLE}, "'angle' has no prior.*offset, slope, warm"),
        ({"slope": ANGLE[:2]}, r"u: the predictor of 'slope' has shape \(2,\), not \(3,\)"),
        ({"slope": [0.0, np.nan, 1.0]}, "u: the predictors of its bias must be finite"),
    ],
)
def test_predictors_that_do_not_fit(predictors, words):
    with pytest.raises(ValueError, match=words):
        Observations(
            "u",
            [1.0, 2.0, 3.0],
            POINTS,
            PointSample("u"),
            bias=BiasCorrection(PRIORS, predictors),
        )


def test_no_coefficients():
    with pytest.raises(ValueError, match="at least one coefficient"):
        BiasCorrection({})
