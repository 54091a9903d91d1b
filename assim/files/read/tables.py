"""Observation files as tables: one row a value, whether it came from points or from a grid."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from assim.files.errors import DataError, NothingToUseError
from assim.files.missing import NOTES, missing_notes
from assim.files.names import COVARIANCE, STDEV, is_ancillary
from assim.files.read.cells import intervals, method_in_time, spread
from assim.files.read.dimensions import (
    ALL,
    MEAN,
    Select,
    selected,
    standard_name,
    time_variable,
    time_variables,
    unknown_dimension,
)
from assim.files.read.flags import Accepted, flags_of
from assim.files.read.places import check_beside, column, positions
from assim.files.sources import File, Source, names_near, opened_file
from assim.files.times import NON_PHYSICAL, FileTimes, decode
from assim.files.units import UNCHANGED, Conversion
from assim.problem.arrays import Labels

POINTS = "obs"  # customary dimension of a table of points


@dataclass(frozen=True)
class ObservedTable:
    """One observed variable of a file, in file order, n rows.

    Args:
        source: path, or "dataset" for one in memory.
        variable: name of the observed variable, of which `units` and `long_name` are.
        times: time of each value.
        starts: start of the interval that each value covers, and `ends` its end; None for readings.
        coordinates: position of each value along the model's dimensions that the file gives.
        values: observed values; NaN where missing.
        stdev: standard deviation of each value's error, in `stdev_units`; each None where the file
            has none.
        qc: quality flags of the file, zero where it has none.
        notes: what is unusual but accepted, for people.
        covariance: of the values' errors, shape (n, n), which goes before `stdev`; likewise.
        units_given: whether the file gives the units, which are "1" where it does not.
        method: how each value stands for its interval, as "mean"; "" where nobody says.
        conversion: that brought the values into their unit from that of the file.
    """

    source: str
    variable: str
    units: str
    long_name: str
    times: FileTimes
    starts: FileTimes | None
    ends: FileTimes | None
    coordinates: dict[str, np.ndarray]
    values: np.ndarray
    stdev: np.ndarray | None
    stdev_units: str | None
    qc: np.ndarray
    notes: tuple[str, ...] = ()
    covariance: np.ndarray | None = None
    covariance_units: str | None = None
    units_given: bool = True
    method: str = ""
    conversion: Conversion = UNCHANGED

    @property
    def where(self) -> str:
        """File and variable, for messages."""
        return f"{self.source}: {self.variable}"

    @property
    def rows(self) -> int:
        """Number of values, missing ones included."""
        return self.values.size

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> "ObservedTable":
        """The table with every column changed in the same way, without the covariance."""

        def times(stamps: FileTimes) -> FileTimes:
            return replace(stamps, numbers=change(stamps.numbers))

        return replace(
            self,
            times=times(self.times),
            starts=self.starts and times(self.starts),
            ends=self.ends and times(self.ends),
            coordinates={name: change(column) for name, column in self.coordinates.items()},
            values=change(self.values),
            stdev=None if self.stdev is None else change(self.stdev),
            qc=change(self.qc),
            covariance=None,
        )

    def taken(self, index: np.ndarray) -> "ObservedTable":
        """The rows of these numbers, in this order."""
        matrix = None if self.covariance is None else self.covariance[np.ix_(index, index)]
        return replace(self.mapped(lambda column: column[index]), covariance=matrix)

    def in_order(self) -> np.ndarray:
        """Numbers of the rows in the order of time, place, flag, value and error."""
        return np.lexsort(self._columns()[::-1])

    def _columns(self) -> list[np.ndarray]:
        """What every row says: when, where, its flag, its value, and last its error."""
        sides = [stamps.numbers for stamps in (self.starts, self.ends) if stamps is not None]
        stdev = np.zeros(self.rows) if self.stdev is None else self.stdev
        places = self.coordinates.values()
        return [self.times.numbers, *sides, *places, self.qc, self.values, stdev]

    def repeated(self) -> np.ndarray:
        """Which rows say again, of the same time and place, what a row before them said.

        Errors that differ make no difference: the least, where rows are in order, is kept.
        """
        seen: set[tuple[float, ...]] = set()
        again = np.zeros(self.rows, bool)
        for number, row in enumerate(zip(*self._columns()[:-1], strict=True)):
            again[number] = row in seen
            seen.add(row)
        return again


def observed_variables(source: Source, labels: Labels, clock: str | None = None) -> list[str]:
    """Names of the variables of a file that have a time and are not about another variable.

    The time is `clock` where that is given.
    """
    with opened_file(source, labels) as file:
        return _observed(file, clock)


def open_observations(
    source: Source,
    variable: str | None,
    labels: Labels,
    clock: str | None = None,
    select: Select | None = None,
    accept: Accepted = None,
) -> ObservedTable:
    """Read one observed variable with its times, positions, errors and flags.

    The file is a point table (dimension `obs`) or gridded (`time`, `y`, `x`); a grid becomes one
    row a value. Rows keep their order in the file, sorted in time or not. Names and units of the
    coordinates are those of the labels; without a name, the only observed variable is read.
    Longitudes are turned to those of the model's axis.

    Args:
        source: path of a NetCDF file, or a Dataset.
        variable: name of the observed variable; None for the only one in the file.
        labels: the model's.
        clock: the variable that is the time; that of the standard name `time` where not given.
        select: by dimension that the model does not know, the label (the number where it has no
            coordinate) to take, "mean" for the mean over it, or "all". Errors of values that are
            averaged count as one and the same.
        accept: quality flags with which values are used, by value or meaning; 0 where None.

    Raises:
        DataError: no such variable, or times, coordinates, errors or flags that cannot be used.
    """
    with opened_file(source, labels) as file:
        called = file.called if variable is None else file.where(variable)
        file = file._replace(dataset=selected(file.dataset, select, called)[0])
        names = _observed(file, clock)
        if variable is None and len(names) != 1:
            raise DataError(
                f"{file.called}: expected one observed variable, got "
                f"{', '.join(names) or 'none that has a time'}; "
                + ("say which with variable=..." if names else _need_time(labels))
            )
        variable = names[0] if variable is None else variable
        if not file.has(variable):
            near = names_near(file.dataset, variable, names)
            raise DataError(f"{file.called}: there is no variable {variable!r}; {near}")
        table, known = _table(file, variable, clock, accept)
        table = _on_known_dimensions(table, file, known, select or {})
        limits = file.dataset[variable].encoding.get(NOTES, ())
        missing = [f"{table.where}: {note}" for note in limits]
        missing += missing_notes(table.values, table.where)
        return replace(table, notes=(*missing, *table.notes))


def _table(
    file: File, variable: str, chosen: str | None, accept: Accepted
) -> tuple[ObservedTable, set[str]]:
    """The table of a variable, and the dimensions of its times and places."""
    array, where = file.dataset[variable], file.where(variable)
    if array.size == 0:
        raise NothingToUseError(
            f"{where}: expected at least one value, its dimensions are {dict(array.sizes)}"
        )
    clock = _clock(file, array, where, chosen)
    times = decode(file.dataset[clock], file.where(clock))
    starts, ends = intervals(file, clock, array)
    coordinates, flags = positions(file, array), flags_of(file, array, accept)
    known = {str(d) for name in (clock, *coordinates) if file.has(name) for d in file.dims(name)}
    table = ObservedTable(
        source=file.called,
        variable=variable,
        units=str(array.attrs.get("units", "1")),
        units_given="units" in array.attrs,
        long_name=str(array.attrs.get("long_name", variable)),
        times=spread(times, file.dataset[clock], array),
        starts=starts,
        ends=ends,
        coordinates=coordinates,
        values=column(array, array, where),
        stdev=_optional(file, f"{variable}{STDEV}", array),
        stdev_units=_units(file, f"{variable}{STDEV}"),
        qc=flags.codes,
        notes=(*_unordered(times), *flags.notes),
        covariance=_covariance(file, array),
        covariance_units=_units(file, f"{variable}{COVARIANCE}"),
        method=method_in_time(array, clock),
    )
    return table, known


def _on_known_dimensions(
    table: ObservedTable, file: File, known: set[str], select: Select
) -> ObservedTable:
    """The table, or that of the means along dimensions that are averaged.

    Raises:
        DataError: a dimension that nobody knows, or one to average that is of times or places.
    """
    array, grid = file.dataset[table.variable], file.labels.curvilinear
    every = [dim for dim, label in select.items() if label == ALL]
    known |= {*file.labels.coordinates, *every, POINTS, *(grid.dims if grid else ())}
    means = [dim for dim, label in select.items() if label == MEAN and dim in array.dims]
    unknown = [d for d, size in array.sizes.items() if size > 1 and d not in {*known, *means}]
    if unknown:
        what = unknown_dimension(array, file.dataset, map(str, unknown), table.where)
        every_one = f'or all as independent values, select = {{ {unknown[0]} = "{ALL}" }}'
        raise DataError(f"{what}, {every_one}")
    for dim in set(means) & known:
        raise DataError(
            f"{table.where}: select: no mean can be taken along {dim!r}, on which the times or "
            f"places of the values lie; thin or average them by the keys of `quality`"
        )
    return _averaged(table, array, means) if means else table


def _averaged(table: ObservedTable, array: xr.DataArray, dims: list[str]) -> ObservedTable:
    """The means along dimensions of the values, missing where any is, as of errors that are one."""
    axes = tuple(array.dims.index(dim) for dim in dims)
    if table.covariance is not None:
        raise DataError(f"{table.where}: select: no mean can be taken of values with a covariance")

    first = tuple(slice(0, 1 if axis in axes else None) for axis in range(array.ndim))

    def mean(values: np.ndarray) -> np.ndarray:
        grid = values.reshape(array.shape)  # times and places, alike along the axes, stay exact
        return np.asarray((grid[first] + (grid - grid[first]).mean(axes, keepdims=True)).ravel())

    worst = table.qc.reshape(array.shape).max(axes).ravel()
    return replace(table.mapped(mean), qc=worst)


def _observed(file: File, clock: str | None) -> list[str]:
    dataset, labels = file.dataset, file.labels
    clocks = time_variables(dataset, labels.time_unit, _taken(labels))
    clocks += [clock] if clock is not None and file.has(clock) else []
    places = labels.curvilinear.names if labels.curvilinear else ()
    about = {*clocks, *labels.coordinates, *places}
    for variable in dataset.variables.values():
        about |= set(str(variable.attrs.get("ancillary_variables", "")).split())
        about.add(str(variable.attrs.get("bounds")))
    times = {"time", "forecast_reference_time", "forecast_period"}
    names = set(map(str, dataset.variables))
    return [
        str(name)
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind in "iuf"
        and variable.ndim > 0
        and any(set(dataset[clock].dims) <= set(variable.dims) for clock in clocks)
        and name not in about
        and standard_name(variable) not in times
        and "flag_meanings" not in variable.attrs
        and not is_ancillary(str(name), names)
    ]


def _taken(labels: Labels) -> set[str]:
    """Names that mean something else than the time to the model."""
    return {*labels.coordinates, *labels.state}


def _need_time(labels: Labels) -> str:
    unit = labels.time_unit
    if unit == NON_PHYSICAL:
        return "add a variable 't' (units '1') on the dimension of the values"
    return "add a variable 'time' (such as 'days since 1900-01-01') on the dimension of the values"


def _clock(file: File, array: xr.DataArray, where: str, chosen: str | None) -> str:
    """Name of the time variable of an array."""
    dataset, unit, taken = file.dataset, file.labels.time_unit, _taken(file.labels)
    clock = time_variable(
        dataset,
        unit,
        where,
        fits=lambda variable: set(variable.dims) <= set(array.dims),
        chosen=chosen,
        taken=taken,
    )
    if clock is not None:
        return clock
    others, way = time_variables(dataset, unit, taken), _need_time(file.labels)
    if not others:
        way = f'{way}, or name the variable that is the time, as time = "name"'
        raise DataError(f"{where}: expected a time for every value, there is none; {way}")
    raise DataError(
        f"{where}: expected the time {others[0]!r} on the dimensions of the values {array.dims}, "
        f"got {dataset[others[0]].dims}; {way}"
    )


def _optional(file: File, name: str, like: xr.DataArray) -> np.ndarray | None:
    """A column about the values, or None; it may be one number for all of them."""
    if not file.has(name):
        return None
    check_beside(like, file, name)
    return column(file.dataset[name], like, file.where(name))


def _covariance(file: File, array: xr.DataArray) -> np.ndarray | None:
    """Covariance of the errors of all rows, or None; not checked to be positive definite."""
    name = f"{array.name}{COVARIANCE}"
    if not file.has(name):
        return None
    matrix, where, n = file.dataset[name], file.where(name), array.size
    if array.ndim != 1 or matrix.shape != (n, n) or array.dims[0] not in matrix.dims:
        raise DataError(
            f"{where}: expected the dimension of the values, which must have only one, and another "
            f"of the same length {n}, got {dict(matrix.sizes)} for values on {dict(array.sizes)}"
        )
    values = np.asarray(matrix.values, float)
    finite = np.nan_to_num(values)
    off = np.abs(finite - finite.T)
    if np.any(off > 1e-8 * np.abs(finite).max()):
        row, column = np.unravel_index(np.argmax(off), off.shape)
        raise DataError(
            f"{where}: expected a symmetric matrix, got {values[row, column]:g} in row {row}, "
            f"column {column} and {values[column, row]:g} across the diagonal; use (C + Cᵀ)/2"
        )
    return values


def _units(file: File, name: str) -> str | None:
    units = file.dataset[name].attrs.get("units") if file.has(name) else None
    return None if units is None else str(units)


def _unordered(times: FileTimes) -> list[str]:
    """A note of times of a file, on dimensions of their own, that increase along none of them."""
    numbers = times.numbers.squeeze()
    if not numbers.ndim or any(np.all(np.diff(numbers, axis=d) >= 0) for d in range(numbers.ndim)):
        return []
    return [f"{times.where}: not in the order of time"]
