"""What the instruments of this case would read of a trajectory of the two-layer model."""

import jax.numpy as jnp

from assim import Array, Points, Trajectory, operator

ZETTAJOULES = 5.1007e14 * 31556952 / 1e21  # a watt a square metre over the Earth for a year
OCEAN = 0.91  # share of the ocean in the heat that the Earth takes up: AR6 WGI, table 7.1
ZERO_YEAR = 1971.5  # of the ocean's heat content
BASELINE = (1961, 1991)  # start and end of the reference period of the temperatures


def surface_temperature(trajectory: Trajectory, points: Points) -> Array:
    """Annual means of surface temperature against the mean of 1961 to 1990, in K."""
    first, end = (year - _first_year(points) for year in BASELINE)
    starts = jnp.arange(first, end, dtype=float)
    reference = jnp.mean(_annual_mean(trajectory, Points.over(starts, starts + 1)))
    return _annual_mean(trajectory, points) - reference


def _annual_mean(trajectory: Trajectory, points: Points) -> Array:
    """The forced part averaged over each year, and the unforced departure of that year.

    A slot is a year, within which the forced part is linear; the model error that jumps in at its
    end is that of the year.
    """
    start, end = Points.at(points.starts), Points.at(points.ends)
    before = operator.sample(trajectory, "surface", start)
    after = operator.sample(trajectory, "surface", end)
    return (before + after) / 2 + operator.sample(trajectory, "variability", end)


def ocean_heat(trajectory: Trajectory, points: Points) -> Array:
    """The ocean's share of the change of C T + C0 T0 since the middle of 1971, in ZJ."""
    zero = Points.at(jnp.array([ZERO_YEAR - _first_year(points)]))
    return _heat(trajectory, points) - _heat(trajectory, zero)


def _heat(trajectory: Trajectory, points: Points) -> Array:
    theta = trajectory.parameters
    surface = theta["surface_capacity"] * operator.sample(trajectory, "surface", points)
    deep = theta["deep_capacity"] * operator.sample(trajectory, "deep", points)
    return OCEAN * ZETTAJOULES * (surface + deep)


def _first_year(points: Points) -> int:
    """The year at whose start the model's time is zero."""
    assert points.reference is not None
    return int(points.reference[:4])
