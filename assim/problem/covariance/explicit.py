"""Covariances that are given by their numbers, and those of some of the rows of an instrument."""

import math
from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from assim.problem.arrays import Array
from assim.problem.covariance.root import (
    AbstractCovariance,
    AbstractRootOnly,
    Axes,
    check_invertible,
    in_order,
)

FORMED = 5000  # rows up to which a matrix of them is formed


class Diagonal(AbstractCovariance):
    """C = diag(stdev²), stdev in the field's unit: a number, or an array of its shape."""

    stdev: Array = eqx.field(converter=lambda value: jnp.asarray(value, dtype=float))

    def __check_init__(self) -> None:
        if isinstance(self.stdev, jax.core.Tracer):
            return  # of rows that were checked when they were read
        bad = ~(np.isfinite(self.stdev) & (np.asarray(self.stdev) > 0))
        if bad.any():
            raise ValueError(
                f"Diagonal: every stdev must be positive and finite, got "
                f"{np.asarray(self.stdev)[bad].ravel()[0]} ({bad.sum()} such values)"
            )

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The same standard deviations on a field of this shape."""
        try:
            return type(self)(jnp.broadcast_to(self.stdev, shape))
        except ValueError:
            raise ValueError(
                f"Diagonal: stdev of shape {self.stdev.shape} does not fit a field of shape {shape}"
            ) from None

    def size(self) -> int:
        """Number of field values."""
        return math.prod(self.stdev.shape)

    def sqrt(self, w: Array) -> Array:
        """stdev·w."""
        return self.stdev * w.reshape(self.stdev.shape)

    def no_inverse(self) -> str:
        """It has one."""
        return ""

    def whiten(self, field: Array) -> Array:
        """v/stdev."""
        return (field / self.stdev).ravel()

    def variance(self) -> Array:
        """stdev²."""
        return self.stdev**2

    def log_sqrt_determinant(self) -> Array:
        """Σ log stdev."""
        return jnp.sum(jnp.log(self.stdev))

    def independent_stdev(self) -> Array:
        """Those given."""
        return self.stdev

    def rows(self, keep: np.ndarray) -> Self:
        """Their standard deviations."""
        return type(self)(self.stdev[keep])


class Dense(AbstractCovariance):
    """C given whole; its square root is the lower Cholesky factor.

    Args:
        matrix: symmetric positive definite, shape (n, n), in the field's unit squared; fields of
            several dimensions are flattened in C order.
    """

    factor: Array
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        matrix: Array | np.ndarray | Sequence | None,
        shape: tuple[int, ...] | None = None,
        factor: Array | None = None,
    ) -> None:
        """Factorise the matrix, unless `factor` is given; `shape` of the field is (n,) if not."""
        self.factor = _factor(np.asarray(matrix, float)) if factor is None else factor
        self.shape = self.factor.shape[:1] if shape is None else shape

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The same matrix for a field of this shape."""
        if math.prod(shape) != self.factor.shape[0]:
            raise ValueError(
                f"Dense: a matrix of {self.factor.shape[0]} rows does not fit a field of "
                f"shape {shape}"
            )
        return type(self)(None, shape, self.factor)

    def size(self) -> int:
        """Number of rows."""
        return self.factor.shape[0]

    def sqrt(self, w: Array) -> Array:
        """L w."""
        return (self.factor @ w).reshape(self.shape)

    def no_inverse(self) -> str:
        """It has one."""
        return ""

    def whiten(self, field: Array) -> Array:
        """L⁻¹ v, by forward substitution."""
        return solve_triangular(self.factor, field.ravel(), lower=True)

    def variance(self) -> Array:
        """Row sums of squares of L."""
        return jnp.sum(self.factor**2, axis=1).reshape(self.shape)

    def log_sqrt_determinant(self) -> Array:
        """Σ log L_ii."""
        return jnp.sum(jnp.log(jnp.diagonal(self.factor)))

    def causal(self, times: Array) -> bool:
        """Where rows are in the order of time, as L is triangular."""
        return in_order(times)

    def rows(self, keep: np.ndarray) -> "Dense":
        """Their rows and columns of the matrix."""
        factor = np.asarray(self.factor, np.float64)[keep]
        return Dense(factor @ factor.T)


def _factor(matrix: np.ndarray) -> Array:
    """The lower Cholesky factor, of what has one."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"Dense: a square matrix is needed, got shape {matrix.shape}")
    if not np.allclose(matrix, matrix.T, rtol=1e-8, atol=1e-12 * np.abs(matrix).max()):
        raise ValueError("Dense: the matrix is not symmetric; use (C + Cᵀ)/2")
    try:
        return jnp.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        smallest = np.linalg.eigvalsh(matrix).min()
        raise ValueError(
            f"Dense: the matrix is not positive definite, its smallest eigenvalue is "
            f"{smallest:.3g}; add a small diagonal, or give fewer correlated values"
        ) from None


class LowRank(AbstractCovariance):
    """C = U diag(λ) Uᵀ + diag(stdev²).

        L = diag(stdev)(I + P diag(√(1 + σ²) - 1) Pᵀ),   PΣVᵀ = diag(stdev)⁻¹ U diag(√λ)

    a square root of the field's size, whose inverse and determinant follow from the same thin
    singular value decomposition. Without `stdev`, L = U diag(√λ), which has no inverse.

    Args:
        vectors: the columns of U, shape (r, *field shape), in the field's unit if λ has none.
        values: λ, not negative, shape (r,); 1 where not given.
        stdev: standard deviations of what the vectors leave: a number, or an array of the field's
            shape; None for nothing.
    """

    vectors: Array
    values: Array
    stdev: Array | None
    directions: Array | None
    stretch: Array | None

    def __init__(
        self,
        vectors: Array | np.ndarray | Sequence,
        values: Array | np.ndarray | Sequence | None = None,
        stdev: float | Array | np.ndarray | Sequence | None = None,
    ) -> None:
        """Decompose the vectors."""
        u = np.asarray(vectors, dtype=float)
        lengths = np.ones(len(u)) if values is None else np.asarray(values, dtype=float)
        if u.ndim < 1 or lengths.shape != u.shape[:1]:
            raise ValueError(
                f"LowRank: one value for each vector is needed, got vectors of shape {u.shape} and "
                f"values of shape {lengths.shape}"
            )
        if not np.all(np.isfinite(u)) or not np.all(np.isfinite(lengths) & (lengths >= 0)):
            raise ValueError("LowRank: vectors must be finite, values also not negative")
        self.vectors, self.values = jnp.asarray(u), jnp.asarray(lengths)
        self.stdev = self.directions = self.stretch = None
        if stdev is not None:
            self._decompose(u, lengths, np.asarray(stdev, dtype=float))

    def _decompose(self, u: np.ndarray, lengths: np.ndarray, stdev: np.ndarray) -> None:
        if not np.all(np.isfinite(stdev) & (stdev > 0)):
            raise ValueError("LowRank: every stdev must be positive and finite; or leave it out")
        if stdev.shape not in ((), u.shape[1:]):
            raise ValueError(
                f"LowRank: stdev of shape {stdev.shape} does not fit vectors of shape {u.shape[1:]}"
            )
        scaled = (u / stdev).reshape(len(u), -1) * np.sqrt(lengths)[:, None]
        _, sigma, directions = np.linalg.svd(scaled, full_matrices=False)
        self.stdev = jnp.broadcast_to(jnp.asarray(stdev), u.shape[1:])
        self.directions, self.stretch = jnp.asarray(directions), jnp.asarray(np.hypot(1, sigma))

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The same for a field of this shape."""
        if self.vectors.shape[1:] != shape:
            raise ValueError(
                f"LowRank: vectors of shape {self.vectors.shape[1:]} do not fit a field of shape "
                f"{shape}"
            )
        return self

    def size(self) -> int:
        """Number of field values; of vectors where there is no stdev."""
        return len(self.values) if self.stdev is None else self.stdev.size

    def sqrt(self, w: Array) -> Array:
        """L w."""
        if self.stdev is None or self.stretch is None:
            return jnp.tensordot(jnp.sqrt(self.values) * w, self.vectors, axes=1)
        return self.stdev * self._stretched(w, self.stretch).reshape(self.stdev.shape)

    def variance(self) -> Array:
        """Σ_k λ_k U_ik² + stdev²."""
        low = jnp.tensordot(self.values, self.vectors**2, axes=1)
        return low if self.stdev is None else low + self.stdev**2

    def no_inverse(self) -> str:
        """It has one with a stdev."""
        return "without a stdev it has low rank" if self.stdev is None else ""

    def whiten(self, field: Array) -> Array:
        """L⁻¹ v, by the stretches' inverses."""
        check_invertible(self)
        assert self.stretch is not None and self.stdev is not None
        return self._stretched((field / self.stdev).ravel(), 1 / self.stretch)

    def log_sqrt_determinant(self) -> Array:
        """Σ log stdev + ½ Σ log(1 + σ²)."""
        check_invertible(self)
        assert self.stretch is not None and self.stdev is not None
        return jnp.sum(jnp.log(self.stdev)) + jnp.sum(jnp.log(self.stretch))

    def rows(self, keep: np.ndarray) -> Self | None:
        """Their entries of the vectors; None without a stdev."""
        if self.stdev is None:
            return None
        return type(self)(self.vectors[:, keep], self.values, self.stdev[keep])

    def _stretched(self, w: Array, factors: Array) -> Array:
        """(I + P diag(factors - 1) Pᵀ) w."""
        assert self.directions is not None
        return w + ((factors - 1) * (self.directions @ w)) @ self.directions


class Ensemble(AbstractRootOnly):
    """C = ρ ∘ X′X′ᵀ/(N - 1), by its square root alone.

        L w = Σ_k X′_k ∘ (Λ w_k)/√(N - 1)        ρ = Λ Λᵀ, one white vector w_k a member

    so that no matrix of the field's size is formed (Lorenc 2003; Buehner 2005). Without a
    localisation ρ = 1 and w_k is one number.

    Args:
        perturbations: members, shape (N, *field shape); their mean is taken away.
        localisation: ρ, a covariance of variance 1, as `GaspariCohn(length)`; None for none.
    """

    perturbations: Array
    localisation: AbstractCovariance | None = None

    def __init__(
        self,
        perturbations: Array | np.ndarray | list,
        localisation: AbstractCovariance | None = None,
    ) -> None:
        """Centre the members."""
        members = np.asarray(perturbations, dtype=float)
        if members.ndim < 1 or len(members) < 2:
            raise ValueError(
                f"Ensemble: at least 2 members along the first dimension are needed, got shape "
                f"{members.shape}"
            )
        if not np.all(np.isfinite(members)):
            raise ValueError("Ensemble: members must be finite; fill or drop what is missing")
        self.perturbations = jnp.asarray(members - members.mean(axis=0), dtype=float)
        self.localisation = localisation

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The members of a field, with the localisation on its grid."""
        if self.perturbations.shape[1:] != shape:
            raise ValueError(
                f"Ensemble: members of shape {self.perturbations.shape[1:]} do not fit a field of "
                f"shape {shape}"
            )
        if self.localisation is None:
            return self
        rho = self.localisation.on(shape, axes)
        if not np.allclose(rho.variance(), 1.0, rtol=1e-6):
            raise ValueError(
                "Ensemble: the localisation's variance must be 1 everywhere; give it stdev = 1"
            )
        return eqx.tree_at(lambda c: c.localisation, self, rho)

    def size(self) -> int:
        """Members times the localisation's size."""
        return len(self.perturbations) * (
            1 if self.localisation is None else self.localisation.size()
        )

    def sqrt(self, w: Array) -> Array:
        """Σ_k X′_k ∘ (Λ w_k)/√(N - 1)."""
        n = len(self.perturbations)
        scaled = self.perturbations / math.sqrt(n - 1)
        if self.localisation is None:
            return jnp.tensordot(w, scaled, axes=1)
        patterns = jax.vmap(self.localisation.sqrt)(w.reshape(n, -1))
        return jnp.sum(scaled * patterns, axis=0)

    def variance(self) -> Array:
        """Sample variance of the members."""
        return jnp.sum(self.perturbations**2, axis=0) / (len(self.perturbations) - 1)

    def no_inverse(self) -> str:
        """It has none."""
        return "its root has a white vector for each member, and is not square"


def of_rows(covariance: AbstractCovariance, keep: np.ndarray) -> AbstractCovariance:
    """The rows and columns of R that are kept, booleans (m,), to be fitted anew to their times.

    Covariances that have a form for them keep it (`AbstractCovariance.rows`); of others, fitted to
    all rows, the matrix is formed; ValueError above 5,000.
    """
    if np.all(keep):
        return covariance
    if (own := covariance.rows(keep)) is not None:
        return own
    if keep.size > FORMED:
        raise ValueError(
            f"subset: some rows of a {type(covariance).__name__} covariance of {keep.size} take a "
            f"matrix of them, which is formed up to {FORMED}; use Autoregressive, LowRank or "
            f"Blocks, or drop the rows before giving the covariance"
        )
    columns = np.asarray(jax.vmap(covariance.sqrt)(jnp.eye(covariance.size())), np.float64)
    return Dense(columns[:, keep].T @ columns[:, keep])
