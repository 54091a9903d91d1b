"""Variables of any result as those of a Dataset, and fields as every file has them.

Time comes first where there is one, then the dimensions of the field.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from assim.analysis.finding import AbstractFinding, RowColumn, Variable
from assim.files.errors import DataError
from assim.files.names import INCREMENT, STDEV, time_name
from assim.files.netcdf import attributes, axes, time_variable, used_dims
from assim.problem.arrays import Array, Label, Labels
from assim.problem.window import Window

Columns = Mapping[str, tuple[str, Mapping[str, Any]]]
FINDING = "finding"  # attribute of the variables of one


def encoded(variables: Mapping[str, Variable]) -> dict[str, xr.Variable]:
    """Variables as xarray has them, with `long_name`, `units` and what else they carry."""
    return {name: _encoded(variable) for name, variable in variables.items()}


def _encoded(variable: Variable) -> xr.Variable:
    array = np.asarray(variable.values)
    if array.dtype.kind in "iub":
        array = array.astype(np.int32)
    units = {} if variable.units is None else {"units": variable.units}
    words = {**units, "long_name": variable.long_name, **variable.attributes}
    return xr.Variable(variable.dims, array, words)


def of_findings(
    findings: Mapping[str, AbstractFinding], taken: Mapping[str, xr.Variable]
) -> dict[str, xr.Variable]:
    """The variables of all findings, each with its `finding`; coordinates may be shared.

    Raises:
        ValueError: two variables of one name, `taken` ones too, that are not the same coordinate.
    """
    content: dict[str, xr.Variable] = {}
    for finding in findings.values():
        for name, variable in encoded(finding.variables()).items():
            coordinate = variable.dims == (name,)
            existing = content.get(name, taken.get(name))
            if existing is not None and not (coordinate and variable.identical(existing)):
                raise ValueError(
                    f"finding {finding.name!r}: diagnostics.nc has a variable {name!r} already; "
                    f"give it another name, such as {finding.name}_{name}"
                )
            content[name] = variable
            if not coordinate:
                variable.attrs[FINDING] = finding.name
    return content


def row_columns(
    findings: Mapping[str, AbstractFinding], instrument: str, number: int
) -> list[RowColumn]:
    """What all findings say of every value of an instrument that was used.

    Raises:
        ValueError: a column of another length.
    """
    columns = []
    for finding in findings.values():
        for column in finding.columns(instrument):
            if np.shape(column.values) != (number,):
                raise ValueError(
                    f"finding {finding.name!r}: {instrument}{column.suffix} has the shape "
                    f"{np.shape(column.values)}, expected {(number,)}: one number for every value "
                    f"of {instrument!r} that was used"
                )
            columns.append(column)
    return columns


def in_summary(findings: Mapping[str, AbstractFinding], taken: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of summary.json of all findings, by name.

    Raises:
        ValueError: a finding with the name of an entry that is `taken`.
    """
    for name in findings:
        if name in taken:
            raise ValueError(
                f"finding {name!r}: summary.json has an entry of this name already; give the "
                "finding another"
            )
    return {name: finding.summary() for name, finding in findings.items()}


def field_series(
    labels: Labels, window: Window, columns: Columns, names: Iterable[str] | None = None
) -> xr.Dataset:
    """Fields at the slot edges of a window: of each `<v>`, then `<v><suffix>` for every suffix.

    Columns have, by suffix, the words before the long name of a field, and every field that has
    such values, shape (edges, …); the suffix "" is that of the field itself. Without names, all
    fields of the first column are written.

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

    With a time dimension of length 1 where the time is given, `<field>_stddev`, and
    `<field>_increment`, the analysis less the background.
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
