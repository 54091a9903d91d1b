"""Two-layer quasi-geostrophic flow on a doubly periodic β-plane, driven by a sheared mean flow.

    ∂q_1/∂t + J(ψ_1, q_1) + U_1 ∂q_1/∂x + (β + F_1 (U_1 - U_2)) ∂ψ_1/∂x = -ν₄ ∇⁴q_1
    ∂q_2/∂t + J(ψ_2, q_2) + U_2 ∂q_2/∂x + (β - F_2 (U_1 - U_2)) ∂ψ_2/∂x = -ν₄ ∇⁴q_2 - r ∇²ψ_2
    q_1 = ∇²ψ_1 - F_1 (ψ_1 - ψ_2),    q_2 = ∇²ψ_2 + F_2 (ψ_1 - ψ_2),    F_i = f²/(g' H_i)

SI units; ψ and q depart from those of the mean flow U_1, U_2 along x. Source: Vallis (2017),
Atmospheric and Oceanic Fluid Dynamics, 2nd edition, chapters 5 and 9. Pseudo-spectral, with
products de-aliased by the rule of two thirds, so that advection conserves energy; in time RK4, with
exact hyperviscosity (Lawson 1967).

The state is the pressure of both layers as height of water, f ψ_i/g: that of the upper one is the
height of the sea surface, which altimeters see. It is smooth, so that its background covariance is
simple, and it determines q, which is what the step carries.
"""

from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Array, Label, Labels, Params, State
from assim.models.periodic_plane import PeriodicPlane, damped_rk4_step

_GRAVITY = 9.81  # m s-2
_DEFAULTS = {
    "coriolis": 1e-4,
    "beta": 2e-11,
    "reduced_gravity": 0.02,
    "upper_thickness": 500.0,
    "lower_thickness": 2000.0,
    "upper_flow": 0.15,
    "lower_flow": 0.0,
    "drag": 4e-7,
    "hyperviscosity": 5e10,
}


def _defaults() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _DEFAULTS.items()}


class QuasiGeostrophic(AbstractModel):
    """Two-layer quasi-geostrophic model, pseudo-spectral, stepped by RK4.

    Waves shorter than three spacings are not part of the flow: a step removes them.

    Args:
        nx: grid points along x, at least 4.
        ny: grid points along y, at least 4.
        dx: spacing in both directions, m.
        dt: time step, s; stable while u dt/dx is below about 1.3.
        parameters: defaults of f (s-1), β (m-1 s-1), g' (m s-2), H_1 and H_2 (m), U_1 and U_2
            (m s-1), r (s-1) and ν₄ (m4 s-1).

    Raises:
        ValueError: too few points, or a spacing or step that is not positive.
    """

    nx: Annotated[int, "size"] = eqx.field(default=64, static=True)
    ny: Annotated[int, "size"] = eqx.field(default=64, static=True)
    dx: float = eqx.field(default=15e3, static=True)
    dt: float = eqx.field(default=3600.0, static=True)
    parameters: Params = eqx.field(default_factory=_defaults)

    def __check_init__(self) -> None:
        for name, size in (("nx", self.nx), ("ny", self.ny)):
            if not isinstance(size, int) or size < 4:
                message = f"{name} must be a whole number of at least 4, got {size}"
                raise ValueError(f"QuasiGeostrophic: {message}")
        for name, value in (("dx", self.dx), ("dt", self.dt)):
            if not value > 0:
                raise ValueError(f"QuasiGeostrophic: {name} must be positive, got {value}")

    def labels(self) -> Labels:
        """Two heights and nine parameters."""
        return Labels(
            state={
                "ssh": Label(("y", "x"), "m", "height of the sea surface"),
                "lower": Label(("y", "x"), "m", "pressure of the lower layer as height of water"),
            },
            parameters={
                "coriolis": Label((), "s-1", "Coriolis parameter"),
                "beta": Label((), "m-1 s-1", "northward gradient of the Coriolis parameter"),
                "reduced_gravity": Label((), "m s-2", "gravity times step of density, relative"),
                "upper_thickness": Label((), "m", "thickness of the upper layer at rest"),
                "lower_thickness": Label((), "m", "thickness of the lower layer at rest"),
                "upper_flow": Label((), "m s-1", "mean flow of the upper layer along x"),
                "lower_flow": Label((), "m s-1", "mean flow of the lower layer along x"),
                "drag": Label((), "s-1", "linear drag of the lower layer"),
                "hyperviscosity": Label((), "m4 s-1", "hyperviscosity"),
            },
            coordinates=self._plane().coordinates(),
            time_unit="seconds",
        )

    def potential_vorticity(self, x: State, theta: Params) -> Array:
        """q of both layers in s-1, shape (2, ny, nx)."""
        psi = self._streamfunction(x, theta)
        return self._plane().field(_times(self._stretching(theta), psi))

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One step of RK4 of q; the mean of ψ over both layers, which q does not know, stays."""
        del t
        plane, psi = self._plane(), self._streamfunction(x, theta)
        inversion, linear = self._inversion(theta), self._linear(theta)

        def tendency(q: Array) -> Array:
            advected = jax.vmap(plane.advection)(_times(inversion, q), q)
            return advected + _times(linear, q)

        q = _times(self._stretching(theta), psi)
        damping = -theta["hyperviscosity"] * plane.squares()[None] ** 2
        change = damped_rk4_step(tendency, q, damping, self.dt) - q
        height = (psi + _times(inversion, change)) * theta["coriolis"] / _GRAVITY
        return {"ssh": plane.field(height[0]), "lower": plane.field(height[1])}

    def _streamfunction(self, x: State, theta: Params) -> Array:
        """Modes of ψ of both layers."""
        modes = self._plane().modes(jnp.stack([x["ssh"], x["lower"]]))
        return modes * _GRAVITY / theta["coriolis"]

    def _stretching(self, theta: Params) -> Array:
        """Matrices that make modes of q of modes of ψ, shape (2, 2, ny, nx//2 + 1)."""
        upper, lower = self._coupling(theta)
        coupling = jnp.stack([jnp.stack([-upper, upper]), jnp.stack([lower, -lower])])
        squares = np.eye(2)[:, :, None, None] * self._plane().squares()[None, None]
        return coupling[:, :, None, None] - squares

    def _inversion(self, theta: Params) -> Array:
        """Their inverses: the mean of both layers apart from their difference."""
        plane, upper, lower = self._plane(), theta["upper_thickness"], theta["lower_thickness"]
        share = upper / (upper + lower)
        mean = -plane.inverse_squares()
        difference = 1 / (plane.squares() + sum(self._coupling(theta)))
        to_upper = [share * mean - (1 - share) * difference, (1 - share) * (mean + difference)]
        to_lower = [share * (mean + difference), (1 - share) * mean - share * difference]
        return jnp.stack([jnp.stack(to_upper), jnp.stack(to_lower)])

    def _linear(self, theta: Params) -> Array:
        """Matrices of the linear terms in q: the mean flow, β and drag."""
        plane, inversion = self._plane(), self._inversion(theta)
        flow = jnp.stack([theta["upper_flow"], theta["lower_flow"]])
        upper, lower = self._coupling(theta)
        gradient = theta["beta"] + jnp.stack([upper, -lower]) * (flow[0] - flow[1])
        along_x = -1j * plane.waves()[0][None, None]
        carried = jnp.diag(flow)[:, :, None, None] + gradient[:, None, None, None] * inversion
        drag = theta["drag"] * np.array([0.0, 1.0])[:, None, None, None]
        return carried * along_x + inversion * drag * plane.squares()[None, None]

    def _coupling(self, theta: Params) -> tuple[Array, Array]:
        """F_1 and F_2."""
        by = theta["coriolis"] ** 2 / theta["reduced_gravity"]
        return by / theta["upper_thickness"], by / theta["lower_thickness"]

    def _plane(self) -> PeriodicPlane:
        return PeriodicPlane(self.nx, self.ny, self.dx)


def _times(matrices: Array, layers: Array) -> Array:
    """Modes of both layers, each a sum over modes of both."""
    return jnp.sum(matrices * layers[None], axis=1)
