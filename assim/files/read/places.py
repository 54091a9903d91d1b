"""Columns of a file beside the values of a variable, and among them their places."""

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.sources import File, numbers
from assim.problem.arrays import Labels
from assim.problem.interpolation import on_axis, reach

FARTHEST = 720.0  # degrees east, two turns: beyond, a number stands for something else
_COARSE = ("float16", "float32")  # types whose spacing is felt at the end of an axis


def positions(file: File, array: xr.DataArray) -> dict[str, np.ndarray]:
    """Position of every value along the model's dimensions that the file gives."""
    coordinates, grid = {}, file.labels.curvilinear
    for dim, axis in file.labels.coordinates.items():
        if stands_beside(array, file, dim):
            line = file.conversion(dim, axis.units)
            given = line.values(column(file.dataset[dim], array, file.where(dim)))
            if axis.eastward:
                _check_angles(given, file.where(dim))
            coordinates[dim] = _placed(given, str(file.dataset[dim].dtype), file.labels, dim)
    if grid is not None and all(stands_beside(array, file, name) for name in grid.names):
        for name, units in zip(grid.names, grid.units, strict=True):
            line = file.conversion(name, units)
            coordinates[name] = line.values(column(file.dataset[name], array, file.where(name)))
        if not set(grid.dims) <= set(coordinates):
            places = grid.locate(*(coordinates[name] for name in grid.names))
            for dim, place in zip(grid.dims, places, strict=True):
                coordinates[dim] = np.asarray(on_axis(file.labels.coordinates[dim], place))
    return coordinates


def _check_angles(longitudes: np.ndarray, where: str) -> None:
    """Raise DataError where a number of degrees is no longitude that anybody gives."""
    far = np.abs(longitudes) > FARTHEST  # which is false of what is missing
    if far.any():
        raise DataError(
            f"{where}: expected longitudes in degrees east, got {longitudes[far][0]:g} at row "
            f"{int(np.argmax(far))} (from 0): a fill value that nobody declared? Declare it as "
            "_FillValue, or drop the row"
        )


def _placed(given: np.ndarray, stored: str, labels: Labels, dim: str) -> np.ndarray:
    """Positions in the turn of the model's axis; those that their type rounds off its end on it."""
    with np.errstate(invalid="ignore"):
        place = np.asarray(on_axis(labels.coordinates[dim], given))
    limits = reach(labels.coordinates, dim)
    if limits is None or stored not in _COARSE:
        return place
    spacing = np.spacing(np.abs(given).astype(stored)).astype(float)
    nearest = np.clip(place, *limits)
    return np.where(np.abs(place - nearest) <= spacing, nearest, place)


def stands_beside(array: xr.DataArray, file: File, name: str) -> bool:
    """Whether there is such a variable, with a number for every value of the array."""
    return file.has(name) and set(file.dataset[name].dims) <= set(array.dims)


def check_beside(array: xr.DataArray, file: File, name: str) -> None:
    """Raise DataError unless a variable has a number for every value of the array."""
    if not stands_beside(array, file, name):
        got = file.dataset[name].dims
        raise DataError(f"{file.where(name)}: expected the dimensions {array.dims}, got {got}")


def column(array: xr.DataArray, like: xr.DataArray, where: str) -> np.ndarray:
    """One number a row: broadcast to the dimensions of `like` and flattened."""
    return numbers(flat(array, like), where)


def flat(array: xr.DataArray, like: xr.DataArray) -> np.ndarray:
    """Values broadcast to the dimensions of `like`, one after the other."""
    spread = array.variable.set_dims(dict(like.sizes)).transpose(*like.dims)
    return np.asarray(spread.values).ravel()
