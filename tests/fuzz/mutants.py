"""What is done to a sound case: to its text, to a NetCDF file, to a manifest or record."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

ODD: tuple[Any, ...] = (
    *(0, -1, 1, 2, 7, 10**9, 10**12, 2**63 - 1, -(2**63), 10**30),
    *(0.0, -1.0, 0.5, 1e-300, 1e300, 1e20, float("inf"), float("-inf"), float("nan")),
    *("", "x", "0.9", "nan", "1", "m", "kg", "seconds since 2000-01-01", "days since 1e9", "é\n"),
    *("none", "auto", "SVGD", "os:remove", "../case.toml", "/dev/null", "background.nc", "a\tb"),
    *(True, False, [], {}, [0.9], [1.0, "x"], [[1.0], [2.0, 3.0]], {"use": "Normal"}, [{}]),
)
ATTRIBUTES: tuple[Any, ...] = (
    *(0.0, 1.0, -1.0, 1e20, 1e300, np.nan, np.inf, np.int8(-1), np.int64(2**62), np.float32(0.1)),
    *("", "1", "m", "kg", "km h-1", "seconds since 2000-01-01", "days since 0000-00-00", "x y z"),
    *("nan", "2.0", "é", "time", "360_day", "julian", "a" * 5000, "standard_name", "flag"),
    *(np.array([1.0, 2.0]), np.array([2, 1]), np.array([np.nan, 0.0]), np.array([], float)),
)
NAMES = (
    *("units", "_FillValue", "missing_value", "scale_factor", "add_offset", "valid_min"),
    *("valid_max", "valid_range", "calendar", "bounds", "standard_name", "axis", "positive"),
    *("flag_values", "flag_meanings", "flag_masks", "coordinates", "dtype", "_Unsigned"),
)
PUNCTUATION = ("[", "]", "{", "}", '"', "=", ".", ",", "\n", "#", "'''", "\x00", "\ufeff")


# ---- case texts ----------------------------------------------------------------------------------


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_literal(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value) if isinstance(value, str) else str(value)


def case_value(folder: Path, chance: random.Random) -> None:
    """Another value for a key."""
    lines = case_text(folder).splitlines()
    places = [number for number, line in enumerate(lines) if "=" in line]
    number = chance.choice(places)
    key = lines[number].partition("=")[0]
    lines[number] = f"{key}= {_literal(chance.choice(ODD))}"
    put_case(folder, "\n".join(lines))


def case_inner_value(folder: Path, chance: random.Random) -> None:
    """Another value for a key of an inline table."""
    text = case_text(folder)
    inner = chance.choice(list(re.finditer(r"[{,] *\w+ = ([^,}\n]+)", text)))
    put_case(folder, text[: inner.start(1)] + _literal(chance.choice(ODD)) + text[inner.end(1) :])


def case_key(folder: Path, chance: random.Random) -> None:
    """A line that is gone, twice there, of another key, or in another table."""
    lines = case_text(folder).splitlines()
    number = chance.randrange(len(lines))
    line = lines.pop(number)
    what = chance.choice(("gone", "twice", "misspelt", "moved"))
    if what == "twice":
        lines[number:number] = [line, line]
    elif what == "misspelt":
        lines.insert(number, line[1:])
    elif what == "moved":
        lines.insert(chance.randrange(len(lines) + 1), line)
    put_case(folder, "\n".join(lines))


def case_nested(folder: Path, chance: random.Random) -> None:
    """Lists, tables or names that go deep."""
    depth = chance.choice((20, 100, 3000))
    deep = (f"a = {'[' * depth}{']' * depth}", f"[{'.'.join('a' * depth)}]",
            "a = " + "{ a = " * depth + "1" + " }" * depth)  # fmt: skip
    put_case(folder, f"{chance.choice(deep)}\n{case_text(folder)}")


def case_characters(folder: Path, chance: random.Random) -> None:
    """Characters that are gone, doubled or others."""
    text = list(case_text(folder))
    for _ in range(chance.randint(1, 5)):
        text[chance.randrange(len(text))] = chance.choice(("", *PUNCTUATION, "aa", "0"))
    put_case(folder, "".join(text))


def case_text(folder: Path) -> str:
    """The text of the case."""
    return (folder / "case.toml").read_text(encoding="utf-8")


def put_case(folder: Path, text: str) -> None:
    (folder / "case.toml").write_text(text, encoding="utf-8")


# ---- NetCDF files --------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nc"))


def _variable(file: netCDF4.Dataset, chance: random.Random) -> Any:
    file.set_auto_maskandscale(False)
    return file.variables[chance.choice(sorted(file.variables))]


def netcdf_bytes(folder: Path, chance: random.Random) -> None:
    """A file that is cut off, or some of whose bytes are others."""
    path = chance.choice(_files(folder))
    content = bytearray(path.read_bytes())
    if chance.random() < 0.3:
        content = content[: chance.randrange(len(content))]
    else:
        for _ in range(chance.choice((1, 4, 64))):
            content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content)


def netcdf_attribute(folder: Path, chance: random.Random) -> None:
    """An attribute of another value, type or shape, or one that is gone."""
    with netCDF4.Dataset(chance.choice(_files(folder)), "a") as file:
        variable = _variable(file, chance)
        name, value = chance.choice(NAMES), chance.choice(ATTRIBUTES)
        if name in variable.ncattrs() and chance.random() < 0.3:
            variable.delncattr(name)
        elif name != "_FillValue":
            variable.setncattr(name, value)


def netcdf_values(folder: Path, chance: random.Random) -> None:
    """Some values that are others."""
    with netCDF4.Dataset(chance.choice(_files(folder)), "a") as file:
        variable = _variable(file, chance)
        if variable.dtype is str or not variable.size:
            return
        values = np.array(variable[...])
        odd = [0.0, -1.0, 1e20, 1e300, np.nan, np.inf, -np.inf, 9.97e36, 1e-300]
        with np.errstate(all="ignore"):
            number = np.array(chance.choice(odd)).astype(values.dtype)
        values.ravel()[chance.randrange(values.size) :: chance.choice((1, 3, 10**6))] = number
        variable[...] = values


def netcdf_name(folder: Path, chance: random.Random) -> None:
    """A variable or dimension of another name."""
    with netCDF4.Dataset(chance.choice(_files(folder)), "a") as file:
        dims = chance.random() < 0.5
        old = chance.choice(sorted(file.dimensions if dims else file.variables))
        new = chance.choice(("time", "x", "y", "obs", "tracer", "realization", "q"))
        taken = file.dimensions if dims else file.variables
        if new not in taken:
            (file.renameDimension if dims else file.renameVariable)(old, new)


def netcdf_rebuilt(folder: Path, chance: random.Random) -> None:
    """A file made anew, with a variable of another shape or type, a scalar, or none."""
    path = chance.choice(_files(folder))
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        content = {
            name: (v.dimensions, np.array(v[...]), {k: v.getncattr(k) for k in v.ncattrs()})
            for name, v in file.variables.items()
        }
    name = chance.choice(sorted(content))
    dims, values, attributes = content[name]
    what = chance.choice(("shorter", "longer", "text", "whole", "scalar", "none", "twofold"))
    size = max(0, values.size + {"shorter": -1, "longer": 1}.get(what, 0))
    if what == "none":
        del content[name]
    elif what == "text":
        content[name] = (dims, values.astype("U8").astype(object), {})
    elif what == "whole":
        with np.errstate(all="ignore"):
            content[name] = (dims, values.astype(np.int16), attributes)
    elif what == "scalar":
        content[name] = ((), np.array(values.ravel()[0] if values.size else 0.0), attributes)
    elif what == "twofold":
        content[name] = ((*dims, "other"), np.stack([values, values], -1), attributes)
    else:
        content[name] = (("other",), np.resize(values.ravel(), size), attributes)
    _write(path, content)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.unlink()
    with netCDF4.Dataset(path, "w") as file:
        file.set_auto_maskandscale(False)
        for name, (dims, values, attributes) in content.items():
            for dim, length in zip(dims, values.shape, strict=True):
                if dim not in file.dimensions:
                    file.createDimension(dim, length)
            if values.shape != tuple(len(file.dimensions[dim]) for dim in dims):
                dims = tuple(f"{dim}_{name}" for dim in dims)
                for dim, length in zip(dims, values.shape, strict=True):
                    file.createDimension(dim, length)
            kind = str if values.dtype == object else values.dtype
            fill = attributes.pop("_FillValue", None)
            fill = (
                fill
                if kind is not str and values.dtype.kind == np.asarray(fill).dtype.kind
                else None
            )
            variable = file.createVariable(name, kind, dims, fill_value=fill)
            variable.setncatts(attributes)
            variable[...] = values


# ---- manifests and records -----------------------------------------------------------------------


def manifest_line(folder: Path, chance: random.Random) -> None:
    """A line of another shape, cut off, twice, gone, or with another value somewhere."""
    path = chance.choice(sorted(folder.rglob("*.jsonl")))
    lines = path.read_text().splitlines()
    number = chance.randrange(len(lines))
    what = chance.choice(("shape", "cut", "twice", "gone", "value", "key"))
    if what == "shape":
        lines[number] = json.dumps(chance.choice(([], 5, None, "x", {}, [{}], True, {"window": 0})))
    elif what == "cut":
        lines[number] = lines[number][: chance.randrange(len(lines[number]))]
    elif what == "twice":
        lines.insert(number, lines[number])
    elif what == "gone":
        del lines[number]
    else:
        entry = json.loads(lines[number])
        key = chance.choice(sorted(entry))
        if what == "key":
            del entry[key]
        else:
            entry[key] = chance.choice((0, -1, 1e300, None, "x", [], {}, [1], {"x": 1}, {"x": {}}))
        lines[number] = json.dumps(entry)
    path.write_text("\n".join(lines) + "\n" * chance.randint(0, 1))


Mutation = Callable[[Path, random.Random], None]
OF_ALL: tuple[Mutation, ...] = (
    *(case_value, case_value, case_inner_value, case_key, case_nested, case_characters),
    *(netcdf_bytes, netcdf_attribute, netcdf_attribute, netcdf_values, netcdf_name, netcdf_rebuilt),
)
