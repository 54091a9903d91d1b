"""Units: which are the same, which can be converted, and by what factor, as UDUNITS has it."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from assim.files.errors import DataError
from assim.problem.arrays import Label, Labels
from assim.problem.bounds import Bounds

_FACTOR = re.compile(r"([A-Za-z_%°µΩ]+)(?:\^|\*\*)?([+-]?\d+)?")
_DEGREES = re.compile(r"\b(?:deg|degree|degrees)[ _.]?([CFK])\b", re.IGNORECASE)
_TURNS = ("degree", "degrees")
_EAST = [f"{turn}{end}" for turn in _TURNS for end in ("_east", "_E", "E")]
_NORTH = [f"{turn}{end}" for turn in _TURNS for end in ("_north", "_N", "N")]
_CUSTOMARY = {  # what people write and UDUNITS does not know, or knows as something else
    "cfs": "ft3 s-1",
    "cusec": "ft3 s-1",
    "cusecs": "ft3 s-1",
    "cumec": "m3 s-1",
    "cumecs": "m3 s-1",
    "gal": "US_liquid_gallon",
    "gpm": "US_liquid_gallon min-1",
    "mgd": "1e6 US_liquid_gallon day-1",
    "mph": "mile h-1",
    "kph": "km h-1",
    "mb": "mbar",
    "Sv": "sverdrup",
    "psu": "1e-3",
    "PSU": "1e-3",
    "deg": "degree",
    "none": "1",
    "unitless": "1",
    "dimensionless": "1",
    "-": "1",
}
_WORD = re.compile(r"[A-Za-z-]+")
_STRAIGHT = 1e-9  # of the largest of three values, from which a conversion is no straight line


_TOLD: ContextVar[list[str] | None] = ContextVar("_TOLD", default=None)


class UnitsWarning(UserWarning):
    """Values were converted to the unit that the model has."""


class Conversion(NamedTuple):
    """From the unit of a file to the model's: y = factor x + offset."""

    factor: float = 1.0
    offset: float = 0.0
    words: str = ""  # what was done, for people; "" for nothing

    def values(self, x: Any) -> Any:
        """Values, or positions, in the other unit."""
        return x * self.factor + self.offset if self.words else x

    def back(self, y: Any) -> Any:
        """Values in the unit of the file again."""
        return (y - self.offset) / self.factor

    def tell(self) -> None:
        """Say what was done, where somebody listens, else by a warning."""
        if not self.words:
            return
        if (told := _TOLD.get()) is None:
            warnings.warn(self.words, UnitsWarning, stacklevel=3)
        else:
            told.append(self.words)


UNCHANGED = Conversion()


@contextmanager
def listening() -> Iterator[list[str]]:
    """What is told of conversions inside the block."""
    told: list[str] = []
    before = _TOLD.set(told)
    try:
        yield told
    finally:
        _TOLD.reset(before)


def same_units(first: str, second: str) -> bool:
    """Whether two strings spell the same unit: "m s-1", "m/s" and "metres per second" do.

    Units that would have to be converted ("km", "m") are different.
    """
    known = _between(first, second)
    return known is not None and known == (1.0, 0.0)


def conversion(
    where: str, got: object, expected: str, *, of_differences: bool = False
) -> Conversion:
    """How values in the unit of a variable become those in the expected one.

    A variable without units is dimensionless, as in CF. Differences of values, as standard
    deviations are, have a factor alone: 1 degC of them is 1 K.

    Raises:
        DataError: it has no units where some are expected, or those of something else.
    """
    if got is None or not str(got).strip():
        if same_units("1", expected):
            return Conversion()
        raise DataError(
            f"{where}: expected units {expected!r}, got no units attribute; add `units` = "
            f"{expected!r} if the values are in that"
        )
    line = _between(str(got), expected)
    if line is None:
        raise DataError(
            f"{where}: expected units {expected!r}, got {str(got)!r}, which cannot be converted; "
            "convert the values, or correct the attribute `units` of the variable"
        )
    factor, offset = line[0], 0.0 if of_differences else line[1]
    if (factor, offset) == (1.0, 0.0):
        return Conversion()
    plus = f" {'-' if offset < 0 else '+'} {abs(offset):.6g}" if offset else ""
    by = f"× {factor:.6g}{plus}"
    words = f"{where}: converted from {str(got)!r} to {expected!r} ({by})"
    return Conversion(factor, offset, words)


def _between(first: str, second: str) -> tuple[float, float] | None:
    """Factor and offset from one unit to another; None where there is none."""
    first, second = first.strip() or "1", second.strip() or "1"
    if first == second:
        return 1.0, 0.0
    if any((first in names) != (second in names) for names in (_EAST, _NORTH)):
        return None  # UDUNITS takes both for degrees
    for customary in (False, True):
        line = _line(_spelt(first, customary), _spelt(second, customary))
        if line is not None:
            return line
    return None


def _spelt(text: str, customary: bool) -> str:
    """A unit as UDUNITS spells it."""
    text = _DEGREES.sub(lambda m: f"deg{m[1].upper()}" if m[1] in "CFcf" else "K", text)
    if not customary:
        return text
    return _WORD.sub(lambda m: f"({_CUSTOMARY[m[0]]})" if m[0] in _CUSTOMARY else m[0], text)


def _line(first: str, second: str) -> tuple[float, float] | None:
    import cf_units

    try:
        one, other = cf_units.Unit(first), cf_units.Unit(second)
        if one.is_unknown() or other.is_unknown() or not one.is_convertible(other):
            return None
        y = one.convert(np.array([0.0, 1.0, 2.0]), other)
    except ValueError:
        return None
    if not np.all(np.isfinite(y)) or abs(y[2] - 2 * y[1] + y[0]) > _STRAIGHT * np.abs(y).max():
        return None  # reciprocals, logarithms
    factor, offset = float(y[1] - y[0]), float(y[0])
    if abs(factor - 1) < 1e-12 and abs(offset) < 1e-12:
        return 1.0, 0.0
    return factor, offset


def check_units(where: str, got: object, expected: str) -> None:
    """Raise DataError unless a variable has these units, without any conversion."""
    line = conversion(where, got, expected)
    if line.words:
        raise DataError(
            f"{where}: expected units {expected!r}, got {str(got)!r}; values that are handed back "
            "are not converted: give the field the unit of the variable"
        )


def with_units(labels: Labels, units: Mapping[str, str]) -> Labels:
    """The labels of a model with other units of some of its fields."""
    own = labels.state.items()
    other = {name: replace(label, units=units.get(name, label.units)) for name, label in own}
    return replace(labels, state=other)


def of_model_error(name: str, labels: Labels, acts: str, bounds: Mapping[str, Bounds]) -> Label:
    """Label of the model error η of a field, by how it acts, and of the square root of its Q.

    A jump has the field's unit, between bounds none, a tendency that by the model's time.
    """
    label, time = labels.state[name], labels.time_unit
    if name in bounds:
        return Label(label.dims, "1", f"{bounds[name].words()} of {label.long_name}")
    if acts == "jump" or time == "1":
        return label
    units = f"{time}-1" if label.units == "1" else f"{label.units} {time}-1"
    return Label(label.dims, units, label.long_name)


def squared(units: str) -> str:
    """The square of a unit, as variances have it: "K2" of "K"."""
    factors = _factors(units)
    if isinstance(factors, str):
        return f"({units})2"
    return " ".join(f"{name}{2 * power}" for name, power in factors.items()) or "1"


def _factors(text: str) -> Counter | str:
    """Exponent of each factor; the text itself where it does not read as a product."""
    exponents: Counter = Counter()
    sign = 1
    text = text.replace("μ", "µ")  # the letter and the sign
    for token in re.findall(r"/|[^\s/.·]+", re.sub(r"(?<!\*)\*(?!\*)", " ", text)):
        if token in ("/", "per"):
            sign = -1
            continue
        match = _FACTOR.fullmatch(token)
        if match is None and token != "1":
            return text.strip()
        if match is not None:
            exponents[match[1]] += sign * int(match[2] or 1)
        sign = 1
    return Counter({name: power for name, power in exponents.items() if power})
