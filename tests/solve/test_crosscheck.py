"""Particles of the wrong shape are found out by importance weights."""

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
    return problem, laplace(problem, jnp.zeros(2), Laplace(), jax.random.key(0))


def ensemble(stdev, trust=Trust.CERTIFIED):
    draws = np.random.default_rng(0).normal(size=(4000, 2))
    draws = (draws - draws.mean(axis=0)) / draws.std(axis=0) * stdev
    return Ensemble(jnp.asarray(draws), equal_weights(4000), trust, "as given")


def test_right_particles_stay_certified(gaussian):
    problem, around = gaussian
    found = crosschecked(problem, ensemble(0.5), around, jax.random.key(1))
    assert found.trust is Trust.CERTIFIED and found.advice == "as given"
    assert found.certificates["weights_apart"] < 0.05 and found.evaluations >= 10_000


@pytest.mark.parametrize("stdev", [0.43, 0.58])
def test_wrong_spread_is_doubted(gaussian, stdev):
    problem, around = gaussian
    found = crosschecked(problem, ensemble(stdev), around, jax.random.key(1))
    assert found.trust is Trust.DOUBTFUL and "weights change" in found.advice
    assert found.certificates["weights_apart"] == pytest.approx(abs(0.5 / stdev - 1), abs=0.03)


def test_wrong_mean_is_doubted(gaussian):
    problem, around = gaussian
    shifted = ensemble(0.5)
    shifted = dataclasses.replace(shifted, members=shifted.members + 0.2)
    found = crosschecked(problem, shifted, around, jax.random.key(1))
    assert found.trust is Trust.DOUBTFUL


def test_what_is_not_certified_is_left_alone(gaussian):
    problem, around = gaussian
    given = ensemble(0.3, Trust.DOUBTFUL)
    assert crosschecked(problem, given, around, jax.random.key(1)) is given
