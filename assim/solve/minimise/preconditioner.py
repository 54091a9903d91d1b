"""Spectral preconditioning: what one inner loop learnt of the Hessian serves the next."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from assim.solve.krylov import Lanczos

Array = jax.Array

CONVERGED = 1.0  # residual of a Ritz pair, relative to its value, up to which it is kept


class Preconditioner(NamedTuple):
    """P = S², S = I + Uᵀ(diag(θ)^(-1/2) - I) U, from approximate eigenpairs of the Hessian A.

    In z = S⁻¹ δχ an inner loop solves S A S z = -S ∇J, whose eigenvalues that U knows are near
    one: the spectral limited-memory preconditioner (Fisher 1998, ECMWF seminar on recent
    developments in numerical methods for atmospheric modelling, 364-385; Tshimanga, Gratton,
    Weaver & Sartenaer 2008, Q. J. R. Meteorol. Soc. 134, 751-769). With no pairs S = I.
    """

    vectors: Array  # U, orthonormal rows, shape (r, n)
    values: Array  # θ > 0, shape (r,); 1 where there is no pair

    def sqrt(self, z: Array) -> Array:
        """δχ = S z."""
        return self._scaled(1 / jnp.sqrt(self.values), z)

    def inverse_sqrt(self, increment: Array) -> Array:
        """z = S⁻¹ δχ."""
        return self._scaled(jnp.sqrt(self.values), increment)

    def _scaled(self, factors: Array, v: Array) -> Array:
        if self.values.size == 0:
            return v
        return v + self.vectors.T @ ((factors - 1) * (self.vectors @ v))


def identity(rank: int, n: int) -> Preconditioner:
    """S = I, with room for `rank` pairs."""
    return Preconditioner(jnp.zeros((min(rank, n), n)), jnp.ones(min(rank, n)))


def learnt(before: Preconditioner, pairs: Lanczos, values: Array, vectors: Array) -> Preconditioner:
    """The pairs for the next inner loop, from those of this one and its Lanczos vectors.

    S A S ≈ I + Y diag(t - 1) Yᵀ with the converged Ritz pairs (t, Y), so that
    A ≈ S⁻¹ (I + Y diag(t - 1) Yᵀ) S⁻¹, a matrix that differs from I on the span of U and Y alone:
    of its eigenpairs there those farthest from 1 are kept. No product with A is needed, and a
    pair that has changed since is corrected where the inner loop met it. `pairs` are the Lanczos
    factors of S A S found with `before`, `values` and `vectors` those of `pairs.ritz()`.
    """
    rank = before.values.size
    if rank == 0:
        return before
    last = jnp.maximum(pairs.iterations - 1, 0)
    residuals = pairs.off_diagonal[last] * jnp.abs(vectors[last])
    kept = pairs.real(vectors) & (values > 0) & (residuals <= CONVERGED * values)
    ritz = jnp.where(kept[:, None], vectors.T @ pairs.basis, 0.0)
    q, _ = jnp.linalg.qr(jnp.concatenate([before.vectors, ritz]).T)
    old, new = before.vectors @ q, ritz @ q
    unit = jnp.eye(q.shape[1])
    outer = unit + old.T @ ((jnp.sqrt(before.values) - 1)[:, None] * old)
    inner = unit + new.T @ (jnp.where(kept, values - 1, 0.0)[:, None] * new)
    theta, turned = jnp.linalg.eigh(outer @ inner @ outer)
    chosen = jnp.argsort(-jnp.abs(jnp.log(jnp.maximum(theta, 1e-300))))[:rank]
    return Preconditioner((q @ turned[:, chosen]).T, theta[chosen])
