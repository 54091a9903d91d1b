"""Attributes of variables in files, each of the type that CF gives it: all readers use these."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from assim.files.errors import DataError

_TEXTS = ("units", "long_name", "standard_name", "calendar", "bounds", "axis")
_LISTS = ("coordinates", "ancillary_variables", "flag_meanings")


def text(attributes: Mapping[str, Any], name: str, where: str) -> str | None:
    """An attribute that is text; None where it is not there.

    Lists of names may be arrays of strings, and units one number, as those of a pure number are.

    Raises:
        DataError: it is something else.
    """
    value = attributes.get(name)
    if value is None or isinstance(value, str):
        return value
    if name in _LISTS and np.asarray(value).dtype.kind in "UO":
        return " ".join(map(str, np.atleast_1d(value)))
    if name == "units" and np.ndim(value) == 0:
        return f"{value:g}"
    raise _fault(where, name, "text", value)


def numbers(
    attributes: Mapping[str, Any], name: str, where: str, count: int | None = None
) -> np.ndarray | None:
    """An attribute that is `count` numbers, shape (count,), any number where None.

    Raises:
        DataError: it is something else.
    """
    value = attributes.get(name)
    if value is None:
        return None
    array = np.atleast_1d(np.asarray(value))
    if array.dtype.kind not in "iuf" or count not in (None, array.size):
        expected = {None: "numbers", 1: "one number"}.get(count, f"{count} numbers")
        raise _fault(where, name, expected, value)
    return array


def spelt_numbers(attributes: Mapping[str, Any], name: str, where: str) -> np.ndarray | None:
    """As `numbers`, or text that spells them: "-999" and "NaN, 1e20" do.

    Raises:
        DataError: it is something else.
    """
    value = attributes.get(name)
    if not isinstance(value, str):
        return numbers(attributes, name, where)
    try:
        return np.array([float(word) for word in value.replace(",", " ").split()])
    except ValueError:
        raise _fault(where, name, "numbers", value) from None


def check_packing(attributes: Mapping[str, Any], where: str) -> None:
    """Raise DataError unless `scale_factor`, which may not be 0, and `add_offset` are finite."""
    for name in ("scale_factor", "add_offset"):
        value = numbers(attributes, name, where, 1)
        if value is None:
            continue
        if not np.isfinite(value[0]) or (name == "scale_factor" and value[0] == 0):
            what = "a finite number other than 0" if name == "scale_factor" else "a finite number"
            raise _fault(where, name, what, value[0])


def checked_texts(attributes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The attributes, those that must be text as text.

    Raises:
        DataError: one is something else.
    """
    return {
        name: text(attributes, name, where) if name in (*_TEXTS, *_LISTS) else value
        for name, value in attributes.items()
    }


def without_faults(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes less those that must be text and are not."""
    kept = dict(attributes)
    for name in (*_TEXTS, *_LISTS):
        if not isinstance(kept.get(name, ""), str):
            del kept[name]
    return kept


def _fault(where: str, name: str, expected: str, value: Any) -> DataError:
    came = f"the text {value!r}" if isinstance(value, str) else f"{np.asarray(value).tolist()}"
    return DataError(
        f"{where}: expected {expected} as the attribute `{name}`, got {came}; correct it, as with "
        f"`ncatted`, or delete it"
    )
