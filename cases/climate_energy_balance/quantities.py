"""Sensitivities of the two-layer model, from a trajectory and its parameters."""

import jax.numpy as jnp

from assim import Array, Trajectory

DOUBLING = 3.93  # effective radiative forcing of doubled CO2, W m-2: AR6 WGI, section 7.3.2.1
DOUBLING_YEARS = 69.66  # ln 2 / ln 1.01: CO2 that rises by 1 % a year


def ecs(trajectory: Trajectory) -> Array:
    """Equilibrium climate sensitivity, F2x / λ."""
    return DOUBLING / trajectory.parameters["feedback"]


def tcr(trajectory: Trajectory) -> Array:
    """Transient climate response: T when CO2, rising by 1 % a year, has doubled.

    The forcing then rises linearly to F2x, and T is the integral of the response to a step:
    Geoffroy et al. (2013), J. Climate 26, 1841-1857, section 3, with the efficacy of part II.
    """
    p = trajectory.parameters
    warming = p["feedback"] / p["surface_capacity"]
    loss = warming + p["efficacy"] * p["exchange"] / p["surface_capacity"]
    gain = p["exchange"] / p["deep_capacity"]
    root = jnp.sqrt((loss + gain) ** 2 - 4 * warming * gain)
    fast, slow = (2 / (loss + gain + sign * root) for sign in (1, -1))
    share = (loss - gain) / root
    weight_fast = fast * warming * (1 + share) / 2
    weight_slow = slow * warming * (1 - share) / 2
    ramp = DOUBLING / DOUBLING_YEARS / p["feedback"]
    delay = sum(
        weight * scale * -jnp.expm1(-DOUBLING_YEARS / scale)
        for weight, scale in ((weight_fast, fast), (weight_slow, slow))
    )
    return ramp * (DOUBLING_YEARS - delay)


def surface_2023(trajectory: Trajectory) -> Array:
    """Forced warming of the surface since 1750 at the end of 2023."""
    return trajectory.at_end()["surface"]


def deep_2023(trajectory: Trajectory) -> Array:
    """Warming of the deep ocean since 1750 at the end of 2023."""
    return trajectory.at_end()["deep"]
