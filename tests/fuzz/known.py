"""Mutations whose right end is known: neutral ones change no result, invalid ones are refused."""

import random
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from tests.fuzz.mutants import Mutation, case_text, put_case

INPUTS = ("background.nc", "observations.nc")


def _input(folder: Path, chance: random.Random) -> Path:
    return folder / chance.choice(INPUTS)


def _fields(file: netCDF4.Dataset) -> list[str]:
    """Variables that every case reads: not the flags."""
    return sorted(name for name in file.variables if not name.endswith("_qc"))


# ---- neutral -------------------------------------------------------------------------------------


def neutral_text(folder: Path, chance: random.Random) -> None:
    """Comments, blanks and spaces, or keys of a table in another order."""
    blocks = [block.splitlines() for block in case_text(folder).strip().split("\n\n")]
    for lines in blocks:
        head = lines[:1] if lines[0].startswith("[") else []
        keys = lines[len(head) :]
        chance.shuffle(keys)
        lines[:] = [*head, *keys]
        lines.insert(chance.randrange(len(lines) + 1), chance.choice(("# = [x", "", "   ")))
    put_case(folder, "\n\n".join("\n".join(lines) for lines in blocks) + "\n")


def neutral_attribute(folder: Path, chance: random.Random) -> None:
    """An attribute that nobody reads, of a variable or of the file."""
    with netCDF4.Dataset(_input(folder, chance), "a") as file:
        place = chance.choice((file, file.variables[chance.choice(sorted(file.variables))]))
        name = chance.choice(("comment", "history", "long_name", "cell_methods", "precision", "id"))
        place.setncattr(name, chance.choice(("", "é", "x y: z", "a" * 3000)))


def neutral_variable(folder: Path, chance: random.Random) -> None:
    """A further variable, on a dimension of its own, with faulty attributes that nobody reads."""
    with netCDF4.Dataset(_input(folder, chance), "a") as file:
        file.createDimension("more", 3)
        more = file.createVariable("more", "f8", ("more",))
        more[:] = [1e300, np.nan, -1.0]
        more.setncattr("scale_factor", chance.choice(("text", 0.0, np.array([1.0, 2.0]))))


def neutral_units(folder: Path, chance: random.Random) -> None:
    """Another spelling of the units of positions."""
    with netCDF4.Dataset(_input(folder, chance), "a") as file:
        file.variables["x"].units = chance.choice(("metre", "meters", "m^1", "m**1", " m "))


def neutral_format(folder: Path, chance: random.Random) -> None:
    """The same content in another format of NetCDF, its variables in another order."""
    path = _input(folder, chance)
    with netCDF4.Dataset(path) as old:
        old.set_auto_maskandscale(False)
        content = {
            n: (v.dimensions, np.array(v[...]), v.__dict__) for n, v in old.variables.items()
        }
        sizes = {name: len(dim) for name, dim in old.dimensions.items()}
    path.unlink()
    names = sorted(content)
    chance.shuffle(names)
    formats = ("NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET")
    with netCDF4.Dataset(path, "w", format=chance.choice(formats)) as new:
        new.set_auto_maskandscale(False)
        for name, size in sizes.items():
            new.createDimension(name, size)
        for name in names:
            dims, values, attributes = content[name]
            kind = np.int32 if values.dtype.kind == "i" else values.dtype
            fill = attributes.get("_FillValue")
            variable = new.createVariable(name, kind, dims, fill_value=fill)
            variable.setncatts({k: v for k, v in attributes.items() if k != "_FillValue"})
            variable[...] = values


# ---- invalid -------------------------------------------------------------------------------------


def invalid_key(folder: Path, chance: random.Random) -> None:
    """A key that there is not, in a table of the case."""
    lines = case_text(folder).splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("[")]
    key = chance.choice(("use_", "Slots", "stdev2", "none", "a.b", '"é"'))
    lines.insert(chance.choice(heads) + 1, f"{key} = {chance.choice(('1', 'true', '[]'))}")
    put_case(folder, "\n".join(lines))


def invalid_value(folder: Path, chance: random.Random) -> None:
    """A value that its key can never have."""
    text = case_text(folder)
    wrong = {
        "slots = 6": ("0", "-1", "1.5", '"6"', "[6]"),
        "dt = 20.0": ("0.0", "-20.0", "nan", '"20"', "[]"),
        "stdev = 0.2": ("0.0", "-0.2", "inf", '"0.2"', "{}"),
        'file = "background.nc"': ("1", '"missing.nc"', "[]"),
        'variable = "tracer"': ('"trace"', "1", "[]"),
        'start = "2000-01-01"': ('"2000-13-01"', '"soon"', "[]", "true"),
        "n_outer = 20": ("0", "-1", "2.5", '"20"'),
    }
    old = chance.choice(sorted(line for line in wrong if line in text))
    put_case(folder, text.replace(old, f"{old.partition(' =')[0]} = {chance.choice(wrong[old])}"))


def invalid_units(folder: Path, chance: random.Random) -> None:
    """Units of another kind, of a variable that is read."""
    with netCDF4.Dataset(_input(folder, chance), "a") as file:
        variable = file.variables[chance.choice(_fields(file))]
        variable.units = chance.choice(
            ("K", "km h-1", "days", "parsec", "seconds until 2000-01-01")
        )


def invalid_number(folder: Path, chance: random.Random) -> None:
    """A number that a background, a position or a standard deviation cannot be."""
    name = chance.choice(("tracer", "tracer_stddev", "x"))
    with netCDF4.Dataset(folder / "background.nc", "a") as file:
        variable = file.variables[name]
        values = np.array(variable[...])
        odd = {"tracer": (np.nan, np.inf, 1e20), "tracer_stddev": (np.nan, -1.0, 0.0)}
        values[chance.randrange(values.size)] = chance.choice(odd.get(name, (np.nan, np.inf, -5.0)))
        variable[...] = values


def invalid_absence(folder: Path, chance: random.Random) -> None:
    """A variable of another name than the one that is needed."""
    with netCDF4.Dataset(_input(folder, chance), "a") as file:
        needed = ["tracer", "tracer_stddev", *(["time"] * ("time" in file.variables))]
        file.renameVariable(chance.choice(needed), "something_else")


NEUTRAL: tuple[Mutation, ...] = (
    *(neutral_text, neutral_attribute, neutral_variable, neutral_units, neutral_format),
)
INVALID: tuple[Mutation, ...] = (
    *(invalid_key, invalid_value, invalid_units, invalid_number, invalid_absence),
)


def results(folder: Path) -> dict[str, np.ndarray]:
    """All numbers of finished files in a folder, by file and variable."""
    numbers: dict[str, Any] = {}
    for path in sorted(folder.rglob("*.nc")):
        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            for name, variable in file.variables.items():
                if variable.dtype is not str and variable.dtype.kind in "iuf":
                    numbers[f"{path.relative_to(folder)}: {name}"] = np.array(variable[...])
    return numbers


def differ(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> list[str]:
    """Names under which two results have not the same numbers, but for rounding."""

    def same(name: str) -> bool:
        if name not in first or name not in second or first[name].shape != second[name].shape:
            return False
        size = np.nanmax(np.abs(np.where(np.isfinite(first[name]), first[name], 0.0)), initial=0.0)
        return np.allclose(first[name], second[name], rtol=1e-6, atol=1e-6 * size, equal_nan=True)

    return sorted(name for name in first.keys() | second.keys() if not same(name))
