"""Perturbed analyses: exact for linear problems, and what they say where they are not."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.randomise import Randomise, _verdict, perturbed_analysis
from assim.statistics.accuracy import Errors
from assim.statistics.importance_weights import NO_WEIGHTS
from tests.solve.departures import Misfit, UnknownScale
from tests.solve.linear import driven, kalman
from tests.solve.posterior.closed_posteriors import (
    affine,
    given,
    linear,
    nowhere,
    posterior_at,
    separable,
)

pytestmark = pytest.mark.slow

KEY = jax.random.key(1)
TIGHT = GaussNewton(tolerance=1e-10, inner_tolerance=1e-12)


@pytest.fixture(scope="module")
def case():
    return linear(n=3, m=5)


@pytest.fixture(scope="module")
def around(case):
    return given(case.mean, np.diag(case.covariance))


_analysis = eqx.filter_jit(perturbed_analysis)


def member(case, key):
    """χ = (I + GᵀG)⁻¹(ξ - Gᵀ(ε - y)), the closed form, of the noise that a key gives."""
    first, second = jax.random.split(key)
    g, y = np.split(np.asarray(case.problem.data), [3], axis=1)
    moved = np.asarray(jax.random.normal(first, (3,)))
    noise = np.asarray(jax.random.normal(second, y[:, 0].shape))
    return case.covariance @ (moved - g.T @ (noise - y[:, 0]))


def test_member_is_the_analysis_of_its_perturbations(case, around):
    for key in jax.random.split(KEY, 3):
        found = _analysis(case.problem, TIGHT, around.chi, key)
        np.testing.assert_allclose(found.chi, member(case, key), atol=1e-8)


def test_linear_problem(case, around):
    """Mean and covariance of the posterior, within the errors of a sample of 2,400."""
    lines = []
    found = Randomise(2400, TIGHT, together=600).sample(case.problem, around, KEY, lines.append)
    assert found.trust is Trust.CERTIFIED and len(lines) == 4
    assert found.certificates["converged"] == 1 and found.members.shape == (2400, 3)
    assert found.independent()
    stdev = np.sqrt(np.diag(case.covariance))
    assert np.max(np.abs(np.asarray(found.mean()) - case.mean) / stdev) < 4 / np.sqrt(2400)
    correlation = (np.cov(found.members.T) - case.covariance) / np.outer(stdev, stdev)
    assert np.max(np.abs(correlation)) < 4 * np.sqrt(2 / 2400)
    assert found.gradients >= 2400 * 4  # at least one loop each, of a gradient and three columns


@pytest.mark.slow
def test_model():
    """The whole engine: the Kalman smoother's mean and covariance at the window's start."""
    case = driven()
    n = case.problem.size()
    around = given(np.zeros(n), np.full(n, 0.5))
    found = Randomise(1000, TIGHT, together=250).sample(case.problem, around, KEY)
    control = jax.jit(jax.vmap(case.problem.control))(found.members)
    z = np.column_stack([control.state["u"], control.parameters["b"]])
    mean, covariance = kalman(case).start
    stdev = np.sqrt(np.diag(covariance))
    assert np.max(np.abs(z.mean(axis=0) - mean) / stdev) < 4 / np.sqrt(1000)
    error = (np.cov(z.T) - covariance) / np.outer(stdev, stdev)
    assert np.max(np.abs(error)) < 4 * np.sqrt(2 / 1000)


def test_flat_coordinates_are_not_moved():
    """W = 0: the prior's noise is none, the observations' noise gives the spread."""
    problem = Misfit(affine, 2, 0.0, jnp.asarray([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))
    around = given([0.0, 1.0], [0.25, 1.0])
    found = Randomise(2400, TIGHT, together=600).sample(problem, around, KEY)
    np.testing.assert_allclose(found.mean(), [0.0, 1.0], atol=0.08)
    np.testing.assert_allclose(found.stdev(), [0.5, 1.0], rtol=0.06)
    assert found.trust is Trust.CERTIFIED


def test_uninformed_coordinate_is_named():
    """Nothing in the data, nothing in the prior: it is not that the problem is not linear."""
    problem = Misfit(affine, 2, 0.0, jnp.asarray([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    around = posterior_at(problem, [0.0, 0.0])
    found = Randomise(100, TIGHT, together=100).sample(problem, around, KEY)
    assert found.trust is Trust.DOUBTFUL and "not informed" in found.advice


def verdict(case, around, share, number):
    """Of so many members that are draws of the Laplace posterior."""
    members, moved = around.gaussian.draws(KEY, number), Errors(0.0, 0.0)
    return _verdict(case.problem, around, share, members, moved)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"indefinite": True}, "saddle"),
        ({"left_out": 2.0}, "left out"),
        ({"importance": NO_WEIGHTS._replace(outside=0.5)}, "-∞ at 50 per cent"),
    ],
)
def test_laplace_that_is_none_is_not_certified(case, around, changed, words):
    trust, advice = verdict(case, dataclasses.replace(around, **changed), 1.0, 1000)
    assert trust is Trust.DOUBTFUL and words in advice


def test_few_members_and_lost_ones_are_not_certified(case, around):
    """2,224 know them to 1.5 per cent; one member of fifty that is lost counts."""
    for share, number, words in (
        (1.0, 2, "within 70.8 %"),
        (1.0, 2200, "raise `members`"),
        (0.98, 4000, "98%"),
    ):
        trust, advice = verdict(case, around, share, number)
        assert trust is Trust.DOUBTFUL and words in advice
    assert verdict(case, around, 0.995, 2224)[0] is Trust.CERTIFIED


def test_nonlinear_problem_is_doubtful():
    """By Laplace's k̂; moments are near, but not those of the posterior."""
    case = separable()
    around = given(case.mode, case.stdev**2, k_hat=0.8)
    found = Randomise(400, TIGHT, together=200).sample(case.problem, around, KEY)
    assert found.trust is Trust.DOUBTFUL and "k̂ = 0.80" in found.advice
    assert np.max(np.abs(np.asarray(found.stdev()) / case.stdev - 1)) < 0.3


def test_estimated_scale_spreads_too_little():
    """√½ of the posterior's by linearisation: half the curvature is not in GᵀG."""
    values = jnp.asarray(np.random.default_rng(0).normal(size=40))
    problem = UnknownScale(values)
    least = 0.5 * np.log(np.mean(np.square(values)))
    around = given([least], [1 / 80])
    found = Randomise(400, NewtonCG(tolerance=1e-8), together=200).sample(problem, around, KEY)
    assert found.trust is Trust.DOUBTFUL and "error scale" in found.advice
    assert abs(float(found.stdev()[0]) * np.sqrt(80) - np.sqrt(0.5)) < 0.1


def test_not_converged(case, around):
    """Counted, left out, and failed where they are most."""
    settings = Randomise(20, GaussNewton(n_outer=1, tolerance=1e-14), together=20)
    found = settings.sample(case.problem, around, KEY)
    assert found.trust is Trust.FAILED and "n_outer" in found.advice
    assert found.certificates["converged"] < 0.5


def test_no_density():
    problem = Misfit(nowhere, 2, 1.0, jnp.zeros(2))
    around = given([0.0, 0.0], [1.0, 1.0])
    found = Randomise(4, TIGHT, together=4).sample(problem, around, KEY)
    assert found.trust is Trust.FAILED and found.certificates["converged"] == 0
    assert np.all(np.isfinite(found.members))


@pytest.mark.parametrize("arguments", [{"members": 1}, {"together": 0}])
def test_refused_settings(arguments):
    with pytest.raises(ValueError, match=f"Randomise: {next(iter(arguments))}"):
        Randomise(**arguments)
