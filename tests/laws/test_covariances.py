"""Laws of covariances C = L Lᵀ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.problem.covariance import Blocks, Dense, Diagonal
from tests.registry import COVARIANCES


@pytest.fixture(params=COVARIANCES)
def entry(request):
    return COVARIANCES[request.param]


@pytest.fixture
def covariance(entry):
    return entry.make().on(entry.shape)


def white(covariance, seed=0):
    return jax.random.normal(jax.random.key(seed), (covariance.size(),))


def root(covariance):
    """L as a matrix, fields flattened."""
    columns = [covariance.sqrt(e).ravel() for e in jnp.eye(covariance.size())]
    return np.stack(columns, axis=1)


def test_sqrt_gives_a_field(covariance, entry):
    field = covariance.sqrt(white(covariance))
    assert field.shape == entry.shape
    assert field.dtype == jnp.float64


def test_sqrt_is_linear(covariance):
    a, b = white(covariance, 1), white(covariance, 2)
    combined = covariance.sqrt(2.0 * a - 3.0 * b)
    np.testing.assert_allclose(
        combined, 2.0 * covariance.sqrt(a) - 3.0 * covariance.sqrt(b), rtol=1e-12, atol=1e-12
    )
    assert np.all(covariance.sqrt(jnp.zeros(covariance.size())) == 0)


def test_transpose(covariance):
    w = white(covariance)
    v = jax.random.normal(jax.random.key(3), covariance.sqrt(w).shape)
    (transposed,) = jax.linear_transpose(covariance.sqrt, w)(v)
    one, other = jnp.vdot(covariance.sqrt(w), v), jnp.vdot(w, transposed)
    assert abs(one - other) <= 1e-14 * jnp.linalg.norm(w) * jnp.linalg.norm(transposed)


def test_whiten_inverts_sqrt(covariance):
    w = white(covariance)
    np.testing.assert_allclose(covariance.whiten(covariance.sqrt(w)), w, rtol=1e-12, atol=1e-12)


def test_variance_is_the_diagonal(covariance, entry):
    factor = root(covariance)
    assert covariance.variance().shape == entry.shape
    diagonal = np.diag(factor @ factor.T).reshape(entry.shape)
    np.testing.assert_allclose(covariance.variance(), diagonal, rtol=1e-13)


def test_determinant(covariance):
    factor = root(covariance)
    _, log_determinant = np.linalg.slogdet(factor @ factor.T)
    np.testing.assert_allclose(covariance.log_sqrt_determinant(), log_determinant / 2, rtol=1e-12)


def test_on_is_repeatable(covariance, entry):
    w = white(covariance)
    assert np.array_equal(covariance.on(entry.shape).sqrt(w), covariance.sqrt(w))


def test_jit_and_vmap(covariance):
    w = jnp.stack([white(covariance, seed) for seed in range(3)])
    members = jax.jit(jax.vmap(covariance.sqrt))(w)
    np.testing.assert_allclose(members[1], covariance.sqrt(w[1]), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", [n for n, entry in COVARIANCES.items() if entry.misfit])
def test_misfit_is_refused(name):
    entry = COVARIANCES[name]
    with pytest.raises(ValueError, match=type(entry.make()).__name__):
        entry.make().on(entry.misfit)


def test_dense_is_the_matrix():
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    factor = root(Dense(matrix).on((2,)))
    np.testing.assert_allclose(factor @ factor.T, matrix, rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Diagonal(0.0), "Diagonal.*stdev.*positive"),
        (lambda: Diagonal([1.0, np.nan]), "Diagonal.*stdev"),
        (lambda: Dense(np.ones((2, 3))), "Dense.*square"),
        (lambda: Dense(np.array([[1.0, 0.5], [0.0, 1.0]])), "Dense.*symmetric"),
        (lambda: Dense(np.array([[1.0, 2.0], [2.0, 1.0]])), "Dense.*positive definite"),
        (lambda: Blocks([Diagonal(1.0)], [1, 2]), "Blocks.*length"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
