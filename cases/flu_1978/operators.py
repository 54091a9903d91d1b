"""Counts of the school, which do not tell stages apart."""

import jax.numpy as jnp

from assim import Array, Points, Trajectory, operator


def in_bed(trajectory: Trajectory, points: Points) -> Array:
    """Boys in bed."""
    return _over_stages(trajectory, "in_bed", points)


def convalescent(trajectory: Trajectory, points: Points) -> Array:
    """Boys convalescent."""
    return _over_stages(trajectory, "convalescent", points)


def _over_stages(trajectory: Trajectory, variable: str, points: Points) -> Array:
    def sample(stage: Array) -> Array:
        stages = {"stage": jnp.full(points.times.shape, stage)}
        return operator.sample(trajectory, variable, Points.at(points.times, stages))

    return sum(sample(stage) for stage in trajectory.grid.axes["stage"].values)
