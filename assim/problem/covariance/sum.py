"""Sums of covariances: hybrids."""

from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array
from assim.problem.covariance.root import AbstractCovariance, Axes, refusal


class Sum(AbstractCovariance):
    """C = Σ_i a_i C_i, with L = [√a_1 L_1, √a_2 L_2, …]: white vectors follow one another.

    A hybrid of a static and an ensemble covariance (Hamill & Snyder 2000).

    Args:
        terms: covariances of the same field.
        weights: a_i, factors on the variances, not negative; 1 each where not given.
    """

    terms: tuple[AbstractCovariance, ...]
    weights: Array

    def __init__(
        self,
        terms: Sequence[AbstractCovariance],
        weights: Sequence[float] | Array | None = None,
    ) -> None:
        """Check that there is one weight a term."""
        self.terms = tuple(terms)
        self.weights = jnp.asarray([1.0] * len(self.terms) if weights is None else weights, float)
        if not self.terms or self.weights.shape != (len(self.terms),):
            raise ValueError(
                f"Sum: one weight for each term is needed, got {len(self.terms)} terms and "
                f"weights of shape {self.weights.shape}"
            )
        if not np.all(np.isfinite(self.weights) & (np.asarray(self.weights) >= 0)):
            raise ValueError("Sum: weights are factors on variances, which cannot be negative")

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """Every term on the field."""
        terms = tuple(term.on(shape, axes) for term in self.terms)
        return eqx.tree_at(lambda c: c.terms, self, terms)

    def size(self) -> int:
        """Sum of the terms' sizes."""
        return sum(term.size() for term in self.terms)

    def sqrt(self, w: Array) -> Array:
        """Σ √a_i L_i w_i."""
        total, start = 0.0, 0
        for term, root in zip(self.terms, jnp.sqrt(self.weights), strict=True):
            total = total + root * term.sqrt(w[start : start + term.size()])
            start += term.size()
        return jnp.asarray(total)

    def variance(self) -> Array:
        """Σ a_i diag C_i."""
        return sum(
            (a * term.variance() for a, term in zip(self.weights, self.terms, strict=True)),
            start=jnp.zeros(()),
        )

    def no_inverse(self) -> str:
        """It has none."""
        return "the root of a sum has a white vector for each term, and is not square"

    def whiten(self, field: Array) -> Array:
        """Refused."""
        raise refusal(self)

    def log_sqrt_determinant(self) -> Array:
        """Refused."""
        raise refusal(self)
