"""Particles of the wrong shape are found out by short chains that start from them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.crosscheck import crosschecked
from assim.solve.ensemble import Ensemble, equal_weights
from assim.solve.laplace import Laplace, laplace
from assim.solve.method import Trust
from tests.solve.departures import Misfit


@pytest.fixture(scope="module")
def gaussian():
    """N(0, ¼) twice, as a departure function."""
    problem = Misfit(lambda chi, data: jnp.sqrt(3.0) * chi, 2, 1.0)
    around = laplace(problem, jnp.zeros(2), Laplace(), jax.random.key(0))
    return problem, around.gaussian


def ensemble(stdev, trust=Trust.CERTIFIED, n=2):
    draws = np.random.default_rng(0).normal(size=(4000, n))
    draws = (draws - draws.mean(axis=0)) / draws.std(axis=0) * stdev
    return Ensemble(jnp.asarray(draws), equal_weights(4000), trust, "as given")


def test_right_particles_stay_certified(gaussian):
    found = crosschecked(gaussian[0], ensemble(0.5), gaussian[1], jax.random.key(1))
    assert found.trust is Trust.CERTIFIED and found.advice == "as given"
    assert found.certificates["chains_apart"] < 0.05
    assert found.certificates["chains_accuracy"] < 0.025
    assert found.certificates["chains_acceptance"] > 0.95
    assert found.gradients == 20_100


@pytest.mark.parametrize("stdev", [0.42, 0.58])
def test_wrong_spread_is_doubted(gaussian, stdev):
    found = crosschecked(gaussian[0], ensemble(stdev), gaussian[1], jax.random.key(1))
    assert found.trust is Trust.DOUBTFUL and "Short chains" in found.advice
    assert found.certificates["chains_apart"] == pytest.approx(abs(0.5 / stdev - 1), abs=0.05)


def test_wrong_mean_is_doubted(gaussian):
    shifted = ensemble(0.5)
    shifted = dataclasses.replace(shifted, members=shifted.members + 0.2)
    found = crosschecked(gaussian[0], shifted, gaussian[1], jax.random.key(1))
    assert found.trust is Trust.DOUBTFUL
    assert found.certificates["chains_shift"] == pytest.approx(0.4, abs=0.1)


def test_wrong_correlation_is_doubted():
    """Standard deviations of both entries are right, those along the eigenvectors are not."""
    mixed = jnp.asarray([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    stretch = jnp.asarray([3.0, 1.0])
    problem = Misfit(lambda chi, data: stretch * (mixed @ chi), 2, 1.0)
    around = laplace(problem, jnp.zeros(2), Laplace(), jax.random.key(0))
    alike = np.sqrt((1 / 10 + 1 / 2) / 2)
    found = crosschecked(problem, ensemble(alike), around.gaussian, jax.random.key(1))
    assert found.trust is Trust.DOUBTFUL


def test_chains_that_do_not_move_check_nothing():
    problem = Misfit(lambda chi, data: 1e3 * jnp.sin(1e3 * chi), 2, 1.0)
    around = laplace(problem, jnp.zeros(2), Laplace(hessian="gauss_newton"), jax.random.key(0))
    wide = dataclasses.replace(around.gaussian, eigenvalues=jnp.zeros(2))
    found = crosschecked(problem, ensemble(0.5), wide, jax.random.key(1))
    assert found.trust is Trust.DOUBTFUL and "accept" in found.advice


def test_what_is_not_certified_is_left_alone(gaussian):
    given = ensemble(0.3, Trust.DOUBTFUL)
    assert crosschecked(gaussian[0], given, gaussian[1], jax.random.key(1)) is given


def test_a_long_tail_is_not_certified():
    """One per cent of this posterior holds most of the variance of χ₀, and particles miss it."""
    problem = Misfit(lambda chi, data: 30 * chi[:1] * (1 + 0.29 * chi[1:]), 2, 1.0)
    around = laplace(problem, jnp.zeros(2), Laplace(), jax.random.key(0))
    narrow = ensemble(1.0)
    narrow = dataclasses.replace(narrow, members=narrow.members * around.gaussian.stdev()[None])
    found = crosschecked(problem, narrow, around.gaussian, jax.random.key(1))
    assert found.trust is Trust.DOUBTFUL
