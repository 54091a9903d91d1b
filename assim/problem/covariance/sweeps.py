"""Implicit diffusion along the axes of a field, and the diagonal of what it makes."""

import math
from collections.abc import Callable
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Coordinate
from assim.problem.covariance.axis import along, gaps, is_uniform, widths
from assim.problem.covariance.elimination import Elimination

EXACT = 2048  # points up to which a diagonal is found column by column


class Sweep(eqx.Module):
    """Implicit diffusion along one axis: A⁻¹ = K⁻¹ W with K = W - ∇·κ∇, W the widths of cells.

    Args:
        elimination: factor of K.
        width: W, shape (n, 1).
        axis: index of the axis in the field.
        homogeneous: whether every point sees the same.
    """

    elimination: Elimination
    width: Array
    axis: int = eqx.field(static=True)
    homogeneous: bool = eqx.field(static=True)

    @classmethod
    def of(cls, axis: int, coordinate: Coordinate, kappa: np.ndarray, open_: np.ndarray) -> Self:
        """Discretise ∇·κ∇ by finite volumes, without flux through closed cells and bounded ends.

        Args:
            axis: index of the axis.
            coordinate: positions along it.
            kappa: diffusivity times time step of each cell, shape (n, lines or 1).
            open_: whether a cell takes part, same shape.
        """
        faces = (kappa + np.roll(kappa, -1, axis=0)) / 2
        faces = faces * open_ * np.roll(open_, -1, axis=0) / gaps(coordinate)[:, None]
        if len(kappa) == 1:
            faces = np.zeros_like(faces)
        width = widths(coordinate)[:, None]
        same = is_uniform(coordinate) and coordinate.period is not None
        same = same and bool(np.ptp(kappa) == 0 and np.all(open_))
        elimination = Elimination.of(width + faces + np.roll(faces, 1, axis=0), -faces)
        return cls(elimination, jnp.asarray(width), axis, same)

    def diffuse(self, lines: Array) -> Array:
        """A⁻¹ v."""
        return self.elimination.solve(self.width * lines)

    def undo(self, lines: Array) -> Array:
        """A v."""
        factor = self.elimination
        return factor.lower_product(factor.upper_product(lines)) / self.width


class Sweeps(eqx.Module):
    """L̂ with L̂ L̂ᵀ = A^(-M) W⁻¹ along one axis, and the product over the axes.

        M even: L̂ = A^(-M/2) W^(-1/2)        M odd: L̂ = A^(-(M-1)/2) R⁻ᵀ  with K = R Rᵀ

    Where the sweeps of two axes do not commute (variable lengths, coasts) L̂ L̂ᵀ is what this
    order makes it, symmetric and positive definite all the same.

    Args:
        sweeps: one for each axis with correlations.
        shape: of the field.
        iterations: M.
    """

    sweeps: tuple[Sweep, ...]
    shape: tuple[int, ...] = eqx.field(static=True)
    iterations: int = eqx.field(static=True)

    def root(self, field: Array) -> Array:
        """L̂ v."""
        for sweep in self.sweeps:
            field = along(sweep.axis, self._first(sweep), field)
        half = self.iterations // 2
        return jax.lax.scan(lambda v, _: (self._all(v), None), field, length=half)[0]

    def inverse(self, field: Array) -> Array:
        """L̂⁻¹ v."""
        half = self.iterations // 2
        field = jax.lax.scan(lambda v, _: (self._none(v), None), field, length=half)[0]
        for sweep in reversed(self.sweeps):
            field = along(sweep.axis, self._undo_first(sweep), field)
        return field

    def log_determinant(self) -> Array:
        """log |L̂|."""
        total, points = jnp.zeros(()), math.prod(self.shape)
        for sweep in self.sweeps:
            lines = points // len(sweep.width)
            of_k = sweep.elimination.log_determinant(lines)
            of_w = lines * jnp.sum(jnp.log(sweep.width))
            total += ((self.iterations - 1) * of_w - self.iterations * of_k) / 2
        return total

    def along_axis(self, sweep: Sweep) -> "Sweeps":
        """The same along one axis alone."""
        alone = Sweep(sweep.elimination, sweep.width, 0, sweep.homogeneous)
        return Sweeps((alone,), (len(sweep.width),), self.iterations)

    def _first(self, sweep: Sweep) -> Callable[[Array], Array]:
        """The half iteration, or W^(-1/2), with which L̂ begins."""
        if self.iterations % 2:
            return sweep.elimination.backward
        return lambda v: v / jnp.sqrt(sweep.width)

    def _undo_first(self, sweep: Sweep) -> Callable[[Array], Array]:
        if self.iterations % 2:
            return sweep.elimination.upper_product
        return lambda v: v * jnp.sqrt(sweep.width)

    def _all(self, field: Array) -> Array:
        for sweep in self.sweeps:
            field = along(sweep.axis, sweep.diffuse, field)
        return field

    def _none(self, field: Array) -> Array:
        for sweep in reversed(self.sweeps):
            field = along(sweep.axis, sweep.undo, field)
        return field


def exact_diagonal(sweeps: Sweeps) -> Array | None:
    """Diagonal of L̂ L̂ᵀ where it can be had without sampling, with the field's shape; else None.

    It can on fields of up to `EXACT` points; and where the axes are independent of one another,
    if each has up to `EXACT` points or is homogeneous.
    """
    if all(sweep.elimination.diagonal.shape[1] == 1 for sweep in sweeps.sweeps):
        parts = [_of_axis(sweeps.along_axis(sweep)) for sweep in sweeps.sweeps]
        total = jnp.ones(sweeps.shape)
        for sweep, part in zip(sweeps.sweeps, parts, strict=True):
            if part is None:
                return None
            total *= part.reshape([-1 if i == sweep.axis else 1 for i in range(total.ndim)])
        return total
    return _by_columns(sweeps) if math.prod(sweeps.shape) <= EXACT else None


def _of_axis(sweeps: Sweeps) -> Array | None:
    if sweeps.sweeps[0].homogeneous:
        return _by_a_row(sweeps)
    return _by_columns(sweeps) if sweeps.shape[0] <= EXACT else None


@jax.jit
def _by_columns(sweeps: Sweeps) -> Array:
    """Row sums of squares of L̂, from all its columns."""
    n = math.prod(sweeps.shape)
    columns = jax.vmap(lambda e: sweeps.root(e.reshape(sweeps.shape)))(jnp.eye(n))
    return jnp.sum(columns**2, axis=0)


@jax.jit
def _by_a_row(sweeps: Sweeps) -> Array:
    """The same where all rows are alike."""
    unit = jnp.zeros(sweeps.shape).at[0].set(1.0)
    (row,) = jax.linear_transpose(sweeps.root, unit)(unit)
    return jnp.full(sweeps.shape, jnp.sum(row**2))


@jax.jit(static_argnames="samples")
def sampled_diagonal(sweeps: Sweeps, samples: int) -> Array:
    """Mean square of L̂ w over white w; relative standard error of each value √(2/samples)."""

    def add(total: Array, key: Array) -> tuple[Array, None]:
        return total + sweeps.root(jax.random.normal(key, sweeps.shape)) ** 2, None

    keys = jax.random.split(jax.random.key(0), samples)
    return jax.lax.scan(add, jnp.zeros(sweeps.shape), keys)[0] / samples
