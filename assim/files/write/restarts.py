"""The state from which a program starts, in a restart file with the names that the program has."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import netCDF4
import numpy as np

from assim.files.netcdf import axis_attributes
from assim.files.read.restarts import LIBRARY
from assim.problem.arrays import Labels


def write_restart(
    path: Path,
    labels: Labels,
    names: Mapping[str, str],
    values: Mapping[str, np.ndarray],
    like: Path | None = None,
) -> None:
    """Write fields and parameters into a restart file.

    Args:
        path: the file, which is made.
        labels: of what is written.
        names: of the variable of each.
        values: by the names of the labels.
        like: a restart file, which is copied; its variables of these names get the values. Where
            there is none, the file holds these variables, on the dimensions of the labels, in the
            classic format, which every library reads.

    Raises:
        OSError: it cannot be written.
    """
    if like is None:
        with LIBRARY, netCDF4.Dataset(str(path), "w", format="NETCDF3_64BIT_OFFSET") as file:
            _define(file, labels, names)
    else:
        shutil.copyfile(like, path)
    with LIBRARY, netCDF4.Dataset(str(path), "r+") as file:
        for name, variable in names.items():
            stored = file[variable]
            stored[...] = np.asarray(values[name]).reshape(stored.shape)


def _define(file: netCDF4.Dataset, labels: Labels, names: Mapping[str, str]) -> None:
    """Dimensions, with the positions along them, and variables."""
    label = {**labels.parameters, **labels.state}
    for dim in dict.fromkeys(dim for name in names for dim in label[name].dims):
        axis = labels.coordinates[dim]
        file.createDimension(dim, len(axis.values))
        along = file.createVariable(dim, "f8", (dim,))
        along.setncatts(axis_attributes(axis, dim))
        along[...] = np.asarray(axis.values)
    for name, variable in names.items():
        stored = file.createVariable(variable, "f8", label[name].dims)
        stored.setncatts({"units": label[name].units, "long_name": label[name].long_name or name})
