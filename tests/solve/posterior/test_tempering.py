"""Tempered posteriors: evidence and moments against closed forms, and clear failures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.tempering import Tempering
from assim.statistics.accuracy import Errors
from tests.solve.departures import Misfit
from tests.solve.posterior.closed_posteriors import (
    affine,
    given,
    linear,
    separable,
    walled,
    with_wall,
)

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
SMALL = Tempering(particles=300, runs=4)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    """Toys: compiling is what takes time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def problem(data, wall=-jnp.inf):
    """Of one structure whatever its data, so that it compiles once."""
    return Misfit(walled, 3, 1.0, with_wall(data, wall))


@pytest.fixture(scope="module")
def case():
    found = linear(n=3, m=5)
    return found._replace(problem=problem(found.problem.data))


@pytest.fixture(scope="module")
def around(case):
    """Off by a standard deviation and too narrow: tempering does not rely on it."""
    variance = np.diag(case.covariance)
    return given(case.mean + np.sqrt(variance), 0.5 * variance)


def check(found, case, stdev):
    """Evidence within four of its own standard deviations; moments within their sampling."""
    error = found.certificates["log_evidence_stdev"]
    assert 0 < error < 0.1
    assert abs(found.log_evidence - case.log_evidence) < 4 * max(error, 0.01)
    assert np.max(np.abs(np.asarray(found.mean()) - case.mean) / stdev) < 0.15
    assert np.max(np.abs(np.asarray(found.stdev()) / stdev - 1)) < 0.12


def test_linear_problem(case, around):
    lines = []
    found = Tempering().sample(case.problem, around, KEY, lines.append)
    assert found.trust is Trust.CERTIFIED and len(lines) == 4
    stdev = np.sqrt(np.diag(case.covariance))
    check(found, case, stdev)
    errors = Errors(found.certificates["mean_error"], found.certificates["accuracy"])
    assert np.max(np.abs(found.mean() - case.mean) / stdev) < 3 * max(errors.mean, 0.01)
    assert np.max(np.abs(found.stdev() / stdev - 1)) < 3 * max(errors.stdev, 0.005)
    assert found.gradients == 0 and found.evaluations > 4 * 4000 * 8
    assert found.members.shape == (16000, 3)
    assert abs(float(jnp.sum(found.weights)) - 1) < 1e-12
    few = Tempering(particles=100).sample(case.problem, around, KEY)
    assert few.trust is Trust.DOUBTFUL and "raise `particles`" in few.advice


def test_trajectories_from_the_prior_alone(case, around):
    """The Laplace posterior has no part in it."""
    settings = Tempering(particles=300, runs=4, start="prior", kernel="hmc")
    found = settings.sample(case.problem, around, KEY)
    check(found, case, np.sqrt(np.diag(case.covariance)))
    assert found.gradients > 4 * 300 * 8 * 5
    again = settings.sample(case.problem, given(np.zeros(3), np.full(3, 0.5)), KEY)
    np.testing.assert_array_equal(found.members, again.members)


@pytest.mark.slow
def test_skewed_posterior():
    case = separable()
    found = SMALL.sample(case.problem, given(case.mode, case.stdev**2), KEY)
    check(found, case, case.stdev)


def test_half_of_the_space_has_no_density(around):
    """The truncated Gaussian: draws outside have no weight, moves to there are refused."""
    data = jnp.zeros((5, 4)).at[0, 0].set(1.0).at[1, 1].set(1.0).at[2, 2].set(1.0)
    wide = given([0.0, 0.0, 0.0], [0.5, 0.5, 0.5])
    found = SMALL.sample(problem(data, 0.0), wide, KEY)
    assert abs(found.certificates["inside"] - 0.5) < 0.1
    assert abs(found.log_evidence + np.log(2) + 1.5 * np.log(2)) < 0.15
    assert bool(jnp.all(found.members[:, 0] >= 0))


def test_no_draw_has_a_density(case, around):
    nothing = problem(linear(n=3, m=5).problem.data, jnp.inf)
    found = SMALL.sample(nothing, around, KEY)
    assert found.trust is Trust.FAILED and "zero at every draw" in found.advice
    assert np.isnan(found.log_evidence)


def test_nothing_to_start_from(case):
    flat = Misfit(affine, 2, 0.0, jnp.zeros((2, 3)))
    around = given([0.0, 1.0], [0.25, 1.0])
    refused = Tempering(start="prior").sample(flat, around, KEY)
    assert refused.trust is Trust.FAILED and refused.evaluations == 0
    assert "no prior of their own" in refused.advice


@pytest.mark.slow
def test_flat_coordinates():
    """From about the minimum there is a posterior, but no evidence."""
    flat = Misfit(affine, 2, 0.0, jnp.asarray([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))
    around = given([0.0, 1.0], [0.25, 1.0])
    found = Tempering().sample(flat, around, KEY)
    assert np.isnan(found.log_evidence)
    np.testing.assert_allclose(found.mean(), [0.0, 1.0], atol=0.1)
    np.testing.assert_allclose(found.stdev(), [0.5, 1.0], rtol=0.1)
    assert found.trust is Trust.CERTIFIED
    loose = dataclasses.replace(around, flat_variance=1e9, proper=False)
    doubted = SMALL.sample(flat, loose, KEY)
    assert doubted.trust is Trust.DOUBTFUL and "not informed" in doubted.advice


def test_too_many_controls_for_a_covariance():
    many = Misfit(affine, 2001, 1.0, jnp.zeros((1, 2002)))
    gaussian = Gaussian(jnp.zeros(2001), jnp.zeros(1), jnp.zeros((2001, 1)).at[0].set(1.0))
    around = LaplacePosterior(gaussian, 0.0, 0.0, "given")
    found = Tempering().sample(many, around, KEY)
    assert found.trust is Trust.FAILED and "MCLMC" in found.advice
    assert found.evaluations == 0


@pytest.mark.slow
def test_too_few_stages(case, around):
    settings = Tempering(particles=300, runs=2, stages=2)
    found = settings.sample(case.problem, around, KEY)
    assert found.trust is Trust.FAILED and "stages" in found.advice


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"particles": 3}, "particles"),
        ({"runs": 1}, "runs"),
        ({"share": 1.0}, "share"),
        ({"kernel": "gibbs"}, "kernel"),
        ({"start": "posterior"}, "start"),
    ],
)
def test_refused_settings(arguments, message):
    with pytest.raises(ValueError, match=f"Tempering: {message}"):
        Tempering(**arguments)
