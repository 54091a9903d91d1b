"""What was released altogether, from a trajectory and its parameters."""

import jax.numpy as jnp

from assim import Array, Trajectory


def released(trajectory: Trajectory) -> Array:
    """Integral of the rate, which is linear between its times and constant after the last."""
    rates = jnp.stack([trajectory.parameters[f"release_rate_{j}"] for j in range(6)])
    steps = (rates[1:] + rates[:-1]) / 2
    return 600.0 * (jnp.sum(steps) + rates[-1])
