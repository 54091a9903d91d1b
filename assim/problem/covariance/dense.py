"""A covariance given as a matrix."""

import math
from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from assim.problem.arrays import Array
from assim.problem.covariance.root import AbstractCovariance, Axes, in_order


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
