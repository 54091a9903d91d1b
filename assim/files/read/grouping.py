"""Thinning and superobbing: the rows of a table that share a cell of time and space."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from assim.files.errors import DataError
from assim.files.names import DOMAIN, SUPEROBBED, THINNED
from assim.files.read.quality import QualityControl, Uncertainty
from assim.files.read.tables import ObservedTable
from assim.files.times import FileTimes
from assim.problem.arrays import Coordinate, Labels
from assim.problem.bias import BiasCorrection
from assim.problem.curvilinear import NORTH
from assim.problem.operator import AbstractOperator
from assim.problem.window import Window

Distance = float | Mapping[str, float] | None


class Frame(NamedTuple):
    """What rows are seen in: the model's labels, a window, H, and what is asked of them."""

    labels: Labels
    window: Window
    operator: AbstractOperator
    quality: QualityControl

    def times(self, stamps: FileTimes) -> np.ndarray:
        """Times of a file in the model's, on an edge of the window where rounding took them off."""
        window = self.window
        return stamps.to_model(self.labels.time_unit, window.reference, np.asarray(window.edges))

    def axes(self) -> dict[str, Coordinate]:
        """The dimensions along which the operator needs positions."""
        return {dim: self.labels.coordinates[dim] for dim in self.operator.dims(self.labels)}


class SortedTable(NamedTuple):
    """A table of n rows with their flags, whether they are `within` window and grid, and errors.

    Columns of the bias correction have n entries, too.
    """

    table: ObservedTable
    flags: np.ndarray
    within: np.ndarray
    uncertainty: Uncertainty
    bias: BiasCorrection | None


def thinned(rows: SortedTable, frame: Frame) -> SortedTable:
    """The rows, those flagged that are not the nearest to the centre of their cell."""
    used, quality = np.flatnonzero(rows.flags == 0), frame.quality
    if not quality.thins or not used.size:
        return rows
    cells = _cells(rows.table, frame, quality.thin_time, quality.thin_distance).rows(used)
    flags = rows.flags.copy()
    flags[used[~cells.nearest()]] = THINNED
    return rows._replace(flags=flags)


def superobbed(rows: SortedTable, frame: Frame) -> SortedTable:
    """The rows, those flagged that share a cell, and for every such cell a row of their means.

    Raises:
        DataError: errors or intervals of which no mean can be taken.
    """
    used, quality = np.flatnonzero(rows.flags == 0), frame.quality
    if not quality.averages or not used.size:
        return rows
    _check_means(rows, quality)
    everything = _cells(rows.table, frame, quality.superob_time, quality.superob_distance)
    everything = everything.apart(_intervals(rows.table, frame))
    several = everything.rows(used)
    many = used[several.counts()[several.label] > 1]
    if not many.size:
        return rows
    cells, stdev = everything.rows(many), rows.uncertainty.column(rows.table, rows.flags == 0)
    table = _extended(rows.table, many, cells, frame.labels)
    spread = cells.stdev_of_means(stdev[many], quality.correlation)
    flags = np.concatenate([rows.flags, np.zeros(spread.size, rows.flags.dtype)])
    flags[many] = SUPEROBBED
    placed = np.all([np.isfinite(table.coordinates[dim]) for dim in frame.axes()], axis=0)
    flags[(flags == 0) & ~placed] = DOMAIN  # the mean of places round a hole in the grid
    bias = rows.bias
    if bias is not None:
        columns = bias.columns().items()
        bias = bias.replaced({n: cells.extended(column, many) for n, column in columns})
    return SortedTable(
        table,
        flags,
        np.concatenate([rows.within, flags[rows.flags.size :] == 0]),
        replace(rows.uncertainty, stdev=np.concatenate([stdev, spread]), correlated=False),
        bias,
    )


def _check_means(rows: SortedTable, quality: QualityControl) -> None:
    where, given = rows.table.where, rows.uncertainty
    if not given.likelihood.additive:
        raise DataError(
            f"{where}: superobbing takes means of values with additive errors, not of those with "
            f"a {type(given.likelihood).__name__} likelihood; thin them instead"
        )
    matrix = given.stdev is None and given.correlated and rows.table.covariance is not None
    if given.covariance is not None or matrix:
        raise DataError(
            f"{where}: superobbing takes one correlation of the errors within a cell, not a "
            f"covariance; give standard deviations and `correlation`, or thin the values instead"
        )
    if rows.table.starts is not None and quality.superob_time is not None:
        raise DataError(
            f"{where}: values that cover intervals of time cannot be averaged in time; average "
            f"them in space alone, by `superob_distance`"
        )


def _intervals(table: ObservedTable, frame: Frame) -> list[np.ndarray]:
    """Starts and ends of intervals that H may look at: of which no mean stands for others."""
    sides = (table.starts, table.ends) if frame.operator.reads_intervals() else ()
    return [frame.times(stamps) for stamps in sides if stamps is not None]


def _cells(table: ObservedTable, frame: Frame, length: float | None, distance: Distance) -> "Cells":
    axes, grid = frame.axes(), frame.labels.curvilinear
    if grid is not None and set(grid.names) <= set(table.coordinates):
        axes = {dim: axis for dim, axis in axes.items() if dim not in grid.dims}
        period = 360.0 if grid.spherical else None
        axes[grid.names[0]] = Coordinate(np.zeros(1), grid.units[0])
        axes[grid.names[1]] = Coordinate(np.zeros(1), grid.units[1], period=period)
    unknown = sorted(set(distance) - set(axes)) if isinstance(distance, Mapping) else []
    if unknown:
        raise DataError(
            f"{table.where}: there is no distance along {unknown[0]!r}; its places have "
            f"{', '.join(axes) or 'no dimensions'}"
        )
    places = {dim: table.coordinates[dim] for dim in axes}
    start = float(frame.window.edges[0])
    return cells_of(frame.times(table.times), start, length, axes, places, distance)


def _extended(
    table: ObservedTable, many: np.ndarray, cells: "Cells", labels: Labels
) -> ObservedTable:
    """The table with the means of every cell after its rows."""
    means = {
        dim: cells.centres_of_mass(dim) if dim in cells.along else cells.means(column[many])
        for dim, column in table.coordinates.items()
    }
    grid = labels.curvilinear
    if grid is not None and set(grid.names) <= set(means):
        located = grid.locate(*(means[name] for name in grid.names))
        means |= dict(zip(grid.dims, located, strict=True))
    return replace(
        table.mapped(lambda column: cells.extended(column, many)),
        coordinates={d: np.concatenate([c, means[d]]) for d, c in table.coordinates.items()},
        qc=np.concatenate([table.qc, np.zeros(cells.counts().size, table.qc.dtype)]),
    )


class _Along(NamedTuple):
    """Cell of every row along one dimension, where in it (0 to 1), and how to come back."""

    cell: np.ndarray
    fraction: np.ndarray
    start: np.ndarray
    width: np.ndarray


class Cells(NamedTuple):
    """Number of the cell of every row, from 0, and where in it the row is, by dimension."""

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

    def extended(self, column: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """A column, and after it the mean over every cell, of which these are the rows."""
        return np.concatenate([column, self.means(column[rows])])

    def stdev_of_means(self, stdev: np.ndarray, correlation: float) -> np.ndarray:
        """Standard deviation of the error of every cell's mean, shape (cells,).

        σ² = ((1 - ρ) Σσᵢ² + ρ (Σσᵢ)²)/n² where any two errors have the correlation ρ.
        """
        squares, whole = self.sums(stdev**2), self.sums(stdev)
        return np.sqrt((1 - correlation) * squares + correlation * whole**2) / self.counts()

    def nearest(self) -> np.ndarray:
        """Which rows are nearest to the centre of their cell; the first of equally near ones."""
        off_centre = np.sum([(a.fraction - 0.5) ** 2 for a in self.along.values()], axis=0)
        order = np.lexsort((np.arange(self.label.size), off_centre, self.label))
        label, kept = self.label[order], np.zeros(self.label.size, bool)
        kept[order[np.concatenate([[True], label[1:] != label[:-1]])]] = True
        return kept

    def apart(self, columns: Sequence[np.ndarray]) -> "Cells":
        """The cells, each divided where these numbers differ."""
        keys = np.stack([self.label, *columns], axis=1)
        return self._replace(label=np.unique(keys, axis=0, return_inverse=True)[1].ravel())

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
    """Cells of rows at times and places, shape (n,) each.

    Cells of time begin at `start`; those of space are as wide as `distance`, along all axes or by
    dimension. Where there is no length, or no width, only equal times or positions share a cell.
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
            stretched = bands if axis.eastward else np.ones(times.shape)
            along[dim] = _periodic(places[dim], first, axis.period, width, stretched)
        else:
            along[dim] = _bounded(places[dim], first, width)
    columns = np.stack([a.cell for a in along.values()], axis=1)
    return Cells(np.unique(columns, axis=0, return_inverse=True)[1].ravel(), along)


def _bounded(position: np.ndarray, first: float, width: float | None) -> _Along:
    if width is None:
        return _alone(position)
    return _in_cells(position - first, first, np.full(position.shape, width))


def _periodic(
    position: np.ndarray, first: float, period: float, width: float | None, stretched: np.ndarray
) -> _Along:
    """A whole number of cells round the axis, wider where `stretched` is below 1."""
    if width is None:
        return _alone(np.mod(position - first, period) + first)
    widths = period / np.maximum(1, np.round(period * stretched / width))
    return _in_cells(np.mod(position - first, period), first, widths)


def _in_cells(offset: np.ndarray, first: float, widths: np.ndarray) -> _Along:
    where = offset / widths
    cell = np.floor(where + 1e-9)  # a position on an edge, in spite of rounding
    return _Along(cell, where - cell, first + cell * widths, widths)


def _alone(position: np.ndarray) -> _Along:
    """A cell for every distinct position."""
    distinct, cell = np.unique(position, return_inverse=True)
    half, nothing = np.full(position.shape, 0.5), np.zeros(position.shape)
    return _Along(cell.ravel().astype(float), half, distinct[cell.ravel()], nothing)
