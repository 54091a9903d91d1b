"""The state that a program leaves in a restart file, by the names that the file has."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.sources import finite_numbers, names_near, numbers, opened
from assim.files.times import date_text, decode
from assim.files.units import check_units
from assim.problem.arrays import Labels

LIBRARY = threading.Lock()  # netCDF's C library serves one thread at a time


class Stamp(NamedTuple):
    """The time of a state, in the variable of a restart file that has it."""

    variable: str
    time: float  # the model's
    slack: float  # within which another is the same
    unit: str  # of the model's time
    reference: str | None  # date at which that is zero


class Land(NamedTuple):
    """Points at which a program has no values, as those of an ocean on land."""

    points: Mapping[str, np.ndarray]  # by name of the field, True there
    fill: float  # what the state has there


NO_LAND = Land({}, 0.0)


def missing_points(path: Path, labels: Labels, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Where values of a restart file are missing, by name; those without any are left out.

    Raises:
        DataError: as `read_restart`, but for values that are missing.
    """
    with LIBRARY, opened(path) as dataset:
        points = {}
        for name, variable in names.items():
            where = f"{path}: {variable}"
            if variable not in dataset.variables:
                raise DataError(f"{where}: no such variable; {names_near(dataset, variable)}")
            values, shape = numbers(np.asarray(dataset[variable].values), where), labels.shape(name)
            if _squeezed(values.shape) == _squeezed(shape) and np.isnan(values).any():
                points[name] = np.isnan(values).reshape(shape)
        return points


def read_restart(
    path: Path,
    labels: Labels,
    names: Mapping[str, str],
    land: Land = NO_LAND,
    stamp: Stamp | None = None,
) -> dict[str, np.ndarray]:
    """Fields or parameters by their names in the labels, whole and finite.

    Dimensions of size one, as that of a single time, are dropped where the labels have none.

    Args:
        path: the file.
        labels: of what is read.
        names: of the variable of each.
        land: points whose values do not count, and what stands for them.
        stamp: the time that it must have.

    Raises:
        DataError: a file that is missing, damaged or half written, a variable that it lacks, of
            another shape or unit, or with values that are missing or not finite; another time.
    """
    with LIBRARY, opened(path) as dataset:
        values = {}
        if stamp is not None:
            _check_time(dataset, path, stamp)
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
            if name in land.points:
                sea = stored.where(~land.points[name].reshape(stored.shape), land.fill)
                values[name] = finite_numbers(sea, where).reshape(shape)
            else:
                values[name] = finite_numbers(stored, where).reshape(shape)
        return values


def _check_time(dataset: xr.Dataset, path: Path, stamp: Stamp) -> None:
    """Raise DataError unless the file has the state of this time."""
    where = f"{path}: {stamp.variable}"
    if stamp.variable not in dataset.variables:
        raise DataError(f"{where}: no such variable; {names_near(dataset, stamp.variable)}")
    times = decode(dataset[stamp.variable], where)
    model_times = np.ravel(times.to_model(stamp.unit, stamp.reference))
    if model_times.size != 1 or not abs(model_times[0] - stamp.time) <= stamp.slack:
        expected = date_text(stamp.time, stamp.unit, stamp.reference)
        got = ", ".join(date_text(t, stamp.unit, stamp.reference) for t in model_times[:3])
        raise DataError(f"{where}: expected the state of {expected}, got that of {got or 'none'}")


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
