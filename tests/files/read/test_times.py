import re

import cftime
import numpy as np
import pytest
import xarray as xr

from assim.files.errors import DataError
from assim.files.times import date_text, decode, encode

REFERENCE = "1900-01-01"


def times(numbers, units, calendar="standard"):
    attrs = {"units": units, "calendar": calendar}
    return decode(xr.Variable("obs", np.asarray(numbers), attrs), "file.nc: time")


@pytest.mark.parametrize(
    ("unit", "hint"),
    [
        ("hour", "did you mean 'hours'?"),
        ("milliseconds", "did you mean 'seconds'?"),  # which a file may have, and no model
        ("fortnights", "it may be 1, days, hours"),
    ],
)
def test_a_unit_that_there_is_not(unit, hint):
    with pytest.raises(ValueError, match=re.escape(hint)):
        times([1], "days since 1900-01-01").to_model(unit, REFERENCE)


@pytest.mark.parametrize(
    ("unit", "days", "expected"),
    [
        ("seconds", [1], [86400]),
        ("minutes", [1], [1440]),
        ("hours", [0.25], [6]),
        ("days", [0, 1, 2.5], [0, 1, 2.5]),
        ("weeks", [7, 21], [1, 3]),
        ("years", [0, 365, 730, 4 * 365], [0, 1, 2, 4]),
    ],
)
def test_units_of_the_model(unit, days, expected):
    found = times(days, "days since 1900-01-01").to_model(unit, REFERENCE)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("calendar", "date", "days"),
    [
        ("standard", (2000, 3, 1), 60),
        ("proleptic_gregorian", (2000, 3, 1), 60),
        ("julian", (2000, 3, 1), 60),
        ("noleap", (2000, 3, 1), 60),
        ("365_day", (2000, 3, 1), 60),
        ("all_leap", (2001, 3, 1), 366 + 59),
        ("360_day", (2000, 3, 1), 60),
        ("360_day", (2001, 1, 1), 366),
    ],
)
def test_a_date_is_a_date_in_every_calendar(calendar, date, days):
    stamp = xr.Variable("obs", np.array([cftime.datetime(*date, calendar=calendar)]))
    assert decode(stamp, "file.nc: time").to_model("days", "2000-01-01") == days


@pytest.mark.parametrize(
    ("calendar", "days", "years"),
    [
        ("standard", 366, 1.0),
        ("noleap", 365, 1.0),
        ("360_day", 90, 91 / 366),
        ("all_leap", 183, 0.5),
    ],
)
def test_years_are_counted_by_date(calendar, days, years):
    found = times([days], "days since 2000-01-01", calendar).to_model("years", "2000-01-01")
    assert found == years


@pytest.mark.parametrize("unit", ["seconds", "minutes", "hours", "days", "weeks", "years"])
@pytest.mark.parametrize("reference", ["1900-01-01", "1999-12-31T18:30:00", "0850-06-15"])
def test_round_trip_is_exact_for_whole_units(unit, reference):
    model = np.arange(60.0)
    numbers, attrs = encode(model, unit, reference)
    back = decode(xr.Variable("t", numbers, attrs), "file.nc: time").to_model(unit, reference)
    if unit == "years" and reference != "1900-01-01":
        np.testing.assert_allclose(back, model, rtol=0, atol=1e-13 * 1e2)
    else:
        np.testing.assert_array_equal(back, model)


def test_whole_days_of_calendar_years_are_written_as_whole_days():
    model = times(np.arange(3000.0), "days since 1900-01-01").to_model("years", REFERENCE)
    numbers, attrs = encode(model, "years", REFERENCE)
    np.testing.assert_array_equal(numbers, np.arange(3000.0))
    assert attrs["units"] == "days since 1900-01-01 00:00:00"
    assert attrs["calendar"] == "proleptic_gregorian"


def test_dates_of_numpy_and_numbers_agree():
    stamps = np.array(["1900-01-02", "1901-01-01T12"], "M8[ns]")
    found = decode(xr.Variable("obs", stamps), "w").to_model("days", REFERENCE)
    np.testing.assert_array_equal(found, [1, 365.5])


@pytest.mark.parametrize(
    ("units", "calendar", "numbers", "days"),
    [
        ("years since 1900-01-01", "standard", [0, 1, 5], [0, 365, 1826]),
        ("months since 1900-01-15", "standard", [1, 12, 14], [45, 379, 438]),
        ("years since 1900-01-01", "360_day", [0.5, 2], [181, 730]),
        ("months since 1900-01-01", "360_day", [0.5, 2], [15, 59]),
        ("years since 1900-01-01", "noleap", [0.2], [73]),
        ("hours since 1900-01-01T06:00:00+06:00", "standard", [24], [1]),
        ("d since 1899-12-31", "standard", [1.0], [0]),
    ],
)
def test_units_of_files(units, calendar, numbers, days):
    found = times(numbers, units, calendar).to_model("days", REFERENCE)
    np.testing.assert_array_equal(found, days)


@pytest.mark.parametrize(
    ("numbers", "units", "calendar", "words"),
    [
        ([0.5], "years since 1900-01-01", "standard", "ambiguous"),
        ([1], "months since 1900-01-31", "standard", "ambiguous"),
        ([1], "fortnights since 1900-01-01", "standard", "fortnights since 1900-01-01"),
        ([1], "days", "standard", "days since 1900-01-01"),
        ([1], "days since 1900-13-01", "standard", "1900-13-01"),
        ([1], "days since 1900-01-01", "martian", "martian"),
        ([0, np.nan], "days since 1900-01-01", "standard", "index 1"),
    ],
)
def test_bad_times_are_named(numbers, units, calendar, words):
    with pytest.raises(DataError, match=rf"file\.nc: time.*{words}"):
        times(numbers, units, calendar)


@pytest.mark.parametrize(
    ("calendar", "metadata", "words"),
    [
        ("tai", None, 'calendar = "tai"'),
        ("standard", "leap_seconds: utc", '"leap_seconds: utc"'),
    ],
)
def test_clocks_that_count_leap_seconds_are_refused(calendar, metadata, words):
    attrs = {"units": "seconds since 1980-01-06", "calendar": calendar}
    attrs |= {} if metadata is None else {"units_metadata": metadata}
    with pytest.raises(DataError, match=f"file.nc: time: .*without leap seconds, got {words}"):
        decode(xr.Variable("obs", [1.0], attrs), "file.nc: time")
    without = {**attrs, "calendar": "standard", "units_metadata": "leap_seconds: none"}
    assert decode(xr.Variable("obs", [1.0], without), "file.nc: time").numbers == 1


def test_missing_date_is_named():
    stamps = xr.Variable("obs", np.array(["1900-01-02", "NaT"], "M8[ns]"))
    with pytest.raises(DataError, match="1 of 2 are missing, the first at index 1"):
        decode(stamps, "file.nc: time")


def test_text_is_no_time():
    with pytest.raises(DataError, match="expected dates or numbers"):
        decode(xr.Variable("obs", np.array(["monday"])), "file.nc: time")


def test_physical_and_other_times_do_not_mix():
    with pytest.raises(DataError, match="time_unit"):
        times([1.0], "days since 1900-01-01").to_model("1", None)
    with pytest.raises(DataError, match="expected dates"):
        times([1.0], "1").to_model("days", REFERENCE)
    with pytest.raises(DataError, match="reference"):
        times([1.0], "days since 1900-01-01").to_model("days", None)


def test_non_physical_time_has_no_calendar():
    numbers, attrs = encode(np.array([0.1, 0.7]), "1", None)
    assert attrs["units"] == "1" and "calendar" not in attrs
    np.testing.assert_array_equal(times(numbers, "1").to_model("1", None), [0.1, 0.7])


def test_date_text():
    assert date_text(1.0, "years", REFERENCE) == "1901-01-01"
    assert date_text(36.0, "hours", REFERENCE) == "1900-01-02T12:00:00"
    assert date_text(2.5, "1", None) == "2.5"
    assert date_text(1e40, "days", "1900-01-01") == "1e+40 days since 1900-01-01 00:00:00"


def test_times_as_xarray_writes_irregular_ones(tmp_path):
    """Irregular datetimes become "nanoseconds since", with a fraction of a second in the epoch."""
    stamps = np.array(["2020-03-01T02:31:38.446289313", "2020-03-02T00:00:00.000000001"])
    table = xr.Dataset(coords={"time": ("time", stamps.astype("datetime64[ns]"))})
    table.to_netcdf(tmp_path / "irregular.nc")
    with xr.open_dataset(tmp_path / "irregular.nc", decode_times=False) as file:
        assert file["time"].attrs["units"].startswith("nanoseconds")
        found = decode(file["time"], "time").to_model("days", "2020-03-01")
    np.testing.assert_allclose(found, [0.10530609130, 1.0], atol=1e-9)


@pytest.mark.parametrize("calendar", ["proleptic_gregorian", "standard", "360_day"])
@pytest.mark.parametrize("unit", ["years", "days"])
def test_numbers_in_years_that_no_date_has(unit, calendar):
    """Told as numbers where only a text is asked; no date where a calendar is."""
    stamps = times([0.0, 1e40], "days since 1900-01-01", calendar)
    assert "1e+40" in stamps.text(1)
    if unit == "days" and calendar != "360_day":
        assert stamps.to_model(unit, REFERENCE)[1] == 1e40
        return
    with pytest.raises(DataError, match=r"time: .*in years that no date has"):
        stamps.to_model(unit, REFERENCE)
