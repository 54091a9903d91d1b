"""Fields between grid points and slot edges: indices and weights, linear in the field."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Coordinate, Trajectory
from assim.problem.curvilinear import NORTH

AtEdges = Callable[[Array], Array]


class Stencil(NamedTuple):
    """Grid points round each place, with their weights: value = Σ_k weight_k · field[site_k]."""

    site: Array  # index into the flattened field, shape (corners, m)
    weight: Array  # they add up to one, shape (corners, m)


class _Bracket(NamedTuple):
    """Grid points below and above each position, and the fraction of the way between them."""

    below: Array
    above: Array
    fraction: Array


def stencil(axes: Mapping[str, Coordinate], places: Mapping[str, Array], m: int) -> Stencil:
    """Multilinear weights of m places along any number of axes, in their order.

    Along a periodic axis every convention of the positions is right (-180 to 180, 0 to 360).
    Between the last row of latitudes and a pole, a value lies on the great circle through the
    pole: between the row at its own longitude and the same row across the pole (for scalars;
    components of vectors change their sign there).
    """
    brackets = {dim: _bracket(axis, places[dim]) for dim, axis in axes.items()}
    latitude, longitude = poles(axes)
    crossing, across = jnp.zeros(m, bool), None
    if latitude and longitude:
        there = brackets[latitude]
        brackets[latitude], crossing = _over_poles(axes[latitude], places[latitude], there)
        across = _bracket(axes[longitude], places[longitude] + 180.0)
    indices, weights = [], []
    for choice in itertools.product((0, 1), repeat=len(axes)):
        sides = dict(zip(axes, choice, strict=True))
        index, weight = jnp.zeros(m, int), jnp.ones(m)
        for dim, axis in axes.items():
            near = brackets[dim]
            if across is not None and dim == longitude and sides[str(latitude)]:
                near = _Bracket(
                    *(jnp.where(crossing, a, b) for a, b in zip(across, near, strict=True))
                )
            index = index * axis.values.shape[0] + (near.above if sides[dim] else near.below)
            weight = weight * (near.fraction if sides[dim] else 1 - near.fraction)
        indices.append(index)
        weights.append(weight)
    return Stencil(jnp.stack(indices), jnp.stack(weights))


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


def in_space(
    trajectory: Trajectory, variable: str, coordinates: Mapping[str, Array], m: int
) -> AtEdges:
    """Function of edge indices (m,) that gives the field at each value's place, shape (m,)."""
    axes = {dim: trajectory.grid.axes[dim] for dim in trajectory.grid.dims_of(variable)}
    field = trajectory.states[variable]
    flat = field.reshape(field.shape[0], -1)
    site, weight = stencil(axes, coordinates, m)

    def at(edge: Array) -> Array:
        return jnp.sum(weight * flat[edge[None, :], site], axis=0)

    return at


def in_time(edges: Array, times: Array, sample: AtEdges) -> Array:
    """Linear interpolation between slot edges."""
    slot, fraction = _slot(edges, times)
    return (1 - fraction) * sample(slot) + fraction * sample(slot + 1)


def integral(
    trajectory: Trajectory,
    variable: str,
    coordinates: Mapping[str, Array],
    starts: Array,
    ends: Array,
) -> Array:
    """Integral of a field, linear between slot edges, over each value's interval, shape (m,).

    The field is accumulated once from edge to edge, so that the cost grows with the size of the
    trajectory and the number of values, not with their product.
    """
    edges, field, m = trajectory.times, trajectory.states[variable], starts.shape[0]
    lengths = jnp.diff(edges)
    whole = lengths.reshape(-1, *[1] * (field.ndim - 1)) * (field[:-1] + field[1:]) / 2
    summed = jnp.concatenate([jnp.zeros_like(field[:1]), jnp.cumsum(whole, axis=0)])
    grown = Trajectory(edges, {variable: summed}, {}, trajectory.grid)
    sample = in_space(trajectory, variable, coordinates, m)
    accumulated = in_space(grown, variable, coordinates, m)

    def up_to(times: Array) -> Array:
        slot, fraction = _slot(edges, times)
        first, last = sample(slot), sample(slot + 1)
        partial = lengths[slot] * (fraction * first + fraction**2 / 2 * (last - first))
        return accumulated(slot) + partial

    return up_to(ends) - up_to(starts)


def _bracket(axis: Coordinate, position: Array) -> _Bracket:
    values = jnp.asarray(axis.values)
    n = values.shape[0]
    if axis.period is None:
        position = on_axis(axis, position)
        if n == 1:
            here = jnp.zeros(position.shape, int)
            return _Bracket(here, here, jnp.zeros(position.shape))
        below = jnp.clip(_interval(values, position), 0, n - 2)
        above = below + 1
        gap, distance = values[above] - values[below], position - values[below]
    else:
        wrapped = values[0] + jnp.mod(position - values[0], axis.period)
        below = _interval(values, wrapped)
        above = jnp.mod(below + 1, n)
        gap = jnp.where(above == 0, axis.period, 0.0) + values[above] - values[below]
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
    values = jnp.asarray(axis.values)
    if values.shape[0] < 2:
        return bracket, jnp.zeros(position.shape, bool)
    south, north = _capped(values)
    above, below = (position > values[-1]) & north, (position < values[0]) & south
    crossing, last = above | below, jnp.where(above, values.shape[0] - 1, 0)
    passed = jnp.where(above, position - values[-1], values[0] - position)
    width = 2 * jnp.where(above, 90.0 - values[-1], values[0] + 90.0)
    fraction = passed / jnp.where(crossing & (width > 0), width, 1.0)
    return _Bracket(
        jnp.where(crossing, last, bracket.below),
        jnp.where(crossing, last, bracket.above),
        jnp.where(crossing, fraction, bracket.fraction),
    ), crossing


def _slot(edges: Array, times: Array) -> tuple[Array, Array]:
    """Slot that holds each time, and the fraction of it that has passed."""
    slot = jnp.clip(_interval(edges, times), 0, edges.shape[0] - 2)
    return slot, (times - edges[slot]) / (edges[slot + 1] - edges[slot])


def _interval(values: Array, positions: Array) -> Array:
    """Last of the increasing values that is not above each position; -1 where all are.

    Equal distances give it by a division. That is made sure of, and searched for where they differ.
    """
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
