"""Water-borne epidemic: infection through a reservoir of bacteria that the infected feed.

    dS/dt = -β S B/(B + κ)                 susceptible
    dI/dt = β S B/(B + κ) - γ I            infected
    dR/dt = γ I                            recovered
    dB/dt = ξ I - δ B                      bacteria in the water

S, I and R in persons, their sum conserved; B in bacteria a millilitre; time in days. Source:
Codeço (2001), "Endemic and epidemic dynamics of cholera", BMC Infect. Dis. 1, 1; in this form
the model `sir` of Stan's `stat_comp_benchmarks`.
"""

import equinox as eqx
import jax.numpy as jnp

from assim import AbstractIntegrator, AbstractODE, Adaptive, Array, Label, Labels, Params, State

_DEFAULTS = {"beta": 1.0, "gamma": 0.2, "xi": 10.0, "delta": 0.3, "kappa": 1e6}


def _defaults() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _DEFAULTS.items()}


class SIRWaterborne(AbstractODE):
    """SIR epidemic with a water reservoir.

    Args:
        integrator: how the equations are integrated.
        parameters: defaults of beta, gamma, xi and delta (a day) and kappa (bacteria a
            millilitre).
    """

    integrator: AbstractIntegrator = eqx.field(default_factory=Adaptive)
    parameters: Params = eqx.field(default_factory=_defaults)

    def labels(self) -> Labels:
        """Four scalar fields."""
        return Labels(
            state={
                "S": Label((), "1", "susceptible persons"),
                "I": Label((), "1", "infected persons"),
                "R": Label((), "1", "recovered persons"),
                "B": Label((), "ml-1", "concentration of bacteria in the water"),
            },
            parameters={
                "beta": Label((), "day-1", "rate of infection in saturated water"),
                "gamma": Label((), "day-1", "rate of recovery"),
                "xi": Label((), "ml-1 day-1", "shedding of bacteria by one infected person"),
                "delta": Label((), "day-1", "rate of loss of the bacteria"),
                "kappa": Label((), "ml-1", "concentration of half the rate of infection"),
            },
            time_unit="days",
        )

    def tendency(self, x: State, theta: Params, t: Array) -> State:
        """Right-hand side."""
        del t
        infection = theta["beta"] * x["S"] * x["B"] / (x["B"] + theta["kappa"])
        recovery = theta["gamma"] * x["I"]
        return {
            "S": -infection,
            "I": infection - recovery,
            "R": recovery,
            "B": theta["xi"] * x["I"] - theta["delta"] * x["B"],
        }
