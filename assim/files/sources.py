"""Where data are read from: a NetCDF file or a dataset in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from assim.arguments import hint
from assim.files.errors import DataError, reason
from assim.files.units import check_units
from assim.problem.arrays import Labels

Source = str | PathLike[str] | xr.Dataset


def name_of(source: Source) -> str:
    """What messages call a source: its path, or "dataset" for one in memory."""
    return "dataset" if isinstance(source, xr.Dataset) else str(source)


@contextmanager
def opened(source: Source) -> Iterator[xr.Dataset]:
    """The source as a Dataset whose times are not decoded.

    Raises:
        DataError: a file that is missing, not NetCDF, or damaged, also where only the reading of
            values inside the block brings that to light.
    """
    if isinstance(source, xr.Dataset):
        yield source
        return
    path = Path(source)
    if not path.is_file():
        raise DataError(_absent(path))
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as dataset:
            yield dataset
    except DataError:
        raise
    except (OSError, RuntimeError, EOFError) as error:
        raise DataError(
            f"{path}: expected a readable NetCDF file, got the error {reason(error)!r}; it may be "
            f"truncated or of another format: look at it with `ncdump -h`, and copy or make it "
            f"again"
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

    def check_units(self, variable: str, expected: str) -> None:
        """Raise DataError unless a variable has these units."""
        units = self.dataset[variable].attrs.get("units")
        check_units(self.where(variable), units, expected)


@contextmanager
def opened_file(source: Source, labels: Labels) -> Iterator[File]:
    """The source, to be read as a model's labels name it."""
    with opened(source) as dataset:
        yield File(dataset, labels, name_of(source))


def numbers(values: np.ndarray, where: str) -> np.ndarray:
    """Values of a variable as float64; DataError unless they are numbers."""
    if values.dtype.kind not in "iuf":
        raise DataError(f"{where}: expected numbers, got dtype {values.dtype}")
    return values.astype(float)


def _absent(path: Path) -> str:
    if path.is_dir():
        return f"{path}: expected a NetCDF file, got a folder; name the file in it"
    if not path.parent.is_dir():
        return f"{path}: there is no such file, nor the folder {path.parent}; correct the path"
    beside = [entry.name for entry in path.parent.glob("*.nc")]
    near = hint(path.name, beside) if beside else "its folder holds no .nc file"
    return f"{path}: there is no such file; {near}"
