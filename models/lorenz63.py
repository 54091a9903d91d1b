"""Lorenz-63: three modes of convection, chaotic for the classical parameters.

    dx/dt = σ (y - x)
    dy/dt = x (ρ - z) - y
    dz/dt = x y - β z

Non-dimensional. Source: Lorenz (1963), "Deterministic nonperiodic flow", J. Atmos. Sci. 20,
130-141, eqs. 25-27.
"""

import equinox as eqx
import jax.numpy as jnp

from assim import AbstractModel, Array, Label, Labels, Params, State, rk4_step

_CLASSICAL = {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3}


def _classical() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _CLASSICAL.items()}


class Lorenz63(AbstractModel):
    """Lorenz-63, stepped by RK4.

    Args:
        dt: time step.
        parameters: defaults of sigma, rho and beta.

    Raises:
        ValueError: a step that is not positive.
    """

    dt: float = eqx.field(default=0.01, static=True)
    parameters: Params = eqx.field(default_factory=_classical)

    def __check_init__(self) -> None:
        if not self.dt > 0:
            raise ValueError(f"Lorenz63: dt must be positive, got {self.dt}")

    def labels(self) -> Labels:
        """Three scalar fields."""
        return Labels(
            state={
                "x": Label(long_name="intensity of the convection"),
                "y": Label(long_name="temperature difference between the currents"),
                "z": Label(long_name="departure of the temperature profile from linear"),
            },
            parameters={
                "sigma": Label(long_name="Prandtl number"),
                "rho": Label(long_name="relative Rayleigh number"),
                "beta": Label(long_name="aspect ratio of the rolls"),
            },
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One RK4 step."""
        return rk4_step(_tendency, x, theta, t, self.dt)


def _tendency(state: State, theta: Params, t: Array) -> State:
    del t
    x, y, z = state["x"], state["y"], state["z"]
    return {
        "x": theta["sigma"] * (y - x),
        "y": x * (theta["rho"] - z) - y,
        "z": x * y - theta["beta"] * z,
    }
