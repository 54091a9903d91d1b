"""Fields over time, as every file has them: time first, then the dimensions of the field."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from assim.files.names import STDEV, time_name
from assim.files.netcdf import attributes, axes, time_variable
from assim.files.read.states import check_names_apart, used_dims
from assim.problem.arrays import Label, Labels
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
    clock = time_name(labels.time_unit)
    chosen = list(next(iter(columns.values()))[1] if names is None else names)
    content: dict[str, xr.Variable] = {}
    for name in chosen:
        label = labels.state[name]
        for suffix, (words, fields) in columns.items():
            if name in fields:
                about = attributes(name, label, words)
                values = np.asarray(fields[name])
                content[f"{name}{suffix}"] = xr.Variable((clock, *label.dims), values, about)
        if f"{name}{STDEV}" in content:
            content[name].attrs["ancillary_variables"] = f"{name}{STDEV}"
    dims = used_dims(labels, chosen)
    check_names_apart(content, (*dims, clock))
    stamps = time_variable(np.asarray(window.edges), labels.time_unit, window.reference, clock)
    return xr.Dataset(content, {clock: stamps, **axes(labels, dims)})


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
            spread, words = (
                np.asarray(stdev[name]),
                attributes(name, label, "standard deviation of"),
            )
            content[f"{name}{STDEV}"] = xr.Variable(label.dims[: spread.ndim], spread, words)
            content[name].attrs["ancillary_variables"] = f"{name}{STDEV}"
    dims = tuple(dict.fromkeys(dim for variable in content.values() for dim in variable.dims))
    return dataset.assign(content).assign_coords(axes(labels, tuple(map(str, dims))))
