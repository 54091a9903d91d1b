"""Minima that no first guess from the prior meets: met along lines through the one that was."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim import analyse
from assim.problem.prior import Normal
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.valleys import FEW, MOST, along_some, looked_along, valleys
from tests.studies.known import Known, curved


def square(theta, data):
    return theta["a"] ** 2 + data


def product(theta, data):
    """Both signs of both fit; nothing descends again along one parameter alone."""
    return theta["a"] * theta["b"] + data * (theta["a"] - theta["b"])


PRIOR = Normal(1.0, 0.5)
SQUARE = curved(square, np.array([1.0]), 0.02, {"a": PRIOR})
PRODUCT = curved(product, np.array([1.0, 1.0]), 0.02, {"a": PRIOR, "b": PRIOR})


SLOW = pytest.mark.slow


@pytest.mark.parametrize("known", [SQUARE, pytest.param(PRODUCT, marks=SLOW)], ids=["a²", "ab"])
def test_the_other_sign_is_met(known: Known):
    """Four standard deviations of the prior away, of both parameters for the product."""
    assert not _met(analyse(known.problem, posterior=None))
    analysis = analyse(known.problem)
    assert _met(analysis) and analysis.solution.starts == 8


def _met(analysis):
    return any(np.asarray(minimum.chi)[0] < -3.5 for minimum in analysis.solution.minima)


@SLOW
def test_what_is_certified_has_the_other_sign():
    """Of 3e-4 at 200 standard deviations, which make the standard deviation 4 times as large."""
    exact = SQUARE.exact["a"]
    assert exact.stdev > 0.03
    posterior = analyse(SQUARE.problem, posterior="auto").posterior
    right = abs(posterior.quantities["a"].stddev / exact.stdev - 1) < 0.05
    assert right or posterior.trust is not Trust.CERTIFIED
    assert right or "no draw is near" in posterior.advice


def test_one_valley_asks_for_nothing_more():
    line = curved(lambda theta, data: theta["a"] + data, np.array([1.0]), 0.02, {"a": PRIOR})
    assert analyse(line.problem).solution.starts == 4
    assert analyse(SQUARE.problem, posterior=Laplace(certificate=0)).solution.starts == 4


def test_draws_that_miss_a_minimum_are_doubtful():
    fitted = dataclasses.replace(around_zero(), others=np.array([[-4.0, 0.0], [3.0, 0.0]]))
    near = np.random.default_rng(0).normal(0, 0.1, size=(50, 2))
    assert fitted.unvisited(near) == 2
    assert fitted.unvisited(np.concatenate([near, [[2.0, 0.5]]])) == 1


def around_zero():
    gaussian = Gaussian(np.zeros(2), np.zeros(0), np.zeros((2, 0)))
    return LaplacePosterior(gaussian, 0.0, np.nan, "given")


def test_valleys_are_the_lowest_and_each_once():
    away = np.linspace(-6, 6, 25)
    waves = away**2 / 2 + 30 * np.sin(np.pi * away / 2) ** 2  # 0, and ±2, ±4 in between
    points = np.stack([away[:, None] * direction for direction in (np.eye(2)[0], np.eye(2)[0])])
    met = valleys(points, np.stack([waves, waves]))
    assert len(met) == MOST
    np.testing.assert_allclose(sorted(met[:2, 0]), [-2, 2])
    holes = np.where(np.abs(away) > 3, np.inf, away**2)  # nothing is defined further out
    assert valleys(points[:1], holes[None]).shape == (0, 2)
    assert valleys(np.zeros((0, 25, 3)), np.zeros((0, 25))).shape == (0, 3)


class Heated(assim.AbstractODE):
    """dx/dt = a² at every one of n points: the sign of a leaves no trace."""

    n: int = eqx.field(default=30, static=True)
    integrator: assim.AbstractIntegrator = eqx.field(default_factory=lambda: assim.FixedStep(0.5))
    parameters: dict = eqx.field(default_factory=lambda: {"a": jnp.asarray(0.5)})

    def labels(self):
        place = {"i": assim.Coordinate(np.arange(float(self.n)), "1", "i")}
        return assim.Labels(
            state={"x": assim.Label(("i",))}, parameters={"a": assim.Label()}, coordinates=place,
            time_unit="1",
        )  # fmt: skip

    def tendency(self, x, theta, t):
        return {"x": theta["a"] ** 2 * jnp.ones(self.n) + 0 * x["x"]}


LEFT = 1 / (1 + np.exp((1.3**2 - 0.3**2) / 2))  # mass of a < 0, as the modes are at ±0.8


def heated(n):
    """a ~ N(0.5, 1), of which four first guesses, the median and three draws, are > 0 in 33 %."""
    model, rng = Heated(n=n), np.random.default_rng(2)
    start, edges = 0.3 * rng.standard_normal(n), np.arange(0.0, 5.0)
    t, i = (v.ravel() for v in np.meshgrid(edges, np.arange(float(n)), indexing="ij"))
    seen = start[i.astype(int)] + 0.8**2 * t + 0.1 * rng.standard_normal(t.size)
    read = assim.Observations(
        "x", seen, assim.Points.at(t, {"i": i}), assim.operator.PointSample("x"), 0.1
    )
    window = assim.Window.at(model, edges)
    background, priors = {"x": jnp.zeros(n)}, {"a": Normal(0.5, 1.0)}
    return assim.strong_constraint(
        model, window, background, assim.covariance.Diagonal(0.3), read, priors
    )


@pytest.mark.parametrize(("n", "starts"), [(30, 8), pytest.param(70, 2, marks=SLOW)])
def test_a_parameter_is_looked_along_among_many_controls(n, starts):
    """Of 31 controls and of more than 64, which start from one first guess, or from four."""
    analysis = analyse(heated(n))
    assert analysis.solution.starts == starts and len(analysis.solution.minima) == 2
    posterior = analysis.posterior
    assert posterior.certificates["looked_along"] == 1
    assert posterior.certificates["elsewhere"] == pytest.approx(LEFT, abs=0.02)
    assert posterior.trust is Trust.DOUBTFUL and "31 per cent" in posterior.advice


def test_where_no_line_was_looked_along_is_told():
    """Fields of many controls are not."""
    parts = analyse(fields_alone()).posterior
    assert parts.trust is Trust.CERTIFIED
    assert "sought from 16 first guesses and along no control." in parts.advice


def test_a_number_of_first_guesses_does_not_hide_what_lines_show():
    one = analyse(heated(30), starts=1)
    assert len(one.solution.minima) == 2
    assert one.posterior.trust is Trust.DOUBTFUL and "31 per cent" in one.posterior.advice


def fields_alone():
    """With a = 0.5, which does not fit: 16 first guesses, all that one minimum gets."""
    problem = heated(FEW + 1)
    background, observed = problem.control.state, problem.observations
    return assim.strong_constraint(
        problem.model, problem.window, background, assim.covariance.Diagonal(0.3), observed
    )


def test_entries_that_stand_apart_are_few():
    problem = heated(30)
    assert looked_along(problem).tolist() == [30]
    assert looked_along(fields_alone()).size == 0
    assert looked_along(SQUARE.problem).tolist() == [0]
    at = np.zeros(31)
    at[30] = 0.3  # a = 0.8
    looked = along_some(problem, jnp.asarray(at))
    assert looked.along.shape == (1, 25) and looked.along[0, 12] == 0
    np.testing.assert_allclose(looked.valleys[:, 30], [-1.2])
    assert not looked.valleys[:, :30].any()
