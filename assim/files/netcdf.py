"""How a file is written: attributes, encoding, and all of it or nothing."""

import hashlib
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from assim.files.errors import DataError, reason
from assim.files.names import FLAGS, time_name
from assim.files.times import NON_PHYSICAL, encode
from assim.problem.arrays import Coordinate, Label, Labels

_FILL = 9.969209968386869e36  # NetCDF's own default for float64
_STANDARD_NAMES = {"degrees_east": "longitude", "degrees_north": "latitude"}
_AXES = {"degrees_east": "X", "degrees_north": "Y"}
_ELSEWHERE = ", or choose another folder with --out"


def time_variable(
    times: np.ndarray, unit: str, reference: str | None, dim: str
) -> tuple[str, np.ndarray, dict[str, str]]:
    """Model times as a variable on `dim`, for a Dataset's constructor."""
    numbers, attributes = encode(times, unit, reference)
    on_axis = dim == time_name(unit) and unit != NON_PHYSICAL
    return dim, numbers, {**attributes, **({"axis": "T"} if on_axis else {})}


def axis_attributes(axis: Coordinate, name: str) -> dict[str, str]:
    """Attributes of the positions along a dimension."""
    standard = _STANDARD_NAMES.get(axis.units)
    words = {"units": axis.units, "long_name": axis.long_name or name}
    return {**words, **({"standard_name": standard} if standard else {})}


def used_dims(labels: Labels, names: Iterable[str]) -> tuple[str, ...]:
    """Dimensions of the fields and parameters named, each once."""
    label = {**labels.parameters, **labels.state}
    return tuple(dict.fromkeys(dim for name in names for dim in label[name].dims))


def axes(labels: Labels, dims: tuple[str, ...]) -> dict[str, xr.Variable]:
    """Coordinate variables of the dimensions named, two-dimensional ones included."""
    coordinates = {}
    for dim in dims:
        axis = labels.coordinates[dim]
        letter = {"axis": _AXES[axis.units]} if axis.units in _AXES else {}
        words = axis_attributes(axis, dim) | letter
        coordinates[dim] = xr.Variable(dim, np.asarray(axis.values), words)
    grid = labels.curvilinear
    if grid is not None and set(grid.dims) <= set(dims):
        for name, units, values in zip(
            grid.names, grid.units, (grid.first, grid.second), strict=True
        ):
            words = axis_attributes(Coordinate(np.zeros(1), units), name)
            coordinates[name] = xr.Variable(grid.dims, np.asarray(values), words)
    return coordinates


def axes_of_readings(labels: Labels) -> dict[str, Coordinate]:
    """The axes along which readings have positions, those of a curvilinear grid without values."""
    named, grid = dict(labels.coordinates), labels.curvilinear
    if grid is not None:
        pairs = zip(grid.names, grid.units, strict=True)
        named |= {name: Coordinate(np.zeros(1), units) for name, units in pairs}
    return named


def attributes(name: str, label: Label, what: str = "") -> dict[str, str]:
    """Attributes of a field or parameter; `what` comes before its long name."""
    long_name = label.long_name or name
    return {"units": label.units, "long_name": f"{what} {long_name}".strip()}


def flag_attributes(long_name: str) -> dict[str, Any]:
    """Attributes of a quality flag."""
    return {
        "long_name": long_name,
        "standard_name": "quality_flag",
        "flag_values": np.array(list(FLAGS), np.int32),
        "flag_meanings": " ".join(FLAGS.values()),
    }


def write_dataset(
    dataset: xr.Dataset,
    path: str | PathLike[str],
    *,
    title: str,
    config: str | None = None,
    inputs: Mapping[str, str] | None = None,
) -> None:
    """Write a NetCDF-4 file with the attributes and encoding that every file has.

    It is written to a temporary name in the same folder, which is made where it is missing, and
    renamed, so that a file of this name is always whole. Attributes are the title, the resolved
    case as TOML, the sha256 of each input file by name, and the dataset's own.

    Raises:
        DataError: it cannot be written; nothing half-written remains.
    """
    final = dataset.assign_attrs(_global_attributes(title, config, inputs) | dataset.attrs)
    encoding = {str(name): _encoding(final, str(name)) for name in final.variables}
    _write_whole(
        Path(path),
        lambda temporary: final.to_netcdf(
            temporary, engine="netcdf4", format="NETCDF4", encoding=encoding
        ),
    )


def write_tree(
    tree: xr.DataTree,
    path: str | PathLike[str],
    *,
    title: str,
    config: str | None = None,
    inputs: Mapping[str, str] | None = None,
) -> None:
    """Write NetCDF-4 with groups, whole or not at all; arguments are those of `write_dataset`.

    Raises:
        DataError: it cannot be written.
    """
    final = tree.copy(deep=False)
    final.attrs = _global_attributes(title, config, inputs) | tree.attrs
    del final.attrs["Conventions"]  # ArviZ's groups and dimensions, not those of CF
    _write_whole(Path(path), lambda temporary: final.to_netcdf(temporary, engine="netcdf4"))


def write_bytes(content: bytes, path: str | PathLike[str]) -> None:
    """Write a picture or a page beside results that are there, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    _write_whole(Path(path), lambda temporary: temporary.write_bytes(content), "")


def remove(path: Path) -> None:
    """Remove a file of an earlier run, if it is there.

    Raises:
        DataError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be removed ({reason(error)}); check the permissions of {path.parent}"
        ) from error


def write_json(content: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Write strict JSON, whole or not at all; numbers that are not finite become null.

    Raises:
        DataError: it cannot be written.
    """
    text = json.dumps(strict(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    _write_whole(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def strict(value: Any) -> Any:
    """The value as strict JSON: plain Python numbers, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if hasattr(value, "tolist"):
        return strict(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def hash_file(path: str | PathLike[str]) -> str:
    """sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def package_version() -> str:
    """Version of the installed package."""
    try:
        return version("assim")
    except PackageNotFoundError:
        return "unknown"


def steady(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with a history that does not name the hour: the same however often written."""
    return dataset.assign_attrs(history=f"written by assim {package_version()}")


def _global_attributes(
    title: str, config: str | None, inputs: Mapping[str, str] | None
) -> dict[str, str]:
    release, now = package_version(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    given = {
        "Conventions": "CF-1.11",
        "title": title,
        "source": f"assim {release}",
        "history": f"{now} written by assim {release}",
        "assim_version": release,
    }
    if config is not None:
        given["assim_config"] = config
        given["assim_config_sha256"] = hashlib.sha256(config.encode()).hexdigest()
    if inputs is not None:
        given["assim_inputs"] = "\n".join(f"{digest}  {name}" for name, digest in inputs.items())
    return given


def _encoding(dataset: xr.Dataset, name: str) -> dict[str, Any]:
    """zlib 1 and shuffle; a fill value only where a variable has gaps."""
    variable = dataset.variables[name]
    encoding: dict[str, Any] = {"_FillValue": None}
    if (
        variable.dtype.kind == "f"
        and name not in dataset.coords
        and np.isnan(variable.values).any()
    ):
        encoding["_FillValue"] = np.asarray(_FILL, variable.dtype)
    if variable.ndim and variable.dtype.kind in "iuf":
        encoding |= {"zlib": True, "complevel": 1, "shuffle": True}
    return encoding


def _write_whole(
    path: Path,
    write: Callable[[Path], object],
    otherwise: str = _ELSEWHERE,
) -> None:
    """Write to a temporary name beside `path`, then rename."""
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise DataError(unwritable(path, error, otherwise)) from error
    finally:
        with suppress(OSError):  # it is not there where all went well
            temporary.unlink()


def unwritable(path: Path, error: Exception, otherwise: str = _ELSEWHERE) -> str:
    """Why a file cannot be written, and the ways out."""
    return (
        f"{path}: cannot be written ({reason(error)}); check the space left and the permissions "
        f"of {path.parent}{otherwise}"
    )
