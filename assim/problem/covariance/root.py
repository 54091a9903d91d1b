"""What a covariance must offer."""

import abc
from typing import Self

import equinox as eqx

from assim.problem.arrays import Array


class AbstractCovariance(eqx.Module):
    """Covariance of one field, C = L Lᵀ, known by the action of its square root L.

    Lᵀ is `jax.linear_transpose` of `sqrt`.
    """

    @abc.abstractmethod
    def on(self, shape: tuple[int, ...]) -> Self:
        """This covariance for a field of the given shape; ValueError where it does not fit."""

    @abc.abstractmethod
    def size(self) -> int:
        """Length of the white vector that `sqrt` takes."""

    @abc.abstractmethod
    def sqrt(self, w: Array) -> Array:
        """L w: a field from a white vector of length `size`."""

    @abc.abstractmethod
    def whiten(self, field: Array) -> Array:
        """L⁻¹ v: a white vector from a field."""

    @abc.abstractmethod
    def variance(self) -> Array:
        """Diagonal of C, with the field's shape."""

    @abc.abstractmethod
    def log_sqrt_determinant(self) -> Array:
        """log |L|."""
