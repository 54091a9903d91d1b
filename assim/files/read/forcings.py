"""Time-dependent inputs of a model from files."""

from collections.abc import Collection, Mapping

import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.files.errors import DataError, naming
from assim.files.names import time_name
from assim.files.read.axes import check_lengths, order_along
from assim.files.read.cells import POINT, method_in_time
from assim.files.read.dimensions import (
    ALL,
    Select,
    averaged,
    bounds_of,
    selected,
    time_variable,
    unknown_dimension,
)
from assim.files.sources import Source, finite_numbers, name_of, names_near, opened
from assim.files.times import FileTimes, decode
from assim.files.units import Conversion, conversion
from assim.problem.arrays import Coordinate
from assim.problem.forcing import Forcing


def read_forcing(
    source: Source,
    variable: str,
    time_unit: str,
    reference: str | None = None,
    units: str | None = None,
    interpolation: str = "linear",
    *,
    clock: str | None = None,
    select: Select | None = None,
    axes: Mapping[str, Coordinate] | None = None,
) -> Forcing:
    """Time series F(t) of one variable of a file, in the model's time.

    Linear: each value belongs to its time. Steps: each value is the mean over an interval, given
    by the bounds of the time variable, which must follow each other without gaps.

    Args:
        source: path of a NetCDF file, or a Dataset.
        variable: name of the series; time is its first dimension.
        time_unit: the model's, as its labels give it.
        reference: ISO date at which the model's time is zero, that of the window; None where
            time is not physical.
        units: unit that the model expects; None to take the file's.
        interpolation: "linear" or "steps".
        clock: the variable that is the time; that of the standard name `time` where not given.
        select: by dimension that the model does not know, the label to take, "mean" or "all".
        axes: the dimensions of one value, as the model has them: its coordinates in the order of
            the label of the input, to which the file's are brought; None where any may be.

    Raises:
        DataError: no such variable, other units or another grid, or times or values that cannot
            be used.
    """
    where = f"{name_of(source)}: {variable}"
    with opened(source) as file:
        dataset, means = selected(file, select, where)
        if variable not in dataset.data_vars:
            near = names_near(dataset, variable)
            raise DataError(f"{name_of(source)}: there is no variable {variable!r}; {near}")
        array = averaged(dataset[variable], means)
        got = array.attrs.get("units")
        line = Conversion() if units is None else conversion(where, got, units)
        line.tell()
        along = _clock(dataset, array, time_unit, where, clock)
        if axes is not None:
            every = [dim for dim, label in (select or {}).items() if label == ALL]
            array = _on_axes(array, dataset, axes, every, name_of(source))
        edges = _edges(dataset, along, where) if interpolation == "steps" else dataset[along]
        stamps = decode(edges, f"{name_of(source)}: {edges.name}")
        times = stamps.to_model(time_unit, reference)
        values = line.values(finite_numbers(array, where))
    unit, rounding = str(got or "1") if units is None else units, stamps.coarseness(time_unit)
    with naming(where):
        given = (jnp.asarray(times), jnp.asarray(values), unit, interpolation, rounding)
        return Forcing(*given, conversion=(line.factor, line.offset))


def intervals_of(
    source: Source,
    variable: str,
    time_unit: str,
    *,
    clock: str | None = None,
    select: Select | None = None,
) -> str | None:
    """What gives each value of a series an interval of time; None where nothing does.

    That is a variable of bounds, or a method in `cell_methods`, unless this says that values are
    those at points of time. Arguments are those of `read_forcing`.
    """
    where = f"{name_of(source)}: {variable}"
    with opened(source) as file:
        dataset, means = selected(file, select, where)
        array = averaged(dataset[variable], means)
        along = _clock(dataset, array, time_unit, where, clock)
        method, bounds = method_in_time(array, along), bounds_of(dataset, along)
        if method == POINT:
            return None
        if bounds in dataset.variables:
            return bounds
        return f'cell_methods ("time: {method}")' if method else None


def _on_axes(
    array: xr.DataArray,
    dataset: xr.Dataset,
    axes: Mapping[str, Coordinate],
    every: Collection[str],
    called: str,
) -> xr.DataArray:
    """A series with the dimensions of the model's axes after the time, in their order."""
    where = f"{called}: {array.name}"
    if unknown := [str(dim) for dim in array.dims[1:] if dim not in (*axes, *every)]:
        raise DataError(unknown_dimension(array, dataset, unknown, where))
    if missing := [dim for dim in axes if dim not in array.dims[1:]]:
        raise DataError(
            f"{where}: expected the dimensions {(array.dims[0], *axes)}, got {array.dims}; add "
            f"{missing[0]!r}, as with dataset.expand_dims and dataset.broadcast_like, or correct "
            "labels().inputs of the model"
        )
    check_lengths(array, axes, where)
    for dim, axis in axes.items():
        if dim in dataset.variables:
            array = array.isel({dim: order_along(dataset[dim], axis, f"{called}: {dim}")})
    return array.transpose(array.dims[0], *axes, ...)


def _clock(
    dataset: xr.Dataset, array: xr.DataArray, unit: str, where: str, chosen: str | None
) -> str:
    """Name of the time variable, which must lie on the first dimension of the series."""
    name = time_name(unit)
    clock = time_variable(
        dataset,
        unit,
        where,
        fits=lambda variable: bool(array.dims) and variable.dims == array.dims[:1],
        chosen=chosen,
        taken={str(array.name)},
    )
    if clock is None:
        got = f"{name}{dataset[name].dims}" if name in dataset.variables else "none of this name"
        raise DataError(
            f"{where}: expected a variable {name!r} on its first dimension, as a forcing is a "
            f"series in time, got {got} and {_shape_of(array)}; add it, transpose the series, or "
            f'name the variable that is the time, as time = "name"'
        )
    return clock


def _shape_of(array: xr.DataArray) -> str:
    """A variable with its dimensions, for messages."""
    return f"{array.name}({', '.join(str(dim) for dim in array.dims)})"


def _edges(dataset: xr.Dataset, clock: str, where: str) -> xr.DataArray:
    """Edges of the intervals, from bounds that follow each other."""
    name = bounds_of(dataset, clock)
    if name is None or name not in dataset.variables:
        raise DataError(
            f"{where}: expected the interval of every value, as it is read as steps, got none; add "
            f"a variable '{clock}_bnds' (..., 2) and the attribute `bounds` of {clock!r}; or, "
            f"where values are those at their times, use interpolation = 'linear'"
        )
    bounds = dataset[name]
    if bounds.ndim != 2 or bounds.shape[1] != 2 or bounds.dims[:1] != dataset[clock].dims:
        raise DataError(
            f"{where}: expected bounds {name!r} of shape ({dataset[clock].size}, 2), got "
            f"{_shape_of(bounds)} of shape {bounds.shape}; write them as ({clock}, 2)"
        )
    ends = bounds.values
    inherited = {k: v for k, v in dataset[clock].attrs.items() if k in ("units", "calendar")}
    attributes = {**inherited, **bounds.attrs}
    if (apart := np.flatnonzero(ends[1:, 0] != ends[:-1, 1])).size:
        at = int(apart[0])
        pair = xr.DataArray([ends[at, 1], ends[at + 1, 0]], dims=clock, attrs=attributes)
        raise DataError(f"{where}: {_apart(decode(pair, where), f'{name}[{at}]')}")
    edges = np.append(ends[:, 0], ends[-1, 1])
    return xr.DataArray(edges, dims=clock, name=name, attrs=attributes)


def _apart(pair: FileTimes, interval: str) -> str:
    """That an interval's end is not the next one's start, and what is to be done about it."""
    end, start = (str(n) for n in pair.numbers) if pair.epoch is None else map(str, pair.dates())
    way = "let one end where the next starts"
    if pair.numbers[1] > pair.numbers[0]:
        way = (
            "fill the gap with intervals of their own: what held meanwhile, such as the last value "
            "or 0"
        )
    return (
        f"expected intervals that follow each other, as every value holds over its own, but "
        f"{interval} ends at {end} and the next starts at {start}; {way}"
    )
