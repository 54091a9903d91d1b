"""What every finding about an analysis is: numbers with names, for files and summaries."""

import abc
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np


class Variable(NamedTuple):
    """An array as files have it.

    Args:
        dims: names of its dimensions.
        values: the array; whole numbers and booleans are written as 32-bit integers.
        long_name: what it is.
        units: its unit; None for flags, which have none.
        attributes: further ones, as `flag_values`.
    """

    dims: tuple[str, ...]
    values: Any
    long_name: str
    units: str | None = "1"
    attributes: Mapping[str, Any] = {}


class RowColumn(NamedTuple):
    """One number for every value of an instrument that was used, in their order.

    Args:
        suffix: added to the instrument's name, as "_influence".
        values: shape (m,).
        what: what it is, before the long name of the instrument's variable.
        dimensionless: whether its unit is 1 rather than that of the instrument.
    """

    suffix: str
    values: np.ndarray
    what: str
    dimensionless: bool


class AbstractFinding(abc.ABC):
    """What else follows from an analysis, where it was asked for (`Analysis.with_findings`).

    A new one is a class with a `name` and `variables`: these are written to diagnostics.nc, what
    `columns` gives to feedback.nc, and what `summary` gives to summary.json under its name.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def variables(self) -> dict[str, Variable]:
        """Variables of diagnostics.nc, by name."""

    def columns(self, instrument: str) -> list[RowColumn]:
        """Columns of feedback.nc for the values of one instrument that were used."""
        return []

    def summary(self) -> dict[str, Any]:
        """Entries of summary.json: of `variables` numbers, and series by what flags mean."""
        return in_numbers(self.variables())


def flags(dim: str, names: Sequence[str], long_name: str) -> Variable:
    """The coordinate of a dimension whose entries have names, as flags."""
    numbers = np.arange(len(names), dtype=np.int32)
    return flagged((dim,), numbers, long_name, [flag_meaning(name) for name in names])


def flagged(
    dims: tuple[str, ...], values: Any, long_name: str, meanings: Sequence[str]
) -> Variable:
    """Flags 0, 1, … with what they mean, each a word."""
    words = {
        "flag_values": np.arange(len(meanings), dtype=np.int32),
        "flag_meanings": " ".join(meanings),
    }
    return Variable(dims, values, long_name, None, words)


def flag_meaning(name: str) -> str:
    """A name as one of CF's flag meanings: letters, digits and _ - . + @ alone."""
    return re.sub(r"[^A-Za-z0-9_.+@-]+", "_", name).strip("_") or "_"


def in_numbers(variables: Mapping[str, Variable]) -> dict[str, Any]:
    """Variables without their coordinates: numbers, lists, and mappings by what flags mean."""
    return {
        name: _nested(variable, np.asarray(variable.values), variables)
        for name, variable in variables.items()
        if variable.dims != (name,)
    }


def _nested(variable: Variable, values: np.ndarray, variables: Mapping[str, Variable]) -> Any:
    """An array by its first dimension, and each of its parts by the next."""
    if not values.ndim:
        return values.item()
    parts = [_nested(variable._replace(dims=variable.dims[1:]), v, variables) for v in values]
    meanings = list(_meanings(variables.get(variable.dims[0])))
    return dict(zip(meanings, parts, strict=True)) if meanings else parts


def _meanings(coordinate: Variable | None) -> Iterator[str]:
    """What every entry along a dimension means, where its coordinate is of flags."""
    if coordinate is not None and "flag_meanings" in coordinate.attributes:
        yield from coordinate.attributes["flag_meanings"].split()
