"""Hessians of known sparsity from few products: columns that share no row are found together."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.krylov import Operator
from assim.solve.together import by_columns

Array = jax.Array

ZERO = 1e-13  # share of √(H_ii H_jj) below which an entry is none
MISMATCH = 1e-6  # of a Hessian's pattern, at most, on the vector that checks it


class Pattern(eqx.Module):
    """Which entries of a symmetric matrix are not zero, and the products that find them.

    Columns of one colour share no row (Curtis, Powell & Reid 1974, J. Inst. Maths Applics 13, 117):
    a block tridiagonal matrix of blocks of size m has 3m colours, whatever its length.

    Args:
        coupled: which entries are not zero, shape (n, n).
        colour: of every column, shape (n,).
        seeds: the sum of unit vectors of every colour, and a vector that checks them all, shape
            (colours + 1, n).
    """

    coupled: Array
    colour: Array
    seeds: Array

    def matrix(self, operator: Operator) -> tuple[Array, Array]:
        """The matrix of v ↦ Hv, and how far it is from H on the vector that checks, relatively."""
        products = by_columns(operator, self.seeds)
        h = jnp.where(self.coupled, products[self.colour], 0.0)
        h = (h + h.T) / 2
        whole = jnp.linalg.norm(products[-1])
        away = jnp.linalg.norm(h @ self.seeds[-1] - products[-1])
        return h, away / jnp.where(whole > 0, whole, 1.0)

    def products(self) -> int:
        """Products that a matrix takes."""
        return int(self.seeds.shape[0])


def pattern_of(matrices: np.ndarray) -> Pattern:
    """The pattern of matrices (N, n, n) of one structure, each at another place."""
    size = np.sqrt(np.abs(np.einsum("...ii->...i", matrices)))
    entries = np.abs(matrices) > ZERO * size[..., :, None] * size[..., None, :]
    coupled = np.any(entries | ~np.isfinite(matrices), axis=0) | np.eye(size.shape[1], dtype=bool)
    return _coloured(coupled | coupled.T)


def dense_pattern(n: int) -> Pattern:
    """That of a matrix of which nothing is known."""
    return _coloured(np.ones((n, n), dtype=bool))


def _coloured(coupled: np.ndarray) -> Pattern:
    """Every column gets the first colour that no column which shares a row with it has."""
    n = coupled.shape[0]
    meets = coupled.astype(np.float32) @ coupled.astype(np.float32) > 0
    colour = np.full(n, -1)
    for column in range(n):
        taken = set(colour[:column][meets[column, :column]].tolist())
        colour[column] = next(c for c in range(n) if c not in taken)
    seeds = np.zeros((colour.max(initial=-1) + 2, n))
    seeds[colour, np.arange(n)] = 1.0
    seeds[-1] = np.cos(1.0 + np.arange(n))
    return Pattern(jnp.asarray(coupled), jnp.asarray(colour), jnp.asarray(seeds))
