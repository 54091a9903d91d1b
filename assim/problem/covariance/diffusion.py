"""Correlations by an implicit diffusion operator."""

import math
from collections.abc import Sequence
from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.arguments import Size
from assim.problem.arrays import Array, Coordinate
from assim.problem.covariance.axis import axes_of, evened, gaps, widths
from assim.problem.covariance.root import AbstractCovariance, Axes, check_invertible
from assim.problem.covariance.sweeps import Sweep, Sweeps, exact_diagonal, sampled_diagonal

_SPOILT = 0.1  # of a bound on what rounding costs a white value, some ten times what it does
_SAMPLES = 400  # where the diagonal is sampled: 7 % of the variance, 3.5 % of the stdev


class Diffusion(AbstractCovariance):
    """C = Σ Γ L̂ L̂ᵀ Γ Σ, L̂ L̂ᵀ = (I - ∇·κ∇)^(-M), Γ its normalisation, Σ the stdev.

    M steps of implicit diffusion along one axis after another (Weaver & Courtier 2001; Mirouze &
    Weaver 2010). Along an axis the correlation is Matérn's of ν = M - 1/2, close
    to Gaussian for M = 10; across axes it is the product. κ = D²/(2M - 3) with D the Daley length,
    1/√(-c″(0)). An application costs O(n M) and solves directly.

    Args:
        stdev: standard deviations in the field's unit: a number, or an array of its shape.
        length: Daley length D in the axes' units: a number, an array of the field's shape, or a
            list with one of either for each dimension; 0 for a dimension without correlations.
        iterations: M, at least 2.
        mask: 1 where the field lives and 0 on land, an array of the field's shape: no flux goes
            through coasts, and fields are 0 on land.
        samples: number of random fields from which Γ is estimated. Where not given, Γ is exact if
            that is possible (see `exact_diagonal`), and else from 400.
    """

    stdev: Array
    length: tuple[Array, ...]
    iterations: int = eqx.field(static=True)
    mask: Array | None
    samples: int | None = eqx.field(static=True)
    fitted: "Normalised | None"

    def __init__(
        self,
        stdev: float | Array | np.ndarray | Sequence,
        length: float | Array | np.ndarray | Sequence,
        iterations: int = 10,
        mask: Array | np.ndarray | Sequence | None = None,
        samples: Size | None = None,
        fitted: "Normalised | None" = None,
    ) -> None:
        """Check the arguments; `fitted` is made by `on`."""
        self.stdev = jnp.asarray(stdev, dtype=float)
        self.length = _parts(length)
        self.mask = None if mask is None else jnp.asarray(mask, dtype=bool)
        self.iterations, self.samples, self.fitted = iterations, samples, fitted
        if fitted is None:
            self._check()

    def _check(self) -> None:
        if not np.all(np.isfinite(self.stdev) & (np.asarray(self.stdev) > 0)):
            raise ValueError("Diffusion: every stdev must be positive and finite")
        if not all(np.all(np.isfinite(part) & (np.asarray(part) >= 0)) for part in self.length):
            raise ValueError("Diffusion: every length must be finite, and positive or 0")
        if self.mask is not None and not np.any(self.mask):
            raise ValueError("Diffusion: the mask is 0 everywhere; 1 is where the field lives")
        if self.iterations < 2:
            raise ValueError(
                f"Diffusion: a Daley length needs at least 2 iterations, got {self.iterations}"
            )
        if self.samples is not None and self.samples < 2:
            raise ValueError(f"Diffusion: at least 2 samples are needed, got {self.samples}")

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The operator on a grid, normalised."""
        grid = tuple(evened(axis) for axis in axes_of("Diffusion", shape, axes))
        for name, value in (("stdev", self.stdev), ("mask", self.mask)):
            if value is not None and value.shape not in ((), shape):
                raise ValueError(
                    f"Diffusion: {name} of shape {value.shape} does not fit a field of {shape}"
                )
        open_ = np.ones(shape, bool) if self.mask is None else np.asarray(self.mask)
        kappas = [part**2 / (2 * self.iterations - 3) for part in _maps(self.length, shape)]
        sweeps = tuple(
            Sweep.of(i, axis, *_lines(i, kappa, open_))
            for i, (axis, kappa) in enumerate(zip(grid, kappas, strict=True))
            if np.any(kappa > 0)
        )
        swept = Sweeps(sweeps, shape, self.iterations)
        rounding = float(jnp.finfo(jnp.result_type(float)).eps)
        lost = _condition(grid, kappas, self.iterations) * rounding > _SPOILT
        fitted = _normalised(swept, open_, self.samples, lost)
        return type(self)(self.stdev, self.length, self.iterations, self.mask, self.samples, fitted)

    def size(self) -> int:
        """Number of points where the field lives."""
        return self._operator.size()

    def sqrt(self, w: Array) -> Array:
        """Σ Γ L̂ w."""
        return self.stdev * self._operator.root(w)

    def variance(self) -> Array:
        """stdev², which the diagonal of C meets to within `uncertainty`; 0 on land."""
        return self.stdev**2 * (self._operator.gamma > 0)

    def uncertainty(self) -> float:
        """Relative standard error of each diagonal value of C; 0 where Γ is exact.

        √(2/samples), as from a mean of squares of Gaussian values.
        """
        sampled = self._operator.sampled
        return math.sqrt(2 / sampled) if sampled else 0.0

    def no_inverse(self) -> str:
        """It has one, but for land, and for lengths of so many cells that rounding spoils it."""
        if self._operator.lost:
            return (
                f"rounding would spoil the inverse of {self.iterations} iterations with lengths of "
                f"so many cells; take fewer iterations, or double precision"
            )
        return "fields are 0 on land" if self._operator.points is not None else ""

    def whiten(self, field: Array) -> Array:
        """L̂⁻¹ Γ⁻¹ Σ⁻¹ v."""
        check_invertible(self)
        return self._operator.inverse(field / self.stdev)

    def log_sqrt_determinant(self) -> Array:
        """Σ log stdev + log |Γ L̂|."""
        check_invertible(self)
        stdev = jnp.broadcast_to(self.stdev, self._operator.gamma.shape)
        return jnp.sum(jnp.log(stdev)) + self._operator.log_determinant()

    @property
    def _operator(self) -> "Normalised":
        if self.fitted is None:
            raise ValueError("Diffusion: call on(shape, axes) first; the operator needs a grid")
        return self.fitted


class Normalised(eqx.Module):
    """Γ L̂: white noise to a field of variance 1."""

    sweeps: Sweeps  # L̂
    gamma: Array  # Γ, with the field's shape; 0 on land
    points: Array | None  # where the field lives, as indices of the flat field; None for everywhere
    sampled: int = eqx.field(static=True)  # random fields that Γ comes from; 0 where it is exact
    lost: bool = eqx.field(static=True)  # whether rounding spoils the inverse

    def size(self) -> int:
        """Number of points where the field lives."""
        return self.gamma.size if self.points is None else self.points.size

    def root(self, w: Array) -> Array:
        """Γ L̂ w."""
        if self.points is not None:
            w = jnp.zeros(self.gamma.size, w.dtype).at[self.points].add(w, unique_indices=True)
        return self.gamma * self.sweeps.root(w.reshape(self.gamma.shape))

    def inverse(self, field: Array) -> Array:
        """L̂⁻¹ Γ⁻¹ v."""
        return self.sweeps.inverse(field / self.gamma).ravel()

    def log_determinant(self) -> Array:
        """log |Γ L̂|."""
        return jnp.sum(jnp.log(self.gamma)) + self.sweeps.log_determinant()


def _condition(axes: Sequence[Coordinate], kappas: list[np.ndarray], iterations: int) -> float:
    """Bound on the condition of L̂: Gershgorin's of A, to the power M/2, over the axes."""
    largest = 1.0
    for axis, kappa in zip(axes, kappas, strict=True):
        if len(axis.values) > 1:
            largest *= 1 + 4 * float(np.max(kappa)) / float(
                np.min(gaps(axis)) * np.min(widths(axis))
            )
    return largest ** min(iterations / 2, 300 / max(math.log10(largest), 1.0))


def _normalised(sweeps: Sweeps, open_: np.ndarray, samples: int | None, lost: bool) -> Normalised:
    exact = exact_diagonal(sweeps) if samples is None else None
    sampled = 0 if exact is not None else samples or _SAMPLES
    diagonal = sampled_diagonal(sweeps, sampled) if exact is None else exact
    gamma = jnp.where(open_, 1 / jnp.sqrt(diagonal), 0.0)
    points = None if open_.all() else jnp.asarray(np.flatnonzero(open_))
    return Normalised(sweeps, gamma, points, sampled, lost)


def _parts(length: Any) -> tuple[Array, ...]:
    """The length as one array, or as one for each dimension where these differ in shape."""
    if isinstance(length, tuple) and length and isinstance(length[0], jnp.ndarray):
        return length  # they come from another Diffusion
    if isinstance(length, list | tuple) and len({np.shape(part) for part in length}) > 1:
        return tuple(jnp.asarray(part, dtype=float) for part in length)
    return (jnp.asarray(length, dtype=float),)


def _maps(parts: tuple[Array, ...], shape: tuple[int, ...]) -> list[np.ndarray]:
    """The length along each dimension: a number, or an array of the field's shape."""
    given = [np.asarray(part, np.float64) for part in parts]
    if len(given) == 1:
        (alone,) = given
        if alone.shape in ((), shape):
            given = [alone] * len(shape)
        elif alone.shape and alone.shape[0] == len(shape):
            given = list(alone)
    if len(given) != len(shape) or any(part.shape not in ((), shape) for part in given):
        got = [part.shape for part in given]
        raise ValueError(
            f"Diffusion: length must be a number, an array of the field's shape {shape}, or one "
            f"of either for each dimension; got shapes {got}"
        )
    return given


def _lines(axis: int, kappa: np.ndarray, open_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """κ and the mask as (n, lines), or as (n, 1) where all lines are alike."""
    n = open_.shape[axis]
    if open_.all() and np.ptp(kappa) == 0:
        return np.full((n, 1), np.max(kappa)), np.ones((n, 1), bool)
    maps = (np.broadcast_to(kappa, open_.shape), open_)
    kappa, open_ = (np.moveaxis(map_, axis, 0).reshape(n, -1) for map_ in maps)
    return kappa, open_
