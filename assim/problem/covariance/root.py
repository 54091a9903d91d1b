"""What a covariance must offer."""

import abc
from typing import Self

import equinox as eqx
import jax
import numpy as np

from assim.problem.arrays import Array, Coordinate

Axes = tuple[Coordinate | np.ndarray, ...]  # an array of positions where they do not increase


class AbstractRoot(eqx.Module):
    """C = L Lᵀ of anything, known by the action of L."""

    @abc.abstractmethod
    def no_inverse(self) -> str:
        """Why L⁻¹ is not known, in words for a message; empty where it is."""

    @abc.abstractmethod
    def log_sqrt_determinant(self) -> Array:
        """log |L|; ValueError where `no_inverse` has a reason."""


class AbstractCovariance(AbstractRoot):
    """Covariance of one field, C = L Lᵀ, known by the action of its square root L.

    Lᵀ is `jax.linear_transpose` of `sqrt`. Every covariance can be a B or a Q; an R needs the
    inverse as well, which `no_inverse` tells of.
    """

    @abc.abstractmethod
    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """This covariance for a field of the given shape; ValueError where it does not fit.

        `axes` has one coordinate for each dimension, or none where they are not known. In place
        of a coordinate there is a plain array of positions where these do not increase, as times
        of an instrument may: what measures distance refuses it.
        """

    @abc.abstractmethod
    def size(self) -> int:
        """Length of the white vector that `sqrt` takes."""

    @abc.abstractmethod
    def sqrt(self, w: Array) -> Array:
        """L w: a field from a white vector of length `size`."""

    @abc.abstractmethod
    def variance(self) -> Array:
        """Diagonal of C, with the field's shape."""

    @abc.abstractmethod
    def whiten(self, field: Array) -> Array:
        """L⁻¹ v: a white vector from a field; ValueError where `no_inverse` has a reason."""

    def independent_stdev(self) -> Array | None:
        """Standard deviations where L is diagonal, with the field's shape; None where it is not.

        As R, every value then has an error and a density of its own.
        """
        return None

    def independent(self) -> bool:
        """Whether errors are independent of one another: L is diagonal."""
        return self.independent_stdev() is not None

    def causal(self, times: Array) -> bool:
        """Whether an entry of L⁻¹ v depends on values up to its own time alone.

        Args:
            times: of the first dimension's entries; they may be traced.
        """
        del times
        return self.independent()

    def rows(self, keep: np.ndarray) -> "AbstractCovariance | None":
        """The entries of a field that are kept, to be fitted anew to their positions by `on`.

        Args:
            keep: which to keep, booleans of the field's shape (n,).

        Returns:
            their covariance; None where this one has no form for it, and its matrix is formed.
        """
        del keep
        return None


class AbstractRootOnly(AbstractCovariance):
    """Covariance of which L⁻¹ is not known."""

    def whiten(self, field: Array) -> Array:
        """Refused."""
        raise refusal(self)

    def log_sqrt_determinant(self) -> Array:
        """Refused."""
        raise refusal(self)


def in_order(times: Array) -> bool:
    """Whether times do not decrease; traced ones are taken to be as those seen before."""
    return isinstance(times, jax.core.Tracer) or bool(np.all(np.diff(np.asarray(times)) >= 0))


def check_invertible(covariance: AbstractRoot, called: str = "whiten") -> None:
    """Raise ValueError where C, fitted by `on`, must be inverted for `called`, and cannot."""
    if covariance.no_inverse():
        raise refusal(covariance, called)


def refusal(covariance: AbstractRoot, called: str = "whiten") -> ValueError:
    """The error of a covariance that cannot be inverted."""
    return ValueError(
        f"{called}: {type(covariance).__name__} cannot be inverted, as {covariance.no_inverse()}; "
        f"use it for B or Q, and here one that can: Diagonal, Dense, Blocks, Autoregressive, "
        f"Diffusion without a mask, or LowRank with a diagonal"
    )
