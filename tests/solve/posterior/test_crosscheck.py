"""Particles of the wrong shape are found out by short chains that start from them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.crosscheck import NAMES, crosschecked, stated_moments
from assim.solve.posterior.ensemble import Ensemble, Trust, equal_weights
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.informed import Informed
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.svgd.svgd import SVGD
from tests.solve.departures import Misfit


def scaled(chi, data):
    return jnp.sqrt(3.0) * chi


def gaussian_problem():
    """N(0, ¼) twice, as a departure function."""
    problem = Misfit(scaled, 2, 1.0)
    return problem, laplace(problem, jnp.zeros(2), Laplace(), jax.random.key(0)).gaussian


def ensemble(stdev, trust=Trust.CERTIFIED, n=2):
    """Members without correlation, of these standard deviations and mean 0."""
    draws = np.random.default_rng(0).normal(size=(4000, n))
    draws = draws - draws.mean(axis=0)
    values, vectors = np.linalg.eigh(draws.T @ draws / 4000)
    draws = draws @ (vectors / np.sqrt(values)) @ vectors.T * stdev
    return Ensemble(jnp.asarray(draws), equal_weights(4000), trust, "as given")


def checked(problem, given, gaussian, seed=1):
    """Against the moments of the members themselves."""
    every = jnp.ones_like(gaussian.eigenvalues)
    whole = Informed(gaussian, gaussian.eigenvectors, every)
    stated = stated_moments(whole, (given.members - gaussian.chi[None]) @ gaussian.eigenvectors)
    return crosschecked(problem, given, stated, jax.random.key(seed))


@pytest.mark.parametrize("seed", range(5))
def test_right_particles_stay_certified(seed):
    problem, gaussian = gaussian_problem()
    found = checked(problem, ensemble(0.5), gaussian, seed)
    assert found.trust is Trust.CERTIFIED
    assert found.advice.startswith("as given Short chains that start from the members find")
    assert found.certificates["chains_apart"] < 0.05
    assert found.certificates["chains_accuracy"] < 0.015
    assert found.certificates["chains_acceptance"] > 0.999
    assert found.gradients == 22_600


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("wrong", [0.9, 1.11])
def test_wrong_spread_is_doubted(wrong, seed):
    problem, gaussian = gaussian_problem()
    found = checked(problem, ensemble(0.5 * wrong), gaussian, seed)
    assert found.trust is Trust.DOUBTFUL and "standard deviations" in found.advice
    assert found.certificates["chains_apart"] == pytest.approx(abs(1 / wrong - 1), abs=0.03)


def test_wrong_mean_is_doubted():
    problem, gaussian = gaussian_problem()
    shifted = ensemble(0.5)
    shifted = dataclasses.replace(shifted, members=shifted.members + 0.1)
    found = checked(problem, shifted, gaussian)
    assert found.trust is Trust.DOUBTFUL
    assert found.certificates["chains_shift"] == pytest.approx(0.2, abs=0.05)


def test_wrong_correlation_is_doubted():
    """Standard deviations of both entries are right, those along the eigenvectors are not."""
    mixed = jnp.asarray([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    stretch = jnp.asarray([3.0, 1.0])
    problem = Misfit(lambda chi, data: stretch * (mixed @ chi), 2, 1.0)
    around = laplace(problem, jnp.zeros(2), Laplace(), jax.random.key(0))
    variances = 1 / 10, 1 / 2
    alike = np.sqrt(np.mean(variances))
    found = checked(problem, ensemble(alike), around.gaussian)
    assert found.trust is Trust.DOUBTFUL
    apart = np.sqrt(variances) / alike - 1
    assert found.certificates["chains_apart"] == pytest.approx(np.max(np.abs(apart)), abs=0.04)


def test_chains_that_do_not_move_check_nothing():
    problem = Misfit(lambda chi, data: 1e3 * jnp.sin(1e3 * chi), 2, 1.0)
    wide = Gaussian(jnp.zeros(2), jnp.zeros(2), jnp.eye(2))
    found = checked(problem, ensemble(0.5), wide)
    assert found.trust is Trust.DOUBTFUL and "hardly move" in found.advice


def tail(chi, data):
    """One per cent of this posterior holds most of the variance of χ₀."""
    return 30 * chi[:1] * (1 + 0.29 * chi[1:])


@pytest.mark.slow
def test_a_long_tail_is_not_certified():
    problem = Misfit(tail, 2, 1.0)
    around = laplace(problem, jnp.zeros(2), Laplace(), jax.random.key(0))
    found = SVGD().sample(problem, around, jax.random.key(1))
    assert found.certificates["stein_covariance"] < 0.01
    assert found.trust is Trust.DOUBTFUL and "long tail" in found.advice


def test_what_is_not_certified_is_left_alone():
    problem, gaussian = gaussian_problem()
    found = checked(problem, ensemble(0.3, Trust.DOUBTFUL), gaussian)
    assert found.trust is Trust.DOUBTFUL and found.advice == "as given" and found.gradients == 0
    assert all(np.isnan(found.certificates[name]) for name in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [10, 300])
def test_many_controls_are_no_reason_to_doubt(rank):
    """More directions than members, and a metric with fewer eigenpairs than Laplace."""
    n = 2500
    problem = Misfit(lambda chi, data: 3 * chi[:5], n, 1.0)
    around = laplace(problem, jnp.zeros(n), Laplace(rank=rank, certificate=0), jax.random.key(0))
    found = SVGD(steps=50).sample(problem, around, jax.random.key(1))
    assert found.trust is Trust.CERTIFIED, found.advice
    assert found.certificates["chains_acceptance"] > 0.99
