"""Epidemic whose cases are confined to bed: whoever is infectious is soon taken out of the way.

    dS/dt   = -β S I/N                            susceptible
    dI/dt   = β S I/N - I/τ_I                     infectious
    dB_1/dt = I/τ_I - m B_1/τ_B                   in bed, in the first of m stages
    dB_j/dt = m (B_{j-1} - B_j)/τ_B               in the others
    dC_1/dt = m B_m/τ_B - m C_1/τ_C               convalescent
    dC_j/dt = m (C_{j-1} - C_j)/τ_C
    dR/dt   = m C_m/τ_C                           recovered

Persons, whose number N is conserved, and days. R_0 = β τ_I. With m stages the times in bed and of
convalescence have Erlang's distributions, exponential for m = 1 and the sharper the larger m is.
After Avilov et al. (2024), "The 1978 English boarding school influenza outbreak: where the classic
SEIR model fails", J. R. Soc. Interface 21, without their fixed delays before confinement.
"""

from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import (
    AbstractIntegrator,
    AbstractODE,
    Adaptive,
    Array,
    Coordinate,
    Label,
    Labels,
    Params,
    State,
)

_DEFAULTS = {"beta": 4.0, "infectious_time": 0.4, "bed_time": 3.0, "convalescent_time": 2.0}


def _defaults() -> Params:
    return {name: jnp.asarray(value, dtype=float) for name, value in _DEFAULTS.items()}


class ConfinedEpidemic(AbstractODE):
    """Epidemic with confinement to bed and convalescence, both in stages.

    How many are in bed is the sum of the field `in_bed` over its stages.

    Args:
        stages: number m of stages in bed, and of as many of convalescence.
        integrator: how the equations are integrated.
        parameters: defaults of β (a day) and of the mean times τ_I, τ_B and τ_C (days).

    Raises:
        ValueError: no stage.
    """

    stages: Annotated[int, "size"] = eqx.field(default=1, static=True)
    integrator: AbstractIntegrator = eqx.field(default_factory=Adaptive)
    parameters: Params = eqx.field(default_factory=_defaults)

    def __check_init__(self) -> None:
        if not isinstance(self.stages, int) or self.stages < 1:
            message = f"stages must be a whole number of at least 1, got {self.stages}"
            raise ValueError(f"ConfinedEpidemic: {message}")

    def labels(self) -> Labels:
        """Three numbers, and two for each stage."""
        return Labels(
            state={
                "susceptible": Label((), "1", "susceptible persons"),
                "infectious": Label((), "1", "infectious persons"),
                "in_bed": Label(("stage",), "1", "persons confined to bed"),
                "convalescent": Label(("stage",), "1", "convalescent persons"),
                "recovered": Label((), "1", "recovered persons"),
            },
            parameters={
                "beta": Label((), "day-1", "infections by one infectious person among susceptible"),
                "infectious_time": Label((), "day", "mean time before confinement"),
                "bed_time": Label((), "day", "mean time in bed"),
                "convalescent_time": Label((), "day", "mean time of convalescence"),
            },
            coordinates={"stage": Coordinate(np.arange(1.0, self.stages + 1), "1", "stage")},
            time_unit="days",
        )

    def tendency(self, x: State, theta: Params, t: Array) -> State:
        """Right-hand side: what one compartment loses, the next one gains."""
        del t
        persons = sum(jnp.sum(value) for value in x.values())
        infection = theta["beta"] * x["susceptible"] * x["infectious"] / persons
        confinement = x["infectious"] / theta["infectious_time"]
        out_of_bed = self.stages * x["in_bed"] / theta["bed_time"]
        recovery = self.stages * x["convalescent"] / theta["convalescent_time"]
        return {
            "susceptible": -infection,
            "infectious": infection - confinement,
            "in_bed": _after(confinement, out_of_bed) - out_of_bed,
            "convalescent": _after(out_of_bed[-1], recovery) - recovery,
            "recovered": recovery[-1],
        }


def _after(first: Array, out: Array) -> Array:
    """What flows into each stage: from outside into the first, from the one before into others."""
    return jnp.concatenate([first[None], out[:-1]])
