"""Inflation of carried covariances: a fixed factor, or one that follows the innovations."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.arguments import positive

Array = jax.Array


class Inflation(eqx.Module):
    """A factor on the standard deviations of what is carried from window to window.

    Fixed, or adaptive: with normalised innovations d_b and G the derivative of the departures,
    E|d_b|² = m + α tr GGᵀ where the carried variances should be α times as large. Each window
    gives one estimate of α, of variance 2 tr(I + GGᵀ)²/tr²(GGᵀ), which is combined with that so
    far as two Gaussian numbers are (Wang & Bishop 2003, eq. 8; Miyoshi 2011, MWR 139, 1519).

    Args:
        factor: on standard deviations; where it starts if it is adaptive.
        adaptive: whether innovations change it.
        stdev: of the variance factor so far when combined with a new estimate: the larger, the
            faster it follows.
        lower: least factor.
        upper: largest.
    """

    factor: float = eqx.field(default=1.0, converter=float)
    adaptive: bool = eqx.field(default=False, static=True)
    stdev: float = eqx.field(default=0.04, converter=float)
    lower: float = eqx.field(default=1.0, converter=float)
    upper: float = eqx.field(default=2.0, converter=float)

    def __check_init__(self) -> None:
        positive(self, "factor", "stdev")
        if not 0 < self.lower <= self.upper:
            raise ValueError(
                f"Inflation: lower and upper must be positive and in order, got {self.lower} and "
                f"{self.upper}"
            )

    def first(self) -> "Inflated":
        """With which a cycle begins: its first background is the case's own."""
        return Inflated(jnp.asarray(self.factor), jnp.ones(()))

    def after(self, so_far: "Inflated", innovation: "Innovation", moves: Array) -> "Inflated":
        """After a window's innovations.

        While the next window does not move, or this one had no observations, the factor stays, and
        the next background is not inflated.
        """
        factor = jnp.where(moves, self._follow(so_far, innovation), so_far.factor)
        return Inflated(factor, jnp.where(moves, factor, 1.0))

    def _follow(self, so_far: "Inflated", innovation: "Innovation") -> Array:
        if not self.adaptive:
            return so_far.factor
        trace = innovation.trace
        known = trace > 0
        trace = jnp.where(known, trace, 1.0)
        before, applied = so_far.factor**2, so_far.applied**2
        estimate = applied * (innovation.squares - innovation.number) / trace
        noise = applied**2 * 2 * innovation.square_trace / trace**2
        gain = self.stdev**2 / (self.stdev**2 + noise)
        variance = jnp.where(known, before + gain * (estimate - before), before)
        return jnp.clip(jnp.sqrt(jnp.maximum(variance, 0.0)), self.lower, self.upper)


class Inflated(NamedTuple):
    """Inflation so far.

    Args:
        factor: on standard deviations, as the innovations so far have it.
        applied: the one that the background of the coming window has; 1 where it has none.
    """

    factor: Array
    applied: Array


class Innovation(NamedTuple):
    """Normalised innovations of a window, and what the covariances expect of them.

    Args:
        squares: |d_b|².
        number: m.
        trace: tr GGᵀ.
        square_trace: tr (I + GGᵀ)².
    """

    squares: Array
    number: Array
    trace: Array
    square_trace: Array

    @staticmethod
    def of(
        squares: Array, number: Array, eigenvalues: Array, rest: tuple[Array, Array] | None = None
    ) -> "Innovation":
        """From the largest eigenvalues λ of GᵀG, and Σ λ and Σ λ² of the rest, if there is one."""
        positive = jnp.maximum(eigenvalues, 0.0)
        trace, square = jnp.sum(positive), jnp.sum(positive**2)
        if rest is not None:
            trace, square = trace + rest[0], square + rest[1]
        return Innovation(squares, number, trace, number + 2 * trace + square)


def as_inflation(given: "float | Inflation") -> Inflation:
    """A factor as a fixed inflation."""
    return given if isinstance(given, Inflation) else Inflation(given)
