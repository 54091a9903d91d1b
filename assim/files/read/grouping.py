"""Thinning and superobbing: the rows of a table that share a cell of time and space."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from assim.files.errors import DataError
from assim.files.names import DOMAIN, SUPEROBBED, THINNED
from assim.files.read.cells import Cells, cells_of
from assim.files.read.quality import QualityControl, kept_by_thinning, stdev_of_means
from assim.files.read.tables import ObservedTable
from assim.files.read.uncertainty import Uncertainty
from assim.files.times import FileTimes
from assim.problem.arrays import Coordinate, Labels
from assim.problem.bias import BiasCorrection
from assim.problem.window import Window


class SortedTable(NamedTuple):
    """A table with the fate of its rows and what belongs to each of them.

    Args:
        table: n rows.
        flags: effective quality flags, shape (n,).
        within: rows with a value in the window and on the grid, shape (n,).
        uncertainty: errors of the rows.
        bias: a correction whose columns have n entries, or None.
    """

    table: ObservedTable
    flags: np.ndarray
    within: np.ndarray
    uncertainty: Uncertainty
    bias: BiasCorrection | None


def thinned(
    rows: SortedTable,
    quality: QualityControl,
    window: Window,
    labels: Labels,
    dims: tuple[str, ...],
) -> SortedTable:
    """The rows, those flagged that are not the nearest to the centre of their cell."""
    used = np.flatnonzero(rows.flags == 0)
    if not quality.thins or not used.size:
        return rows
    cells = _cells(rows.table, window, labels, dims, quality.thin_time, quality.thin_distance)
    flags = rows.flags.copy()
    flags[used[~kept_by_thinning(cells.rows(used))]] = THINNED
    return rows._replace(flags=flags)


def superobbed(
    rows: SortedTable,
    quality: QualityControl,
    window: Window,
    labels: Labels,
    dims: tuple[str, ...],
) -> SortedTable:
    """The rows, those flagged that share a cell, and for every such cell a row of their means.

    Raises:
        DataError: errors or intervals of which no mean can be taken.
    """
    used = np.flatnonzero(rows.flags == 0)
    if not quality.averages or not used.size:
        return rows
    _check_means(rows, quality)
    lengths = quality.superob_time, quality.superob_distance
    everything = _cells(rows.table, window, labels, dims, *lengths)
    several = everything.rows(used)
    many = used[several.counts()[several.label] > 1]
    if not many.size:
        return rows
    cells, stdev = everything.rows(many), rows.uncertainty.column(rows.table, rows.flags == 0)
    table = _extended(rows.table, many, cells, labels)
    spread = stdev_of_means(stdev[many], cells, quality.correlation)
    flags = np.concatenate([rows.flags, np.zeros(spread.size, rows.flags.dtype)])
    flags[many] = SUPEROBBED
    placed = np.all([np.isfinite(table.coordinates[dim]) for dim in dims], axis=0)
    flags[(flags == 0) & ~placed] = DOMAIN  # the mean of places round a hole in the grid
    return SortedTable(
        table,
        flags,
        np.concatenate([rows.within, flags[rows.flags.size :] == 0]),
        replace(rows.uncertainty, stdev=np.concatenate([stdev, spread]), correlated=False),
        None if rows.bias is None else _averaged(rows.bias, many, cells),
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


def _cells(
    table: ObservedTable,
    window: Window,
    labels: Labels,
    dims: tuple[str, ...],
    length: float | None,
    distance: float | Mapping[str, float] | None,
) -> Cells:
    axes = {dim: labels.coordinates[dim] for dim in dims}
    grid = labels.curvilinear
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
    times = table.times.to_model(labels.time_unit, window.reference)
    places = {dim: table.coordinates[dim] for dim in axes}
    return cells_of(times, float(window.edges[0]), length, axes, places, distance)


def _extended(
    table: ObservedTable, many: np.ndarray, cells: Cells, labels: Labels
) -> ObservedTable:
    """The table with the means of every cell after its rows."""

    def more(column: np.ndarray) -> np.ndarray:
        return np.concatenate([column, cells.means(column[many])])

    def later(times: FileTimes) -> FileTimes:
        return replace(times, numbers=more(times.numbers))

    means = {
        dim: cells.centres_of_mass(dim) if dim in cells.along else cells.means(column[many])
        for dim, column in table.coordinates.items()
    }
    grid = labels.curvilinear
    if grid is not None and set(grid.names) <= set(means):
        located = grid.locate(*(means[name] for name in grid.names))
        means |= dict(zip(grid.dims, located, strict=True))
    added = np.zeros(cells.counts().size, table.qc.dtype)
    return replace(
        table,
        times=later(table.times),
        starts=None if table.starts is None else later(table.starts),
        ends=None if table.ends is None else later(table.ends),
        coordinates={d: np.concatenate([c, means[d]]) for d, c in table.coordinates.items()},
        values=more(table.values),
        stdev=None if table.stdev is None else more(table.stdev),
        qc=np.concatenate([table.qc, added]),
        covariance=None,
    )


def _averaged(bias: BiasCorrection, many: np.ndarray, cells: Cells) -> BiasCorrection:
    columns = bias.columns().items()
    return bias.replaced({n: np.concatenate([c, cells.means(c[many])]) for n, c in columns})
