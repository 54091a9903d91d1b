"""Arrays of files along the model's axes: as long, at the same positions, in the same order."""

from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.sources import File, finite_numbers
from assim.files.units import conversion
from assim.problem.arrays import Coordinate

_PLACE_TOLERANCE = 1e-6  # of the mean spacing


def check_lengths(array: xr.DataArray, axes: Mapping[str, Coordinate], where: str) -> None:
    """Raise DataError unless an array is as long as the model's axes."""
    for dim, axis in axes.items():
        if array.sizes[dim] != len(axis.values):
            raise DataError(
                f"{where}: expected {len(axis.values)} points along {dim!r}, as the model's grid "
                f"has, got {array.sizes[dim]}; interpolate to the grid, or change the model's"
            )


def in_order(file: File, array: xr.DataArray, dims: Iterable[str], other: str = "") -> xr.DataArray:
    """An array with its entries in the order of the model's grid points along these dimensions.

    Args:
        file: has the positions along a dimension, or has none of it.
        array: of the file.
        dims: of the model.
        other: ending of a second dimension of the same positions, as a matrix has it.

    Raises:
        DataError: positions that are not those of the model's grid.
    """
    for dim in dims:
        if not file.has(dim):
            continue
        order = order_along(file.dataset[dim], file.labels.coordinates[dim], file.where(dim))
        both = {dim, f"{dim}{other}"} & set(map(str, array.dims))
        array = array.isel(dict.fromkeys(both, order))
    return array


def order_along(given: xr.DataArray, axis: Coordinate, where: str) -> np.ndarray:
    """Indices of a coordinate of a file at the positions of the model's axis, one after the other.

    Latitudes may come from north to south, and longitudes begin anywhere on their circle.

    Raises:
        DataError: it has other positions, or no unit where one is needed.
    """
    got, units = finite_numbers(given, where), given.attrs.get("units")
    want = np.asarray(axis.values, float)
    if units is not None:
        line = conversion(where, units, axis.units)
        line.tell()
        got = np.asarray(line.values(got), float)
    if got.shape != want.shape:
        raise DataError(f"{where}: expected {want.size} points, got the shape {got.shape}")
    tolerance = _PLACE_TOLERANCE * (np.ptp(want) / max(want.size - 1, 1) or 1.0)
    if axis.eastward:
        first = want[0] - tolerance
        got = first + np.mod(got - first, 360.0)
    order = np.argsort(got, kind="stable")
    wrong = ~(np.abs(got[order] - want) <= tolerance)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"{where}: expected the model's grid, in any order, but {wrong.sum()} of {wrong.size} "
            f"points differ: number {first} from the lowest is at {got[order][first]:g} instead of "
            f"{want[first]:g}; interpolate to the grid, or change the model's"
        )
    conversion(where, units, axis.units)  # which refuses a unit that is missing
    return order
