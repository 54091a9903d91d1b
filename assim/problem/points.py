"""Where and when an instrument's values were taken, and where that is on a problem's grid."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from assim.problem.arrays import Array


class Stencil(NamedTuple):
    """Grid points round each place, with their weights: value = Σ_k weight_k · field[site_k]."""

    site: Array  # index into the flattened field, shape (corners, m)
    weight: Array | None  # they add up to one, shape (corners, m); None where all are 1


class InTime(NamedTuple):
    """Slot that holds each time, and the fraction of it that has passed.

    An edge, and None, where all times are at edges.
    """

    slot: Array  # shape (m,)
    fraction: Array | None


class Located(eqx.Module):
    """Where an instrument's values lie on the slot edges and the grid of one problem, found once.

    Args:
        times, starts, ends: where they lie between slot edges.
        stencil: grid points round each place; corners that no value needs are left out, and
            weights are None where every place is a grid point.
        dims: dimensions of the fields that this is about.
        first: where the values are entries first, first + 1, … of all states of such a field, one
            after the other; None where they are not.
    """

    times: InTime
    starts: InTime
    ends: InTime
    stencil: Stencil
    dims: tuple[str, ...] = eqx.field(static=True)
    first: int | None = eqx.field(static=True)


class Points(eqx.Module):
    """Where and when an instrument's values were taken.

    Args:
        times: time of each value in the model's time unit, shape (m,).
        starts: start of the interval that a value covers; equal to `times` for a reading.
        ends: end of that interval.
        coordinates: position of each value along each dimension, shape (m,) each.
        reference: ISO date at which these times are zero; None where it is not known.

    `located` is where they lie on the grid and slot edges of the problem that reads them, where
    that is known; points that are changed by `dataclasses.replace` do not have it.
    """

    times: Array
    starts: Array
    ends: Array
    coordinates: dict[str, Array]
    reference: str | None = eqx.field(default=None, static=True)
    located: Located | None = eqx.field(default_factory=lambda: None, init=False)

    @staticmethod
    def at(times: Array, coordinates: dict[str, Array] | None = None) -> "Points":
        """Readings at single times."""
        return Points.over(times, times, coordinates)

    @staticmethod
    def over(starts: Array, ends: Array, coordinates: dict[str, Array] | None = None) -> "Points":
        """Values that belong to intervals of time."""
        starts, ends = jnp.asarray(starts, dtype=float), jnp.asarray(ends, dtype=float)
        places = {name: jnp.asarray(value) for name, value in (coordinates or {}).items()}
        return Points(ends, starts, ends, places)
