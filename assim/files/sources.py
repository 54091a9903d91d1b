"""Where data are read from: a NetCDF file or a dataset in memory."""

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import netCDF4
import numpy as np
import xarray as xr

from assim.arguments import hint
from assim.files.classic import check_whole
from assim.files.decoding import decoded
from assim.files.errors import DataError, reason
from assim.files.missing import why_missing
from assim.files.units import Conversion, conversion
from assim.problem.arrays import Labels

_GROUPS = "groups"  # of the file, in the encoding of its Dataset
Source = str | PathLike[str] | xr.Dataset


def name_of(source: Source) -> str:
    """What messages call a source: its path, or "dataset" for one in memory."""
    return "dataset" if isinstance(source, xr.Dataset) else str(source)


@contextmanager
def opened(source: Source, *, exact: bool = False) -> Iterator[xr.Dataset]:
    """The source as a Dataset whose times are not decoded, and whose missing numbers are NaN.

    Args:
        source: path of a NetCDF file, or a Dataset.
        exact: whether numbers are what assim has written, to the bit and in their type, so that
            none of them is searched for as missing.

    Raises:
        DataError: a file that is missing, not NetCDF, or damaged, or that has nothing outside of
            groups, or an attribute that is not of its type, also where only the reading of values
            inside the block brings that to light.
    """
    if isinstance(source, xr.Dataset):
        yield decoded(source, name_of(source))
        return
    path = Path(source)
    if not path.is_file():
        raise DataError(_absent(path))
    try:
        check_whole(path)
        with _library(path) as file:
            yield _read(path, xr.backends.NetCDF4DataStore(file), exact)
    except DataError:
        raise
    except (OSError, RuntimeError, EOFError, AttributeError) as error:
        if isinstance(error, AttributeError) and not _is_of_library(error):
            raise
        raise DataError(
            f"{path}: expected a readable NetCDF file, got the error {reason(error)!r}; it may be "
            f"truncated or of another format: look at it with `ncdump -h`, and copy or make it "
            f"again"
        ) from error


@contextmanager
def _library(path: Path) -> Iterator[netCDF4.Dataset]:
    """The open file, which is closed in the end unless the netCDF library failed in it.

    The library may free what it could not read whole once more when it closes a damaged file, by
    which the program would abort. Such a file stays open as long as the program lives.
    """
    file, keep = netCDF4.Dataset(str(path)), False
    try:
        yield file
    except Exception as error:
        keep = _is_of_library(error)
        raise
    finally:
        if keep:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(file))
        else:
            file.close()


def _is_of_library(error: BaseException) -> bool:
    """Whether an error, or one that it came of, is of the netCDF library."""
    before = error.__cause__ or error.__context__
    return "NetCDF: " in str(error) or (before is not None and _is_of_library(before))


def _read(path: Path, store: xr.backends.NetCDF4DataStore, exact: bool) -> xr.Dataset:
    """The variables of an open file."""
    _check_scalars(path, store.ds)
    try:
        dataset, groups = xr.open_dataset(store, decode_cf=False, cache=False), [*store.ds.groups]
        _check_groups(path, dataset, groups)
        if exact:
            return xr.decode_cf(dataset, decode_times=False, decode_timedelta=False)
        content = decoded(dataset, str(path), store.ds)
        content.encoding[_GROUPS] = groups
        return content
    except (ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: expected variables, dimensions and attributes that fit together, got the "
            f"error {reason(error)!r}; look at it with `ncdump -h`"
        ) from error


class File(NamedTuple):
    """An open file: its Dataset, the model's labels, and what messages call it."""

    dataset: xr.Dataset
    labels: Labels
    called: str

    def where(self, variable: object) -> str:
        """One of its variables, for messages."""
        return f"{self.called}: {variable}"

    def has(self, variable: str) -> bool:
        """Whether there is such a variable."""
        return variable in self.dataset.variables

    def dims(self, variable: str) -> tuple[str, ...]:
        """Dimensions of a variable."""
        return tuple(map(str, self.dataset[variable].dims))

    def conversion(
        self, variable: str, expected: str, *, of_differences: bool = False
    ) -> Conversion:
        """How values of a variable become those in these units; a conversion is told.

        Raises:
            DataError: it has other units, which cannot be converted.
        """
        units = self.dataset[variable].attrs.get("units")
        given = (self.where(variable), units, expected)
        line = conversion(*given, of_differences=of_differences)
        line.tell()
        return line


@contextmanager
def opened_file(source: Source, labels: Labels) -> Iterator[File]:
    """The source, to be read as a model's labels name it."""
    with opened(source) as dataset:
        yield File(dataset, labels, name_of(source))


def names_near(dataset: xr.Dataset, name: str, names: Iterable[str] | None = None) -> str:
    """What to say of a variable that is not there: names like it, and groups that are not read."""
    words = hint(name, map(str, dataset.data_vars) if names is None else names)
    groups = dataset.encoding.get(_GROUPS)
    return f"{words} (the groups {', '.join(groups)} of the file are not read)" if groups else words


def numbers(values: np.ndarray, where: str) -> np.ndarray:
    """Values of a variable as float64; DataError unless they are numbers."""
    if values.dtype.kind not in "iuf":
        raise DataError(f"{where}: expected numbers, got dtype {values.dtype}")
    return values.astype(float)


def finite_numbers(array: xr.DataArray | xr.Variable, where: str) -> np.ndarray:
    """Values of a variable that must be complete, as float64.

    Raises:
        DataError: some are missing, with the reasons, or infinite.
    """
    values = numbers(np.asarray(array.values), where)
    bad = ~np.isfinite(values)
    if bad.any():
        first = (int(index) for index in np.argwhere(bad)[0])
        at = dict(zip(map(str, array.dims), first, strict=True))
        raise DataError(
            f"{where}: expected finite values, got {bad.sum()} of {bad.size} that are missing or "
            f"infinite ({why_missing(values)}), the first at {at or 'its only value'}; fill them "
            f"before assimilating"
        )
    return values


def _check_scalars(path: Path, stored: netCDF4.Dataset) -> None:
    """Raise DataError where one number has the name of a dimension, as xarray refuses it."""
    for name in stored.dimensions:
        if name in stored.variables and not stored.variables[name].dimensions:
            raise DataError(
                f"{path}: {name}: expected the positions along the dimension {name!r}, got one "
                f"number without a dimension; put it on the dimension, or give it another name, "
                f"as with `ncrename -v {name},{name}_value`"
            )


def _check_groups(path: Path, dataset: xr.Dataset, groups: list[str]) -> None:
    """Raise DataError where all variables lie in groups."""
    if groups and not dataset.variables:
        raise DataError(
            f"{path}: expected variables outside of groups, got none; they lie in the groups "
            f"{', '.join(groups)}; copy those that are needed out of their group, as with "
            f"`ncks -G : -g {groups[0]} {path.name} flat.nc`, and name the new file"
        )


def _absent(path: Path) -> str:
    if path.is_dir():
        return f"{path}: expected a NetCDF file, got a folder; name the file in it"
    if not path.parent.is_dir():
        return f"{path}: there is no such file, nor the folder {path.parent}; correct the path"
    beside = [entry.name for entry in path.parent.glob("*.nc")]
    near = hint(path.name, beside) if beside else "its folder holds no .nc file"
    return f"{path}: there is no such file; {near}"
