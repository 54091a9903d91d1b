"""Errors of interpolation in time are estimated as exact solutions have them, and told."""

import re

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim import Observations, Points, Window
from assim.findings.between_edges import bent_between_edges, errors_between_edges, own_bends
from assim.findings.fit import goodness_of_fit
from assim.problem.arrays import Grid, Trajectory
from assim.problem.departure import Problem
from assim.problem.model_error import ModelError
from assim.problem.operator import AbstractOperator
from tests.problem.toy import Tendency

SIGMA = 0.01
EVEN = np.linspace(0.0, 4.0, 9)
UNEVEN = np.array([0.0, 0.3, 0.7, 1.2, 1.5, 2.1, 2.6, 3.2, 3.5, 4.0])
EXACT = {
    "decay": (lambda t: np.exp(-t), lambda a, b: np.exp(-a) - np.exp(-b)),
    "sine": (np.sin, lambda a, b: np.cos(a) - np.cos(b)),
}
MODEL = Tendency(lambda x, theta, t: -theta["rate"] * x, 1)
READ = assim.operator.PointSample("x0")


def observations(points: Points, operator: AbstractOperator = READ) -> Observations:
    return Observations("y", np.ones(points.times.shape), points, operator, SIGMA)


def estimated(edges: np.ndarray, values: np.ndarray, o: Observations) -> np.ndarray:
    """Errors of a trajectory of these values, in the unit of the values."""
    grid, times = Grid.of(MODEL.labels()), jnp.asarray(edges)
    trajectory = Trajectory(times, {"x0": jnp.asarray(values)}, {}, grid)
    bends = own_bends(MODEL, trajectory)
    return SIGMA * errors_between_edges(o, trajectory, bends, {}, {})


@pytest.mark.parametrize("edges", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("name", EXACT)
def test_readings_and_means_err_as_estimated(name: str, edges: np.ndarray) -> None:
    exact, integral = EXACT[name]
    times = np.linspace(0.05, 3.95, 79)
    o = observations(Points.at(times))
    true = np.interp(times, edges, exact(edges)) - exact(times)
    large = np.abs(true) > 0.4 * np.abs(true).max()
    ratio = estimated(edges, exact(edges), o)[large] / true[large]
    assert large.sum() > 10 and ratio.min() > 1 / 1.5 and ratio.max() < 1.5

    starts = np.linspace(0.0, 3.0, 31)
    o = observations(Points.over(starts, starts + 0.9), assim.operator.TimeMean("x0"))
    fine = np.linspace(0, 0.9, 2001)[:, None] + starts
    linear = np.trapezoid(np.interp(fine, edges, exact(edges)), fine, axis=0) / 0.9
    true = linear - integral(starts, starts + 0.9) / 0.9
    large = np.abs(true) > 0.4 * np.abs(true).max()
    ratio = estimated(edges, exact(edges), o)[large] / true[large]
    assert ratio.min() > 1 / 1.5 and ratio.max() < 1.5


def test_a_kink_inside_a_slot_is_seen() -> None:
    """An infusion of an hour between edges four hours apart, as a straight line would miss it."""
    edges = np.arange(0.0, 25.0, 4.0)
    level = lambda t: np.clip(t - 9.0, 0.0, 1.0)  # noqa: E731
    o = observations(Points.at(np.array([9.0, 10.5])))
    true = np.interp(o.points.times, edges, level(edges)) - level(np.asarray(o.points.times))
    error = estimated(edges, level(edges), o)
    assert np.abs(error).max() > 0.25 * np.abs(true).max()


def test_nothing_errs_on_edges_or_on_straight_lines() -> None:
    off = observations(Points.at(np.linspace(0.05, 3.95, 40)))
    np.testing.assert_allclose(estimated(UNEVEN, 3 - 2 * UNEVEN, off), 0, atol=1e-14)
    np.testing.assert_allclose(
        estimated(UNEVEN, np.exp(-UNEVEN), observations(Points.at(UNEVEN))), 0, atol=1e-15
    )


def test_operators_that_read_the_edges_themselves_do_not_err() -> None:
    points = Points.at(np.array([0.1, 0.2]))
    for function in (
        lambda trajectory, points: trajectory.states["x0"][1:3],  # by number
        lambda trajectory, points: trajectory.states["x0"].reshape(3, 3)[0, :2],  # by shape
    ):
        o = observations(points, assim.operator.Function(function))
        np.testing.assert_array_equal(estimated(EVEN, np.exp(-EVEN), o), 0)


def posed(slots: int, times: np.ndarray, **given) -> Problem:
    model = Tendency(lambda x, theta, t: -theta["rate"] * x, 1, {"rate": jnp.asarray(1.0)})
    window = Window.at(model, np.linspace(0.0, 4.0, slots + 1))
    o = Observations("y", np.exp(-times), Points.at(times), READ, SIGMA)
    background = {"x0": assim.prior.LogNormal(1.0, 0.1)}
    if given:
        return assim.weak_constraint(model, window, background, None, o, **given)
    return assim.strong_constraint(model, window, background, None, o)


def told(problem: Problem):
    return bent_between_edges(problem, eqx.filter_jit(problem.simulate)(jnp.zeros(problem.size())))


@pytest.mark.parametrize(("slots", "least"), [(1, 20.0), (4, 5.0)])
def test_the_worst_is_told(slots: int, least: float) -> None:
    (bent,) = told(posed(slots, np.array([0.5, 1.25, 2.5, 4.0])))
    assert (bent.name, bent.total, bent.time) == ("y", 4, 0.5 if slots == 4 else 2.5)
    true = abs(np.interp(bent.time, (k := np.linspace(0, 4, slots + 1)), np.exp(-k))
               - np.exp(-bent.time)) / SIGMA  # fmt: skip
    assert least < bent.worst and 1 / 1.6 < bent.worst / true < 1.6


def test_enough_slots_or_edges_at_the_readings_say_nothing() -> None:
    assert told(posed(64, np.array([0.51, 1.26, 2.51]))) == ()
    assert told(posed(4, np.array([1.0, 2.0, 4.0]))) == ()


def test_jumps_of_the_model_error_are_no_bends() -> None:
    """A model that stands still but for its jumps bends nowhere."""
    still = Tendency(lambda x, theta, t: 0 * x, 1)
    window, times = Window.at(still, np.linspace(0.0, 4.0, 5)), np.array([0.5, 1.5, 2.5])
    o = Observations("y", np.array([0.0, 1.0, -1.0]), Points.at(times), READ, SIGMA)
    for acts in ("jump", "tendency"):
        error = ModelError(assim.covariance.Diagonal(1.0), acts=acts)
        fields = {"x0": assim.prior.Normal(0.0, 1.0)}
        problem = assim.weak_constraint(still, window, fields, None, o, model_error=error)
        chi = jnp.asarray(np.random.default_rng(2).standard_normal(problem.size()))
        assert bent_between_edges(problem, eqx.filter_jit(problem.simulate)(chi)) == ()


def test_a_run_says_so() -> None:
    problem = posed(4, np.array([0.5, 1.25, 2.5, 4.0]))
    fit = goodness_of_fit(assim.analyse(problem, assim.minimiser.GaussNewton(), starts=1))
    assert fit.bent[0].many == 3
    remark = next(r for r in fit.remarks() if "slot edges" in r)
    assert re.search(
        r"^y: 3 of 4 readings .* standard deviations .*at time 0\.5.*more slots", remark
    )
    assert fit.summary()["between_edges"] == {"y": fit.bent[0].worst}
