"""Variables of any result as those of a Dataset."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from assim.analysis.finding import AbstractFinding, RowColumn, Variable

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
