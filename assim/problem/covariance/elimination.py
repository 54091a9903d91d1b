"""Symmetric tridiagonal matrices along one axis, factorised once: K = R Rᵀ."""

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array


class Elimination(eqx.Module):
    """Lower Cholesky factor R of a tridiagonal or cyclic matrix: bidiagonal, with a last row.

    The axis comes first in every array, the lines along it second; coefficients that are the
    same for all lines have one column. A solve is two scans, O(n) a line.

    Args:
        diagonal: R_ii, shape (n, lines or 1).
        lower: R_(i+1)i for i < n - 2, zero at the end, shape (n - 1, lines or 1).
        last: R_(n-1)i for i < n - 1, shape (n - 1, lines or 1).
    """

    diagonal: Array
    lower: Array
    last: Array

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
