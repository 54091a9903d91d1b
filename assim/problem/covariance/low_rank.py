"""A few directions and a diagonal."""

from collections.abc import Sequence
from typing import Self

import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array
from assim.problem.covariance.root import AbstractCovariance, Axes, check_invertible


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
