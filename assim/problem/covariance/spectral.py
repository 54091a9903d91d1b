"""Homogeneous correlations on periodic axes, by FFT."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.contiguous import in_order
from assim.problem.arrays import Array, Coordinate
from assim.problem.covariance.axis import axes_of, evened, is_uniform, positions
from assim.problem.covariance.root import AbstractCovariance, Axes, check_invertible

# Correlations of the scaled distance r/length: Rasmussen & Williams (2006), equations 4.9-4.17.
KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Gaussian": lambda r: np.exp(-(r**2) / 2),
    "Matern12": lambda r: np.exp(-r),
    "Matern32": lambda r: (1 + math.sqrt(3) * r) * np.exp(-math.sqrt(3) * r),
    "Matern52": lambda r: (1 + math.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-math.sqrt(5) * r),
}
_REACH = {"Gaussian": 9.0, "Matern12": 40.0, "Matern32": 26.0, "Matern52": 21.0}  # 10⁻¹⁶ beyond
_ZERO = 1e-13  # of the largest value of a spectrum: rounding of the transform
_LOST = 450  # times the unit of rounding: 1e-13 in double precision, 5e-5 in single
_MAX_DIMENSIONS = 3  # of XLA's FFT


class Spectral(AbstractCovariance):
    """C = Σ F⁻¹ Λ F Σ: isotropic, the same at every point of a ring or torus.

        c(x) = Σ_k ρ(|x + kP|/length)/Σ_k ρ(|kP|/length)    P the periods, k their multiples

    Λ is the discrete Fourier transform of c, so that the diagonal is exact; what rounding makes of
    its smallest values (below 10⁻¹³ of the largest) is set to 0. L = Σ F⁻¹ Λ^(1/2) F, symmetric and
    invertible where no value of Λ is 0 to rounding (10⁻¹³ of the largest, in single precision
    5·10⁻⁵). An application costs two FFTs.

    Args:
        stdev: standard deviations in the field's unit: a number, or an array of its shape.
        length: in the axes' units, a number or one for each dimension. The Daley length is
            `length` for "Gaussian", length/√3 for "Matern32" and length·√(3/5) for "Matern52"; for
            "Matern12" it is 0, and `length` the e-folding distance.
        kind: "Gaussian", or "Matern12", "Matern32", "Matern52" for Matérn's with ν = 1/2, 3/2, 5/2.
    """

    stdev: Array
    length: Array
    kind: str = eqx.field(static=True)
    fitted: "Spectrum | None"

    def __init__(
        self,
        stdev: float | Array | np.ndarray | Sequence,
        length: float | Sequence[float] | Array,
        kind: str = "Gaussian",
        fitted: "Spectrum | None" = None,
    ) -> None:
        """Check the arguments; `fitted` is made by `on`."""
        self.stdev = jnp.asarray(stdev, dtype=float)
        self.length = jnp.asarray(length, dtype=float)
        self.kind, self.fitted = kind, fitted
        if kind not in KINDS:
            raise ValueError(f"Spectral: kind must be one of {', '.join(KINDS)}, got {kind!r}")
        for name, value in (("stdev", self.stdev), ("length", self.length)):
            if not np.all(np.isfinite(value) & (np.asarray(value) > 0)):
                raise ValueError(f"Spectral: every {name} must be positive and finite")

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The spectrum on a torus."""
        grid = axes_of("Spectral", shape, axes)
        if self.stdev.shape not in ((), shape) or self.length.shape not in ((), (len(shape),)):
            raise ValueError(
                f"Spectral: stdev of shape {self.stdev.shape} and length of shape "
                f"{self.length.shape} do not fit a field of shape {shape}"
            )
        if not 1 <= len(shape) <= _MAX_DIMENSIONS:
            raise ValueError(f"Spectral: 1 to {_MAX_DIMENSIONS} dimensions, got shape {shape}")
        for axis in grid:
            if axis.period is None or not is_uniform(axis):
                raise ValueError(
                    "Spectral: every axis must be periodic with equal spacing; use Diffusion on "
                    "bounded or irregular axes"
                )
        lengths = np.broadcast_to(np.asarray(self.length, np.float64), (len(shape),))
        even = [evened(axis) for axis in grid]
        fitted = Spectrum.of(_correlation(self.kind, even, lengths))
        return type(self)(self.stdev, self.length, self.kind, fitted)

    def size(self) -> int:
        """Number of field values."""
        return math.prod(self._spectrum.shape)

    def sqrt(self, w: Array) -> Array:
        """Σ F⁻¹ Λ^(1/2) F w."""
        spectrum = self._spectrum
        return self.stdev * spectrum.multiply(w.reshape(spectrum.shape), jnp.sqrt(spectrum.values))

    def variance(self) -> Array:
        """stdev²."""
        return jnp.broadcast_to(self.stdev**2, self._spectrum.shape)

    def no_inverse(self) -> str:
        """It has one unless Λ has zeros."""
        zeros = self._spectrum.zeros
        return f"{zeros} values of its spectrum are 0 to rounding" if zeros else ""

    def whiten(self, field: Array) -> Array:
        """F⁻¹ Λ^(-1/2) F Σ⁻¹ v."""
        check_invertible(self)
        spectrum = self._spectrum
        return spectrum.multiply(field / self.stdev, 1 / jnp.sqrt(spectrum.values)).ravel()

    def log_sqrt_determinant(self) -> Array:
        """Σ log stdev + ½ Σ log Λ."""
        check_invertible(self)
        spectrum = self._spectrum
        logs = jnp.log(jnp.broadcast_to(self.stdev, spectrum.shape))
        return jnp.sum(logs) + spectrum.log_sqrt_determinant()

    @property
    def _spectrum(self) -> "Spectrum":
        if self.fitted is None:
            raise ValueError("Spectral: call on(shape, axes) first; it needs a grid")
        return self.fitted


class Spectrum(eqx.Module):
    """Eigenvalues Λ of a circulant correlation, on the half of the frequencies `rfftn` keeps."""

    values: Array  # Λ
    shape: tuple[int, ...] = eqx.field(static=True)  # of the field
    zeros: int = eqx.field(static=True)  # how many values are 0, or too small to be divided by

    @classmethod
    def of(cls, correlation: np.ndarray) -> Self:
        """Λ of the correlations with the first point; rounding below 10⁻¹³ of the largest is 0."""
        values = np.fft.rfftn(correlation).real
        values = np.where(values > _ZERO * values.max(), values, 0.0)
        kept = jnp.asarray(values, dtype=float)
        lost = values <= _LOST * float(jnp.finfo(kept.dtype).eps) * values.max()
        spectrum = cls(kept, correlation.shape, int(np.sum(lost)))
        total = np.sum(values * spectrum.multiplicity()) / correlation.size
        return eqx.tree_at(lambda s: s.values, spectrum, spectrum.values / total)

    def multiply(self, field: Array, factors: Array) -> Array:
        """F⁻¹ factors F v."""
        spectrum = in_order(factors * in_order(jnp.fft.rfftn(in_order(field))))
        return in_order(jnp.fft.irfftn(spectrum, s=self.shape))

    def log_sqrt_determinant(self) -> Array:
        """½ Σ log Λ over all frequencies."""
        return jnp.sum(self.multiplicity() * jnp.log(self.values)) / 2

    def multiplicity(self) -> np.ndarray:
        """How often each of the kept frequencies stands in the whole transform, as an array."""
        n = self.shape[-1]
        count = np.full(n // 2 + 1, 2.0)
        count[0] = 1.0
        if n % 2 == 0:
            count[-1] = 1.0
        return np.broadcast_to(count, (*self.shape[:-1], count.size))


def _correlation(kind: str, axes: Sequence[Coordinate], lengths: np.ndarray) -> np.ndarray:
    """c of the distance of every point from the first, summed over images round the torus."""
    total = np.zeros([len(axis.values) for axis in axes])
    squares = [
        _image_distances(axis, length, _REACH[kind])
        for axis, length in zip(axes, lengths, strict=True)
    ]
    for images in itertools.product(*squares):
        r2 = np.zeros(())
        for distances in images:  # outer sum over the axes
            r2 = np.add.outer(r2, distances**2)
        total += KINDS[kind](np.sqrt(r2))
    return total / total.ravel()[0]


def _image_distances(axis: Coordinate, length: float, reach: float) -> list[np.ndarray]:
    """x + kP over `length` for each k that can matter."""
    assert axis.period is not None
    offsets = positions(axis) - positions(axis)[0]
    images = math.ceil(reach * length / axis.period)
    return [(offsets + k * axis.period) / length for k in range(-images - 1, images + 1)]
