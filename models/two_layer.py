"""Two layers of ocean: global warming under radiative forcing, with efficacy of heat uptake.

    C  dT/dt  = F(t) - λ T - ε γ (T - T0)      surface: atmosphere, land, mixed layer
    C0 dT0/dt = γ (T - T0)                     deep ocean
    dV/dt     = -V / τ                         unforced variability of surface temperature

Departures from the equilibrium before 1750; F = forcing + s aerosol; time in years. V is zero but
for model error, with whose yearly jumps it is an AR(1) process; it moves heat within the ocean,
not into it, so the heat content C T + C0 T0 does not know it. The top of the atmosphere takes up
N = F - λ T - (ε - 1) γ (T - T0) = d/dt (C T + C0 T0).

Sources: Held et al. (2010), J. Climate 23, 2418-2427, equations 1 to 3; Geoffroy et al. (2013),
J. Climate 26, 1841-1857 (part I), equations 1 and 2, and 1859-1876 (part II), equations 9 to 11.
"""

import equinox as eqx
import jax.numpy as jnp

from assim import AbstractModel, Array, Forcing, Label, Labels, Params, State

# Mean over sixteen models of CMIP5 (Geoffroy et al. 2013, part II, table 1); memory: a year.
_DEFAULTS = {
    "feedback": 1.18,
    "surface_capacity": 8.2,
    "deep_capacity": 109.0,
    "exchange": 0.67,
    "efficacy": 1.28,
    "aerosol_scale": 1.0,
    "memory": 1.0,
}
_FLUX, _PER_KELVIN, _CAPACITY = "W m-2", "W m-2 K-1", "W year m-2 K-1"


def _defaults() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _DEFAULTS.items()}


def _none() -> Forcing:
    return Forcing.constant(0.0, _FLUX)


class TwoLayer(AbstractModel):
    """Two-layer energy-balance model, stepped exactly for a forcing constant within a step.

    The forcing is taken at the middle of a step: exact where it is yearly means (steps) and dt a
    year or a fraction of one, of second order where it is linear in between.

    Args:
        forcing: effective radiative forcing of everything but aerosol.
        aerosol: that of aerosol, which the parameter `aerosol_scale` multiplies.
        dt: time step in years.
        parameters: defaults of λ, C, C0, γ, ε, s and τ.

    Raises:
        ValueError: a step that is not positive.
    """

    forcing: Forcing = eqx.field(default_factory=_none)
    aerosol: Forcing = eqx.field(default_factory=_none)
    dt: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(default_factory=_defaults)

    def __check_init__(self) -> None:
        if not self.dt > 0:
            raise ValueError(f"TwoLayer: dt must be positive, got {self.dt}")

    def labels(self) -> Labels:
        """Three temperatures, seven parameters, two inputs."""
        return Labels(
            state={
                "surface": Label((), "K", "forced warming of the surface"),
                "deep": Label((), "K", "warming of the deep ocean"),
                "variability": Label((), "K", "unforced departure of surface temperature"),
            },
            parameters={
                "feedback": Label((), _PER_KELVIN, "radiative feedback, loss a kelvin"),
                "surface_capacity": Label((), _CAPACITY, "heat capacity of the surface"),
                "deep_capacity": Label((), _CAPACITY, "heat capacity of the deep ocean"),
                "exchange": Label((), _PER_KELVIN, "heat exchange between the layers"),
                "efficacy": Label((), "1", "efficacy of ocean heat uptake"),
                "aerosol_scale": Label((), "1", "factor on the aerosol forcing"),
                "memory": Label((), "year", "decay time of unforced variability"),
            },
            inputs={
                "forcing": Label((), _FLUX, "effective radiative forcing without aerosol"),
                "aerosol": Label((), _FLUX, "effective radiative forcing of aerosol"),
            },
            time_unit="years",
        )

    def step(self, x: State, theta: Params, t: Array) -> State:
        """x + ∫ e^(As) ds (A x + b): x' = A x + b with A and b constant within the step."""
        middle = t + self.dt / 2
        total = self.forcing(middle) + theta["aerosol_scale"] * self.aerosol(middle)
        change, change_deep = _tendency(x["surface"], x["deep"], theta, total)
        even, odd = _mean_propagator(theta, self.dt)
        second, second_deep = _tendency(change, change_deep, theta, jnp.zeros(()))
        return {
            "surface": x["surface"] + even * change + odd * second,
            "deep": x["deep"] + even * change_deep + odd * second_deep,
            "variability": x["variability"] * jnp.exp(-self.dt / theta["memory"]),
        }


def _tendency(surface: Array, deep: Array, theta: Params, forcing: Array) -> tuple[Array, Array]:
    """Right-hand sides for T and T0."""
    into_deep = theta["exchange"] * (surface - deep)
    balance = forcing - theta["feedback"] * surface - theta["efficacy"] * into_deep
    return balance / theta["surface_capacity"], into_deep / theta["deep_capacity"]


def _mean_propagator(theta: Params, dt: float) -> tuple[Array, Array]:
    """p and q of ∫ e^(As) ds from 0 to dt = p I + q A.

    By Sylvester's formula with the two eigenvalues of A, which are real, negative and distinct:
    the fast and the slow mode, -1/τ_f and -1/τ_s of Geoffroy et al. (2013), part I, table 1.
    """
    loss = (theta["feedback"] + theta["efficacy"] * theta["exchange"]) / theta["surface_capacity"]
    gain = theta["exchange"] / theta["deep_capacity"]
    coupling = theta["efficacy"] * theta["exchange"] / theta["surface_capacity"]
    root = jnp.sqrt((loss - gain) ** 2 + 4 * coupling * gain)
    fast = -(loss + gain + root) / 2
    slow = theta["feedback"] / theta["surface_capacity"] * gain / fast  # their product is det A
    of_fast, of_slow = jnp.expm1(fast * dt) / fast, jnp.expm1(slow * dt) / slow
    q = (of_slow - of_fast) / (slow - fast)
    return of_slow - q * slow, q
