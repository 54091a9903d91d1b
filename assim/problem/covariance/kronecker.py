"""Products of covariances along the dimensions of a field."""

import math
from collections.abc import Callable, Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.problem.arrays import Array
from assim.problem.covariance.root import AbstractCovariance, Axes, check_invertible


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
