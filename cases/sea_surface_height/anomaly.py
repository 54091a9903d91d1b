"""Optimal interpolation as a weak constraint: a model that forgets, and jumps that are the field.

x(t_k) = 0 + η_k with η ~ N(0, Q_t ⊗ Q) is a field whose covariance is Q in space times Q_t in time,
and the minimum of J is what optimal interpolation makes of the same values (Bretherton, Davis and
Fandry 1976, Deep-Sea Res. 23, 559-582).
"""

import equinox as eqx
import jax.numpy as jnp

from assim import AbstractModel, Array, Label, Labels, Params, State
from assim.models.periodic_plane import PeriodicPlane


class Anomaly(AbstractModel):
    """Heights on a doubly periodic plane of nx by ny points dx apart, 0 after every step of dt."""

    nx: int = eqx.field(default=32, static=True)
    ny: int = eqx.field(default=32, static=True)
    dx: float = eqx.field(default=15e3, static=True)
    dt: float = eqx.field(default=86400.0, static=True)
    parameters: Params = eqx.field(default_factory=dict)

    def labels(self) -> Labels:
        """One field and no parameter."""
        return Labels(
            state={"ssh": Label(("y", "x"), "m", "height of the sea surface")},
            coordinates=PeriodicPlane(self.nx, self.ny, self.dx).coordinates(),
            time_unit="seconds",
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """Nothing stays."""
        del theta, t
        return {"ssh": jnp.zeros_like(x["ssh"])}
