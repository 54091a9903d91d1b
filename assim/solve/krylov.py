"""Krylov methods for symmetric operators known by their action."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Operator = Callable[[Array], Array]


class Lanczos(NamedTuple):
    """Lanczos factorisation A V ≈ V T of a symmetric operator from a starting vector b."""

    basis: Array  # orthonormal vectors as rows, shape (k, n); rows not reached are zero
    diagonal: Array  # of T, shape (k,); 1 where not reached
    off_diagonal: Array  # T[i, i+1], shape (k,); the last reached one is the residual's norm
    norm: Array  # |b|
    iterations: Array  # number of vectors reached

    def ritz(self) -> tuple[Array, Array]:
        """Eigenpairs of T: values (k,) and vectors as columns (k, k)."""
        within = jnp.arange(self.diagonal.shape[0] - 1) < self.iterations - 1
        beside = jnp.where(within, self.off_diagonal[:-1], 0.0)
        matrix = jnp.diag(self.diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1)
        values, vectors = jnp.linalg.eigh(matrix)
        return values, vectors

    def real(self, vectors: Array) -> Array:
        """Which eigenvectors of T lie in the part of it that was reached."""
        reached = jnp.arange(self.diagonal.shape[0]) < self.iterations
        return jnp.sum(jnp.where(reached[:, None], vectors**2, 0.0), axis=0) > 0.5


class _Progress(NamedTuple):
    factors: Lanczos
    pivot: Array
    correction: Array
    residual: Array


def lanczos(
    operator: Operator,
    b: Array,
    size: int,
    tolerance: Array | float = 0.0,
    restart: Array | None = None,
) -> Lanczos:
    """Lanczos with full reorthogonalisation, stopped as conjugate gradients would be.

    Stops after `size` vectors, on an invariant subspace, or when the residual of CG for A x = b,
    β_j |eⱼᵀT⁻¹e₁||b|, is below tolerance·|b| (Golub & Van Loan, Matrix Computations, 10.3).

    Args:
        operator: v ↦ A v, symmetric.
        b: starting vector, shape (n,), not zero.
        size: most vectors k.
        tolerance: relative residual of CG at which to stop.
        restart: key of random vectors with which to go on from an invariant subspace, up to
            `size` vectors, for eigenpairs; None to stop there.
    """
    n, dtype = b.shape[0], b.dtype
    norm = jnp.linalg.norm(b)
    first = b / jnp.where(norm > 0, norm, 1.0)
    empty = Lanczos(
        jnp.zeros((size, n), dtype).at[0].set(first),
        jnp.ones(size, dtype),
        jnp.zeros(size, dtype),
        norm,
        jnp.zeros((), int),
    )
    one = jnp.ones((), dtype)
    start = _Progress(empty, one, one, one)

    def unfinished(p: _Progress) -> Array:
        return (p.factors.iterations < size) & (p.residual > tolerance)

    return jax.lax.while_loop(unfinished, lambda p: _extend(operator, p, restart), start).factors


def _extend(operator: Operator, p: _Progress, restart: Array | None) -> _Progress:
    """One more Lanczos vector, and the CG residual from the running LDLᵀ factors of T."""
    f = p.factors
    j = f.iterations
    v = f.basis[j]
    w = operator(v)
    alpha = v @ w
    w = _orthogonal_to(f.basis, w)
    beta = jnp.linalg.norm(w)
    negligible = beta <= 1e-13 * jnp.maximum(jnp.abs(alpha), jnp.max(jnp.abs(f.off_diagonal)))
    before = jnp.where(j > 0, f.off_diagonal[j - 1], 0.0)
    pivot = alpha - before**2 / p.pivot
    correction = jnp.where(j > 0, -before / pivot * p.correction, 1 / pivot)
    following = jnp.where(negligible, 0.0, w / jnp.where(negligible, 1.0, beta))
    basis = f.basis.at[j + 1].set(following, mode="drop")
    factors = Lanczos(
        basis,
        f.diagonal.at[j].set(alpha),
        f.off_diagonal.at[j].set(beta),
        f.norm,
        j + 1,
    )
    residual = jnp.where(negligible, 0.0, beta * jnp.abs(correction))
    residual = jnp.where((pivot > 0) | negligible, residual, jnp.inf)
    if restart is not None:
        factors = _restarted(factors, negligible, jax.random.fold_in(restart, j))
        residual = jnp.full_like(residual, jnp.inf)
    return _Progress(factors, pivot, correction, residual)


def _restarted(f: Lanczos, negligible: Array, key: Array) -> Lanczos:
    """Factors whose last vector, where nothing was left for it, is a random one instead."""
    random = jax.random.normal(key, f.basis.shape[1:], f.basis.dtype)
    w = _orthogonal_to(f.basis, random)
    basis = f.basis.at[f.iterations].set(w / jnp.linalg.norm(w), mode="drop")
    isolated = f.off_diagonal.at[f.iterations - 1].set(0.0)
    return f._replace(
        basis=jnp.where(negligible, basis, f.basis),
        off_diagonal=jnp.where(negligible, isolated, f.off_diagonal),
    )


def _orthogonal_to(basis: Array, w: Array) -> Array:
    """What the rows of an orthonormal basis leave of w; twice is enough."""
    for _ in range(2):
        w = w - basis.T @ (basis @ w)
    return w


def lanczos_eigenpairs(operator: Operator, n: int, rank: int, key: Array) -> tuple[Array, Array]:
    """Leading eigenpairs by Lanczos from a random vector, largest |λ| first, vectors as columns.

    Takes 2·rank + 10 products (at most n) and keeps `rank` pairs. Of an eigenvalue that is
    shared by several vectors, it may miss some before the others are exhausted; what they hold is
    in the sum that `Laplace` reports as left out, and the randomised method finds them.
    """
    size = min(n, 2 * rank + 10)
    factors = lanczos(operator, jax.random.normal(key, (n,)), size, restart=key)
    values, vectors = factors.ritz()
    values = jnp.where(factors.real(vectors), values, 0.0)
    order = jnp.argsort(-jnp.abs(values))[:rank]
    return values[order], factors.basis.T @ vectors[:, order]


def randomised_eigenpairs(
    operator: Operator, n: int, rank: int, key: Array, oversampling: int = 10
) -> tuple[Array, Array]:
    """The same by the double-pass randomised method.

    Range finder with rank + oversampling Gaussian probes, then the projection QᵀAQ (Halko,
    Martinsson & Tropp 2011, algorithms 4.1 and 5.3): 2(rank + oversampling) products, all
    independent within a pass.
    """
    probes = jax.random.normal(key, (min(n, rank + oversampling), n))
    apply = lambda vectors: jax.lax.map(operator, vectors)  # noqa: E731
    q, _ = jnp.linalg.qr(apply(probes).T)
    projected = q.T @ apply(q.T).T
    values, vectors = jnp.linalg.eigh((projected + projected.T) / 2)
    order = jnp.argsort(-jnp.abs(values))[:rank]
    return values[order], q @ vectors[:, order]
