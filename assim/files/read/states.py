"""States and parameters from a Dataset or a NetCDF file.

Names, dimensions, units and coordinates come from the model's labels, never from shapes.
"""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.arguments import hint
from assim.files.errors import DataError
from assim.files.names import STDEV, time_name
from assim.files.read.far import check_far
from assim.files.sources import File, Source, finite_numbers, name_of, names_near, opened_file
from assim.files.times import FileTimes, date_text, decode
from assim.problem.arrays import Array, Label, Labels, State
from assim.problem.model import AbstractDynamics

_TIME_TOLERANCE = 1.0  # seconds: dates are given to the second
_NUMBER_TOLERANCE = 1e-6  # model time units, where time is not physical
_PLACE_TOLERANCE = 1e-6  # of the mean grid spacing
_SPAN_TOLERANCE = 1e-6  # of the time that a series covers


def read_state(
    source: Source,
    model: AbstractDynamics,
    fields: Iterable[str] | None = None,
    time: str | float | None = None,
) -> State:
    """Fields of the model's state: a background, a truth, an analysis to restart from.

    Dimensions may come in any order. Where the file has a time dimension, `time` says which
    state to take.

    Args:
        source: path of a NetCDF file, or a Dataset.
        model: whose labels the fields must match.
        fields: names to read; all fields of the state where not given.
        time: date in ISO 8601, or a number where the model's time is not physical.

    Raises:
        DataError: the file or a field in it is not what the labels ask for.
    """
    labels = model.labels()
    return read_arrays(source, labels, labels.state if fields is None else fields, time)


def read_stdev(
    source: Source,
    model: AbstractDynamics,
    fields: Iterable[str] | None = None,
    time: str | float | None = None,
) -> State:
    """Background standard deviations `<field>_stddev`, all of them positive.

    Args:
        source: path of a NetCDF file, or a Dataset.
        model: whose labels the fields must match.
        fields: fields that must have one; where not given, those that do have one, less those
            that are zero everywhere (fixed).
        time: as for `read_state`.

    Raises:
        DataError: as for `read_state`, or a standard deviation that is not positive.
    """
    labels = model.labels()
    with opened_file(source, labels) as file:
        present = [name for name in labels.state if file.has(f"{name}{STDEV}")]
        stdevs = arrays_of(file, present if fields is None else fields, STDEV, time)
    if fields is None:
        stdevs = {name: value for name, value in stdevs.items() if bool(jnp.any(value != 0))}
    for name, value in stdevs.items():
        _check_positive(np.asarray(value), f"{name_of(source)}: {name}{STDEV}")
    return stdevs


def read_arrays(
    source: Source, labels: Labels, names: Iterable[str], time: str | float | None = None
) -> dict[str, Array]:
    """Fields or parameters `names`, as float arrays.

    Raises:
        DataError: a variable is missing, or its units, dimensions, coordinates or values are
            not what the labels ask for.
    """
    with opened_file(source, labels) as file:
        return arrays_of(file, names, time=time)


def arrays_of(
    file: File, names: Iterable[str], suffix: str = "", time: str | float | None = None
) -> dict[str, Array]:
    """As `read_arrays`, from the variables `<name><suffix>` of an open file."""
    return {name: jnp.asarray(_read(file, name, f"{name}{suffix}", time)) for name in names}


def read_trajectory(
    source: Source, model: AbstractDynamics, times: np.ndarray, reference: str | None
) -> State:
    """Fields of the model's state at several model times, leading dimension times.

    Raises:
        DataError: as for `read_state`, or a time that the file does not have.
    """
    labels = model.labels()
    clock = time_name(labels.time_unit)
    with opened_file(source, labels) as file:
        dataset, called = file.dataset, file.called
        if not file.has(clock):
            raise DataError(f"{called}: expected a trajectory, but {clock!r} has no coordinate")
        stamps = decode(dataset[clock], file.where(clock))
        own = np.atleast_1d(stamps.to_model(labels.time_unit, reference))
        index, there = nearest_times(own, np.asarray(times))
        if not np.all(there):
            first = float(np.asarray(times)[np.argmin(there)])
            date = date_text(first, labels.time_unit, reference)
            raise DataError(
                f"{called}: expected a state at {date}, there is none; make it anew with "
                "`assim twin --force`, or name another file as twin.truth"
            )
        states = {}
        for name, label in labels.state.items():
            field = _read(file._replace(dataset=dataset.isel({clock: [0]})), name, name, None)
            series = dataset[name].isel({clock: index}).transpose(clock, *label.dims)
            values = finite_numbers(series, file.where(name))
            states[name] = jnp.asarray(values).reshape(-1, *field.shape)
    return states


def nearest_times(own: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of a file's times is nearest to every one that is asked for, and whether it is that."""
    order = np.argsort(own, kind="stable")
    ahead = np.clip(np.searchsorted(own[order], asked), 1, max(len(own) - 1, 1))
    pair = order[np.stack([ahead - 1, np.minimum(ahead, len(own) - 1)])]
    first = np.abs(own[pair[0]] - asked) <= np.abs(own[pair[1]] - asked)
    index = np.where(first, pair[0], pair[1])
    return index, np.abs(own[index] - asked) <= _SPAN_TOLERANCE * (np.ptp(asked) or 1.0)


def _read(file: File, name: str, variable: str, time: str | float | None) -> np.ndarray:
    where, labels = file.where(variable), file.labels
    if name not in labels.state and name not in labels.parameters:
        raise DataError(f"{where}: the model has no field {name!r}; {hint(name, labels.state)}")
    if not file.has(variable):
        near = names_near(file.dataset, variable)
        raise DataError(f"{where}: expected a variable {variable!r}, there is none; {near}")
    label = labels.state.get(name) or labels.parameters[name]
    file.check_units(variable, label.units)
    array = _at_time(file.dataset[variable], file.dataset, label, time, where)
    _check_dims(array, labels, label, where)
    for dim in label.dims:
        check_axis(file, dim)
    values, spread = finite_numbers(array.transpose(*label.dims), where), f"{name}{STDEV}"
    has_spread = variable != spread and file.has(spread)
    check_far(values, where, float(np.median(file.dataset[spread])) if has_spread else 0.0)
    return values


def _at_time(
    array: xr.DataArray, dataset: xr.Dataset, label: Label, time: str | float | None, where: str
) -> xr.DataArray:
    """Drop the time dimension: its only entry, or the one asked for."""
    clock = next((d for d in ("time", "t") if d in array.dims and d not in label.dims), None)
    if clock is None:
        return array
    if time is None:
        if array.sizes[clock] == 1:
            return array.isel({clock: 0})
        raise DataError(
            f"{where}: expected one state, got {array.sizes[clock]} along {clock!r}; say which "
            f"one to take, as in time={_example(dataset, clock)!r}"
        )
    if clock not in dataset.variables:
        raise DataError(f"{where}: expected the time {time!r}, but {clock!r} has no coordinate")
    return array.isel({clock: _index_of(time, decode(dataset[clock], f"{where}: {clock}"))})


def _index_of(time: str | float, times: FileTimes) -> int:
    """Index of a date (or number, where time is not physical)."""
    tolerance = _NUMBER_TOLERANCE if times.epoch is None else _TIME_TOLERANCE
    if times.epoch is not None:
        distance = np.abs(times.to_model("seconds", str(time)))
    elif isinstance(time, str):
        raise DataError(f"{times.where}: expected a number as the time, got {time!r}")
    else:
        distance = np.abs(times.numbers - time)
    index = int(np.argmin(distance))
    if distance[index] > tolerance:
        near = times.numbers[index] if times.epoch is None else times.dates()[index]
        raise DataError(f"{times.where}: expected a state at {time}, the nearest is at {near}")
    return index


def _example(dataset: xr.Dataset, clock: str) -> str:
    if clock not in dataset.variables:
        return "0"
    times = decode(dataset[clock], clock)
    return f"{times.numbers[0]:g}" if times.epoch is None else times.dates()[0].isoformat()


def _check_dims(array: xr.DataArray, labels: Labels, label: Label, where: str) -> None:
    got = {str(dim): size for dim, size in array.sizes.items()}
    want = {dim: len(labels.coordinates[dim].values) for dim in label.dims}
    if set(got) != set(want):
        raise DataError(
            f"{where}: expected the dimensions {label.dims}, got {tuple(got)}; rename them with "
            f"`ncrename -d old,new` or dataset.rename, or drop what the model does not have"
        )
    for dim, length in want.items():
        if got[dim] != length:
            raise DataError(
                f"{where}: expected {length} points along {dim!r}, as the model's grid has, "
                f"got {got[dim]}; interpolate to the grid, or change the model's"
            )


def check_axis(file: File, dim: str) -> None:
    """Raise DataError unless the file's coordinate, where it has one, is the model's."""
    if not file.has(dim):
        return
    axis, where = file.labels.coordinates[dim], file.where(dim)
    got = finite_numbers(file.dataset[dim], where)
    want = np.asarray(axis.values, float)
    if "units" in file.dataset[dim].attrs:
        file.check_units(dim, axis.units)
    if got.shape != want.shape:
        raise DataError(
            f"{where}: expected {want.size} positions along {dim!r}, as the model's grid has, got "
            f"{dict(file.dataset[dim].sizes) or 'one number'}; write the model's, or leave it out"
        )
    steps = np.diff(got)
    if steps.size and not (np.all(steps > 0) or np.all(steps < 0)):
        raise DataError(
            f"{where}: expected a monotonic coordinate, but it turns at index "
            f"{int(np.argmax(~(steps * steps[0] > 0))) + 1}; sort it, as with "
            f"dataset.sortby({dim!r})"
        )
    tolerance = _PLACE_TOLERANCE * (np.ptp(want) / max(want.size - 1, 1) or 1.0)
    wrong = ~(np.abs(got - want) <= tolerance)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"{where}: expected the model's grid, but index {first} is at {got[first]:g} instead "
            f"of {want[first]:g} ({wrong.sum()} of {wrong.size} points differ); interpolate to "
            f"the grid, or dataset.sortby({dim!r}) where only the direction differs"
        )
    file.check_units(dim, axis.units)


def _check_positive(values: np.ndarray, where: str) -> None:
    bad = ~(values > 0)
    if bad.any():
        first = _first(bad)
        raise DataError(
            f"{where}: expected positive standard deviations, got {bad.sum()} of {bad.size} that "
            f"are not, the first ({values[first]:g}) at index {first}; leave the field out of "
            f"what is estimated, or give it a spread"
        )


def _first(where: np.ndarray) -> tuple[int, ...]:
    """Index of the first entry that is true."""
    return tuple(int(i) for i in np.argwhere(where)[0])
