"""Numbers of a file that stand for nothing, as CF and netCDF define them, and why each does.

A missing number is read as a NaN that says why: its payload, which is kept when numbers are copied,
selected or changed in precision, is a `Missing`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any

import netCDF4
import numpy as np

from assim.files.attributes import numbers, spelt_numbers
from assim.files.errors import DataError

Test = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of numbers as stored and as unpacked
_MARK, _QUIET, _SHIFT = 0x2A5500, 0x7FF8 << 48, 29  # payload in the bits that float32 keeps


class Missing(IntEnum):
    """Why a number is missing."""

    FILL_VALUE = 1
    MISSING_VALUE = 2
    DEFAULT_FILL = 3
    VALID_RANGE = 4
    VALID_MIN = 5
    VALID_MAX = 6
    UNPACKED_RANGE = 7
    UNPACKED_MIN = 8
    UNPACKED_MAX = 9


_WORDS = {
    Missing.FILL_VALUE: "_FillValue",
    Missing.MISSING_VALUE: "missing_value",
    Missing.DEFAULT_FILL: "default fill",
    Missing.VALID_RANGE: "outside valid_range",
    Missing.VALID_MIN: "below valid_min",
    Missing.VALID_MAX: "above valid_max",
    Missing.UNPACKED_RANGE: "outside valid_range of unpacked numbers",
    Missing.UNPACKED_MIN: "below valid_min of unpacked numbers",
    Missing.UNPACKED_MAX: "above valid_max of unpacked numbers",
}
_OF_UNPACKED = {
    Missing.VALID_RANGE: Missing.UNPACKED_RANGE,
    Missing.VALID_MIN: Missing.UNPACKED_MIN,
    Missing.VALID_MAX: Missing.UNPACKED_MAX,
}
NOTES = "assim_notes"  # in the encoding of a variable: how its limits were read
_NCATTED = {1: "b", 2: "s", 4: "i", 8: "ll"}  # letters of types by their bytes


class Rules:
    """What makes numbers of one variable missing.

    Args:
        attributes: of the variable, those of its encoding included.
        dtype: of the numbers as stored.
        prefilled: whether numbers never written hold the default fill of their type.
        where: file and variable, for messages.

    Raises:
        DataError: an attribute that is not of its type.
    """

    def __init__(
        self, attributes: Mapping[str, Any], dtype: np.dtype, prefilled: bool, where: str
    ) -> None:
        self.where = where
        self.unsigned = attributes.get("_Unsigned") == "true" and dtype.kind == "i"
        scaled = {"scale_factor", "add_offset"} & set(attributes)
        self.packed = dtype.kind in "iu" and bool(scaled)
        types = [np.asarray(attributes[name]).dtype for name in sorted(scaled)]
        self.unpacked = np.result_type(*types, np.float32)
        self.notes: tuple[str, ...] = ()  # how limits were read
        self.tests = [*self._fills(attributes, dtype, prefilled), *self._limits(attributes, dtype)]

    def reasons(self, stored: np.ndarray, unpacked: np.ndarray) -> np.ndarray:
        """The `Missing` of every number, 0 where it is not missing or is a NaN of its own.

        Raises:
            DataError: limits that may be of packed numbers as well as of unpacked ones.
        """
        reasons = np.zeros(stored.shape, np.uint8)
        for reason, test in self.tests:
            rest = reasons == 0
            reasons[rest] = np.where(test(stored[rest], unpacked[rest]), reason, 0)
        return reasons

    def _fills(
        self, attributes: Mapping[str, Any], dtype: np.dtype, prefilled: bool
    ) -> Iterable[tuple[Missing, Test]]:
        fill = numbers(attributes, "_FillValue", self.where, 1)
        if fill is not None:
            yield Missing.FILL_VALUE, _equal_to(self._signed(fill, dtype))
        values = spelt_numbers(attributes, "missing_value", self.where)
        if values is not None:
            yield Missing.MISSING_VALUE, _equal_to(self._signed(values, dtype))
        default = netCDF4.default_fillvals.get(dtype.str[1:]) if dtype.itemsize > 1 else None
        # No float is ever meant by the default fill: whether they are prefilled does not matter.
        if fill is None and default is not None and (prefilled or dtype.kind == "f"):
            yield Missing.DEFAULT_FILL, _equal_to(np.array([default]))

    def _signed(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Values of numbers without sign as the file has them, with one."""
        if not self.unsigned:
            return values
        whole, bound = values.astype(np.int64), 2 ** (8 * dtype.itemsize)
        return np.where(whole >= bound // 2, whole - bound, whole)

    def _limits(
        self, attributes: Mapping[str, Any], dtype: np.dtype
    ) -> Iterable[tuple[Missing, Test]]:
        both = numbers(attributes, "valid_range", self.where, 2)
        least = numbers(attributes, "valid_min", self.where, 1)
        most = numbers(attributes, "valid_max", self.where, 1)
        given = {
            Missing.VALID_RANGE: None if both is None else (both[0], both[1]),
            Missing.VALID_MIN: None if least is None else (least[0], np.inf),
            Missing.VALID_MAX: None if most is None else (-np.inf, most[0]),
        }
        for reason, limits in given.items():
            if limits is None:
                continue
            if not (limits[0] <= limits[1] or self.unsigned):  # -1 may stand for 255
                raise DataError(
                    f"{self.where}: expected the lower limit and then the upper as "
                    f"`{reason.name.lower()}`, got {limits[0]:g} and {limits[1]:g}"
                )
            stated = limits[1] if np.isinf(limits[0]) else limits[0]
            if not self.packed or np.asarray(stated).dtype != self.unpacked:
                yield reason, self._outside(reason, limits, dtype)
                continue
            name = reason.name.lower()
            self.notes += (f"{name} is of the type of unpacked numbers, and taken as of them",)
            yield _OF_UNPACKED[reason], self._outside_unpacked(name, limits, dtype)

    def _outside_unpacked(self, name: str, limits: tuple[Any, Any], dtype: np.dtype) -> Test:
        """Numbers outside limits that are of unpacked numbers, as is their type.

        So the netCDF User's Guide has it (attribute conventions, `valid_range`); CF asks for them
        in the type of the packed numbers.
        """
        least, most = limits

        def test(stored: np.ndarray, unpacked: np.ndarray) -> np.ndarray:
            numbers = unpacked.astype(self.unpacked)
            outside = (numbers < least) | (numbers > most)
            packed = (stored < least) | (stored > most)
            if not outside.any() and 0 < packed.sum() < packed.size / 2:
                raise self._of_either(name, packed, outside, dtype)
            return np.asarray(outside)

        return test

    def _outside(self, reason: Missing, limits: tuple[Any, Any], dtype: np.dtype) -> Test:
        """Numbers outside limits, which are of packed numbers where they are packed."""
        least, most = limits
        if dtype.kind == "f":
            least, most = np.asarray(least).astype(dtype), np.asarray(most).astype(dtype)
        elif self.unsigned:
            bound = 2 ** (8 * dtype.itemsize)
            least, most = (limit + bound * (-bound < limit < 0) for limit in (least, most))
        real = any(np.isfinite(x) and np.asarray(x).dtype.kind == "f" for x in (least, most))

        def test(stored: np.ndarray, unpacked: np.ndarray) -> np.ndarray:
            signed = self.unsigned and stored.dtype.kind == "i"
            counted = stored.view(stored.dtype.str.replace("i", "u")) if signed else stored
            outside = (counted < least) | (counted > most)
            if self.packed and real:
                other = (unpacked < least) | (unpacked > most)
                if not np.array_equal(outside, other):
                    raise self._of_either(reason.name.lower(), outside, other, dtype)
            return np.asarray(outside)

        return test

    def _of_either(
        self, name: str, packed: np.ndarray, unpacked: np.ndarray, dtype: np.dtype
    ) -> DataError:
        """The error that limits may be of packed numbers as well as of unpacked ones."""
        letter = _NCATTED.get(dtype.itemsize, "i")
        return DataError(
            f"{self.where}: expected `{name}` as {dtype}, as the packed values are, got real "
            f"numbers; they leave out {packed.sum()} values if they are of packed numbers and "
            f"{unpacked.sum()} if of unpacked ones; write them in the type of the packed values, "
            f"as with `ncatted -a {name},VARIABLE,o,{letter},LIMITS FILE`, or delete them"
        )


def marked(values: np.ndarray, reasons: np.ndarray) -> np.ndarray:
    """The values, NaN where there is a reason, which `why_missing` finds again."""
    bits = np.uint64(_QUIET) | ((np.uint64(_MARK) | reasons.astype(np.uint64)) << np.uint64(_SHIFT))
    return np.where(reasons > 0, bits.view(float).astype(values.dtype), values)


def why_missing(values: np.ndarray) -> str:
    """Missing and infinite numbers by reason, as in "2 outside valid_range, 1 default fill"."""
    numbers = np.ascontiguousarray(values, float).ravel()
    payload = (numbers.view(np.uint64) >> np.uint64(_SHIFT)) & np.uint64(0x3FFFFF)
    ours = np.isnan(numbers) & ((payload & np.uint64(0x3FFF00)) == _MARK)
    counts = Counter(_WORDS[Missing(int(code))] for code in payload[ours] & np.uint64(0xFF))
    counts["NaN"] = int(np.sum(np.isnan(numbers) & ~ours))
    counts["infinite"] = int(np.sum(np.isinf(numbers)))
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)


def missing_notes(values: np.ndarray, where: str) -> tuple[str, ...]:
    """How many values of a variable are missing, and why, for people; nothing where none is."""
    missing = int(np.sum(~np.isfinite(values)))
    return (f"{where}: {missing} of {values.size} missing: {why_missing(values)}",) * bool(missing)


def _equal_to(values: np.ndarray) -> Test:
    """Stored numbers equal to one of these, in their own type; NaN is missing as it is."""

    def test(stored: np.ndarray, unpacked: np.ndarray) -> np.ndarray:
        del unpacked
        with np.errstate(invalid="ignore", over="ignore"):
            own = values.astype(stored.dtype)
        same = np.abs(own.astype(float) - values) <= 1e-6 * np.abs(values)  # it has such a number
        return np.isin(stored, own[same])

    return test
