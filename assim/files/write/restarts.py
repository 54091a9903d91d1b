"""The state from which a program starts, in a restart file with the names that the program has."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import cftime
import netCDF4
import numpy as np

from assim.files.errors import DataError
from assim.files.netcdf import axis_attributes
from assim.files.read.restarts import LIBRARY, NO_LAND, Land, Stamp
from assim.files.times import NON_PHYSICAL, encode
from assim.problem.arrays import Labels


def write_restart(
    path: Path,
    labels: Labels,
    names: Mapping[str, str],
    values: Mapping[str, np.ndarray],
    like: Path | None = None,
    land: Land = NO_LAND,
    stamp: Stamp | None = None,
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
        land: points at which `like` keeps what it has.
        stamp: the time of the state, and the variable that gets it.

    Raises:
        DataError: a variable of the time whose unit cannot be read.
        OSError: it cannot be written.
    """
    if like is None:
        with LIBRARY, netCDF4.Dataset(str(path), "w", format="NETCDF3_64BIT_OFFSET") as file:
            _define(file, labels, names)
            if stamp is not None:
                _define_time(file, stamp)
    else:
        shutil.copyfile(like, path)
    with LIBRARY, netCDF4.Dataset(str(path), "r+") as file:
        for name, variable in names.items():
            stored, own = file[variable], np.asarray(values[name])
            if name in land.points:
                stored.set_auto_mask(False)
                own = np.where(land.points[name], stored[...].reshape(own.shape), own)
            stored[...] = own.reshape(stored.shape)
        if stamp is not None:
            stored = file[stamp.variable]
            stored[...] = _number(stored, f"{path}: {stamp.variable}", stamp)


def _define_time(file: netCDF4.Dataset, stamp: Stamp) -> None:
    attributes = encode(np.asarray(stamp.time), stamp.unit, stamp.reference)[1]
    file.createVariable(stamp.variable, "f8", ()).setncatts(attributes)


def _number(stored: netCDF4.Variable, where: str, stamp: Stamp) -> float:
    """The time as the variable counts it, in its own unit, epoch and calendar."""
    number, attributes = encode(np.asarray(stamp.time), stamp.unit, stamp.reference)
    if stamp.unit == NON_PHYSICAL:
        return float(number)
    own = {name: str(stored.getncattr(name)) for name in stored.ncattrs()}
    try:
        moment = cftime.num2date(float(number), attributes["units"], attributes["calendar"])
        parts = moment.timetuple()[:6]
        calendar = own.get("calendar", "standard")
        there = cftime.datetime(*parts, moment.microsecond, calendar=calendar)
        return float(cftime.date2num(there, own.get("units", ""), calendar))
    except ValueError as error:
        raise DataError(
            f"{where}: expected units such as 'days since 2000-01-01', got "
            f"{own.get('units')!r} ({error})"
        ) from error


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
