"""Observations that do not fit the window, the grid or the model are refused with the way out."""

import jax.numpy as jnp
import numpy as np
import pytest

from assim import Coordinate, ErrorScale, Labels, Observations, Points, Window, strong_constraint
from assim.models import Lorenz63, Lorenz96
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample, TimeMean
from assim.problem.prior import Jeffreys, LogNormal, Normal


def pose(points, values=(1.0, 2.0), operator=None, **more):
    model = Lorenz96(n=6, dt=0.05)
    window = Window.regular(model, slots=2)
    observations = Observations("x", values, points, operator or PointSample("x"), 1.0, **more)
    return strong_constraint(model, window, {"x": jnp.ones(6)}, Diagonal(1.0), observations)


def sites(*where):
    return {"site": jnp.asarray(where, float)}


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (Points.at([0.05, 9.0], sites(0, 1)), "1 of 2 times lie outside the window, 0 to 0.1"),
        (Points.at([0.05], sites(0)), "2 values need as many times"),
        (Points.at([0.05, 0.1], sites(0)), "2 values need as many positions"),
        (Points.at([0.05, 0.1]), "needs the coordinate 'site'"),
        (Points.at([0.05, 0.1], sites(0, np.nan)), "1 positions are not finite"),
    ],
)
def test_points_must_fit(points, words):
    with pytest.raises(ValueError, match=words):
        pose(points)


def test_fields_must_exist():
    with pytest.raises(ValueError, match="no field 'xx'; did you mean 'x'"):
        pose(Points.at([0.05, 0.1], sites(0, 1)), operator=PointSample("xx"))


def test_means_need_intervals():
    with pytest.raises(ValueError, match=r"TimeMean needs intervals.*Points\.over"):
        pose(Points.at([0.05, 0.1], sites(0, 1)), operator=TimeMean("x"))


def test_times_count_from_the_window_s_reference():
    points = Points(*(jnp.asarray([0.05, 0.1]),) * 3, sites(0, 1), "2000-01-01")
    with pytest.raises(ValueError, match="times count from 2000-01-01"):
        pose(points)


def test_a_covariance_that_no_field_takes_is_refused():
    """It would be lost without a word, while the prior alone counts."""
    model = Lorenz63()
    window = Window.regular(model, slots=1)
    o = Observations("x", [1.0], Points.at(window.edges[1:]), PointSample("x"), 1.0)
    priors = dict.fromkeys("xyz", Normal(0.0, 5.0))
    strong_constraint(model, window, priors, None, [o])
    with pytest.raises(ValueError, match="all fields have priors of their own, so that none takes"):
        strong_constraint(model, window, priors, Diagonal(0.01), [o])


def test_names_of_scales_are_their_own():
    scale = ErrorScale("F", LogNormal(1.0, 1.0))
    with pytest.raises(ValueError, match="error scale 'F': a field or parameter"):
        pose(Points.at([0.05, 0.1], sites(0, 1)), scale=scale)


def test_a_shared_scale_has_one_prior():
    model = Lorenz63()
    window = Window.regular(model, slots=1)
    instruments = [
        Observations(name, [1.0], Points.at(window.edges[1:]), PointSample(name), 1.0, scale=scale)
        for name, scale in (
            ("x", ErrorScale("s", LogNormal(1.0, 1.0))),
            ("y", ErrorScale("s", Jeffreys())),
        )
    ]
    background = dict.fromkeys("xyz", jnp.ones(()))
    with pytest.raises(ValueError, match="those that share it differ in its prior"):
        strong_constraint(model, window, background, Diagonal(1.0), instruments)


def test_axes_increase_and_end_before_they_repeat():
    with pytest.raises(ValueError, match="values must increase"):
        Coordinate(np.array([90.0, 45.0, 0.0]))
    with pytest.raises(ValueError, match="less than the period"):
        Coordinate(np.linspace(0, 360, 5), period=360.0)


def test_time_units_are_known():
    with pytest.raises(ValueError, match="no time_unit 'hour'; did you mean 'hours'"):
        Labels({}, time_unit="hour")
