"""Covariances made of others: side by side, products and sums."""

import math
from collections.abc import Callable, Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Coordinate
from assim.problem.covariance.axis import values_of
from assim.problem.covariance.explicit import of_rows
from assim.problem.covariance.root import (
    AbstractCovariance,
    AbstractRootOnly,
    Axes,
    check_invertible,
)


class Blocks(AbstractCovariance):
    """Block-diagonal C along the first dimension of a field.

    Errors of different blocks are independent: the series of one instrument, or the layers of a
    field. Each block covers `lengths[i]` consecutive entries, and has its own stretch of the axis:
    positions need to increase only within a block.

    Args:
        parts: one covariance a block.
        lengths: entries of the first dimension in each block.
    """

    parts: tuple[AbstractCovariance, ...] = eqx.field(converter=tuple)
    lengths: tuple[int, ...] = eqx.field(converter=tuple, static=True)

    def __check_init__(self) -> None:
        if len(self.parts) != len(self.lengths) or not self.parts:
            raise ValueError(
                f"Blocks: one length for each part is needed, got {len(self.parts)} parts and "
                f"{len(self.lengths)} lengths"
            )

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The same blocks on a field of this shape."""
        if not shape or sum(self.lengths) != shape[0]:
            raise ValueError(
                f"Blocks: lengths {self.lengths} do not add up to the first dimension of {shape}"
            )
        fitted = (
            part.on((length, *shape[1:]), stretch)
            for part, length, stretch in zip(
                self.parts, self.lengths, _stretches(axes, self.lengths), strict=True
            )
        )
        return type(self)(tuple(fitted), self.lengths)

    def size(self) -> int:
        """Sum of the parts' sizes."""
        return sum(part.size() for part in self.parts)

    def sqrt(self, w: Array) -> Array:
        """Each L_i on its stretch of w."""
        stretches = _split(w, [part.size() for part in self.parts])
        return jnp.concatenate(
            [part.sqrt(stretch) for part, stretch in zip(self.parts, stretches, strict=True)]
        )

    def no_inverse(self) -> str:
        """The first reason that a part has."""
        return next(filter(None, (part.no_inverse() for part in self.parts)), "")

    def whiten(self, field: Array) -> Array:
        """Each L_i⁻¹ on its block of the field."""
        check_invertible(self)
        blocks = _split(field, list(self.lengths))
        return jnp.concatenate(
            [part.whiten(block) for part, block in zip(self.parts, blocks, strict=True)]
        )

    def variance(self) -> Array:
        """Variances of the blocks, one after the other."""
        return jnp.concatenate([part.variance() for part in self.parts])

    def log_sqrt_determinant(self) -> Array:
        """Sum over the blocks."""
        check_invertible(self)
        return sum((part.log_sqrt_determinant() for part in self.parts), jnp.zeros(()))

    def independent_stdev(self) -> Array | None:
        """Those of the blocks, where all of them have some."""
        stdevs = [stdev for part in self.parts if (stdev := part.independent_stdev()) is not None]
        return jnp.concatenate(stdevs) if len(stdevs) == len(self.parts) else None

    def causal(self, times: Array) -> bool:
        """Where every block is."""
        stretches = _split(times, list(self.lengths))
        return all(part.causal(own) for part, own in zip(self.parts, stretches, strict=True))

    def rows(self, keep: np.ndarray) -> Self:
        """Those of each block, without the blocks of which none is left."""
        kept = np.split(keep, np.cumsum(self.lengths)[:-1])
        pairs = [(part, own) for part, own in zip(self.parts, kept, strict=True) if own.any()]
        parts = tuple(of_rows(part, own) for part, own in pairs)
        return type(self)(parts, tuple(int(own.sum()) for _, own in pairs))


def _stretches(axes: Axes, lengths: tuple[int, ...]) -> list[Axes]:
    """Axes of each block: a part of a periodic axis is bounded."""
    if not axes:
        return [() for _ in lengths]
    first = axes[0]
    parts = np.split(values_of(first), np.cumsum(lengths)[:-1])
    if isinstance(first, Coordinate):
        return [(Coordinate(part, first.units, first.long_name), *axes[1:]) for part in parts]
    return [(part, *axes[1:]) for part in parts]


def _split(values: Array, lengths: list[int]) -> list[Array]:
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    return [values[end - length : end] for end, length in zip(ends, lengths, strict=True)]


class Kronecker(AbstractCovariance):
    """C = C_1 ⊗ C_2 ⊗ …: each factor on its own dimensions, in the field's order.

    Space × variable, space × time: the correlation of two points is the product of those of
    their parts. L = L_1 ⊗ L_2 ⊗ … is applied one factor at a time.

    Args:
        factors: covariances; the units of their product are the field's squared.
        dims: number of dimensions that each factor covers; 1 each where not given.
    """

    factors: tuple[AbstractCovariance, ...] = eqx.field(converter=tuple)
    dims: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self, factors: Sequence[AbstractCovariance], dims: Sequence[int] | None = None
    ) -> None:
        """Check that there is one number of dimensions a factor."""
        self.factors = tuple(factors)
        self.dims = (1,) * len(self.factors) if dims is None else tuple(dims)
        if not self.factors or len(self.factors) != len(self.dims) or min(self.dims) < 0:
            raise ValueError(
                f"Kronecker: one number of dimensions for each factor is needed, got "
                f"{len(self.factors)} factors and dims {self.dims}"
            )

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """Each factor on its dimensions."""
        if sum(self.dims) != len(shape):
            raise ValueError(
                f"Kronecker: factors on {self.dims} dimensions do not fit a field of shape "
                f"{shape}; say with dims how many each covers. The rows of an instrument are one "
                f"dimension: their R is Dense(np.kron(…)), or Blocks"
            )
        ends = [sum(self.dims[: i + 1]) for i in range(len(self.dims))]
        fitted = [
            factor.on(shape[end - count : end], axes[end - count : end])
            for factor, count, end in zip(self.factors, self.dims, ends, strict=True)
        ]
        return type(self)(fitted, self.dims)

    def size(self) -> int:
        """Product of the factors' sizes."""
        return math.prod(factor.size() for factor in self.factors)

    def sqrt(self, w: Array) -> Array:
        """(L_1 ⊗ L_2 ⊗ …) w."""
        roots = [(factor.sqrt, (factor.size(),)) for factor in self.factors]
        return product(roots, w)

    def variance(self) -> Array:
        """Outer product of the factors' variances."""
        total = jnp.ones(())
        for factor in self.factors:
            part = factor.variance()
            total = total.reshape(*total.shape, *[1] * part.ndim) * part.reshape(
                *[1] * total.ndim, *part.shape
            )
        return total

    def no_inverse(self) -> str:
        """The first reason that a factor has."""
        return next(filter(None, (factor.no_inverse() for factor in self.factors)), "")

    def whiten(self, field: Array) -> Array:
        """(L_1⁻¹ ⊗ L_2⁻¹ ⊗ …) v."""
        check_invertible(self)
        shapes = self._shapes()
        inverses = [
            (factor.whiten, shape) for factor, shape in zip(self.factors, shapes, strict=True)
        ]
        return product(inverses, field).ravel()

    def log_sqrt_determinant(self) -> Array:
        """Σ (n/n_i) log |L_i|."""
        check_invertible(self)
        sizes = [math.prod(shape) for shape in self._shapes()]
        n = math.prod(sizes)
        logs = (
            factor.log_sqrt_determinant() * (n / size)
            for factor, size in zip(self.factors, sizes, strict=True)
        )
        return sum(logs, jnp.zeros(()))

    def _shapes(self) -> list[tuple[int, ...]]:
        return [jax.eval_shape(factor.variance).shape for factor in self.factors]


Part = tuple[Callable[[Array], Array], tuple[int, ...]]


def product(parts: Sequence[Part], values: Array) -> Array:
    """A linear map for each stretch of dimensions, applied to them one after another.

    Args:
        parts: each map with the shape of what it takes.
        values: as many values as the shapes have together, in C order.
    """
    before = 1
    after = values.size
    shape: tuple[int, ...] = ()
    for transform, taken in parts:
        after //= math.prod(taken)
        stack = values.reshape(before, *taken, after)
        over_last = jax.vmap(transform, in_axes=-1, out_axes=-1)
        values = jax.vmap(over_last)(stack)
        made = values.shape[1:-1]
        shape += made
        before *= math.prod(made)
    return values.reshape(shape)


class Sum(AbstractRootOnly):
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
