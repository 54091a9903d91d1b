"""Observation files as tables: one row a value, whether it came from points or from a grid."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from assim.files.errors import DataError, NothingToUseError
from assim.files.missing import missing_notes
from assim.files.names import COVARIANCE, QC, STDEV, is_ancillary, time_name
from assim.files.read.flags import Accepted, Flags, flag_variable, read_flags
from assim.files.sources import File, Source, names_near, numbers, opened_file
from assim.files.times import NON_PHYSICAL, FileTimes, decode
from assim.problem.arrays import Labels


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


def observed_variables(source: Source, labels: Labels) -> list[str]:
    """Names of the variables of a file that have a time and are not about another variable."""
    with opened_file(source, labels) as file:
        return _observed(file)


def open_observations(
    source: Source, variable: str | None, labels: Labels, accept: Accepted = None
) -> ObservedTable:
    """Read one observed variable with its times, positions, errors and flags.

    The file is a point table (dimension `obs`) or gridded (`time`, `y`, `x`); a grid becomes one
    row a value. Rows keep their order in the file, sorted in time or not. Names and units of the
    coordinates are those of the labels; without a name, the only observed variable is read. Values
    are used whose quality flags `accept` has, by value or meaning; those of 0 where it is None.

    Raises:
        DataError: no such variable, or times, coordinates, errors or flags that cannot be used.
    """
    with opened_file(source, labels) as file:
        names = _observed(file)
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
        return _table(file, variable, accept)


def _table(file: File, variable: str, accept: Accepted) -> ObservedTable:
    array, where = file.dataset[variable], file.where(variable)
    if array.size == 0:
        raise NothingToUseError(
            f"{where}: expected at least one value, its dimensions are {dict(array.sizes)}"
        )
    clock = _clock(file, array, where)
    times = _times(file.dataset[clock], array, file.where(clock))
    starts, ends = _interval(file, clock, array)
    coordinates, flags = _coordinates(file, array), _flags(file, array, accept)
    values = _column(array, array, where)
    return ObservedTable(
        source=file.called,
        variable=variable,
        units=str(array.attrs.get("units", "1")),
        long_name=str(array.attrs.get("long_name", variable)),
        times=times,
        starts=starts,
        ends=ends,
        coordinates=coordinates,
        values=values,
        stdev=_optional(file, f"{variable}{STDEV}", array),
        stdev_units=_units(file, f"{variable}{STDEV}"),
        qc=flags.codes,
        notes=(*_notes(times, coordinates, where), *missing_notes(values, where), *flags.notes),
        covariance=_covariance(file, array),
        covariance_units=_units(file, f"{variable}{COVARIANCE}"),
    )


def _observed(file: File) -> list[str]:
    dataset, labels, clock = file.dataset, file.labels, _find_clock(file)
    if clock is None:
        return []
    places = labels.curvilinear.names if labels.curvilinear else ()
    about = {dataset[clock].attrs.get("bounds"), clock, *labels.coordinates, *places}
    for variable in dataset.variables.values():
        about |= set(str(variable.attrs.get("ancillary_variables", "")).split())
    dims, names = set(dataset[clock].dims), set(map(str, dataset.variables))
    return [
        str(name)
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind in "iuf"
        and variable.ndim > 0
        and dims <= set(variable.dims)
        and name not in about
        and "flag_meanings" not in variable.attrs
        and not is_ancillary(str(name), names)
    ]


def _find_clock(file: File) -> str | None:
    """Name of the time variable: by name, else by its attributes."""
    for name in (time_name(file.labels.time_unit), "time", "t"):
        if file.has(name) and name not in file.labels.coordinates:
            return name
    for key, variable in file.dataset.variables.items():
        if variable.attrs.get("standard_name") == "time" or variable.dtype.kind == "M":
            return str(key)
    return None


def _need_time(labels: Labels) -> str:
    unit = labels.time_unit
    if unit == NON_PHYSICAL:
        return "add a variable 't' (units '1') on the dimension of the values"
    return "add a variable 'time' (such as 'days since 1900-01-01') on the dimension of the values"


def _clock(file: File, array: xr.DataArray, where: str) -> str:
    clock, way = _find_clock(file), _need_time(file.labels)
    if clock is None:
        raise DataError(f"{where}: expected a time for every value, there is none; {way}")
    if not _stands_beside(array, file, clock):
        raise DataError(
            f"{where}: expected the time {clock!r} on the dimensions of the values {array.dims}, "
            f"got {file.dataset[clock].dims}; {way}"
        )
    return clock


def _column(array: xr.DataArray, like: xr.DataArray, where: str) -> np.ndarray:
    """One number a row: broadcast to the dimensions of `like` and flattened."""
    return numbers(_flat(array, like), where)


def _flat(array: xr.DataArray, like: xr.DataArray) -> np.ndarray:
    spread = array.variable.set_dims(dict(like.sizes)).transpose(*like.dims)
    return np.asarray(spread.values).ravel()


def _times(array: xr.DataArray, like: xr.DataArray, where: str) -> FileTimes:
    times = decode(array, where)
    return replace(times, numbers=_flat(xr.DataArray(times.numbers, dims=array.dims), like))


def _interval(
    file: File, clock: str, like: xr.DataArray
) -> tuple[FileTimes | None, FileTimes | None]:
    """Start and end of every value's interval, from the bounds of the time variable."""
    dataset = file.dataset
    name = dataset[clock].attrs.get("bounds") or dataset[clock].encoding.get("bounds")
    if name is None:
        return None, None
    where = file.where(name)
    if not file.has(name):
        raise DataError(
            f"{where}: {clock!r} names it as its bounds, but there is no such variable; add it, "
            f"or drop the attribute `bounds`"
        )
    bounds = dataset[name]
    pair = [dim for dim in bounds.dims if dim not in dataset[clock].dims]
    if len(pair) != 1 or bounds.sizes[pair[0]] != 2:
        raise DataError(
            f"{where}: expected the dimensions of {clock!r} and one of length 2, got "
            f"{dict(bounds.sizes)}"
        )
    inherited = {k: v for k, v in dataset[clock].attrs.items() if k in ("units", "calendar")}
    bounds = bounds.assign_attrs({**inherited, **bounds.attrs})
    starts, ends = (_times(bounds.isel({pair[0]: side}), like, where) for side in (0, 1))
    if np.any(starts.numbers >= ends.numbers):
        first = int(np.argmax(starts.numbers >= ends.numbers))
        raise DataError(
            f"{where}: every interval must end after it starts, row {first} does not "
            f"({starts.numbers[first]:g} to {ends.numbers[first]:g})"
        )
    return starts, ends


def _coordinates(file: File, array: xr.DataArray) -> dict[str, np.ndarray]:
    coordinates, grid = {}, file.labels.curvilinear
    for dim, axis in file.labels.coordinates.items():
        if _stands_beside(array, file, dim):
            file.check_units(dim, axis.units)
            coordinates[dim] = _column(file.dataset[dim], array, file.where(dim))
    if grid is not None and all(_stands_beside(array, file, name) for name in grid.names):
        for name, units in zip(grid.names, grid.units, strict=True):
            file.check_units(name, units)
            coordinates[name] = _column(file.dataset[name], array, file.where(name))
        if not set(grid.dims) <= set(coordinates):
            places = grid.locate(*(coordinates[name] for name in grid.names))
            coordinates |= dict(zip(grid.dims, places, strict=True))
    return coordinates


def _stands_beside(array: xr.DataArray, file: File, name: str) -> bool:
    """Whether there is such a variable, with a number for every value of the array."""
    return file.has(name) and set(file.dataset[name].dims) <= set(array.dims)


def _optional(file: File, name: str, like: xr.DataArray) -> np.ndarray | None:
    """A column about the values, or None; it may be one number for all of them."""
    if not file.has(name):
        return None
    _check_beside(like, file, name)
    return _column(file.dataset[name], like, file.where(name))


def _check_beside(array: xr.DataArray, file: File, name: str) -> None:
    if not _stands_beside(array, file, name):
        got = file.dataset[name].dims
        raise DataError(f"{file.where(name)}: expected the dimensions {array.dims}, got {got}")


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


def _flags(file: File, array: xr.DataArray, accept: Accepted) -> Flags:
    """Quality flags of the file; zero where it has none."""
    name = flag_variable(file, array)
    if name is None:
        if accept is not None:
            raise DataError(
                f"{file.where(array.name)}: accept names quality flags, but there are none; call "
                f"them {array.name}{QC}, name them in the attribute `ancillary_variables` of "
                f"{array.name}, or leave out accept"
            )
        return Flags(np.zeros(array.size, np.int32))
    flags, where = file.dataset[name], file.where(name)
    _check_beside(array, file, name)
    return read_flags(_flat(flags, array), flags.attrs, where, accept)


def _units(file: File, name: str) -> str | None:
    units = file.dataset[name].attrs.get("units") if file.has(name) else None
    return None if units is None else str(units)


def _notes(times: FileTimes, coordinates: dict[str, np.ndarray], where: str) -> tuple[str, ...]:
    rows = np.column_stack([times.numbers, *coordinates.values()])
    notes = []
    if repeated := len(rows) - len(np.unique(rows, axis=0)):
        notes.append(f"{where}: {repeated} values repeat the time and place of another")
    if np.any(np.diff(times.numbers) < 0):
        notes.append(f"{where}: not in the order of time")
    return tuple(notes)
