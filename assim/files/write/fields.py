"""Fields as every file has them: time first where there is one, then the field's dimensions."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.names import INCREMENT, STDEV, time_name
from assim.files.netcdf import attributes, axes, time_variable, used_dims
from assim.problem.arrays import Array, Label, Labels
from assim.problem.window import Window

Columns = Mapping[str, tuple[str, Mapping[str, Any]]]


def field_series(
    labels: Labels, window: Window, columns: Columns, names: Iterable[str] | None = None
) -> xr.Dataset:
    """Fields at the slot edges of a window: of each `<v>`, then `<v><suffix>` for every suffix.

    Args:
        labels: the model's.
        window: its slot edges are the times.
        columns: by suffix, the words before the long name of a field, and every field that has
            such values, shape (edges, …); the suffix "" is that of the field itself.
        names: fields to write; all that the first column has where not given.

    Raises:
        DataError: a field has the name of a dimension.
    """
    chosen = next(iter(columns.values()))[1] if names is None else names
    return _dataset(labels, columns, list(chosen), np.asarray(window.edges), window.reference)


def state_dataset(
    labels: Labels,
    state: Mapping[str, Array],
    time: float | None = None,
    reference: str | None = None,
    stdev: Mapping[str, Array] | None = None,
    increment: Mapping[str, Array] | None = None,
) -> xr.Dataset:
    """A state as a Dataset: the layout of background, truth and analysis.

    Args:
        labels: the model's.
        state: fields to write.
        time: model time of the state; a time dimension of length 1 is written where given.
        reference: date at which model time is zero.
        stdev: standard deviations, written as `<field>_stddev`.
        increment: analysis less background, written as `<field>_increment`.
    """
    columns = {
        "": ("", state),
        STDEV: ("standard deviation of", stdev or {}),
        INCREMENT: ("analysis increment of", increment or {}),
    }
    if time is None:
        return _dataset(labels, columns, list(state), None, None)
    timed = {
        suffix: (words, {name: np.asarray(value)[None] for name, value in fields.items()})
        for suffix, (words, fields) in columns.items()
    }
    return _dataset(labels, timed, list(state), np.array([time]), reference)


def _dataset(
    labels: Labels,
    columns: Columns,
    names: list[str],
    times: np.ndarray | None,
    reference: str | None,
) -> xr.Dataset:
    """Fields at these times; those of one state, without its time, where there are none."""
    clock = time_name(labels.time_unit)
    content: dict[str, xr.Variable] = {}
    for name in names:
        label = labels.state[name]
        dims = label.dims if times is None else (clock, *label.dims)
        for suffix, (words, fields) in columns.items():
            if name in fields:
                about = attributes(name, label, words)
                content[f"{name}{suffix}"] = xr.Variable(dims, np.asarray(fields[name]), about)
        if f"{name}{STDEV}" in content:
            content[name].attrs["ancillary_variables"] = f"{name}{STDEV}"
    used = used_dims(labels, names)
    for name in content.keys() & {*used, clock}:
        raise DataError(
            f"dataset: the field {name!r} has the name of a dimension, which NetCDF keeps for "
            f"the coordinate; rename one of them in the model's labels"
        )
    stamps = {}
    if times is not None:
        stamps[clock] = time_variable(times, labels.time_unit, reference, clock)
    return xr.Dataset(content, {**stamps, **axes(labels, used)})


def with_scalars(
    dataset: xr.Dataset, labels: Labels, values: Mapping[str, Any], stdev: Mapping[str, Any]
) -> xr.Dataset:
    """A state with scalars and parameters beside it, and their standard deviations where known.

    One that is called like a field or an axis is left out: posterior.nc has it.
    """
    content: dict[str, xr.Variable] = {}
    for name, value in values.items():
        label = labels.parameters.get(name, Label())
        if name in dataset.variables or np.ndim(value) != len(label.dims):
            continue
        content[name] = xr.Variable(label.dims, np.asarray(value), attributes(name, label))
        if name in stdev:
            spread = np.asarray(stdev[name])
            words = attributes(name, label, "standard deviation of")
            content[f"{name}{STDEV}"] = xr.Variable(label.dims[: spread.ndim], spread, words)
            content[name].attrs["ancillary_variables"] = f"{name}{STDEV}"
    dims = tuple(dict.fromkeys(dim for variable in content.values() for dim in variable.dims))
    return dataset.assign(content).assign_coords(axes(labels, tuple(map(str, dims))))
