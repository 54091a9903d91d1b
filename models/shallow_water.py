"""Rotating shallow water on a staggered grid: one layer of fluid under gravity, wind and friction.

    ∂u/∂t =  q H v - ∂B/∂x - r u + ν ∇²u + τ/(ρ h)
    ∂v/∂t = -q H u - ∂B/∂y - r v + ν ∇²v
    ∂h/∂t = -∂(h u)/∂x - ∂(h v)/∂y,
    q = (f + ζ)/h,    ζ = ∂v/∂x - ∂u/∂y,    B = g h + (u² + v²)/2,    f = f0 + β (y - y_middle)

SI units. Thickness h at the middle of a cell, u on its western and v on its southern face, q at its
south-western corner (Arakawa's C-grid). In space the scheme of Sadourny (1975), J. Atmos. Sci. 32,
680-689, equations 8 and 9, which conserves mass to rounding and, without friction and wind, energy
but for the error of the time step, which is RK4.

The ends of either direction are joined, or closed by a wall that lets the fluid slip along it. A
wall lies on the first face of its direction, which is then also the last.
"""

from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Coordinate, Label, Labels, Params, State, rk4_step, shift

_DEFAULTS = {
    "gravity": 9.81,
    "coriolis": 1e-4,
    "beta": 0.0,
    "drag": 0.0,
    "viscosity": 0.0,
    "wind_stress": 0.0,
}
_DENSITY = 1000.0  # kg m-3, of the water on which the wind acts
_X, _Y = -1, -2


def _defaults() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _DEFAULTS.items()}


class ShallowWater(AbstractModel):
    """Rotating shallow water on a C-grid, periodic or closed, stepped by RK4.

    The wind blows along x with a stress of -τ cos(2π (y - y_0)/L_y), L_y the width of the domain:
    westward at its edges and eastward in its middle, the wind of a double gyre.

    Args:
        nx: cells along x, at least 3.
        ny: cells along y, at least 3.
        dx: width of a cell in both directions, m.
        dt: time step, s; stable while √(g h) dt/dx is below about 1.4.
        closed_x: whether walls close the domain in x.
        closed_y: whether walls close it in y.
        parameters: defaults of g (m s-2), f0 (s-1), β (m-1 s-1), r (s-1), ν (m2 s-1), τ (N m-2).

    Raises:
        ValueError: too few cells, or a width or step that is not positive.
    """

    nx: Annotated[int, "size"] = eqx.field(default=32, static=True)
    ny: Annotated[int, "size"] = eqx.field(default=32, static=True)
    dx: float = eqx.field(default=10e3, static=True)
    dt: float = eqx.field(default=120.0, static=True)
    closed_x: bool = eqx.field(default=False, static=True)
    closed_y: bool = eqx.field(default=False, static=True)
    parameters: Params = eqx.field(default_factory=_defaults)

    def __check_init__(self) -> None:
        for name, size in (("nx", self.nx), ("ny", self.ny)):
            if not isinstance(size, int) or size < 3:
                message = f"{name} must be a whole number of at least 3, got {size}"
                raise ValueError(f"ShallowWater: {message}")
        for name, value in (("dx", self.dx), ("dt", self.dt)):
            if not value > 0:
                raise ValueError(f"ShallowWater: {name} must be positive, got {value}")

    def labels(self) -> Labels:
        """Thickness and two velocities, each on its own points, and six parameters."""

        def along(n: int, closed: bool, at: float, what: str) -> Coordinate:
            period = None if closed else self.dx * n
            return Coordinate(self.dx * (np.arange(n) + at), "m", what, period)

        return Labels(
            state={
                "h": Label(("y", "x"), "m", "thickness of the layer"),
                "u": Label(("y", "x_face"), "m s-1", "velocity along x"),
                "v": Label(("y_face", "x"), "m s-1", "velocity along y"),
            },
            parameters={
                "gravity": Label((), "m s-2", "gravity, or reduced gravity"),
                "coriolis": Label((), "s-1", "Coriolis parameter in the middle of the domain"),
                "beta": Label((), "m-1 s-1", "northward gradient of the Coriolis parameter"),
                "drag": Label((), "s-1", "linear drag"),
                "viscosity": Label((), "m2 s-1", "viscosity"),
                "wind_stress": Label((), "N m-2", "greatest stress of the wind"),
            },
            coordinates={
                "y": along(self.ny, self.closed_y, 0.5, "y of the middles of cells"),
                "x": along(self.nx, self.closed_x, 0.5, "x of the middles of cells"),
                "y_face": along(self.ny, self.closed_y, 0.0, "y of the southern faces of cells"),
                "x_face": along(self.nx, self.closed_x, 0.0, "x of the western faces of cells"),
            },
            time_unit="seconds",
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One RK4 step."""
        return rk4_step(self._tendency, x, theta, t, self.dt)

    def _tendency(self, x: State, theta: Params, t: Array) -> State:
        del t
        h, u, v = x["h"], self._in_x(x["u"]), self._in_y(x["v"])
        h_u, h_v = _mean(h, _X), _mean(h, _Y)
        flux_u, flux_v = u * h_u, v * h_v
        vorticity = self._at_corners(_change(v, _X) - _change(u, _Y)) / self.dx
        q = (self._coriolis(theta) + vorticity) / _mean(h_u, _Y)
        kinetic = (_next_mean(u**2, _X) + _next_mean(v**2, _Y)) / 2
        bernoulli = theta["gravity"] * h + kinetic
        along_x = _next_mean(q * _mean(flux_v, _X), _Y) - _change(bernoulli, _X) / self.dx
        along_y = -_next_mean(q * _mean(flux_u, _Y), _X) - _change(bernoulli, _Y) / self.dx
        wind = -theta["wind_stress"] * self._wind() / (_DENSITY * h_u)
        friction_u, friction_v = self._friction(u, v, theta)
        return {
            "h": -(_next_change(flux_u, _X) + _next_change(flux_v, _Y)) / self.dx,
            "u": self._in_x(along_x + friction_u + wind),
            "v": self._in_y(along_y + friction_v),
        }

    def _friction(self, u: Array, v: Array, theta: Params) -> tuple[Array, Array]:
        """Drag and ν ∇²: no stress at walls, so that the shear at corners on them is zero."""
        stress_u = self._at_corners(_change(u, _Y))
        stress_v = self._at_corners(_change(v, _X))
        laplacian_u = _change(_next_change(u, _X), _X) + _next_change(stress_u, _Y)
        laplacian_v = _next_change(stress_v, _X) + _change(_next_change(v, _Y), _Y)
        by = theta["viscosity"] / self.dx**2
        return by * laplacian_u - theta["drag"] * u, by * laplacian_v - theta["drag"] * v

    def _coriolis(self, theta: Params) -> Array:
        """f at the corners, shape (ny, 1)."""
        y = self.dx * (np.arange(self.ny) - self.ny / 2)
        return theta["coriolis"] + theta["beta"] * jnp.asarray(y[:, None])

    def _wind(self) -> np.ndarray:
        """cos(2π (y - y_0)/L_y) at the middles of cells, shape (ny, 1)."""
        return np.cos(2 * np.pi * (np.arange(self.ny) + 0.5) / self.ny)[:, None]

    def _in_x(self, u: Array) -> Array:
        return u * _open(self.nx)[None, :] if self.closed_x else u

    def _in_y(self, v: Array) -> Array:
        return v * _open(self.ny)[:, None] if self.closed_y else v

    def _at_corners(self, a: Array) -> Array:
        return self._in_y(self._in_x(a))


def _open(n: int) -> np.ndarray:
    """0 at the first face, where the wall is, and 1 at the others."""
    return (np.arange(n) > 0).astype(float)


def _mean(a: Array, axis: int) -> Array:
    """Of the values on both sides of a point half a cell before: middles to faces."""
    return (a + shift(a, 1, axis)) / 2


def _next_mean(a: Array, axis: int) -> Array:
    """Half a cell after: faces to middles."""
    return (a + shift(a, -1, axis)) / 2


def _change(a: Array, axis: int) -> Array:
    """Across a point half a cell before."""
    return a - shift(a, 1, axis)


def _next_change(a: Array, axis: int) -> Array:
    """Across a point half a cell after."""
    return shift(a, -1, axis) - a
