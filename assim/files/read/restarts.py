"""The state that a program leaves in a restart file, by the names that the file has."""

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from assim.files.errors import DataError
from assim.files.sources import finite_numbers, names_near, opened
from assim.files.units import check_units
from assim.problem.arrays import Labels

LIBRARY = threading.Lock()  # netCDF's C library serves one thread at a time


def read_restart(path: Path, labels: Labels, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Fields or parameters by their names in the labels, whole and finite.

    Dimensions of size one, as that of a single time, are dropped where the labels have none.

    Args:
        path: the file.
        labels: of what is read.
        names: of the variable of each.

    Raises:
        DataError: a file that is missing, damaged or half written, a variable that it lacks, of
            another shape or unit, or with values that are missing or not finite.
    """
    with LIBRARY, opened(path) as dataset:
        values = {}
        for name, variable in names.items():
            where = f"{path}: {variable}"
            if variable not in dataset.variables:
                raise DataError(f"{where}: no such variable; {names_near(dataset, variable)}")
            stored, shape = dataset[variable], labels.shape(name)
            if _squeezed(stored.shape) != _squeezed(shape):
                raise DataError(
                    f"{where}: expected the shape {shape} of {name!r}, got {stored.shape} along "
                    f"{', '.join(map(str, stored.dims)) or 'no dimension'}"
                )
            label = labels.state.get(name) or labels.parameters[name]
            if (units := stored.attrs.get("units")) is not None:
                check_units(where, units, label.units)
            values[name] = finite_numbers(stored, where).reshape(shape)
        return values


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
