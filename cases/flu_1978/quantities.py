"""What the epidemic comes to, from a trajectory and its parameters."""

from assim import Array, Trajectory


def reproduction_number(trajectory: Trajectory) -> Array:
    """R_0 = β τ_I."""
    return trajectory.parameters["beta"] * trajectory.parameters["infectious_time"]


def cases(trajectory: Trajectory) -> Array:
    """Boys who fell ill: those not susceptible any more, and the first in bed."""
    susceptible = trajectory.states["susceptible"]
    return susceptible[0] - susceptible[-1] + trajectory.at_start()["in_bed"].sum()
