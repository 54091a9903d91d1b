"""Numbers that functions of a trajectory give, as the user's own quantities do."""

from collections.abc import Mapping

import jax.numpy as jnp

from assim.problem.arrays import Array, Trajectory, TrajectoryFunction


def numbers_of(
    functions: Mapping[str, TrajectoryFunction], trajectory: Trajectory
) -> dict[str, Array]:
    """Functions of a trajectory by name, as real numbers: true is 1, so that a mean is a share.

    Raises:
        ValueError: one gives more than one number.
    """
    numbers = {}
    for name, function in functions.items():
        value = jnp.asarray(function(trajectory))
        if value.size != 1:
            raise ValueError(f"quantity {name!r} must be one number, got shape {value.shape}")
        numbers[name] = jnp.reshape(value, ()).astype(jnp.result_type(float, value))
    return numbers
