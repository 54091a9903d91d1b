"""Acoustic waves in two dimensions from sources at given places, for full-waveform inversion.

    ∂p/∂t = -ρ c(x, y)² (∂u/∂x + ∂v/∂y) - σ p + Σ A w(t - t_k) N(x; x_k, dx²)
    ∂u/∂t = -(1/ρ) ∂p/∂x - σ u,    ∂v/∂t = -(1/ρ) ∂p/∂y - σ v
    w(t) = (1 - 2 a) e^(-a),    a = (π f t)²

SI units. Pressure p at the middle of a cell, u on its western and v on its southern face; in time
leapfrog, velocities half a step before pressure. Of second order, and without σ the energy
½ p²/(ρ c²) + ½ ρ u⁻ u⁺ (u⁻ before and u⁺ after p) is conserved to rounding. The scheme of Virieux
(1984), Geophysics 49, 1933-1957, equations 3 and 4, with ρ c² for the shear modulus; with `order`
4 the differences in space are those of Levander (1988), Geophysics 53, 1425-1436. w is Ricker's
wavelet.

The wave speed c is a field of the state that does not change: estimated as the initial state is,
with any covariance, smooth ones above all, and a background from a file. Shots are fired in one
window, one after another or together.

The domain is a ring in both directions. With absorbing edges waves are damped in a layer along
each. As p and u decay alike, a layer's impedance is that of the inside and what hits it head on is
not reflected; at a slant some is. A wave that leaves passes two layers and comes back with 10⁻⁴.
"""

from collections.abc import Sequence
from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Coordinate, Label, Labels, Params, State, shift

_DEFAULTS = {"density": 1000.0, "amplitude": 1.0, "frequency": 10.0}
_RESIDUE = 1e-4  # of a wave of the reference speed after two layers
_X, _Y = -1, -2


def _defaults() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _DEFAULTS.items()}


class Acoustic(AbstractModel):
    """Acoustic pressure and velocity on a staggered grid, stepped by leapfrog.

    Args:
        nx: cells along x, at least 4.
        ny: cells along y, at least 4.
        dx: width of a cell in both directions, m; ten or more a wavelength.
        dt: time step, s; stable while c dt/dx is below 0.7, or 0.6 with order 4.
        shots: x (m), y (m) and t (s) of every source: where, and when its wavelet is largest.
        edge: cells of the absorbing layer at each end of either direction; 0 for a periodic domain.
        reference_speed: wave speed for which the layers are made, m s-1.
        order: of the differences in space, 2 or 4. At ten cells a wavelength waves are up to 1.6 %
            slow with 2, and 0.07 % with 4; steps of a twenty-fifth of a period hasten them by
            0.26 %.
        parameters: defaults of the density ρ (kg m-3), amplitude A (Pa m2 s-1) and frequency f (Hz)
            of the wavelets.

    Raises:
        ValueError: too few cells, a width, step or speed that is not positive, shots that are not
            three numbers each or lie outside, layers that leave no room between them, or an order
            that is neither 2 nor 4.
    """

    nx: Annotated[int, "size"] = eqx.field(default=64, static=True)
    ny: Annotated[int, "size"] = eqx.field(default=64, static=True)
    dx: float = eqx.field(default=10.0, static=True)
    dt: float = eqx.field(default=2e-3, static=True)
    shots: Sequence[Sequence[float]] = eqx.field(
        default=(), static=True, converter=lambda given: tuple(map(tuple, given))
    )
    edge: int = eqx.field(default=12, static=True)
    reference_speed: float = eqx.field(default=2000.0, static=True)
    order: int = eqx.field(default=2, static=True)
    parameters: Params = eqx.field(default_factory=_defaults)

    def __check_init__(self) -> None:
        for name, size in (("nx", self.nx), ("ny", self.ny)):
            if not isinstance(size, int) or size < 4:
                message = f"{name} must be a whole number of at least 4, got {size}"
                raise ValueError(f"Acoustic: {message}")
        for name in ("dx", "dt", "reference_speed"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Acoustic: {name} must be positive, got {getattr(self, name)}")
        if not 0 <= 2 * self.edge < min(self.nx, self.ny):
            message = f"edge must be from 0 to less than half of nx and ny, got {self.edge}"
            raise ValueError(f"Acoustic: {message}")
        if self.order not in (2, 4):
            raise ValueError(f"Acoustic: order must be 2 or 4, got {self.order}")
        for shot in self.shots:
            east, north = self.nx * self.dx, self.ny * self.dx
            if len(shot) != 3 or not (0 <= shot[0] <= east and 0 <= shot[1] <= north):
                message = f"three numbers x, y and t with x and y inside the domain, got {shot}"
                raise ValueError(f"Acoustic: a shot must be {message}")

    def labels(self) -> Labels:
        """Pressure, two velocities and the wave speed; three parameters."""

        def along(n: int, at: float, what: str) -> Coordinate:
            period = None if self.edge else self.dx * n
            return Coordinate(self.dx * (np.arange(n) + at), "m", what, period)

        return Labels(
            state={
                "p": Label(("y", "x"), "Pa", "acoustic pressure"),
                "u": Label(("y", "x_face"), "m s-1", "velocity along x half a step before"),
                "v": Label(("y_face", "x"), "m s-1", "velocity along y half a step before"),
                "speed": Label(("y", "x"), "m s-1", "wave speed"),
            },
            parameters={
                "density": Label((), "kg m-3", "density"),
                "amplitude": Label((), "Pa m2 s-1", "amplitude of the sources"),
                "frequency": Label((), "s-1", "frequency of the wavelets' maximum"),
            },
            coordinates={
                "y": along(self.ny, 0.5, "y of the middles of cells"),
                "x": along(self.nx, 0.5, "x of the middles of cells"),
                "y_face": along(self.ny, 0.0, "y of the southern faces of cells"),
                "x_face": along(self.nx, 0.0, "x of the western faces of cells"),
            },
            time_unit="seconds",
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """Velocities across `t`, then the pressure from `t` to t + dt."""
        p, rate = x["p"], self.dt / self.dx
        of_p, of_u, of_v = self._decay(0.5, 0.5), self._decay(0.0, 0.5), self._decay(0.5, 0.0)
        push = rate / theta["density"]
        u = of_u * (of_u * x["u"] - push * self._difference(p, 0, _X))
        v = of_v * (of_v * x["v"] - push * self._difference(p, 0, _Y))
        divergence = self._difference(u, 1, _X) + self._difference(v, 1, _Y)
        change = -rate * theta["density"] * x["speed"] ** 2 * divergence
        change = change + self.dt * self._source(theta, t + self.dt / 2)
        return {"p": of_p * (of_p * p + change), "u": u, "v": v, "speed": x["speed"]}

    def _difference(self, a: Array, after: int, axis: int) -> Array:
        """dx ∂a/∂x half a cell before each value, or after it where `after` is 1."""
        near = shift(a, -after, axis) - shift(a, 1 - after, axis)
        if self.order == 2:
            return near
        return 9 / 8 * near - (shift(a, -1 - after, axis) - shift(a, 2 - after, axis)) / 24

    def _source(self, theta: Params, t: Array) -> Array:
        """Of the pressure, Pa s-1, shape (ny, nx)."""
        shots = np.asarray(self.shots, dtype=float).reshape(-1, 3)
        east, north = self._footprint(self.nx, shots[:, 0]), self._footprint(self.ny, shots[:, 1])
        a = (jnp.pi * theta["frequency"] * (t - shots[:, 2])) ** 2
        wavelets = theta["amplitude"] * (1 - 2 * a) * jnp.exp(-a)
        return jnp.asarray(north).T @ (wavelets[:, None] * east)

    def _footprint(self, n: int, at: np.ndarray) -> np.ndarray:
        """A Gaussian about each place, of the sum 1/dx along the ring, shape (places, n)."""
        ring = n * self.dx
        distance = self.dx * (np.arange(n) + 0.5)[None, :] - at[:, None]
        distance = (distance + ring / 2) % ring - ring / 2
        weight = np.exp(-((distance / self.dx) ** 2) / 2)
        return weight / (self.dx * weight.sum(axis=1, keepdims=True))

    def _decay(self, at_x: float, at_y: float) -> np.ndarray:
        """exp(-σ dt/2) at points of an offset in cells, shape (ny, nx); σ is as depth squared."""

        def along(n: int, at: float) -> np.ndarray:
            place = np.arange(n) + at
            depth = np.maximum(self.edge - np.minimum(place, n - place), 0) / max(self.edge, 1)
            total = np.log(1 / _RESIDUE) * self.reference_speed  # ∫ σ dx across two layers
            most = 1.5 * total / (max(self.edge, 1) * self.dx)
            return np.exp(-most * depth**2 * self.dt / 2)

        return along(self.ny, at_y)[:, None] * along(self.nx, at_x)[None, :]
