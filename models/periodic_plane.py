"""What flows on a doubly periodic plane share: waves, sharp filters, and a step for stiff friction.

Fields have shape (ny, nx), x along the last dimension; modes are those of a real Fourier transform
of both, shape (ny, nx//2 + 1).
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim import Array, Coordinate

_Tendency = Callable[[Array], Array]  # of modes


class PeriodicPlane(eqx.Module):
    """A doubly periodic plane of square cells, of which modes up to two thirds are resolved.

    Args:
        nx: grid points along x, at least 4.
        ny: grid points along y, at least 4.
        dx: spacing in both directions.
    """

    nx: int = eqx.field(static=True)
    ny: int = eqx.field(static=True)
    dx: float = eqx.field(static=True)

    def coordinates(self) -> dict[str, Coordinate]:
        """Points from 0 on, in m."""
        return {
            name: Coordinate(self.dx * np.arange(n), "m", f"distance along {name}", self.dx * n)
            for name, n in (("y", self.ny), ("x", self.nx))
        }

    def waves(self) -> tuple[np.ndarray, np.ndarray]:
        """Wavenumbers (k, l) along x and y of every mode."""
        along_x = 2 * np.pi * np.fft.rfftfreq(self.nx, self.dx)
        along_y = 2 * np.pi * np.fft.fftfreq(self.ny, self.dx)
        k, l = np.meshgrid(along_x, along_y)  # noqa: E741
        return k, l

    def squares(self) -> np.ndarray:
        """k² + l² of every mode."""
        k, l = self.waves()  # noqa: E741
        return k**2 + l**2

    def inverse_squares(self) -> np.ndarray:
        """1/(k² + l²), and 0 for the mean."""
        squares = self.squares()
        return np.where(squares > 0, 1 / np.where(squares > 0, squares, 1), 0)

    def modes(self, field: Array) -> Array:
        """Resolved modes of one or more fields: waves shorter than three spacings are left out.

        Products of two fields of resolved modes have resolved modes free of aliasing (Orszag 1971).
        """
        k, l = self.waves()  # noqa: E741
        shortest = 2 * np.pi / (3 * self.dx) * (1 - 1e-9)
        resolved = (np.abs(k) < shortest) & (np.abs(l) < shortest)
        modes = jnp.fft.rfft2(field)
        return modes * resolved.reshape((1,) * (modes.ndim - 2) + resolved.shape)

    def field(self, modes: Array) -> Array:
        """The field, or fields, of these modes."""
        return jnp.fft.irfft2(modes, (self.ny, self.nx))

    def advection(self, psi: Array, q: Array) -> Array:
        """Modes of -∂(u q)/∂x - ∂(v q)/∂y of resolved modes, where u = -∂ψ/∂y and v = ∂ψ/∂x.

        Conserves the means of ½q² and ½ψq to rounding, up to the error of the time step.
        """
        k, l = self.waves()  # noqa: E741
        value = self.field(q)
        flux_x = self.modes(self.field(psi * (-1j * l)) * value)
        flux_y = self.modes(self.field(psi * (1j * k)) * value)
        return flux_x * (-1j * k) + flux_y * (-1j * l)


def damped_rk4_step(tendency: _Tendency, modes: Array, rate: Array, dt: float) -> Array:
    """modes(t + dt), where d(modes)/dt = tendency(modes) + rate modes.

    RK4 of modes exp(-rate t), so that the linear term is exact and as stiff as it likes (Lawson
    1967, SIAM J. Numer. Anal. 4, 372-380). Its stages are turns of one loop, compiled once.
    """
    half = jnp.exp(rate * dt / 2)
    whole, one = half**2, jnp.ones_like(half)
    from_start = jnp.stack([one, half, half, whole])
    from_last = jnp.stack([one, half, one, half])
    to_end = jnp.stack([whole, half, half, one])

    def stage(carry: tuple[Array, Array], at: tuple[Array, ...]) -> tuple[Any, None]:
        (slope, total), (start, last, end, later, weight) = carry, at
        slope = tendency(start * modes + later * last * slope)
        return (slope, total + weight * end * slope), None

    later = dt * jnp.asarray([0.0, 0.5, 0.5, 1.0], half.real.dtype)
    weights = dt / 6 * jnp.asarray([1.0, 2.0, 2.0, 1.0], half.real.dtype)
    stages = from_start, from_last, to_end, later, weights
    return jax.lax.scan(stage, (jnp.zeros_like(modes), whole * modes), stages)[0][1]
