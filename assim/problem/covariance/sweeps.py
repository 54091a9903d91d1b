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

EXACT = 2048  # points up to which a diagonal is found column by column


class Elimination(eqx.Module):
    """Lower Cholesky factor R of a tridiagonal or cyclic matrix: bidiagonal, with a last row.

    The axis comes first in every array, the lines along it second; coefficients that are the
    same for all lines have one column. A solve is two scans, O(n) a line.
    """

    diagonal: Array  # R_ii, shape (n, lines or 1)
    lower: Array  # R_(i+1)i for i < n - 2, zero at the end, shape (n - 1, lines or 1)
    last: Array  # R_(n-1)i for i < n - 1, shape (n - 1, lines or 1)

    @classmethod
    def of(cls, diagonal: np.ndarray, off: np.ndarray) -> Self:
        """Factorise the matrix with this diagonal, and `off[i]` between i and i + 1 (cyclic).

        Args:
            diagonal: shape (n, lines or 1).
            off: the same shape; `off[n-1]` couples the last point with the first.
        """
        n = len(diagonal)
        last_row = np.zeros_like(diagonal)
        if n > 1:  # at n = 2 both couplings join the same two points
            last_row[0] += off[n - 1]
            last_row[n - 2] += off[n - 2]
        rows = [_numbers(a) for a in (diagonal[:-1], off[:-1], last_row[:-1])]
        factor_rows, before_lower, before_last = [], 0.0, 0.0
        for i, (k, coupling, end) in enumerate(zip(*rows, strict=True)):
            d = (k - before_lower**2) ** 0.5
            before_last = (end - before_lower * before_last) / d
            before_lower = coupling / d if i < n - 2 else 0.0 * coupling
            factor_rows.append((d, before_lower, before_last))
        shape = (n - 1, diagonal.shape[1])
        d, lower, last = (np.reshape([row[j] for row in factor_rows], shape) for j in range(3))
        end = np.sqrt(diagonal[-1:] - np.sum(last**2, axis=0, keepdims=True))
        return cls(jnp.asarray(np.concatenate([d, end])), jnp.asarray(lower), jnp.asarray(last))

    def forward(self, b: Array) -> Array:
        """R⁻¹ b, shape (n, lines)."""
        body = substitute(b[:-1], self.diagonal[:-1], self.lower, reverse=False)
        end = b[-1:] - jnp.sum(self.last * body, axis=0, keepdims=True)
        return jnp.concatenate([body, end / self.diagonal[-1:]])

    def backward(self, b: Array) -> Array:
        """R⁻ᵀ b, shape (n, lines)."""
        end = b[-1:] / self.diagonal[-1:]
        body = substitute(b[:-1] - self.last * end, self.diagonal[:-1], self.lower, reverse=True)
        return jnp.concatenate([body, end])

    def solve(self, b: Array) -> Array:
        """K⁻¹ b = R⁻ᵀ R⁻¹ b."""
        return self.backward(self.forward(b))

    def lower_product(self, x: Array) -> Array:
        """R x, what `forward` undoes."""
        body = self.diagonal[:-1] * x[:-1]
        body = body.at[1:].add(self.lower[:-1] * x[:-2])
        end = self.diagonal[-1:] * x[-1:] + jnp.sum(self.last * x[:-1], axis=0, keepdims=True)
        return jnp.concatenate([body, end])

    def upper_product(self, x: Array) -> Array:
        """Rᵀ x, what `backward` undoes."""
        body = self.diagonal[:-1] * x[:-1] + self.last * x[-1:]
        body = body.at[:-1].add(self.lower[:-1] * x[1:-1])
        return jnp.concatenate([body, self.diagonal[-1:] * x[-1:]])

    def log_determinant(self, lines: int) -> Array:
        """log |K| summed over the lines."""
        return 2.0 * jnp.sum(jnp.log(self.diagonal)) * (lines / self.diagonal.shape[1])


def _numbers(rows: np.ndarray) -> list:
    """Rows to loop over: plain numbers where there is one line, which are ten times as fast."""
    return rows[:, 0].tolist() if rows.shape[1] == 1 else list(rows)


def substitute(b: Array, diagonal: Array, lower: Array, reverse: bool) -> Array:
    """x_i = (b_i - l x_before)/d_i along the first axis.

    Args:
        b: shape (n, lines).
        diagonal: d, shape (n, lines or 1).
        lower: l, where `lower[i]` couples i and i + 1, same shape; the last is not used.
        reverse: from the end to the start.
    """
    couplings = lower if reverse else jnp.concatenate([jnp.zeros_like(lower[:1]), lower[:-1]])

    def step(before: Array, row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        right, d, coupling = row
        x = (right - coupling * before) / d
        return x, x

    start = jnp.zeros(b.shape[1:], b.dtype)
    return jax.lax.scan(step, start, (b, diagonal, couplings), reverse=reverse)[1]


class Sweep(eqx.Module):
    """Implicit diffusion along one axis: A⁻¹ = K⁻¹ W with K = W - ∇·κ∇, W the widths of cells."""

    elimination: Elimination  # of K
    width: Array  # W, shape (n, 1)
    axis: int = eqx.field(static=True)  # index of the axis in the field
    homogeneous: bool = eqx.field(static=True)  # whether every point sees the same

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
    """

    sweeps: tuple[Sweep, ...]  # one for each axis with correlations
    shape: tuple[int, ...] = eqx.field(static=True)  # of the field
    iterations: int = eqx.field(static=True)  # M

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
