"""Fields between grid points and slot edges: indices and weights, linear in the field."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Coordinate, Trajectory
from assim.problem.curvilinear import NORTH
from assim.problem.points import InTime, Located, Points, Stencil

AtEdges = Callable[[Array], Array]


class _Bracket(NamedTuple):
    """Grid points below and above each position, and the fraction of the way between them."""

    below: Array
    above: Array
    fraction: Array


def stencil(axes: Mapping[str, Coordinate], places: Mapping[str, Any], m: int) -> Stencil:
    """Multilinear weights of m places along any number of axes, in their order.

    Along a periodic axis every convention of the positions is right (-180 to 180, 0 to 360).
    Between the last row of latitudes and a pole, a value lies on the great circle through the
    pole: between the row at its own longitude and the same row across the pole (for scalars;
    components of vectors change their sign there).
    """
    xp = _library(*(places[dim] for dim in axes))
    brackets = {dim: _bracket(axis, places[dim]) for dim, axis in axes.items()}
    latitude, longitude = poles(axes)
    crossing, across = xp.zeros(m, bool), None
    if latitude and longitude:
        there = brackets[latitude]
        brackets[latitude], crossing = _over_poles(axes[latitude], places[latitude], there)
        across = _bracket(axes[longitude], places[longitude] + 180.0)
    indices, weights = [], []
    for choice in itertools.product((0, 1), repeat=len(axes)):
        sides = dict(zip(axes, choice, strict=True))
        index, weight = xp.zeros(m, int), xp.ones(m)
        for dim, axis in axes.items():
            near = brackets[dim]
            if across is not None and dim == longitude and sides[str(latitude)]:
                near = _Bracket(
                    *(xp.where(crossing, a, b) for a, b in zip(across, near, strict=True))
                )
            index = index * axis.values.shape[0] + (near.above if sides[dim] else near.below)
            weight = weight * (near.fraction if sides[dim] else 1 - near.fraction)
        indices.append(index)
        weights.append(weight)
    return Stencil(xp.stack(indices), xp.stack(weights))


def poles(axes: Mapping[str, Coordinate]) -> tuple[str | None, str | None]:
    """Names of the latitude and of the longitude round the whole globe; None, None if not both."""
    latitude = next((dim for dim, axis in axes.items() if axis.units == NORTH), None)
    longitude = next(
        (dim for dim, axis in axes.items() if axis.eastward and axis.period == 360.0), None
    )
    return (latitude, longitude) if latitude and longitude else (None, None)


def on_axis(axis: Coordinate, position: Any) -> Any:
    """Positions in the turn in which the axis has its points; those that lie there as they are.

    Longitudes are angles on a bounded axis, too: there they come into the half turn on either side
    of its middle.
    """
    first, last = axis.values[0], axis.values[-1]
    if axis.period is not None:
        return position - axis.period * ((position - first) // axis.period)
    if not axis.eastward:
        return position
    outside = (position < first) | (position > last)
    return position - 360.0 * (outside * ((position - (first + last) / 2 + 180.0) // 360.0))


def reach(axes: Mapping[str, Coordinate], dim: str) -> tuple[float, float] | None:
    """Lowest and highest position along one of the axes that can be read; None if periodic.

    A latitude whose last row lies within one spacing of the pole reaches the pole.
    """
    axis = axes[dim]
    if axis.period is not None:
        return None
    values = np.asarray(axis.values, float)
    lower, upper = float(values[0]), float(values[-1])
    if dim != poles(axes)[0] or values.shape[0] < 2:
        return lower, upper
    south, north = _capped(values)
    return -90.0 if south else lower, 90.0 if north else upper


def in_space(trajectory: Trajectory, variable: str, points: Points) -> AtEdges:
    """Function of edge indices (m,) that gives the field at each value's place, shape (m,)."""
    axes = {dim: trajectory.grid.axes[dim] for dim in trajectory.grid.dims_of(variable)}
    field, located = trajectory.states[variable], points.located
    flat = field.reshape(field.shape[0], -1)
    if located is None or located.dims != tuple(axes):
        site, weight = stencil(axes, points.coordinates, points.times.shape[0])
    else:
        site, weight = located.stencil

    def at(edge: Array) -> Array:
        corners = flat[edge[None, :], site]
        return corners[0] if weight is None else jnp.sum(weight * corners, axis=0)

    return at


def at_times(trajectory: Trajectory, variable: str, points: Points) -> Array:
    """The field at the time and place of each value, shape (m,)."""
    located, dims = points.located, trajectory.grid.dims_of(variable)
    if located is not None and located.first is not None and located.dims == tuple(dims):
        whole = trajectory.states[variable].reshape(-1)
        return whole[located.first : located.first + points.times.shape[0]]
    return in_time(trajectory, points, "times", in_space(trajectory, variable, points))


def in_time(trajectory: Trajectory, points: Points, which: str, sample: AtEdges) -> Array:
    """Linear interpolation between slot edges to the `which` of points: times, starts or ends."""
    slot, fraction = _in_slots(trajectory.times, points, which)
    if fraction is None:
        return sample(slot)
    return (1 - fraction) * sample(slot) + fraction * sample(slot + 1)


def integral(trajectory: Trajectory, variable: str, points: Points) -> Array:
    """Integral of a field, linear between slot edges, over each value's interval, shape (m,).

    The field is accumulated once from edge to edge, so that the cost grows with the size of the
    trajectory and the number of values, not with their product.
    """
    edges, field = trajectory.times, trajectory.states[variable]
    lengths = jnp.diff(edges)
    whole = lengths.reshape(-1, *[1] * (field.ndim - 1)) * (field[:-1] + field[1:]) / 2
    summed = jnp.concatenate([jnp.zeros_like(field[:1]), jnp.cumsum(whole, axis=0)])
    grown = Trajectory(edges, {variable: summed}, {}, trajectory.grid)
    sample = in_space(trajectory, variable, points)
    accumulated = in_space(grown, variable, points)

    def up_to(which: str) -> Array:
        slot, fraction = _in_slots(edges, points, which)
        if fraction is None:
            return accumulated(slot)
        first, last = sample(slot), sample(slot + 1)
        partial = lengths[slot] * (fraction * first + fraction**2 / 2 * (last - first))
        return accumulated(slot) + partial

    return up_to("ends") - up_to("starts")


def _in_slots(edges: Array, points: Points, which: str) -> InTime:
    if points.located is None:
        return InTime(*_slot(edges, getattr(points, which)))
    in_time: InTime = getattr(points.located, which)
    return in_time


def located(points: Points, edges: Array, axes: Mapping[str, Coordinate]) -> Located:
    """Where values lie on slot edges and along these axes, in NumPy, once for all evaluations."""
    several = (np.asarray(t) for t in (points.times, points.starts, points.ends))
    times, starts, ends = (_whole(*_slot(np.asarray(edges), each)) for each in several)
    places = {dim: np.asarray(points.coordinates[dim]) for dim in axes}
    site, weight = map(np.asarray, stencil(axes, places, times.slot.size))
    used = np.any(weight != 0, axis=1)
    single = bool(used.sum() == 1 and np.all(weight[used] == 1))
    first = None
    if single and times.fraction is None:
        size = math.prod(axis.values.shape[0] for axis in axes.values())
        entry = np.asarray(times.slot, int) * size + site[used][0]
        if np.array_equal(entry, entry[0] + np.arange(entry.size)):
            first = int(entry[0])
    weights = None if single else jnp.asarray(weight[used])
    corners = Stencil(jnp.asarray(site[used], jnp.int32), weights)
    return Located(times, starts, ends, corners, tuple(axes), first)


def _whole(slot: np.ndarray, fraction: np.ndarray) -> InTime:
    """Edges alone where every time is at one."""
    if np.all((fraction == 0) | (fraction == 1)):
        return InTime(jnp.asarray(slot + (fraction == 1), jnp.int32), None)
    return InTime(jnp.asarray(slot, jnp.int32), jnp.asarray(fraction))


def _bracket(axis: Coordinate, position: Array) -> _Bracket:
    xp = _library(position)
    values = xp.asarray(axis.values)
    n = values.shape[0]
    if axis.period is None:
        position = on_axis(axis, position)
        if n == 1:
            here = xp.zeros(position.shape, int)
            return _Bracket(here, here, xp.zeros(position.shape))
        below = xp.clip(_interval(values, position), 0, n - 2)
        above = below + 1
        gap, distance = values[above] - values[below], position - values[below]
    else:
        wrapped = values[0] + xp.mod(position - values[0], axis.period)
        below = _interval(values, wrapped)
        above = xp.mod(below + 1, n)
        gap = xp.where(above == 0, axis.period, 0.0) + values[above] - values[below]
        distance = wrapped - values[below]
    return _Bracket(below, above, distance / gap)


def _capped(values: Array | np.ndarray) -> tuple[Array | np.bool, Array | np.bool]:
    """Whether the first row lies within one spacing of the south pole, the last of the north."""
    reached = 1 + 1e-6  # rows as files give them are rounded
    south = values[0] + 90.0 <= reached * (values[1] - values[0])
    north = 90.0 - values[-1] <= reached * (values[-1] - values[-2])
    return south, north


def _over_poles(axis: Coordinate, position: Array, bracket: _Bracket) -> tuple[_Bracket, Array]:
    """The bracket with positions beyond the last row taken across the pole, and which they are."""
    xp = _library(position)
    values = xp.asarray(axis.values)
    if values.shape[0] < 2:
        return bracket, xp.zeros(position.shape, bool)
    south, north = _capped(values)
    above, below = (position > values[-1]) & north, (position < values[0]) & south
    crossing, last = above | below, xp.where(above, values.shape[0] - 1, 0)
    passed = xp.where(above, position - values[-1], values[0] - position)
    width = 2 * xp.where(above, 90.0 - values[-1], values[0] + 90.0)
    fraction = passed / xp.where(crossing & (width > 0), width, 1.0)
    return _Bracket(
        xp.where(crossing, last, bracket.below),
        xp.where(crossing, last, bracket.above),
        xp.where(crossing, fraction, bracket.fraction),
    ), crossing


def _slot(edges: Any, times: Any) -> tuple[Any, Any]:
    """Slot that holds each time, and the fraction of it that has passed."""
    xp = _library(edges, times)
    slot = xp.clip(_interval(edges, times), 0, edges.shape[0] - 2)
    return slot, (times - edges[slot]) / (edges[slot + 1] - edges[slot])


def _interval(values: Any, positions: Any) -> Any:
    """Last of the increasing values that is not above each position; -1 where all are.

    Equal distances give it by a division. That is made sure of, and searched for where they differ.
    """
    if _library(values, positions) is np:
        return np.searchsorted(values, positions, side="right") - 1
    last = values.shape[0] - 1
    gap = (values[last] - values[0]) / max(last, 1)
    guess = jnp.clip((positions - values[0]) / gap, 0, last).astype(jnp.int32)
    guess = guess - (values[guess] > positions)
    guess = guess + ((guess < last) & (values[jnp.minimum(guess + 1, last)] <= positions))
    begun = (guess < 0) | (values[jnp.maximum(guess, 0)] <= positions)
    ended = (guess == last) | (values[jnp.minimum(guess + 1, last)] > positions)
    return jax.lax.cond(
        jnp.all(begun & ended),
        lambda: guess,
        lambda: jnp.searchsorted(values, positions, side="right") - 1,
    )


def _library(*arrays: Any) -> Any:
    """NumPy for its own arrays, which are known where a problem is posed; JAX's for others."""
    return np if all(isinstance(array, np.ndarray) for array in arrays) else jnp
