"""Lotka-Volterra: prey and predators.

    dh/dt = (α - β l) h        hare
    dl/dt = (-γ + δ h) l       lynx

Populations in thousands of pelts, time in years. The quantity δh - γ log h + βl - α log l is
conserved. Source: Lotka (1925), "Elements of physical biology"; Volterra (1926), "Fluctuations
in the abundance of a species considered mathematically", Nature 118, 558-560.
"""

import equinox as eqx
import jax.numpy as jnp

from assim import AbstractIntegrator, AbstractODE, Adaptive, Array, Label, Labels, Params, State

_DEFAULTS = {"alpha": 1.0, "beta": 0.05, "gamma": 1.0, "delta": 0.05}


def _defaults() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _DEFAULTS.items()}


class LotkaVolterra(AbstractODE):
    """Lotka-Volterra equations for hare and lynx.

    Args:
        integrator: how the equations are integrated.
        parameters: defaults of alpha and gamma (a year), beta and delta (a year and a thousand).
    """

    integrator: AbstractIntegrator = eqx.field(default_factory=Adaptive)
    parameters: Params = eqx.field(default_factory=_defaults)

    def labels(self) -> Labels:
        """Two scalar fields."""
        return Labels(
            state={
                "hare": Label((), "1000", "hare pelts"),
                "lynx": Label((), "1000", "lynx pelts"),
            },
            parameters={
                "alpha": Label((), "year-1", "growth rate of the hare"),
                "beta": Label((), "0.001 year-1", "loss rate of the hare a thousand lynx"),
                "gamma": Label((), "year-1", "death rate of the lynx"),
                "delta": Label((), "0.001 year-1", "growth rate of the lynx a thousand hare"),
            },
            time_unit="years",
        )

    def tendency(self, x: State, theta: Params, t: Array) -> State:
        """Right-hand side."""
        del t
        hare, lynx = x["hare"], x["lynx"]
        return {
            "hare": (theta["alpha"] - theta["beta"] * lynx) * hare,
            "lynx": (-theta["gamma"] + theta["delta"] * hare) * lynx,
        }
