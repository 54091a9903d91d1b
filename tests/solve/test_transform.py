"""Transforms of an ensemble against the Kalman filter of its own mean and covariance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.problem.covariance.gaspari_cohn import gaspari_cohn
from assim.solve.transform import (
    anomalies,
    completed,
    gauss_newton,
    none,
    rotation,
    square_root,
    stdev,
    taper,
)

N, SIZE, NUMBER = 6, 3, 4


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.fixture
def ensemble():
    """Members x, H, and y; R = I."""
    generator = np.random.default_rng(5)
    x = generator.standard_normal((N, SIZE)) * [1.0, 2.0, 0.5]
    return jnp.asarray(x), generator.standard_normal((NUMBER, SIZE)), np.arange(NUMBER) / 2


def departures(ensemble):
    x, h, y = ensemble
    d = y[None] - x @ h.T
    return -anomalies(d), jnp.mean(d, axis=0)


def kalman(ensemble, inverse):
    """Mean and covariance after observations whose R⁻¹ is the diagonal given."""
    x, h, y = ensemble
    mean, covariance = np.mean(x, axis=0), np.cov(np.asarray(x).T)
    after = np.linalg.inv(np.linalg.inv(covariance) + h.T @ np.diag(inverse) @ h)
    return mean + after @ h.T @ (inverse * (y - h @ mean)), after


@pytest.mark.parametrize("rho", [None, np.array([1.0, 0.5, 0.0, 0.2])])
def test_square_root_is_the_kalman_filter_with_tapered_errors(ensemble, rho):
    after = square_root(*departures(ensemble), None if rho is None else jnp.asarray(rho))
    members = after.apply(ensemble[0])
    mean, covariance = kalman(ensemble, np.ones(NUMBER) if rho is None else rho)
    close(np.mean(members, axis=0), mean)
    close(np.cov(np.asarray(members).T), covariance)
    close(stdev(members), np.sqrt(np.diag(covariance)))
    close(after.root, after.root.T)
    close(after.root @ jnp.ones(N), 1.0)


def test_gauss_newton_arrives_from_anywhere_where_the_model_is_linear(ensemble):
    x, h, y = ensemble
    root = jnp.asarray(np.diag(np.linspace(0.3, 1.0, N)))
    middle = np.eye(N) - 1 / N
    root = middle @ root @ middle + np.full((N, N), 1 / N)
    anywhere = none(N)._replace(mean=jnp.asarray(np.linspace(-1, 1, N)), root=root)
    drawn = anywhere.apply(x)
    found = gauss_newton(anywhere, *departures((drawn, h, y)))
    expected = square_root(*departures(ensemble))
    close(found.apply(x), expected.apply(x))
    close(found.mean, expected.mean)


def test_members_that_are_there_stand_for_those_that_are_not(ensemble):
    x = np.asarray(ensemble[0])
    present = np.array([True, False, True, True, False, True])
    there = x[present]
    lost = jnp.asarray(np.where(present[:, None], x, np.nan))
    for members in (lost, completed(lost, jnp.asarray(present))):
        after = completed(members, jnp.asarray(present), N if members is lost else 4)
        close(np.mean(after, axis=0), there.mean(axis=0))
        close(np.cov(np.asarray(after).T), np.cov(there.T))
    np.testing.assert_array_equal(completed(ensemble[0], jnp.ones(N, bool)), x)
    assert np.all(np.isnan(completed(ensemble[0], jnp.arange(N) == 2)))


def test_without_observations_nothing_changes(ensemble):
    close(square_root(jnp.zeros((N, 1)), jnp.zeros(1)).apply(ensemble[0]), ensemble[0])
    close(none(N).apply(ensemble[0]), ensemble[0])


def test_a_transform_serves_members_of_any_shape(ensemble):
    after = square_root(*departures(ensemble))
    field = jnp.reshape(jnp.tile(ensemble[0], 2), (N, 2, SIZE))
    close(after.apply(field)[:, 1], after.apply(ensemble[0]))


@pytest.mark.parametrize("number", [2, 3, 8])
def test_a_rotation_keeps_mean_and_covariance(number):
    turn = rotation(jax.random.key(1), number)
    close(turn @ turn.T, np.eye(number))
    close(turn @ jnp.ones(number), 1.0)
    assert not np.allclose(turn, rotation(jax.random.key(2), number), atol=1e-3) or number == 2


def test_rotations_are_uniform():
    """Entries have the second moments of a uniform orthogonal matrix of the complement."""
    several = jax.vmap(lambda key: rotation(key, 4))(jax.random.split(jax.random.key(3), 4000))
    close_enough = {"rtol": 0, "atol": 0.02}
    np.testing.assert_allclose(np.mean(several, axis=0), 0.25, **close_enough)
    variance = np.var(several, axis=0)
    np.testing.assert_allclose(variance, 0.75**2 / 3, **close_enough)


def test_the_taper_is_that_of_gaspari_and_cohn():
    z = np.linspace(0, 3, 61)
    close(taper(jnp.asarray(z)), gaspari_cohn(z))
