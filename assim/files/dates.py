"""Dates and their texts, in any calendar."""

import re
from contextlib import suppress
from datetime import timedelta

import cftime
import numpy as np

from assim.files.errors import DataError

CALENDAR = "proleptic_gregorian"  # of the model's time
_ISO = re.compile(
    r"([+-]?\d+)-(\d\d?)-(\d\d?)"
    r"(?:[T ]\s*(\d\d?)(?::(\d\d?)(?::(\d\d?(?:\.\d*)?))?)?)?"
    r"\s*(?:Z|UTC|GMT|([+-])(\d\d?):?(\d\d))?"
)


def date(text: str | None, calendar: str, where: str) -> cftime.datetime:
    """A date in ISO 8601 as a date of the calendar.

    Raises:
        DataError: text that is no date, or a date that the calendar does not have.
    """
    match = _ISO.fullmatch(str(text).strip())
    try:
        if match is None:
            raise ValueError("not of this form")
        year, month, day, hour, minute = (int(part or 0) for part in match.group(1, 2, 3, 4, 5))
        start = cftime.datetime(year, month, day, hour, minute, calendar=calendar)
        east = timedelta(hours=int(match[8] or 0), minutes=int(match[9] or 0))
        moment = start + timedelta(seconds=float(match[6] or 0))
        return moment + east if match[7] == "-" else moment - east
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{where}: expected a date such as 1900-01-01 or 1900-01-01T12:00:00 of the calendar "
            f"{calendar!r}, got {text!r} ({error})"
        ) from error


def dates_of(numbers: np.ndarray, units: str, calendar: str, where: str) -> np.ndarray:
    """Numbers such as days since a date as dates.

    Raises:
        DataError: a number so large that no date has its year.
    """
    try:
        return np.asarray(cftime.num2date(numbers, units, calendar))
    except (OverflowError, ValueError) as error:
        raise DataError(
            f"{where}: expected dates, got numbers from {np.min(numbers):g} to "
            f"{np.max(numbers):g} {units}, in years that no date has; correct the numbers or units"
        ) from error


def words(number: float, units: str, calendar: str) -> str:
    """A date to the second; the number in its units where no date can have its year."""
    with suppress(OverflowError, ValueError):
        moment = cftime.num2date(number, units, calendar=calendar) + timedelta(microseconds=500_000)
        return moment.strftime("%Y-%m-%dT%H:%M:%S").removesuffix("T00:00:00")
    return f"{number:g} {units}"
