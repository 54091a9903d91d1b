"""Which variable of a file is the time, and what is taken along dimensions that nobody knows."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches

import numpy as np
import xarray as xr

from assim.arguments import hint
from assim.files.errors import DataError
from assim.files.names import time_name
from assim.files.valid import VALID_TIME

Select = Mapping[str, int | float | str]
MEAN, ALL = "mean", "all"
_TIME = "time"  # the standard name; reference times and periods have others
_SHOWN = 8  # labels of a dimension that messages show


def standard_name(variable: xr.Variable | xr.DataArray) -> str | None:
    """The standard name of a variable, if it has one."""
    name = variable.attrs.get("standard_name")
    return name.strip() if isinstance(name, str) else None


def bounds_of(dataset: xr.Dataset, clock: str) -> str | None:
    """The variable that a time names as its bounds, whether or not it is there."""
    variable = dataset[clock]
    return variable.attrs.get("bounds") or variable.encoding.get("bounds")


def time_variables(dataset: xr.Dataset, unit: str, taken: Iterable[str] = ()) -> list[str]:
    """Variables that may be the time: by standard name, or by name where they have no such.

    `valid_time` counts where nothing else does, and then any dates; reference times and periods
    never do.
    `taken` are names that mean something else to the model.
    """
    others = {str(variable.attrs.get("bounds")) for variable in dataset.variables.values()}
    known = {str(name): v for name, v in dataset.variables.items()}
    known = {name: v for name, v in known.items() if name not in {*others, *taken}}
    unnamed = [name for name, variable in known.items() if standard_name(variable) is None]
    usual = [name for name in (time_name(unit), "time", "t") if name in unnamed][:1]
    named = [name for name, variable in known.items() if standard_name(variable) == _TIME]
    dates = [name for name in unnamed if known[name].dtype.kind == "M"]
    return [*usual, *named] or [name for name in unnamed if name == VALID_TIME] or dates


def time_variable(
    dataset: xr.Dataset,
    unit: str,
    where: str,
    *,
    fits: Callable[[xr.DataArray], bool],
    chosen: str | None = None,
    taken: Iterable[str] = (),
) -> str | None:
    """The variable that is the time of what is read, None where there is none that `fits` it.

    Raises:
        DataError: there are several, or the one that is `chosen` is not there or does not fit.
    """
    if chosen is not None:
        if chosen not in dataset.variables or not fits(dataset[chosen]):
            near = hint(chosen, map(str, dataset.variables))
            there = f"there is no such variable; {near}"
            if chosen in dataset.variables:
                there = f"that is on {dataset[chosen].dims}, not on the dimensions of the values"
            raise DataError(f"{where}: the time is to be {chosen!r}, but {there}")
        return chosen
    names = [name for name in time_variables(dataset, unit, taken) if fits(dataset[name])]
    if len(names) > 1:
        raise DataError(
            f"{where}: the time may be {' or '.join(map(repr, names))}; say which with the key "
            f'`time`, as time = "{names[-1]}" (clock= in a script)'
        )
    return names[0] if names else None


def selected(
    dataset: xr.Dataset, select: Select | None, where: str
) -> tuple[xr.Dataset, tuple[str, ...]]:
    """The file at the label or number that is selected along each dimension, and those to average.

    A dimension with a coordinate goes by its labels, another by number from 0. "mean" averages
    along it, "all" keeps it.

    Raises:
        DataError: no such dimension, or no such label or number along it.
    """
    _check_select(select, where)
    for dim, label in (select or {}).items():
        if dim not in dataset.dims:
            near = hint(dim, map(str, dataset.dims))
            raise DataError(f"{where}: select: there is no dimension {dim!r}; {near}")
        if label not in (MEAN, ALL):
            dataset = dataset.isel({dim: _index(dataset, dim, label, where)})
    return dataset, tuple(dim for dim, label in (select or {}).items() if label == MEAN)


def _check_select(select: object, where: str) -> None:
    """Raise DataError unless one label, or a word, is given by dimension."""
    what = f'{where}: select: expected one label, "{MEAN}" or "{ALL}" for every dimension, as in '
    example = f'{{"realization": 0}} or {{"realization": "{MEAN}"}}, got '
    if select is not None and not isinstance(select, Mapping):
        raise DataError(f"{what}{example}{select!r}")
    for dim, label in (select or {}).items():
        single = isinstance(label, str | int | float | np.integer | np.floating)
        if not single or isinstance(label, bool) or (label != label):
            raise DataError(f"{what}{example}{label!r} for {dim!r}")


def averaged(array: xr.DataArray, dims: Iterable[str]) -> xr.DataArray:
    """The mean along those of the dimensions that it has; missing where any value is."""
    along = [dim for dim in dims if dim in array.dims]
    return array.mean(along, skipna=False, keep_attrs=True) if along else array


def unknown_dimension(
    array: xr.DataArray, dataset: xr.Dataset, unknown: Iterable[str], where: str
) -> str:
    """What to say of dimensions that nobody knows, and the ways out."""
    dim = next(iter(unknown))
    shown = _shown(next(iter(_labels(dataset, dim)), 0))
    return (
        f"{where}: neither the model nor the time or the places of the values know the dimension "
        f"{dim!r} of length {array.sizes[dim]}; take one of them, as "
        f'select = {{ {dim} = {shown} }}, or their mean, select = {{ {dim} = "{MEAN}" }}'
    )


def _index(dataset: xr.Dataset, dim: str, label: int | float | str, where: str) -> int:
    labels = _labels(dataset, dim)
    matches = np.flatnonzero([_same(label, own) for own in labels])
    if matches.size != 1:
        shown = ", ".join(map(_shown, labels[:_SHOWN])) + (", ..." if len(labels) > _SHOWN else "")
        count = "there is none" if not matches.size else f"there are {matches.size}"
        near = "" if matches.size else _nearest(label, labels)
        raise DataError(
            f"{where}: select: expected {dim} = {label!r}, {count}; {near}it has {shown}"
        )
    return int(matches[0])


def _nearest(label: int | float | str, labels: list[int | float | str]) -> str:
    """Which of the labels is meant, if any is near."""
    near: list[int | float | str] = []
    if isinstance(label, str):
        near += get_close_matches(label, [own for own in labels if isinstance(own, str)], 1)
    else:
        numbers = [own for own in labels if not isinstance(own, str)]
        near += sorted(numbers, key=lambda own: abs(own - label))[:1]
    return f"did you mean {_shown(near[0])}? " if near else ""


def _labels(dataset: xr.Dataset, dim: str) -> list[int | float | str]:
    """Labels along a dimension: of its coordinate where that has numbers or texts, else numbers."""
    if dim in dataset.variables and dataset[dim].dims == (dim,):
        values = np.asarray(dataset[dim].values)
        if values.dtype.kind in "iufUO":
            return [own if isinstance(own, int | float) else str(own) for own in values.tolist()]
    return list(range(dataset.sizes[dim]))


def _shown(label: int | float | str) -> str:
    """A label as a case gives it."""
    if isinstance(label, str):
        return f'"{label}"'
    return str(int(label)) if float(label).is_integer() else f"{label:.10g}"


def _same(label: int | float | str, own: int | float | str) -> bool:
    if isinstance(label, str) or isinstance(own, str):
        return label == own
    if float(label).is_integer() and float(own).is_integer():
        return label == own
    return bool(np.isclose(label, own, rtol=1e-6, atol=0))
