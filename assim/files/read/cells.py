"""What a file says of the stretch of time that each value stands for (CF conventions, 7.3)."""

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.read.dimensions import bounds_of
from assim.files.read.places import flat
from assim.files.sources import File, Source, opened_file
from assim.files.times import FileTimes, decode
from assim.problem.arrays import Labels
from assim.problem.operator import AbstractOperator

MEAN = "mean"
POINT = "point"
_ALONG = re.compile(r"((?:\w+:\s+)+)(\w+)")  # "time: lat: mean"
_COMMENT = re.compile(r"\([^)]*\)")


def method_in_time(array: xr.DataArray, clock: str) -> str:
    """How each value stands for its stretch of time: "mean", "sum", "maximum" and others.

    "point" is at one time of it; "" where `cell_methods` says nothing of the time. Of several
    methods the last counts, as in "time: maximum within days time: mean over days".

    Args:
        array: the values.
        clock: name of the variable that is their time.
    """
    dims = array.coords[clock].dims if clock in array.coords else ()
    names = {clock, "time", *map(str, dims)}
    method = ""
    for axes, word in _ALONG.findall(_COMMENT.sub("", str(array.attrs.get("cell_methods", "")))):
        if names & set(axes.replace(":", " ").split()):
            method = word.lower()
    return method


def contradiction(where: str, method: str, operator: AbstractOperator) -> list[str]:
    """A note where the case's operator predicts a mean or a sum, and values are something else.

    Args:
        where: file and variable.
        method: of the values in time, as `method_in_time` gives it.
        operator: that of the case, whose word counts.
    """
    if method in ("", operator.predicts or method):
        return []
    return [
        f'{where}: read by {type(operator).__name__}, though cell_methods says "time: {method}"; '
        "give the operator that predicts these, or correct the file"
    ]


def states_read_at_times(
    source: Source, labels: Labels, names: Iterable[str], clock: str | None
) -> list[str]:
    """Notes of the fields of a file that are read as states at a time, though they are no such.

    Arguments are those of `read_state`.
    """
    notes = []
    with opened_file(source, labels) as file:
        for name in filter(file.has, names):
            method = method_in_time(file.dataset[name], clock or "time")
            if method not in ("", POINT):
                notes.append(
                    f"{file.where(name)}: read as the state at one time, though cell_methods says "
                    f'"time: {method}"; take a file of states at points of time, or let its '
                    "standard deviation cover the difference"
                )
    return notes


def spread(times: FileTimes, array: xr.DataArray, like: xr.DataArray) -> FileTimes:
    """The times of a variable as one a row."""
    return replace(times, numbers=flat(xr.DataArray(times.numbers, dims=array.dims), like))


def intervals(
    file: File, clock: str, like: xr.DataArray
) -> tuple[FileTimes | None, FileTimes | None]:
    """Start and end of every value's interval, from the bounds of the time variable."""
    dataset = file.dataset
    name = bounds_of(dataset, clock)
    if name is None:
        return None, None
    where = file.where(name)
    if not file.has(name):
        raise DataError(
            f"{where}: {clock!r} names it as its bounds, but there is no such variable; add it, "
            f"or drop the attribute `bounds`"
        )
    bounds = dataset[name]
    pair = [dim for dim in bounds.dims if dim not in dataset[clock].dims]
    if len(pair) != 1 or bounds.sizes[pair[0]] != 2:
        raise DataError(
            f"{where}: expected the dimensions of {clock!r} and one of length 2, got "
            f"{dict(bounds.sizes)}"
        )
    inherited = {k: v for k, v in dataset[clock].attrs.items() if k in ("units", "calendar")}
    bounds = bounds.assign_attrs({**inherited, **bounds.attrs})
    sides = [bounds.isel({pair[0]: side}) for side in (0, 1)]
    starts, ends = (spread(decode(side, where), side, like) for side in sides)
    if np.any(starts.numbers >= ends.numbers):
        first = int(np.argmax(starts.numbers >= ends.numbers))
        raise DataError(
            f"{where}: every interval must end after it starts, row {first} does not "
            f"({starts.numbers[first]:g} to {ends.numbers[first]:g})"
        )
    return starts, ends
