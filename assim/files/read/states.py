"""States and parameters from a Dataset or a NetCDF file.

Names, dimensions, units and coordinates come from the model's labels, never from shapes.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.arguments import hint
from assim.files.errors import DataError
from assim.files.names import STDEV, time_name
from assim.files.read.axes import check_lengths, in_order
from assim.files.read.dimensions import (
    Select,
    averaged,
    selected,
    standard_name,
    time_variable,
    time_variables,
    unknown_dimension,
)
from assim.files.read.far import check_far, typical
from assim.files.sources import File, Source, finite_numbers, name_of, names_near, opened_file
from assim.files.times import FileTimes, date_text, decode
from assim.files.valid import VALID_TIME
from assim.problem.arrays import Array, Label, Labels, State
from assim.problem.model import AbstractDynamics

_TIME_TOLERANCE = 1.0  # seconds: dates are given to the second
_NUMBER_TOLERANCE = 1e-6  # model time units, where time is not physical
_SPAN_TOLERANCE = 1e-6  # of the time that a series covers


class Moment(NamedTuple):
    """Which of the states that a file holds: at a time of its `clock`, and along other dimensions.

    Args: as `read_state` has them.
    """

    time: str | float | None = None
    clock: str | None = None
    select: Select | None = None


_ONLY = Moment()  # the only state that a file holds


def read_state(
    source: Source,
    model: AbstractDynamics,
    fields: Iterable[str] | None = None,
    time: str | float | None = None,
    *,
    clock: str | None = None,
    select: Select | None = None,
) -> State:
    """Fields of the model's state: a background, a truth, an analysis to restart from.

    Dimensions may come in any order. Where the file has a time dimension, `time` says which
    state to take.

    Args:
        source: path of a NetCDF file, or a Dataset.
        model: whose labels the fields must match.
        fields: names to read; all fields of the state where not given.
        time: date in ISO 8601, or a number where the model's time is not physical.
        clock: the variable that is the time; that of the standard name `time` where not given.
        select: by dimension that the model does not know, the label to take, or "mean".

    Raises:
        DataError: the file or a field in it is not what the labels ask for.
    """
    labels, moment = model.labels(), Moment(time, clock, select)
    with opened_file(source, labels) as file:
        return arrays_of(file, labels.state if fields is None else fields, moment=moment)


def read_stdev(
    source: Source,
    model: AbstractDynamics,
    fields: Iterable[str] | None = None,
    time: str | float | None = None,
    *,
    clock: str | None = None,
    select: Select | None = None,
) -> State:
    """Background standard deviations `<field>_stddev`, all of them positive.

    Args:
        source: path of a NetCDF file, or a Dataset.
        model: whose labels the fields must match.
        fields: fields that must have one; where not given, those that do have one, less those
            that are zero everywhere (fixed).
        time: as for `read_state`, and so `clock` and `select`; of a mean, the mean of theirs.

    Raises:
        DataError: as for `read_state`, or a standard deviation that is not positive.
    """
    labels = model.labels()
    with opened_file(source, labels) as file:
        present = [name for name in labels.state if file.has(f"{name}{STDEV}")]
        moment = Moment(time, clock, select)
        stdevs = arrays_of(file, present if fields is None else fields, STDEV, moment)
    if fields is None:
        stdevs = {name: value for name, value in stdevs.items() if bool(jnp.any(value != 0))}
    for name, value in stdevs.items():
        _check_positive(np.asarray(value), f"{name_of(source)}: {name}{STDEV}")
    return stdevs


def read_arrays(source: Source, labels: Labels, names: Iterable[str]) -> dict[str, Array]:
    """Fields or parameters `names`, as float arrays.

    Raises:
        DataError: a variable is missing, or its units, dimensions, coordinates or values are
            not what the labels ask for.
    """
    with opened_file(source, labels) as file:
        return arrays_of(file, names)


def arrays_of(
    file: File, names: Iterable[str], suffix: str = "", moment: Moment = _ONLY
) -> dict[str, Array]:
    """As `read_arrays`, from the variables `<name><suffix>` of an open file."""
    dataset, means = selected(file.dataset, moment.select, file.called)
    if any(dataset[name].ndim < file.dataset[name].ndim for name in _scalar_times(file, dataset)):
        moment = moment._replace(time=None)  # `select` says which
    file = file._replace(dataset=dataset)
    return {
        name: jnp.asarray(_read(file, name, f"{name}{suffix}", moment, means)) for name in names
    }


def read_trajectory(
    source: Source, model: AbstractDynamics, times: np.ndarray, reference: str | None
) -> State:
    """Fields of the model's state at several model times, leading dimension times.

    Raises:
        DataError: as for `read_state`, or a time that the file does not have.
    """
    labels = model.labels()
    with opened_file(source, labels) as file:
        dataset, called = file.dataset, file.called
        clock, stamps = times_along(file)
        own = np.atleast_1d(stamps.to_model(labels.time_unit, reference))
        index, there = nearest_times(own, np.asarray(times), stamps.spacing(labels.time_unit))
        if not np.all(there):
            first = float(np.asarray(times)[np.argmin(there)])
            date = date_text(first, labels.time_unit, reference)
            raise DataError(
                f"{called}: expected a state at {date}, there is none; make it anew with "
                "`assim twin --force`, or name another file as twin.truth"
            )
        states = {}
        for name, label in labels.state.items():
            field = _read(file._replace(dataset=dataset.isel({clock: [0]})), name, name)
            series = dataset[name].isel({clock: index}).transpose(clock, *label.dims)
            values = finite_numbers(series, file.where(name))
            states[name] = jnp.asarray(values).reshape(-1, *field.shape)
    return states


def times_along(file: File, chosen: str | None = None) -> tuple[str, FileTimes]:
    """The dimension of time of a trajectory, and its times, by the variable that is `chosen`.

    Raises:
        DataError: there is none, or there are several.
    """
    clock = _clock(file, file.called, lambda variable: variable.ndim == 1, chosen)
    if clock is None:
        name = time_name(file.labels.time_unit)
        raise DataError(f"{file.called}: expected a trajectory, but {name!r} has no coordinate")
    if not file.dataset[clock].size:
        raise DataError(f"{file.where(clock)}: expected a trajectory, but there are no times")
    return file.dims(clock)[0], decode(file.dataset[clock], file.where(clock))


def _clock(
    file: File, where: str, fits: Callable[[xr.DataArray], bool], chosen: str | None = None
) -> str | None:
    """The variable that is the time of a state."""
    unit, taken = file.labels.time_unit, _taken(file)
    return time_variable(file.dataset, unit, where, fits=fits, chosen=chosen, taken=taken)


def _taken(file: File) -> set[str]:
    """Names that mean something else than the time to the model."""
    return {*file.labels.coordinates, *file.labels.state}


def nearest_times(
    own: np.ndarray, asked: np.ndarray, spacing: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Which of a file's times is nearest to every one that is asked for, and whether it is that.

    `spacing` is that of the type by which the file stores each of its times.
    """
    order = np.argsort(own, kind="stable")
    ahead = np.clip(np.searchsorted(own[order], asked), 1, max(len(own) - 1, 1))
    pair = order[np.stack([ahead - 1, np.minimum(ahead, len(own) - 1)])]
    first = np.abs(own[pair[0]] - asked) <= np.abs(own[pair[1]] - asked)
    index = np.where(first, pair[0], pair[1])
    slack = _SPAN_TOLERANCE * (np.ptp(asked) or 1.0)
    if spacing is not None:
        slack = np.maximum(slack, np.ravel(spacing)[index])
    return index, np.abs(own[index] - asked) <= slack


def _read(
    file: File,
    name: str,
    variable: str,
    moment: Moment = _ONLY,
    means: tuple[str, ...] = (),
) -> np.ndarray:
    where, labels = file.where(variable), file.labels
    if name not in labels.state and name not in labels.parameters:
        raise DataError(f"{where}: the model has no field {name!r}; {hint(name, labels.state)}")
    if not file.has(variable):
        near = names_near(file.dataset, variable)
        raise DataError(f"{where}: expected a variable {variable!r}, there is none; {near}")
    label = labels.state.get(name) or labels.parameters[name]
    units = file.conversion(variable, label.units, of_differences=variable != name)
    array = _at_time(averaged(file.dataset[variable], means), file, label, moment)
    _check_dims(array, file, label, where, selects=moment.select is not None)
    array = in_order(file, array, label.dims)
    values, spread = finite_numbers(array.transpose(*label.dims), where), f"{name}{STDEV}"
    has_spread = variable != spread and file.has(spread)
    scale = lambda: typical(file.dataset[spread].values) if has_spread else 0.0  # noqa: E731
    check_far(array, values, where, scale)
    return np.asarray(units.values(values))


def _at_time(array: xr.DataArray, file: File, label: Label, moment: Moment) -> xr.DataArray:
    """Drop the time dimension: its only entry, or the one asked for; a single time is compared."""
    where, dataset, time = file.where(array.name), file.dataset, moment.time
    others = [dim for dim in array.dims if dim not in label.dims]
    if not others:
        _check_time(file, where, moment)
        return array

    def fits(variable: xr.DataArray) -> bool:
        return variable.ndim == 1 and variable.dims[0] in others

    clock = _clock(file, where, fits, moment.clock)
    dims = [d for d in ("time", "t") if d in others] if clock is None else dataset[clock].dims
    if not dims:
        return array
    dim = str(dims[0])
    if array.sizes[dim] == 0:
        raise DataError(f"{where}: expected a state, but there is none along {dim!r}")
    if time is None:
        if array.sizes[dim] == 1:
            return array.isel({dim: 0})
        raise DataError(
            f"{where}: expected one state, got {array.sizes[dim]} along {dim!r}; say which "
            f"one to take, as in time={_example(dataset, clock)!r}"
        )
    if clock is None:
        raise DataError(f"{where}: expected the time {time!r}, but {dim!r} has no coordinate")
    return array.isel({dim: _index_of(time, decode(dataset[clock], f"{where}: {clock}"))})


def _check_time(file: File, where: str, moment: Moment) -> None:
    """Raise DataError where a state without a dimension of time is one of another time."""
    names = _scalar_times(file, file.dataset)
    if moment.time is None or not names or moment.clock not in (None, *names):
        return
    clock = _clock(file, where, lambda variable: variable.ndim == 0, moment.clock)
    variable = file.dataset[clock].variable
    stamp = xr.Variable("instant", np.atleast_1d(variable.values), variable.attrs)
    _index_of(moment.time, decode(stamp, f"{where}: {clock}"))


def _scalar_times(file: File, dataset: xr.Dataset) -> list[str]:
    """The variables of a file that are the time, and one number; not any date that it has."""
    unit = file.labels.time_unit
    names = time_variables(dataset, unit, _taken(file))
    called = (time_name(unit), "time", "t", VALID_TIME)
    scalar = [name for name in names if dataset[name].ndim == 0]
    return [n for n in scalar if n in called or standard_name(dataset[n]) is not None]


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
    if distance[index] > max(tolerance, float(times.spacing("seconds")[index])):
        near = times.numbers[index] if times.epoch is None else times.dates()[index]
        raise DataError(
            f"{times.where}: expected a state at {time}, the nearest is at {near}; give a file "
            "that has it, or start the window at a time that is there (of a window that assim has "
            "analysed, trajectory.nc has the state at every slot edge, analysis.nc at its start)"
        )
    return index


def _example(dataset: xr.Dataset, clock: str | None) -> str:
    if clock is None:
        return "0"
    times = decode(dataset[clock], clock)
    return f"{times.numbers[0]:g}" if times.epoch is None else times.dates()[0].isoformat()


def _check_dims(
    array: xr.DataArray, file: File, label: Label, where: str, *, selects: bool
) -> None:
    """Raise DataError unless an array has the dimensions of a label, in any order."""
    got = {str(dim): size for dim, size in array.sizes.items()}
    want = label.dims
    if selects and set(want) < set(got):
        unknown = [dim for dim in got if dim not in want]
        raise DataError(
            f"{where}: expected the dimensions {label.dims}, got {tuple(got)}; "
            + unknown_dimension(array, file.dataset, unknown, where)
        )
    if set(got) != set(want):
        raise DataError(
            f"{where}: expected the dimensions {label.dims}, got {tuple(got)}; rename them with "
            f"`ncrename -d old,new` or dataset.rename, or drop what the model does not have"
        )
    check_lengths(array, {dim: file.labels.coordinates[dim] for dim in want}, where)


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
