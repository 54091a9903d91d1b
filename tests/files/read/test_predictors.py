"""Predictors of a bias lie beside the values, whatever the order of their dimensions."""

import numpy as np
import pytest
import xarray as xr

from assim.files.errors import DataError
from assim.files.read.predictors import read_predictor
from assim.files.read.tables import open_observations
from tests.files.toy import UNITS, toy

ANGLE = np.array([[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]])  # by time and station
MEANINGS = {"flag_values": [1, 4], "flag_meanings": "good_data bad_data"}


def gridded():
    """Values at two times of three stations, and the angle at which each was seen."""
    return xr.Dataset(
        {
            "u": (("time", "obs"), np.arange(6.0).reshape(2, 3), {"units": UNITS}),
            "angle": (("time", "obs"), ANGLE),
        },
        {
            "time": ("time", [0.0, 1.0], {"units": "days since 2000-01-01"}),
            "x": ("obs", [0.0, 1.0, 2.0], {"units": "km"}),
        },
    )


def read(dataset, **given):
    column = read_predictor(dataset, "angle", "u", toy().labels(), **given)
    select = given.get("select")
    table = open_observations(dataset, "u", toy().labels(), select=select)
    assert column.shape == (table.rows,)
    return column


def test_another_order_of_dimensions():
    turned = gridded()
    turned["angle"] = turned["angle"].transpose()
    np.testing.assert_array_equal(read(turned), ANGLE.ravel())
    np.testing.assert_array_equal(read(gridded()), ANGLE.ravel())


def test_one_number_for_all_values_of_a_time_of_a_station_or_of_the_file():
    at_times = gridded().assign(angle=("time", [1.0, 2.0]))
    np.testing.assert_array_equal(read(at_times), [1, 1, 1, 2, 2, 2])
    at_stations = gridded().assign(angle=("obs", [1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(read(at_stations), [1, 2, 3, 1, 2, 3])
    np.testing.assert_array_equal(read(gridded().assign(angle=5.0)), np.full(6, 5.0))
    x = read_predictor(gridded(), "x", "u", toy().labels())
    np.testing.assert_array_equal(x, [0, 1, 2, 0, 1, 2])


def test_a_flagged_predictor_is_none():
    flagged = gridded().assign(angle_qc=(("obs", "time"), [[0, 4], [0, 0], [1, 0]]))
    np.testing.assert_array_equal(read(flagged), [10, 20, np.nan, np.nan, 50, 60])


@pytest.mark.parametrize(("attributes", "accept"), [(MEANINGS, ["good_data"]), ({}, [1])])
def test_flags_that_the_values_share_are_accepted_with_them(attributes, accept):
    flags = ("time", np.array([1, 4]), attributes)
    shared = gridded().assign(quality=flags)
    for name in ("u", "angle"):
        shared[name].attrs["ancillary_variables"] = "quality"
    column = read_predictor(shared, "angle", "u", toy().labels(), accept=accept)
    np.testing.assert_array_equal(column, [10, 20, 30, np.nan, np.nan, np.nan])


def test_what_is_selected_of_the_values_is_selected_of_it():
    members = xr.concat([gridded(), gridded() + 2.0], "realization")
    members["u"].attrs["units"] = UNITS
    taken = read(members, select={"realization": 1})
    np.testing.assert_array_equal(taken, ANGLE.ravel() + 2)
    mean = read(members, select={"realization": "mean"})
    np.testing.assert_array_equal(mean, ANGLE.ravel() + 1)
    members["angle"].values[1, 0, 2] = np.nan
    mean = read(members, select={"realization": "mean"})
    np.testing.assert_array_equal(np.isnan(mean), [0, 0, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (gridded().drop_vars("angle"), "there is no variable 'angle'"),
        (gridded().assign(angle=("beam", np.ones(6))), r"angle: expected the dimensions \('time'"),
        (gridded().assign(angle=("time", ["a", "b"])), "angle: expected numbers"),
    ],
)
def test_what_is_no_predictor_is_refused(dataset, words):
    with pytest.raises(DataError, match=words):
        read_predictor(dataset, "angle", "u", toy().labels())
