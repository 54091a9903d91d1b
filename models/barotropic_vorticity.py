"""Barotropic vorticity on a doubly periodic β-plane: two-dimensional turbulence and Rossby waves.

    ∂ζ/∂t + J(ψ, ζ) + β ∂ψ/∂x = A cos(2π m y/L_y) - r ζ + ν ∇²ζ - ν₄ ∇⁴ζ
    ∇²ψ = ζ,    J(ψ, ζ) = ∂ψ/∂x ∂ζ/∂y - ∂ψ/∂y ∂ζ/∂x,    u = -∂ψ/∂y,    v = ∂ψ/∂x

SI units. Pseudo-spectral, with products de-aliased by the rule of two thirds (Orszag 1971, J.
Atmos. Sci. 28, 1074): advection conserves energy and enstrophy. In time RK4; β, drag and both
viscosities are exact (Lawson 1967). The mean of ζ has no part in the flow.
"""

from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Label, Labels, Params, State
from assim.models.periodic_plane import PeriodicPlane, damped_rk4_step

_DEFAULTS = {
    "beta": 2e-11,
    "drag": 0.0,
    "viscosity": 0.0,
    "hyperviscosity": 2e12,
    "forcing": 0.0,
}


def _defaults() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _DEFAULTS.items()}


class BarotropicVorticity(AbstractModel):
    """Barotropic vorticity equation, pseudo-spectral, stepped by RK4.

    Waves shorter than three spacings are not part of the flow: a step removes them.

    Args:
        nx: grid points along x, at least 4.
        ny: grid points along y, at least 4.
        dx: spacing in both directions, m.
        dt: time step, s; stable while u dt/dx is below about 1.3.
        bands: number m of waves of the forcing across the domain, less than ny/3.
        parameters: defaults of β (m-1 s-1), r (s-1), ν (m2 s-1), ν₄ (m4 s-1) and A (s-2).

    Raises:
        ValueError: too few points, bands that are not resolved, a spacing or step not positive.
    """

    nx: Annotated[int, "size"] = eqx.field(default=64, static=True)
    ny: Annotated[int, "size"] = eqx.field(default=64, static=True)
    dx: float = eqx.field(default=30e3, static=True)
    dt: float = eqx.field(default=7200.0, static=True)
    bands: int = eqx.field(default=4, static=True)
    parameters: Params = eqx.field(default_factory=_defaults)

    def __check_init__(self) -> None:
        for name, size in (("nx", self.nx), ("ny", self.ny)):
            if not isinstance(size, int) or size < 4:
                message = f"{name} must be a whole number of at least 4, got {size}"
                raise ValueError(f"BarotropicVorticity: {message}")
        if not isinstance(self.bands, int) or not 1 <= self.bands <= (self.ny - 1) // 3:
            message = (
                f"bands must be a whole number from 1 to {(self.ny - 1) // 3} for ny = {self.ny}"
            )
            raise ValueError(f"BarotropicVorticity: {message}, got {self.bands}")
        for name, value in (("dx", self.dx), ("dt", self.dt)):
            if not value > 0:
                raise ValueError(f"BarotropicVorticity: {name} must be positive, got {value}")

    def labels(self) -> Labels:
        """One field `vorticity`, and five parameters."""
        return Labels(
            state={"vorticity": Label(("y", "x"), "s-1", "relative vorticity")},
            parameters={
                "beta": Label((), "m-1 s-1", "northward gradient of the Coriolis parameter"),
                "drag": Label((), "s-1", "linear drag"),
                "viscosity": Label((), "m2 s-1", "viscosity"),
                "hyperviscosity": Label((), "m4 s-1", "hyperviscosity"),
                "forcing": Label((), "s-2", "greatest forcing of vorticity"),
            },
            coordinates=self._plane().coordinates(),
            time_unit="seconds",
        )

    def streamfunction(self, x: State) -> Array:
        """ψ of a state, of mean zero, in m2 s-1."""
        plane = self._plane()
        return plane.field(plane.modes(x["vorticity"]) * -plane.inverse_squares())

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One step of RK4, in which the linear terms are exact."""
        del t
        plane = self._plane()
        squares, inverse = plane.squares(), plane.inverse_squares()
        friction = theta["viscosity"] * squares + theta["hyperviscosity"] * squares**2
        rate = 1j * theta["beta"] * (plane.waves()[0] * inverse) - theta["drag"] - friction
        forcing = plane.modes(theta["forcing"] * self._forcing())

        def tendency(modes: Array) -> Array:
            return plane.advection(modes * -inverse, modes) + forcing

        modes = damped_rk4_step(tendency, plane.modes(x["vorticity"]), rate, self.dt)
        return {"vorticity": plane.field(modes)}

    def _forcing(self) -> np.ndarray:
        """cos(2π m y/L_y), shape (ny, nx)."""
        along_y = np.cos(2 * np.pi * self.bands * np.arange(self.ny) / self.ny)
        return np.repeat(along_y[:, None], self.nx, axis=1)

    def _plane(self) -> PeriodicPlane:
        return PeriodicPlane(self.nx, self.ny, self.dx)
