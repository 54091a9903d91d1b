"""Units of files: understood, converted and told, or refused."""

import re

import numpy as np
import pytest
import xarray as xr

from assim.files.errors import DataError
from assim.files.read.covariances import read_covariance
from assim.files.read.estimates import covariance_from_ensemble
from assim.files.read.forcings import read_forcing
from assim.files.read.observations import read_observations
from assim.files.read.states import read_state, read_stdev
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.files.units import UnitsWarning, check_units, conversion, listening, same_units
from tests.docs.pages import ROOT, rows
from tests.files.read.test_covariances import Grid, states
from tests.files.toy import background_file, made, observation_file, toy

TABLE = rows(ROOT / "docs" / "units.md", "In the file")
LINE = re.compile(r"× (\S+)(?: ([+-]) (\S+))?")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]}")
def test_the_page_is_true(row):
    """Of every spelling: the same, a factor with an offset, or refused."""
    got, expected = (cell.strip("`") for cell in row[:2])
    if row[2] == "refused":
        with pytest.raises(DataError, match="which cannot be converted"):
            conversion("file: x", got, expected)
        return
    line = conversion("file: x", got, expected)
    assert same_units(got, expected) is (row[2] == "the same") is (line.words == "")
    if row[2] != "the same":
        factor, sign, offset = LINE.fullmatch(row[2]).groups()
        assert line.factor == pytest.approx(float(factor), rel=1e-5)
        assert line.offset == pytest.approx(float(f"{sign}{offset}") if sign else 0.0, abs=5e-4)
        assert f"{got!r} to {expected!r} ({row[2]})" in line.words


def test_the_page_has_many():
    assert len(TABLE) >= 60
    assert {row[2] for row in TABLE} >= {"the same", "refused"}


def test_exact_figures():
    """Definitions: 1 ft = 0.3048 m, 0 °F = 459.67/1.8 K; an error has no offset."""
    feet, warm = conversion("", "ft", "m"), conversion("", "degF", "K")
    np.testing.assert_allclose(feet.values(np.array([0.0, 10.0])), [0.0, 3.048], rtol=1e-15)
    np.testing.assert_allclose(warm.values(np.array([0.0, 212.0])), [459.67 / 1.8, 373.15])
    spread = conversion("file: T_stddev", "degF", "K", of_differences=True)
    assert spread.values(1.8) == pytest.approx(1.0, rel=1e-12)
    assert spread.words.endswith("(× 0.555556)")
    assert conversion("", "degC", "K", of_differences=True).words == ""
    square = conversion("", "degF2", "K2", of_differences=True)
    assert square.values(1.8**2) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("missing", [None, "", " "])
def test_a_missing_attribute_is_called_missing_and_never_converted(missing):
    assert conversion("file: x", missing, "1").words == ""
    with pytest.raises(DataError, match="got no units attribute; add `units` = '%'"):
        conversion("file: x", missing, "%")


def test_what_goes_both_ways_is_not_converted():
    check_units("file: x", "metres", "m")
    with pytest.raises(DataError, match="expected units 'm', got 'ft'; values that are handed"):
        check_units("file: x", "ft", "m")


def test_a_script_is_warned_and_a_listener_told():
    line = conversion("file: x", "ft", "m")
    words = "file: x: converted from 'ft' to 'm' (× 0.3048)"
    with pytest.warns(UnitsWarning, match=re.escape(words)):
        line.tell()
    with listening() as told:
        line.tell()
    assert told == [words]


def other(dataset, name, unit):
    """The dataset with a variable in another unit, and the same meaning."""
    spread = name.endswith(SPREADS)
    line = conversion(name, dataset[name].attrs["units"], unit, of_differences=spread)
    array = dataset[name].copy(data=line.values(dataset[name].values))
    array.attrs["units"] = unit
    return (
        dataset.assign_coords({name: array})
        if name in dataset.coords
        else dataset.assign({name: array})
    )


SPREADS = ("_stddev", "_covariance", "_length_x")


def of_state(dataset):
    return read_state(dataset, toy())["u"]


def of_stdev(dataset):
    return read_stdev(dataset, toy(), ["u"])["u"]


def of_observations(dataset):
    observations = read_observations(dataset, toy())
    assert observations.units == "m s-1"
    stdev = observations.covariance.independent_stdev()
    return np.array([observations.values, stdev, observations.points.coordinates["x"]])


def lengths():
    return covariance_from_ensemble(states(5, "realization"), Grid(), ["u"])


def of_lengths(dataset):
    return read_covariance(dataset, Grid(), ["u"])["u"].length


def matrix():
    return covariance_from_ensemble(states(100, "realization"), Grid(), ["v"], "dense")


def of_matrix(dataset):
    return read_covariance(dataset, Grid(), ["v"])["v"].factor


def series():
    time = ("time", [0.0, 1.0, 2.0], {"units": "days since 2020-01-01"})
    return xr.Dataset({"F": ("time", [1.0, 3.0, 2.0], {"units": "W m-2"})}, {"time": time})


def of_series(dataset):
    return read_forcing(dataset, "F", "days", "2020-01-01", "W m-2").values


PLACES = {
    "state": (of_state, background_file, "u", "km h-1"),
    "positions of a state": (of_state, background_file, "x", "m"),
    "standard deviations": (of_stdev, background_file, "u_stddev", "cm s-1"),
    "observations": (of_observations, observation_file, "u", "ft s-1"),
    "their errors": (of_observations, observation_file, "u_stddev", "knots"),
    "their places": (of_observations, observation_file, "x", "m"),
    "lengths of a covariance": (of_lengths, lengths, "u_length_x", "m"),
    "a matrix": (of_matrix, matrix, "v_covariance", "degF2"),
    "a series": (of_series, series, "F", "kW m-2"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_file_in_other_units_is_read_as_the_same_file_by_hand(place):
    """What is read of it is what is read of the converted one, to rounding."""
    read, make, name, unit = PLACES[place]
    with listening() as told:
        values = read(other(make(), name, unit))
    np.testing.assert_allclose(values, read(make()), rtol=1e-12, atol=1e-12)
    of_a_table = place == "observations"  # whose notes tell of it
    assert of_a_table or any(f"{name}: converted from {unit!r}" in words for words in told)


def test_an_instrument_tells_of_its_units():
    table = open_observations(other(observation_file(), "u", "ft s-1"), None, toy().labels())
    instrument = made(table, toy(), read_window(observation_file(), toy()))
    (note,) = instrument.table.notes
    assert "u (read by PointSample): converted from 'ft s-1' to 'm s-1' (× 0.3048)" in note
    assert note.endswith("what the case says of them, as error.stdev, is in 'm s-1'")
