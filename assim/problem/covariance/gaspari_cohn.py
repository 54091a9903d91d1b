"""Correlations of compact support, for localisation."""

import math
from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Coordinate
from assim.problem.covariance.axis import axes_of, is_uniform, positions
from assim.problem.covariance.combined import product
from assim.problem.covariance.root import AbstractRootOnly, Axes
from assim.problem.covariance.spectral import Spectrum

_DENSE = 4096  # points of an axis up to which its matrix is formed
_PADDED = 8  # times the points of an axis, up to which it is part of a ring
_TURNS = 100  # periods of a ring, from which length on its correlation is 1 to 10⁻¹²


class GaspariCohn(AbstractRootOnly):
    """C = ρ_1 ⊗ ρ_2 ⊗ …, ρ the fifth-order piecewise rational function, 0 from 2·length on.

    Gaspari & Cohn (1999), equation 4.10 with c = `length`, along each axis; a ring sums over its
    turns. Its variance is 1. The root of an axis is exact to rounding: of equal spacing by FFT
    on a ring that is long enough not to join the ends (circulant embedding, Dietrich & Newsam
    1997), so that there may be a few more white values than points; of unequal spacing, or much
    shorter than the length, by the eigenvectors of its matrix.

    Args:
        length: half of the support in the axes' units, a number or one for each dimension; 0 for
            a dimension along which everything is fully correlated (no localisation).
    """

    length: Array
    roots: "tuple[AxisRoot, ...]"

    def __init__(
        self, length: float | Sequence[float] | Array, roots: "tuple[AxisRoot, ...]" = ()
    ) -> None:
        """Check the length; `roots`, one for each axis, are made by `on`."""
        self.length = jnp.asarray(length, dtype=float)
        self.roots = roots
        if not np.all(np.isfinite(self.length) & (np.asarray(self.length) >= 0)):
            raise ValueError("GaspariCohn: every length must be finite, and positive or 0")

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The roots along the axes of a field."""
        axes = axes_of("GaspariCohn", shape, axes)
        if self.length.shape not in ((), (len(shape),)):
            raise ValueError(
                f"GaspariCohn: length of shape {self.length.shape} does not fit a field of "
                f"shape {shape}; give a number, or one for each dimension"
            )
        lengths = np.broadcast_to(np.asarray(self.length, np.float64), (len(shape),))
        roots = [_root(axis, length) for axis, length in zip(axes, lengths, strict=True)]
        return type(self)(self.length, tuple(roots))

    def size(self) -> int:
        """Product of the axes' sizes, padding included."""
        return math.prod(root.size() for root in self.roots)

    def sqrt(self, w: Array) -> Array:
        """(L_1 ⊗ L_2 ⊗ …) w."""
        return product([(root.sqrt, (root.size(),)) for root in self.roots], w)

    def variance(self) -> Array:
        """1."""
        return jnp.ones([root.points for root in self.roots])

    def no_inverse(self) -> str:
        """It is for localisation."""
        return "its root on a padded ring has more white values than the field has points"


class AxisRoot(eqx.Module):
    """Root of the correlation along one axis: by FFT on a ring, or a matrix."""

    points: int = eqx.field(static=True)  # of the axis
    spectrum: Spectrum | None = None  # of the ring, of which the axis is the first part
    matrix: Array | None = None  # where there is no spectrum, shape (points, white values)

    def size(self) -> int:
        """Number of white values."""
        if self.spectrum is not None:
            return self.spectrum.shape[0]
        assert self.matrix is not None
        return self.matrix.shape[1]

    def sqrt(self, w: Array) -> Array:
        """L w."""
        if self.spectrum is not None:
            return self.spectrum.multiply(w, jnp.sqrt(self.spectrum.values))[: self.points]
        assert self.matrix is not None
        return self.matrix @ w


def gaspari_cohn(z: np.ndarray) -> np.ndarray:
    """ρ of the distance in units of c: equation 4.10 of Gaspari & Cohn (1999)."""
    z = np.abs(z)
    near = 1 - 5 / 3 * z**2 + 5 / 8 * z**3 + z**4 / 2 - z**5 / 4
    z_far = np.clip(z, 1.0, 2.0)
    far = (
        4 - 5 * z_far + 5 / 3 * z_far**2 + 5 / 8 * z_far**3 - z_far**4 / 2 + z_far**5 / 12
    ) - 2 / (3 * z_far)
    return np.where(z <= 1, near, np.where(z < 2, far, 0.0))


def _root(axis: Coordinate, length: float) -> AxisRoot:
    """Root along one axis, by the cheapest exact way."""
    n = len(axis.values)
    if length == 0 or (axis.period is not None and length > _TURNS * axis.period):
        return AxisRoot(n, matrix=jnp.ones((n, 1)))
    if not is_uniform(axis):
        return AxisRoot(n, matrix=_matrix_root(axis, length))
    places = positions(axis)
    gap = (places[-1] - places[0]) / (n - 1) if n > 1 else length
    count, period = n, axis.period
    if period is None:
        padding = 2 * length / gap  # the ends are 2c apart, round the ring
        if padding > (_PADDED - 1) * n:
            return AxisRoot(n, matrix=_matrix_root(axis, length))
        count = n + math.ceil(padding)
        period = count * gap
    offsets = np.arange(count) * (period / count)
    return AxisRoot(n, spectrum=Spectrum.of(_on_ring(offsets, length, period)))


def _on_ring(offsets: np.ndarray, length: float, period: float | None) -> np.ndarray:
    """ρ summed over the turns of a ring, 1 at no distance."""
    if period is None:
        return gaspari_cohn(offsets / length)
    reach = math.ceil(2 * length / period) + 1
    turns = np.arange(-reach, reach + 1) * period
    total = np.sum([gaspari_cohn((offsets + turn) / length) for turn in turns], axis=0)
    return total / np.sum(gaspari_cohn(turns / length))


def _matrix_root(axis: Coordinate, length: float) -> Array:
    """Columns √λ v of the eigenpairs of ρ between all points."""
    places = positions(axis)
    if len(places) > _DENSE:
        raise ValueError(
            f"GaspariCohn: an axis of {len(places)} points that is of unequal spacing, or short of "
            f"the length {length:g}, can have at most {_DENSE}; localise with Diffusion(1.0, "
            f"length), or not along it, with length 0"
        )
    rho = _on_ring(places[:, None] - places, length, axis.period)
    values, vectors = np.linalg.eigh(rho)
    kept = values > 1e-13 * values[-1]
    root = vectors[:, kept] * np.sqrt(values[kept])
    root /= np.sqrt(np.sum(root**2, axis=1, keepdims=True))
    return jnp.asarray(root, dtype=float)
