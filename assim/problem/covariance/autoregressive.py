"""Red noise in time."""

from typing import Self

import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array
from assim.problem.covariance.axis import axes_of, gaps
from assim.problem.covariance.root import AbstractCovariance, Axes, in_order
from assim.problem.covariance.sweeps import substitute


class Autoregressive(AbstractCovariance):
    """C_ij = σ_i σ_j exp(-|t_i - t_j|/τ): a stationary first-order autoregressive series.

        x_0 = w_0,  x_i = φ_i x_(i-1) + √(1 - φ_i²) w_i,  φ_i = exp(-(t_i - t_(i-1))/τ)

    Exact at irregular times; root, inverse and determinant cost O(n). It is the
    Ornstein-Uhlenbeck process (Gillespie 1996).

    Args:
        time: e-folding time τ, in the axis' unit.
        stdev: stationary standard deviation σ, in the field's unit: a number, or one for each time.
    """

    time: Array
    stdev: Array
    steps: Array | None

    def __init__(
        self,
        time: float | Array,
        stdev: float | Array | np.ndarray = 1.0,
        steps: Array | None = None,
    ) -> None:
        """Check the arguments; `steps`, the intervals in units of τ, is made by `on`."""
        self.time = jnp.asarray(time, dtype=float)
        self.stdev = jnp.asarray(stdev, dtype=float)
        self.steps = steps
        for name, value in (("time", self.time), ("stdev", self.stdev)):
            if not np.all(np.isfinite(value) & (np.asarray(value) > 0)):
                raise ValueError(f"Autoregressive: {name} must be positive and finite")
        if self.time.ndim:
            raise ValueError(f"Autoregressive: time must be one number, got {self.time.shape}")

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The series at the positions of one axis; ValueError where they do not increase."""
        if len(shape) != 1 or shape[0] == 0 or self.stdev.shape not in ((), shape):
            raise ValueError(
                f"Autoregressive: a field of one dimension is needed, with one stdev or as many "
                f"as it has values, got a field of shape {shape} and stdev {self.stdev.shape}; "
                f"Kronecker combines it with other dimensions"
            )
        (axis,) = axes_of("Autoregressive", shape, axes)
        if axis.period is not None:
            raise ValueError("Autoregressive: the axis is periodic; use Spectral, kind Matern12")
        steps = jnp.asarray(gaps(axis)[:-1] / float(self.time), dtype=float)
        return type(self)(self.time, jnp.broadcast_to(self.stdev, shape), steps)

    def size(self) -> int:
        """Number of times."""
        return self.stdev.size

    def sqrt(self, w: Array) -> Array:
        """Σ x, with x of the recursion."""
        carried, fresh = self._recursion()
        ones = jnp.ones((w.size, 1), w.dtype)
        lower = jnp.append(-carried, 0.0)[:, None]
        return self.stdev * substitute((fresh * w)[:, None], ones, lower, reverse=False)[:, 0]

    def variance(self) -> Array:
        """σ²."""
        return self.stdev**2

    def no_inverse(self) -> str:
        """It has one."""
        return ""

    def whiten(self, field: Array) -> Array:
        """w_i = (x_i - φ_i x_(i-1))/√(1 - φ_i²), with x = v/σ."""
        carried, fresh = self._recursion()
        x = field / self.stdev
        return (x - jnp.concatenate([jnp.zeros_like(x[:1]), carried * x[:-1]])) / fresh

    def log_sqrt_determinant(self) -> Array:
        """Σ log σ_i + ½ Σ log(1 - φ_i²)."""
        _, fresh = self._recursion()
        return jnp.sum(jnp.log(self.stdev)) + jnp.sum(jnp.log(fresh))

    def causal(self, times: Array) -> bool:
        """Where rows are in the order of time."""
        return in_order(times)

    def rows(self, keep: np.ndarray) -> Self:
        """The series at their times alone, which is of the same kind."""
        return type(self)(self.time, self.stdev[keep])

    def _recursion(self) -> tuple[Array, Array]:
        """φ of each time but the first, and √(1 - φ²) of each time, 1 for the first."""
        if self.steps is None:
            raise ValueError("Autoregressive: call on(shape, axes) first; it needs the times")
        fresh = jnp.sqrt(-jnp.expm1(-2 * self.steps))
        return jnp.exp(-self.steps), jnp.concatenate([jnp.ones(1, fresh.dtype), fresh])
