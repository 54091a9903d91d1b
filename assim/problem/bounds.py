"""Bounds of a field, and the variable without bounds in which its model errors are added."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.problem.arrays import Array


class Bounds(eqx.Module):
    """Between which values a field lies: g(x) has none, and grows with x.

        g = log(x - lower),  -log(upper - x)  or  log((x - lower)/(upper - x))

    for a lower bound, an upper bound and both. NaN or infinite where x is not between the bounds.

    Args:
        lower: bound from below, -∞ for none.
        upper: bound from above, ∞ for none.

    Raises:
        ValueError: no bound that is finite, or bounds that are not in order.
    """

    lower: float = eqx.field(default=-math.inf, static=True, converter=float)
    upper: float = eqx.field(default=math.inf, static=True, converter=float)

    def __check_init__(self) -> None:
        finite = math.isfinite(self.lower) or math.isfinite(self.upper)
        if not (finite and self.lower < self.upper):
            raise ValueError(
                f"bounds: one of them must be finite and lower below upper, got {self.lower:g} and "
                f"{self.upper:g}"
            )

    def words(self) -> str:
        """What g is."""
        if math.isinf(self.upper):
            return (
                "logarithm" if self.lower == 0 else f"logarithm of the distance from {self.lower:g}"
            )
        if math.isinf(self.lower):
            return f"minus logarithm of the distance to {self.upper:g}"
        return f"logit between {self.lower:g} and {self.upper:g}"

    def free(self, x: Array) -> Array:
        """g(x)."""
        if math.isinf(self.upper):
            return jnp.log(x - self.lower)
        below = jnp.log(self.upper - x)
        return -below if math.isinf(self.lower) else jnp.log(x - self.lower) - below

    def bounded(self, z: Array) -> Array:
        """x of g(x) = z."""
        if math.isinf(self.upper):
            return self.lower + jnp.exp(z)
        if math.isinf(self.lower):
            return self.upper - jnp.exp(-z)
        return self.lower + (self.upper - self.lower) * jax.nn.sigmoid(z)
