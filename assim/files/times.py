"""Dates in files, and the model's own time.

Model time is a number in the model's unit since a reference date, counted in `CALENDAR`. A date
is a date: that of a file in another calendar is the date of the same year, month and day, so that
files of several calendars meet; one that `CALENDAR` does not have is an error. A model in "years"
counts calendar years: the difference of years plus the fraction of the year elapsed.
"""

import re
from dataclasses import dataclass, replace
from datetime import timedelta

import cftime
import numpy as np
import xarray as xr

from assim.arguments import nearest
from assim.files.dates import CALENDAR, date, dates_of, words
from assim.files.errors import DataError
from assim.problem.arrays import TIME_UNITS

NON_PHYSICAL = "1"
_UNITS = {  # how long each is, and how else it is spelt
    "nanoseconds": (1e-9, "ns"),
    "microseconds": (1e-6, "us"),
    "milliseconds": (1e-3, "ms"),
    "seconds": (1, "s sec secs"),
    "minutes": (60, "min mins"),
    "hours": (3600, "h hr hrs"),
    "days": (86400, "d"),
    "weeks": (604800, ""),
    "years": (None, "yr yrs"),
}
_SECONDS = {unit: seconds for unit, (seconds, _) in _UNITS.items() if seconds is not None}
_SPELLINGS = {short: unit for unit, (_, spelt) in _UNITS.items() for short in spelt.split()}
_YEAR_DAYS = {"360_day": 360, "noleap": 365, "365_day": 365, "all_leap": 366, "366_day": 366}
_WRITTEN = {"weeks": "days", "years": "days"}  # the others are written in the model's unit
_REFORM = (1582, 10, 15)  # from here the mixed calendar "standard" is `CALENDAR`
_MIDNIGHT = 1e-9  # days: how much earlier a number may be and still mean midnight
_ROUNDING = 1e-9  # of a span: times whose type is finer than this are taken as they are
_YEAR = 365.25 * 86400  # seconds, where only a size is asked


@dataclass(frozen=True)
class FileTimes:
    """Times as a file states them.

    Args:
        numbers: float64, any shape.
        unit: "seconds" ... "weeks", or "1" where the time is not physical.
        epoch: date from which the numbers count, in the file's calendar; None for unit "1".
        where: file and variable, for messages.
        stored: type of the numbers in the file, whose spacing is how exact they are.
    """

    numbers: np.ndarray
    unit: str
    epoch: cftime.datetime | None
    where: str
    stored: str = "float64"

    def dates(self) -> np.ndarray:
        """The times as cftime dates, of the numbers' shape; DataError for a year without dates."""
        assert self.epoch is not None, self.where
        return dates_of(self.numbers, self._since(self.epoch), self.epoch.calendar, self.where)

    def _since(self, epoch: cftime.datetime) -> str:
        return f"{self.unit} since {epoch.isoformat(' ')}"

    def text(self, place: int) -> str:
        """One of the times for people: a date to the second, or the number."""
        if self.epoch is None:
            return f"at time {self.numbers[place]:.6g}"
        return words(float(self.numbers[place]), self._since(self.epoch), self.epoch.calendar)

    def to_model(
        self, unit: str, reference: str | None, edges: np.ndarray | None = None
    ) -> np.ndarray:
        """The times in the model's `unit` since the `reference` date, float64.

        Times that lie within the spacing of their stored type of one of the `edges` are put on it.

        Raises:
            DataError: a physical time against a model without one, or the reverse; a date that
                the calendar of the model's time does not have.
        """
        times = self._elapsed(unit, reference)
        if edges is None:
            return times
        spacing, edges = self.spacing(unit), np.asarray(edges)
        after = np.clip(np.searchsorted(edges, times), 1, edges.size - 1)
        nearer = times - edges[after - 1] < edges[after] - times
        edge = np.where(nearer, edges[after - 1], edges[after])
        rounded = (np.abs(times - edge) <= spacing) & (spacing > _ROUNDING * np.ptp(edges))
        return np.where(rounded, edge, times)

    def coarseness(self, unit: str) -> float:
        """Largest spacing of the stored type, in the model's `unit`; 0 where it does not matter."""
        if not self.numbers.size:
            return 0.0
        spacing, span = float(self.spacing(unit).max()), self.numbers.max() - self.numbers.min()
        length = 1.0 if self.epoch is None else _SECONDS[self.unit] / _SECONDS.get(unit, _YEAR)
        return spacing if spacing > _ROUNDING * span * length else 0.0

    def _elapsed(self, unit: str, reference: str | None) -> np.ndarray:
        self.check_kind(unit)
        if self.epoch is None:
            return self.numbers
        if reference is None:
            raise DataError(
                f"{self.where}: the dates need a date at which the model's time is zero, and the "
                f"window has none; give Window(..., reference='YYYY-MM-DD')"
            )
        start, stamps = date(reference, CALENDAR, self.where), self.by_date()
        assert stamps.epoch is not None
        if unit == "years":
            distinct, index = np.unique(stamps.numbers, return_inverse=True)
            years = _calendar_years(replace(stamps, numbers=distinct).dates(), start)
            return years[index].reshape(self.numbers.shape)
        offset = _seconds(stamps.epoch - start) / _SECONDS[unit]
        return _rescale(stamps.numbers, stamps.unit, unit) + offset

    def by_date(self) -> "FileTimes":
        """The same dates and times of day in `CALENDAR`.

        Raises:
            DataError: a date that it does not have.
        """
        epoch = self.epoch
        if epoch is None or epoch.calendar == CALENDAR or not self.numbers.size:
            return self
        if epoch.calendar == "standard" and self._reformed():
            own, common = (cftime.datetime(*_REFORM, calendar=c) for c in ("standard", CALENDAR))
            return replace(self, epoch=common + (epoch - own))
        unit = "days" if self.unit == "weeks" else self.unit
        numbers = _rescale(self.numbers, self.unit, unit)
        first = cftime.datetime(epoch.year, 1, 1, calendar=epoch.calendar)
        into = _seconds(epoch - first) / _SECONDS["days"]
        whole = np.floor(_rescale(numbers, unit, "days") + into + _MIDNIGHT)
        days, index = np.unique(whole, return_inverse=True)
        later = _days_later(days, first, self.where)[index].reshape(numbers.shape)
        common = cftime.datetime(epoch.year, 1, 1, calendar=CALENDAR)
        return replace(
            self,
            numbers=numbers + _rescale(later, "days", unit),
            unit=unit,
            epoch=common + (epoch - first),
        )

    def _reformed(self) -> bool:
        """Whether all dates are Gregorian, in the mixed calendar of Julian and Gregorian dates."""
        reform = cftime.datetime(*_REFORM, calendar="standard")
        return float(self.numbers.min()) * _SECONDS[self.unit] >= _seconds(reform - self.epoch)

    def spacing(self, unit: str) -> np.ndarray:
        """Distance of neighbouring numbers of the stored type at every time, in the model's `unit`.

        Zero for whole numbers, which are taken to mean what they say.
        """
        kind = np.dtype(self.stored)
        if kind.kind != "f":
            return np.zeros(self.numbers.shape)
        spacing = np.spacing(np.abs(self.numbers).astype(kind)).astype(float)
        if self.epoch is None:
            return spacing
        return spacing * (_SECONDS[self.unit] / _SECONDS.get(unit, _YEAR))

    def check_kind(self, unit: str) -> None:
        """Raise DataError unless both these times and the model's `unit` are dates, or neither.

        Raises:
            ValueError: there is no such unit.
        """
        if unit not in TIME_UNITS:
            raise ValueError(
                f"no unit of time is called {unit!r}, as the model's time_unit is; "
                f"{nearest(unit, TIME_UNITS)}"
            )
        if (unit == NON_PHYSICAL) != (self.epoch is None):
            want = "a number without dates" if unit == NON_PHYSICAL else "dates (<unit> since ...)"
            got = "units '1' or none" if self.epoch is None else f"{self.unit} since {self.epoch}"
            raise DataError(
                f"{self.where}: expected {want}, as the model's time is in {unit!r}, got {got}; "
                f"add or correct `units` of the time, or correct the model's time_unit"
            )


def decode(variable: xr.DataArray | xr.Variable, where: str) -> FileTimes:
    """Times of a variable: datetime64, cftime dates, or numbers with `units` and `calendar`.

    Raises:
        DataError: missing or non-numeric times, or units that cannot be read.
    """
    values = np.asarray(variable.values)
    if values.dtype.kind == "M":
        return _from_datetime64(values, where)
    if values.dtype.kind == "O":
        return _from_objects(values, where)
    if values.dtype.kind not in "iuf":
        raise DataError(f"{where}: expected dates or numbers, got dtype {values.dtype}")
    numbers = values.astype(float)
    _check_finite(np.isfinite(numbers), where)
    units = str(variable.attrs.get("units", NON_PHYSICAL)).strip()
    stored = str(values.dtype)
    if units in ("", NON_PHYSICAL):
        return FileTimes(numbers, NON_PHYSICAL, None, where, stored)
    calendar = variable.attrs.get("calendar", "standard")
    _check_leap_seconds(str(calendar), str(variable.attrs.get("units_metadata", "")), where)
    times = _from_numbers(numbers, units, str(calendar), where)
    return times if times.numbers is not numbers else replace(times, stored=stored)


def _check_leap_seconds(calendar: str, metadata: str, where: str) -> None:
    """Refuse a clock that counts leap seconds, which dates here do not.

    Raises:
        DataError: the calendar is TAI, or `units_metadata` says that leap seconds are counted.
    """
    if calendar.lower() == "tai" or re.search(r"leap_seconds:\s*utc", metadata.lower()):
        got = f'calendar = "{calendar}"' if calendar.lower() == "tai" else f'"{metadata}"'
        raise DataError(
            f"{where}: expected times without leap seconds, got {got}; subtract those between "
            "the epoch and each time, as the package astropy does, and say "
            'units_metadata = "leap_seconds: none" and calendar = "standard"'
        )


def encode(
    times: np.ndarray, unit: str, reference: str | None
) -> tuple[np.ndarray, dict[str, str]]:
    """Numbers and attributes by which model times are written.

    Dates are `proleptic_gregorian`; whole days and years come back exactly.
    """
    times = np.asarray(times, float)
    if unit == NON_PHYSICAL:
        return times, {"units": NON_PHYSICAL, "long_name": "model time"}
    if reference is None:
        raise DataError(
            f"a time in {unit} is written as dates, which need a date at which it is zero, and the "
            "window has none; give Window(..., reference='YYYY-MM-DD')"
        )
    start = date(reference, CALENDAR, "reference date")
    written = _WRITTEN.get(unit, unit)
    numbers = _days(times, start) if unit == "years" else _rescale(times, unit, written)
    return numbers, {
        "units": f"{written} since {start.isoformat(' ')}",
        "calendar": CALENDAR,
        "units_metadata": "leap_seconds: none",
        "standard_name": "time",
        "long_name": "time",
    }


def date_text(time: float, unit: str, reference: str | None) -> str:
    """A model time for people: a date to the second, or the number where there is none."""
    if unit == NON_PHYSICAL:
        return f"{time:g}"
    numbers, attributes = encode(np.asarray(time), unit, reference)
    return words(round(float(numbers), 8), attributes["units"], CALENDAR)


def date_in_form(time: float, unit: str, reference: str, form: str) -> str:
    """A model time as a date in a form such as "%Y%m%d", to the millisecond."""
    numbers, attributes = encode(np.asarray(time), unit, reference)
    moment = cftime.num2date(float(numbers), attributes["units"], attributes["calendar"])
    whole = timedelta(microseconds=500 - (moment.microsecond + 500) % 1000)
    return str((moment + whole).strftime(form))


def _from_datetime64(values: np.ndarray, where: str) -> FileTimes:
    _check_finite(~np.isnat(values), where)
    seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
    return FileTimes(seconds, "seconds", cftime.datetime(1970, 1, 1, calendar=CALENDAR), where)


def _from_objects(values: np.ndarray, where: str) -> FileTimes:
    dated = np.array([isinstance(value, cftime.datetime) for value in values.flat], bool)
    _check_finite(dated.reshape(values.shape), where)
    calendar = values.flat[0].calendar
    micros = cftime.date2num(values, "microseconds since 1970-01-01", calendar)
    epoch = cftime.datetime(1970, 1, 1, calendar=calendar)
    return FileTimes(np.asarray(micros) / 1e6, "seconds", epoch, where)


def _from_numbers(numbers: np.ndarray, units: str, calendar: str, where: str) -> FileTimes:
    match = re.fullmatch(r"(\w+)\s+since\s+(.+)", units)
    unit = "" if match is None else match[1].lower()
    unit = _SPELLINGS.get(unit, unit)
    unit = unit if unit.endswith("s") or not unit else f"{unit}s"
    if match is None or unit not in (*_SECONDS, "months", "years"):
        raise DataError(
            f"{where}: expected time units such as 'days since 1900-01-01', got {units!r}; "
            f"the unit may be {', '.join(_SECONDS)}, months or years"
        )
    epoch = date(match[2], calendar.lower(), f"{where}: epoch")
    if unit in ("months", "years"):
        return FileTimes(_long_units(numbers, unit, epoch, where), "days", epoch, where)
    return FileTimes(numbers, unit, epoch, where)


def _long_units(numbers: np.ndarray, unit: str, epoch: cftime.datetime, where: str) -> np.ndarray:
    """Days for "months since" and "years since", where these say what they mean.

    A whole number counts calendar months or years. A fraction has a meaning only where every
    year (month) is as long as the other.
    """
    length = _YEAR_DAYS.get(epoch.calendar)
    if length and (unit == "years" or epoch.calendar == "360_day"):
        return numbers * (length if unit == "years" else 30)
    if np.any(numbers != np.round(numbers)) or epoch.day > 28:
        raise DataError(
            f"{where}: '{unit} since {epoch}' is ambiguous for fractions and for days after the "
            f"28th, as {unit} differ in length in the calendar {epoch.calendar!r}; write the "
            f"times as 'days since ...'"
        )
    months = numbers.astype(int) * (12 if unit == "years" else 1) + epoch.month - 1
    days = [
        _seconds(epoch.replace(year=epoch.year + int(m // 12), month=int(m % 12) + 1) - epoch)
        for m in months.flat
    ]
    return np.reshape(days, numbers.shape) / _SECONDS["days"]


def _check_finite(valid: np.ndarray, where: str) -> None:
    if not valid.all():
        raise DataError(
            f"{where}: every time must be a date or a finite number, but {np.sum(~valid)} of "
            f"{valid.size} are missing, the first at index {int(np.argmax(~valid.ravel()))}; "
            f"drop these rows"
        )


def _rescale(numbers: np.ndarray, unit: str, new: str) -> np.ndarray:
    """Numbers in another unit by one exact ratio, multiplied or divided."""
    old, target = _SECONDS[unit], _SECONDS[new]
    return numbers * round(old / target) if old >= target else numbers / round(target / old)


def _days_later(days: np.ndarray, first: cftime.datetime, where: str) -> np.ndarray:
    """By how many days the dates `days` after `first`, 1 January, are later after it in `CALENDAR`.

    Raises:
        DataError: one of them is no date there.
    """
    start = cftime.datetime(first.year, 1, 1, calendar=CALENDAR)
    units = f"days since {first.isoformat(' ')}"
    later = []
    for day, own in zip(days, dates_of(days, units, first.calendar, where), strict=True):
        try:
            same = cftime.datetime(own.year, own.month, own.day, calendar=CALENDAR)
        except ValueError:
            raise DataError(
                f"{where}: the calendar {first.calendar!r} has the date "
                f"{own.strftime('%Y-%m-%d')}, which that of the model's time, {CALENDAR!r}, has "
                f"not; convert the file's dates, as with "
                f"dataset.convert_calendar('standard', align_on='year') of xarray, or drop these "
                f"rows"
            ) from None
        later.append((same - start) // timedelta(days=1) - day)
    return np.array(later, float)


def _seconds(length: timedelta) -> float:
    return length // timedelta(microseconds=1) / 1e6


def _year(moment: cftime.datetime) -> tuple[cftime.datetime, timedelta]:
    """First day of the year, and the year's length."""
    first, last = (
        cftime.datetime(moment.year + later, 1, 1, calendar=moment.calendar) for later in (0, 1)
    )
    return first, last - first


def _elapsed(moment: cftime.datetime) -> float:
    """Fraction of the year that has elapsed."""
    first, length = _year(moment)
    return (moment - first) / length


def _calendar_years(dates: np.ndarray, start: cftime.datetime) -> np.ndarray:
    past = _elapsed(start)
    years = [moment.year - start.year + (_elapsed(moment) - past) for moment in dates.flat]
    return np.reshape(np.array(years, float), dates.shape)


def _days(years: np.ndarray, start: cftime.datetime) -> np.ndarray:
    """Days since `start` of calendar years since `start`, to the microsecond."""
    past = _elapsed(start)
    days = []
    for year in years.flat:
        whole = int(np.floor(year + past))
        first, length = _year(start.replace(year=start.year + whole, month=1, day=1))
        rest = (year + past - whole) * (length / timedelta(days=1))
        days.append((first - start) / timedelta(days=1) + rest)
    micros = np.round(np.reshape(days, years.shape) * 86400e6)
    return micros / 86400e6
