"""Minima that no first guess from the prior meets: met along lines through the one that was."""

import dataclasses

import numpy as np
import pytest

from assim import analyse
from assim.problem.prior import Normal
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.valleys import MOST, valleys
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
    assert not _met(analyse(known.problem, starts=4))
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
