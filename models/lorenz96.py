"""Lorenz-96: one variable on a ring of sites, chaotic for F = 8.

    dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F,    i = 0 … n-1, periodic

Non-dimensional: a time of 0.05 stands for about six hours of weather. Source: Lorenz (1996),
"Predictability: a problem partly solved", ECMWF Seminar on Predictability, vol. 1, eq. 1.
"""

from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Coordinate, Label, Labels, Params, State, rk4_step


class Lorenz96(AbstractModel):
    """Lorenz-96, stepped by RK4.

    Args:
        n: number of sites, at least 4.
        dt: time step; the classical choice 0.05 is close to the limit of stability.
        parameters: default of the forcing F.

    Raises:
        ValueError: too few sites, or a step that is not positive.
    """

    n: Annotated[int, "size"] = eqx.field(default=40, static=True)
    dt: float = eqx.field(default=0.05, static=True)
    parameters: Params = eqx.field(default_factory=lambda: {"F": jnp.asarray(8.0, dtype=float)})

    def __check_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 4:
            raise ValueError(f"Lorenz96: n must be a whole number of at least 4, got {self.n}")
        if not self.dt > 0:
            raise ValueError(f"Lorenz96: dt must be positive, got {self.dt}")

    def labels(self) -> Labels:
        """One field `x` on the periodic dimension `site`."""
        site = Coordinate(np.arange(float(self.n)), "1", "site", period=float(self.n))
        return Labels(
            state={"x": Label(("site",), "1", "Lorenz-96 variable")},
            parameters={"F": Label((), "1", "forcing")},
            coordinates={"site": site},
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One RK4 step."""
        return rk4_step(_tendency, x, theta, t, self.dt)


def _tendency(x: State, theta: Params, t: Array) -> State:
    """Right-hand side; one padded copy of x feeds all neighbours."""
    del t
    u = x["x"]
    # Site i is ring[i + 2].
    ring = jnp.concatenate([u[-2:], u, u[:1]])
    return {"x": (ring[3:] - ring[:-3]) * ring[1:-2] - u + theta["F"]}
