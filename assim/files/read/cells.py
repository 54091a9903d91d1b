"""Rows of observations in cells of time and space."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from assim.problem.arrays import Coordinate
from assim.problem.curvilinear import EAST, NORTH

Distance = float | Mapping[str, float] | None


class _Along(NamedTuple):
    """Cell of every row along one dimension, where in it (0 to 1), and how to come back."""

    cell: np.ndarray
    fraction: np.ndarray
    start: np.ndarray
    width: np.ndarray


class Cells(NamedTuple):
    """Cell of every row, numbered from 0.

    Args:
        label: number of the cell of each row, shape (n,).
        along: position of each row within its cell, by dimension.
    """

    label: np.ndarray
    along: dict[str, _Along]

    def counts(self) -> np.ndarray:
        """Rows of every cell."""
        return np.bincount(self.label)

    def sums(self, column: np.ndarray) -> np.ndarray:
        """Sum of a column over every cell."""
        return np.bincount(self.label, np.asarray(column, float))

    def means(self, column: np.ndarray) -> np.ndarray:
        """Mean of a column over every cell."""
        return self.sums(column) / self.counts()

    def centres_of_mass(self, dim: str) -> np.ndarray:
        """Mean position of every cell's rows along a dimension, whether or not it is periodic."""
        along = self.along[dim]
        first = np.unique(self.label, return_index=True)[1]
        return along.start[first] + along.width[first] * self.means(along.fraction)

    def off_centre(self) -> np.ndarray:
        """Squared distance of every row from its cell's centre, in lengths of the cell."""
        return np.sum([(a.fraction - 0.5) ** 2 for a in self.along.values()], axis=0)

    def rows(self, which: np.ndarray) -> "Cells":
        """Some of the rows, their cells numbered anew."""
        label = np.unique(self.label[which], return_inverse=True)[1]
        along = {
            dim: _Along(*(column[which] for column in part)) for dim, part in self.along.items()
        }
        return Cells(label, along)


def cells_of(
    times: np.ndarray,
    start: float,
    length: float | None,
    axes: Mapping[str, Coordinate],
    places: Mapping[str, np.ndarray],
    distance: Distance,
) -> Cells:
    """Cells of rows at times and places.

    Args:
        times: time of each row, shape (n,).
        start: where the cells of time begin.
        length: their length; None where only rows of the same time share a cell.
        axes: the dimensions of space.
        places: position of each row along them.
        distance: width of the cells, along all of them or by dimension; along the others only
            rows at the same position share a cell.
    """
    along = {"time": _bounded(times, start, length)}
    widths = dict(distance) if isinstance(distance, Mapping) else dict.fromkeys(axes, distance)
    bands = np.ones(times.shape)
    for dim, axis in sorted(axes.items(), key=lambda item: item[1].units != NORTH):
        width, first = widths.get(dim), float(np.asarray(axis.values).flat[0])
        if axis.units == NORTH and width is not None:
            along[dim] = _bounded(places[dim], -90.0, width)
            middle = along[dim].start + along[dim].width / 2
            bands = np.maximum(np.cos(np.deg2rad(middle)), 1e-9)
        elif axis.period is not None:
            stretched = bands if axis.units == EAST else np.ones(times.shape)
            along[dim] = _periodic(places[dim], first, axis.period, width, stretched)
        else:
            along[dim] = _bounded(places[dim], first, width)
    columns = np.stack([a.cell for a in along.values()], axis=1)
    return Cells(np.unique(columns, axis=0, return_inverse=True)[1].ravel(), along)


def _bounded(position: np.ndarray, first: float, width: float | None) -> _Along:
    if width is None:
        return _alone(position)
    where = (position - first) / width
    cell = np.floor(where + 1e-9)  # a position on an edge, in spite of rounding
    return _Along(cell, where - cell, first + cell * width, np.full(position.shape, width))


def _periodic(
    position: np.ndarray, first: float, period: float, width: float | None, stretched: np.ndarray
) -> _Along:
    """A whole number of cells round the axis, wider where `stretched` is below 1."""
    if width is None:
        return _alone(np.mod(position - first, period) + first)
    widths = period / np.maximum(1, np.round(period * stretched / width))
    where = np.mod(position - first, period) / widths
    cell = np.floor(where + 1e-9)
    return _Along(cell, where - cell, first + cell * widths, widths)


def _alone(position: np.ndarray) -> _Along:
    """A cell for every distinct position."""
    distinct, cell = np.unique(position, return_inverse=True)
    half, nothing = np.full(position.shape, 0.5), np.zeros(position.shape)
    return _Along(cell.ravel().astype(float), half, distinct[cell.ravel()], nothing)
