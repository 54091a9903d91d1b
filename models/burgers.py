"""Viscous Burgers' equation on a ring: waves that steepen into fronts as thick as viscosity lets.

    ∂u/∂t + ∂(u²/2)/∂x = ν ∂²u/∂x²,    x in [0, length), periodic

SI units. In space of second order, with the flux (u_i² + u_i u_{i+1} + u_{i+1}²)/6 between two
points, which conserves the sums of u and, but for viscosity, of u² (Tadmor 1987, Math. Comput. 49,
91-103, example 4.1). In time RK4.
"""

from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Coordinate, Label, Labels, Params, State, rk4_step, shift


class Burgers(AbstractModel):
    """Viscous Burgers' equation, stepped by RK4.

    A front between u and u - δ is about 4ν/δ thick; where that is less than a few spacings, waves
    of the length of two spacings stand behind it.

    Args:
        n: number of grid points, at least 3.
        dt: time step, s; stable while u dt/dx is below about 2.8 and ν dt/dx² below 0.69.
        length: length of the ring, m.
        parameters: default of the viscosity (m2 s-1).

    Raises:
        ValueError: too few points, or a step or length that is not positive.
    """

    n: Annotated[int, "size"] = eqx.field(default=128, static=True)
    dt: float = eqx.field(default=2e-3, static=True)
    length: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(
        default_factory=lambda: {"viscosity": jnp.asarray(0.01, dtype=float)}
    )

    def __check_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 3:
            raise ValueError(f"Burgers: n must be a whole number of at least 3, got {self.n}")
        for name, value in (("dt", self.dt), ("length", self.length)):
            if not value > 0:
                raise ValueError(f"Burgers: {name} must be positive, got {value}")

    def labels(self) -> Labels:
        """One field `u` on the periodic dimension `x`."""
        points = np.arange(self.n) * (self.length / self.n)
        return Labels(
            state={"u": Label(("x",), "m s-1", "velocity")},
            parameters={"viscosity": Label((), "m2 s-1", "viscosity")},
            coordinates={"x": Coordinate(points, "m", "distance along the ring", self.length)},
            time_unit="seconds",
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One RK4 step."""
        return rk4_step(self._tendency, x, theta, t, self.dt)

    def _tendency(self, x: State, theta: Params, t: Array) -> State:
        """What flows in on one side less what flows out on the other."""
        del t
        u, dx = x["u"], self.length / self.n
        following = shift(u, -1)
        advected = (u**2 + u * following + following**2) / 6
        flux = advected - theta["viscosity"] * (following - u) / dx
        return {"u": (shift(flux, 1) - flux) / dx}
