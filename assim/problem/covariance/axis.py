"""What covariances ask of the axes of a field."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Coordinate
from assim.problem.covariance.root import Axes

_UNIFORM = 1e-6  # of the mean spacing: positions in files are rounded
_SINGLE = 4 * 2.0**-23  # of the largest position, where the rounding was to single precision
_UNEVEN = 1e-2  # of the mean spacing, more than which rounding does not explain


def axes_of(called: str, shape: tuple[int, ...], axes: Axes) -> tuple[Coordinate, ...]:
    """The axes along which a covariance measures distances.

    ValueError where they are not known, do not fit the shape, or have positions in no order.
    """
    if shape and not axes:
        raise ValueError(
            f"{called}: the positions of a field of shape {shape} are not known, and without them "
            f"no distances; give on(shape, axes) a Coordinate for each dimension"
        )
    lengths = tuple(len(values_of(axis)) for axis in axes)
    if lengths != shape:
        raise ValueError(f"{called}: axes of {lengths} points do not fit a field of shape {shape}")
    return tuple(_increasing(called, axis) for axis in axes)


def values_of(axis: Coordinate | np.ndarray) -> np.ndarray:
    """Positions along an axis, whether or not they increase."""
    return np.asarray(axis.values if isinstance(axis, Coordinate) else axis)


def _increasing(called: str, axis: Coordinate | np.ndarray) -> Coordinate:
    if isinstance(axis, Coordinate):
        return axis
    places = np.asarray(axis)
    if not np.all(np.diff(places) > 0):
        row = int(np.argmax(~(np.diff(places) > 0)))
        raise ValueError(
            f"{called}: positions must increase, but {row} is at {places[row]:g} and {row + 1} at "
            f"{places[row + 1]:g}; sort the rows by time, or give each series a block of its own "
            f"by Blocks, or the whole matrix by Dense"
        )
    return Coordinate(places)


def positions(axis: Coordinate) -> np.ndarray:
    """Where the points are, in double precision."""
    return np.asarray(axis.values, np.float64)


def gaps(axis: Coordinate) -> np.ndarray:
    """Distance from each point to the next, the last one round the ring: infinite if bounded."""
    places = positions(axis)
    end = np.inf if axis.period is None else axis.period - (places[-1] - places[0])
    return np.append(np.diff(places), end)


def widths(axis: Coordinate) -> np.ndarray:
    """Width of the cell about each point: half the gaps on its two sides."""
    after = gaps(axis)
    if len(after) == 1:
        return np.where(np.isfinite(after), after, 1.0)
    before = np.roll(after, 1)
    after = np.where(np.isfinite(after), after, before)  # end cells are as wide as their one gap
    return (np.where(np.isfinite(before), before, after) + after) / 2


def is_uniform(axis: Coordinate) -> bool:
    """Whether all gaps are equal but for rounding, that round the ring included."""
    inner = gaps(axis)
    inner = inner[np.isfinite(inner)]
    if not inner.size:
        return True
    rounding = min(_SINGLE * np.max(np.abs(positions(axis))), _UNEVEN * inner.mean())
    return bool(np.ptp(inner) <= max(_UNIFORM * inner.mean(), rounding))


def evened(axis: Coordinate) -> Coordinate:
    """The axis without its rounding, where it is uniform."""
    places = positions(axis)
    if not is_uniform(axis) or len(places) < 2:
        return axis
    if axis.period is None:
        even = np.linspace(places[0], places[-1], len(places))
    else:
        even = places[0] + np.arange(len(places)) * (axis.period / len(places))
    return Coordinate(even, axis.units, axis.long_name, axis.period)


def along(axis: int, transform: Callable[[Array], Array], field: Array) -> Array:
    """A transform of arrays (n, lines) along one axis of a field."""
    moved = jnp.moveaxis(field, axis, 0)
    out = transform(moved.reshape(moved.shape[0], -1))
    return jnp.moveaxis(out.reshape(-1, *moved.shape[1:]), 0, axis)
