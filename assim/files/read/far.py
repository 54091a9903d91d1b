"""Values so far from all others that they hardly are values: a fill value that nobody declared."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.units import UNCHANGED, Conversion

FAR = 1e10  # times: more than one quantity varies, less than the usual fill values are away
_SEVERAL, _MANY_SPANS = 3, 10  # a number that nobody writes for nothing: how often, how far off
_NINES = (-99, -99.9, -999, -999.9, -999.99, -9999, -9999.9, -9999.99, -99999, -999999)
_OTHERS = (999, 9999, 99999, 999999, -32768, -32767, 32767, 1e30, 1e35, 1e36, 9.96921e36)
_CUSTOMARY = np.array([*_NINES, *_OTHERS, 1e20, -1e20, -1e30, -1e34, 3.4028235e38])
_LIKELY = "likely a fill value that nobody declared"


class Fill(NamedTuple):
    """A number that `rows` of the values are, exactly, and the others, from low to high, are not.

    It is `customary` where it is one that is written for what is missing: as the file has it, in
    its own unit, which is `stored`.
    """

    value: float
    rows: int
    low: float
    high: float
    customary: bool
    stored: float

    @property
    def between(self) -> float:
        """A bound that leaves it out and lets all others in."""
        return (self.value + (self.low if self.value < self.low else self.high)) / 2

    def words(self) -> str:
        """What is to be said of it."""
        times = "one value is" if self.rows == 1 else f"{self.rows} values are"
        others = f"all others lie from {self.low:g} to {self.high:g}"
        own = (
            "" if np.isclose(self.stored, self.value) else f" ({self.stored:g} in the file's unit)"
        )
        return f"{times} exactly {self.value:g}{own}, and {others}: {_LIKELY}"


def likely_fills(values: np.ndarray, units: Conversion = UNCHANGED) -> list[Fill]:
    """The smallest and the largest of the values, where they stand for nothing, it seems.

    It is further from all others than these are from each other, and than half its size. A
    customary one that is there once is ten times as far; and so is another, which is not 0, and is
    there three times and more, though seldomer than the others. Where all others are 0, what the
    unit is nobody knows: nothing is then said of numbers of 1e10 and more.

    Args:
        values: in any unit.
        units: that brought them there from that of their file.
    """
    finite, found = values[np.isfinite(values)], []
    for value in (finite.min(), finite.max()) if finite.size else ():
        others = finite[finite != value]
        if not others.size:
            continue
        low, high, rows = float(others.min()), float(others.max()), finite.size - others.size
        stored = units.back(float(value))
        fill = Fill(float(value), rows, low, high, _is_customary(stored), stored)
        apart, span = max(low - value, value - high), high - low
        often = value != 0 and _SEVERAL <= rows < others.size and span > 0
        far = _MANY_SPANS * span if rows == 1 or not fill.customary else span
        unknown = low == high == 0 and abs(value) >= FAR
        if (fill.customary or often) and not unknown and apart > max(far, abs(value) / 2):
            found.append(fill)
    return found


def _is_customary(value: float) -> bool:
    return bool(np.any(np.isclose(value, _CUSTOMARY, rtol=1e-6, atol=0)))


def far_values(values: np.ndarray, scale: float = 0.0) -> np.ndarray:
    """Which values are `FAR` times larger than all others and than a scale, of the values' shape.

    They are at most half of the values, and of values without a scale at least `FAR` themselves:
    zeros say nothing of the unit.
    """
    sizes = np.sort(np.abs(values), axis=None)
    below = np.maximum(sizes[:-1], scale)
    gaps = (sizes[1:] > FAR * below) & (below > 0) & (np.arange(1, sizes.size) >= sizes.size / 2)
    if scale <= 0:
        gaps &= sizes[1:] >= FAR
    if not gaps.any():
        return np.zeros(np.shape(values), bool)
    return np.asarray(np.abs(values) >= sizes[1:][gaps].min())


def check_far(
    array: xr.DataArray, values: np.ndarray, where: str, scale: Callable[[], float] = float
) -> None:
    """Raise DataError where some values of a field are far from all others and from a scale.

    So are customary fill values below that, as -999, among values that vary: one cell of 999 among
    zeros may be a source. A variable that gives both ends of what is valid is believed: these
    values lie within.

    The scale is asked for where it matters alone.
    """
    bounded = "valid_range" in array.attrs or {"valid_min", "valid_max"} <= array.attrs.keys()
    if not bounded:
        for fill in likely_fills(values):
            if fill.customary and abs(fill.value) < FAR and fill.low < fill.high:
                raise DataError(
                    f"{where}: {fill.words()}; correct these values, declare it missing, or, if "
                    "they are right, give the variable a `valid_range` that holds them"
                )
    sizes = np.sort(np.abs(values), axis=None)[values.size // 2 - 1 :]  # the larger half
    if not np.any(sizes[1:] > FAR * sizes[:-1]):
        return
    far = far_values(values, scale())
    if far.any():
        raise DataError(f"{where}: {far_words(values, far)}; correct it, or declare it missing")


def typical(stdev: np.ndarray) -> float:
    """The median of the standard deviations that are finite; 0 where none is."""
    finite = stdev[np.isfinite(stdev)]
    return float(np.median(finite)) if finite.size else 0.0


def far_words(values: np.ndarray, far: np.ndarray, how: str = "larger than all others") -> str:
    """How many values are far, and the first of them."""
    these = np.asarray(values)[far]
    first, alike = these.flat[0], np.ptp(these) == 0
    alone, several = f"one value, {first:g}, is", f"{far.sum()} values, the first {first:g}, are"
    words = f"{alone if far.sum() == 1 else several} more than {FAR:.0e} times {how}"
    repeated = alike and (far.sum() > 1 or _is_customary(first))
    return f"{words}, and {_LIKELY}" if repeated else words
