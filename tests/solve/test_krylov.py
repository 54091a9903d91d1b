"""Lanczos and the randomised method against dense matrices, and against conjugate gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.krylov import lanczos, lanczos_eigenpairs, randomised_eigenpairs

N = 12


def symmetric(values, seed=0):
    """A matrix with these eigenvalues, and its eigenvectors."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    return (q * np.asarray(values)) @ q.T, q


def run(matrix, b, size, tolerance=0.0):
    matrix = jnp.asarray(matrix)
    return lanczos(lambda v: matrix @ v, jnp.asarray(b), size, tolerance)


def solution(factors):
    """V T⁻¹ e₁|b|, the iterate of conjugate gradients."""
    values, vectors = (np.asarray(part) for part in factors.ritz())
    return np.asarray(factors.basis).T @ (vectors @ (vectors[0] / values)) * float(factors.norm)


def conjugate_gradients(matrix, b, tolerance):
    """Iterates until the residual is below tolerance·|b| (Hestenes & Stiefel 1952)."""
    x, r = np.zeros_like(b), b.copy()
    p, iterates = r.copy(), []
    while np.linalg.norm(r) > tolerance * np.linalg.norm(b):
        alpha = r @ r / (p @ matrix @ p)
        x, after = x + alpha * p, r - alpha * matrix @ p
        p = after + (after @ after) / (r @ r) * p
        r = after
        iterates.append(x)
    return iterates


@pytest.mark.parametrize("values", [np.geomspace(1, 1e4, N), np.linspace(-3, 5, N)])
def test_whole_factorisation(values):
    """A V = V T with orthonormal V, also of an indefinite matrix."""
    matrix, _ = symmetric(values)
    factors = run(matrix, np.random.default_rng(1).normal(size=N), N)
    basis, off = np.asarray(factors.basis), np.asarray(factors.off_diagonal)[:-1]
    tridiagonal = np.diag(factors.diagonal) + np.diag(off, 1) + np.diag(off, -1)
    scale = np.max(np.abs(values))
    assert int(factors.iterations) == N
    np.testing.assert_allclose(basis @ basis.T, np.eye(N), atol=1e-12)
    np.testing.assert_allclose(basis @ matrix @ basis.T, tridiagonal, atol=1e-12 * scale)
    np.testing.assert_allclose(factors.ritz()[0], np.sort(values), atol=1e-12 * scale)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6, 1e-9])
def test_stops_as_conjugate_gradients_do(tolerance):
    """Where conjugate gradients themselves keep their digits."""
    matrix, _ = symmetric(np.linspace(1, 4, 60))
    b = np.random.default_rng(2).normal(size=60)
    iterates = conjugate_gradients(matrix, b, tolerance)
    factors = run(matrix, b, 60, tolerance)
    assert int(factors.iterations) == len(iterates) < 30
    np.testing.assert_allclose(solution(factors), iterates[-1], rtol=1e-9, atol=1e-12)


def test_never_more_vectors_than_allowed():
    matrix, _ = symmetric(np.geomspace(1, 1e4, N))
    b = np.random.default_rng(3).normal(size=N)
    factors = run(matrix, b, 4, 1e-10)
    assert int(factors.iterations) == 4
    np.testing.assert_allclose(
        solution(factors), conjugate_gradients(matrix, b, 1e-1)[3], rtol=1e-9
    )


def test_invariant_subspace():
    """A vector made of three eigenvectors is exhausted after three."""
    values = np.linspace(1, 9, N)
    matrix, q = symmetric(values)
    b = q[:, [1, 4, 9]] @ np.array([1.0, -2.0, 0.5])
    factors = run(matrix, b, N)
    assert int(factors.iterations) == 3
    ritz, vectors = (np.asarray(part) for part in factors.ritz())
    reached = np.sum(vectors[:3] ** 2, axis=0) > 0.5
    np.testing.assert_allclose(ritz[reached], values[[1, 4, 9]], rtol=1e-12)
    np.testing.assert_allclose(matrix @ solution(factors), b, atol=1e-12)
    assert not np.any(np.asarray(factors.basis)[3:])


def test_compiled_and_batched():
    matrix, _ = symmetric(np.geomspace(1, 100, N))
    b = np.random.default_rng(4).normal(size=(3, N))
    together = jax.jit(jax.vmap(lambda b: run(matrix, b, N, 1e-3)))(b)
    for i in range(3):
        alone = run(matrix, b[i], N, 1e-3)
        assert int(together.iterations[i]) == int(alone.iterations)
        np.testing.assert_allclose(together.diagonal[i], alone.diagonal, rtol=1e-9)


SOLVERS = {"lanczos": lanczos_eigenpairs, "randomised": randomised_eigenpairs}


@pytest.fixture(params=SOLVERS)
def solver(request):
    return SOLVERS[request.param]


def leading(solver, matrix, rank, seed=0):
    matrix = jnp.asarray(matrix)
    values, vectors = solver(lambda v: matrix @ v, len(matrix), rank, jax.random.key(seed))
    return np.asarray(values), np.asarray(vectors)


def test_leading_eigenpairs(solver):
    """Largest |λ| first, of either sign; a spectrum that falls tenfold a value."""
    exact = np.append([-3e4, 1e4, 2e3, -5e2], np.geomspace(10, 1e-12, 26))
    matrix, _ = symmetric(exact)
    values, vectors = leading(solver, matrix, 6)
    np.testing.assert_allclose(values, exact[:6], rtol=1e-6)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(6), atol=1e-10)
    assert np.max(np.abs(matrix @ vectors - vectors * values)) < 1e-4


def test_low_rank(solver):
    """Asked for more pairs than there are: the rest is zero."""
    matrix, _ = symmetric(np.append([50.0, 20.0, 7.0], np.zeros(37)))
    values, vectors = leading(solver, matrix, 8)
    np.testing.assert_allclose(values, [50, 20, 7, 0, 0, 0, 0, 0], atol=1e-10)
    rebuilt = (vectors * values) @ vectors.T
    np.testing.assert_allclose(rebuilt, matrix, atol=1e-9)


def test_multiple_eigenvalues(solver):
    """Sine and cosine on a ring share their eigenvalue: both are found."""
    exact = np.repeat(np.geomspace(1e3, 1e-9, 20), 2)
    values, vectors = leading(solver, symmetric(exact)[0], 10)
    np.testing.assert_allclose(values, exact[:10], rtol=1e-6)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(10), atol=1e-10)


def test_one_eigenvalue(solver):
    """A multiple of the identity: any orthonormal vectors do."""
    values, vectors = leading(solver, 3.0 * np.eye(20), 4)
    np.testing.assert_allclose(values, 3.0, rtol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-10)


def test_as_many_as_there_are(solver):
    exact = np.linspace(5, 1, 7)
    values, _ = leading(solver, symmetric(exact)[0], 7)
    np.testing.assert_allclose(values, exact, rtol=1e-10)
