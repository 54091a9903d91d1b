"""Smooth errors of a few hundred degrees of freedom on a grid of any size."""

from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import assim
from assim import Array, Coordinate


class Smooth(assim.covariance.AbstractCovariance):
    """C = stdev² C_1 ⊗ C_2, of a Gaussian correlation exp(-r²/(2 length²)) along each axis.

    L is made of the leading eigenvectors of both, as many as hold a share `kept` of the variance
    of each. What they leave out are waves shorter than about three times the length; variances are
    scaled to stdev² everywhere. L⁻¹ takes the part of a field that L can make.

    Args:
        stdev: standard deviation, in the field's unit.
        length: in the unit of the axes.
        kept: share of the variance along each axis.
        roots: of both axes, each of shape (points, eigenvectors); made by `on`.
    """

    stdev: float
    length: float
    kept: float = 0.999
    roots: tuple[Array, ...] = ()

    def on(self, shape: tuple[int, ...], axes: tuple[Coordinate | np.ndarray, ...] = ()) -> Self:
        if len(axes) != 2:
            raise ValueError(f"Smooth: two axes with positions are needed, got {len(axes)}")
        return eqx.tree_at(lambda c: c.roots, self, tuple(map(self._root, axes)))

    def _root(self, axis: Coordinate | np.ndarray) -> Array:
        places = np.asarray(axis.values if isinstance(axis, Coordinate) else axis)
        apart = np.subtract.outer(places, places) / self.length
        values, vectors = np.linalg.eigh(np.exp(-(apart**2) / 2))
        held = np.cumsum(values[::-1]) / np.sum(values)
        number = 1 + int(np.searchsorted(held, self.kept))
        root = vectors[:, ::-1][:, :number] * np.sqrt(values[::-1][:number])
        return jnp.asarray(root / np.linalg.norm(root, axis=1, keepdims=True))

    def size(self) -> int:
        return self.roots[0].shape[1] * self.roots[1].shape[1]

    def sqrt(self, w: Array) -> Array:
        first, second = self.roots
        return self.stdev * first @ w.reshape(first.shape[1], -1) @ second.T

    def variance(self) -> Array:
        return jnp.full([len(root) for root in self.roots], self.stdev**2)

    def no_inverse(self) -> str:
        return ""

    def whiten(self, field: Array) -> Array:
        first, second = map(jnp.linalg.pinv, self.roots)
        return (first @ field @ second.T).ravel() / self.stdev

    def log_sqrt_determinant(self) -> Array:
        first, second = (jnp.log(jnp.linalg.svd(root)[1]) for root in self.roots)
        scale = self.size() * np.log(self.stdev)
        return scale + len(second) * jnp.sum(first) + len(first) * jnp.sum(second)
