"""Uncorrelated errors."""

import math
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array
from assim.problem.covariance.root import AbstractCovariance, Axes


class Diagonal(AbstractCovariance):
    """C = diag(stdev²).

    Args:
        stdev: standard deviations in the field's unit: a number, or an array of its shape.
    """

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
