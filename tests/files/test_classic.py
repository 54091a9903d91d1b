"""A classic file whose end is missing is refused, where the library would read zeros."""

import netCDF4
import numpy as np
import pytest

from assim.files.classic import check_whole
from assim.files.errors import DataError
from assim.files.sources import opened

FORMATS = ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]
KINDS = {
    "fixed": {"a": ("f8", ("x",))},
    "several": {"a": ("i2", ("x",)), "b": ("f4", ("y", "x")), "c": ("S1", ("y",))},
    "records": {"t": ("f8", ("time",)), "a": ("i2", ("time", "x")), "b": ("i1", ("y",))},
    "one of records": {"a": ("i2", ("time", "x"))},
    "scalar": {"a": ("f8", ()), "b": ("i1", ())},
}


def written(path, form, variables):
    """A file whose values are all not 0, without the padding that may follow them."""
    with netCDF4.Dataset(path, "w", format=form) as file:
        file.title, file.levels = "of three", np.arange(3, dtype="i2")
        for dim, size in {"x": 3, "y": 5, "time": None}.items():
            file.createDimension(dim, size)
        for name, (kind, dims) in variables.items():
            variable = file.createVariable(name, kind, dims)
            variable.units = "m"
            shape = [{"x": 3, "y": 5, "time": 4}[dim] for dim in dims]
            variable[...] = np.full(shape, b"z" if kind == "S1" else 7)
    content = path.read_bytes()
    last = max(content.rfind(bytes([byte])) for byte in (7, 0x1C, 0xE0, ord("z")))
    return content[: last + 1]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_missing_end_is_refused_and_no_whole_file(tmp_path, form, kind):
    path = tmp_path / "file.nc"
    content = written(path, form, KINDS[kind])
    check_whole(path)
    for missing in (1, 2, 5):
        path.write_bytes(content[:-missing])
        with pytest.raises(
            DataError, match=rf"file.nc: expected a whole .* got {len(content) - missing}:"
        ):
            check_whole(path)
        with pytest.raises(DataError, match="in part"), opened(path):
            pass


def test_other_files_are_left_to_the_library(tmp_path):
    for name, content in {"hdf": b"\x89HDF\r\n", "text": b"CDF", "cut": b"CDF\x01\x00\x00"}.items():
        path = tmp_path / name
        path.write_bytes(content)
        check_whole(path)
        with pytest.raises(DataError, match="readable NetCDF file"), opened(path):
            pass
