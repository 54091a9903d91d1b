"""Grids of files in another order than the model's: north to south, longitudes from elsewhere."""

import numpy as np
import pytest
import xarray as xr

from assim.files.errors import DataError
from assim.files.read.axes import order_along
from assim.files.read.covariances import read_covariance
from assim.files.read.forcings import read_forcing
from assim.files.read.states import read_state, read_stdev
from assim.problem.arrays import Coordinate
from tests.files.toy import background_file, toy

RING = Coordinate(np.arange(-180.0, 180.0, 30.0), "degrees_east", period=360.0)
NORTHWARD = Coordinate(np.array([-45.0, 0.0, 45.0]), "degrees_north")


def order(values, axis):
    given = xr.DataArray(values, dims="p", attrs={"units": axis.units})
    return order_along(given, axis, "file: p")


def test_longitudes_may_begin_anywhere_on_their_circle():
    east = np.arange(0.0, 360.0, 30.0)
    found = order(east, RING)
    np.testing.assert_allclose((east[found] + 180.0) % 360.0 - 180.0, RING.values)
    np.testing.assert_array_equal(order(np.array(RING.values) + 720.0, RING), np.arange(12))


def test_latitudes_may_come_from_north_to_south():
    np.testing.assert_array_equal(order([45.0, 0.0, -45.0], NORTHWARD), [2, 1, 0])


@pytest.mark.parametrize("values", [[45.0, 0.0, 0.0], [45.0, 0.0, -44.0], [45.0, 0.0]])
def test_other_positions_are_refused(values):
    with pytest.raises(DataError, match=r"file: p: expected (the model's grid, in any|3 points)"):
        order(values, NORTHWARD)


def covariances():
    """A length and a matrix of the toy's fields, all of whose entries differ."""
    rng = np.random.default_rng(0)
    u = {"units": "m s-1"}
    root = rng.standard_normal((6, 6))
    matrix = (root @ root.T).reshape(2, 3, 2, 3)
    dims = ("y", "x", "y_other", "x_other")
    data = background_file().drop_vars(["u", "u_stddev"], errors="ignore")
    stdev = data.assign(
        u_stddev=(("y", "x"), np.arange(1.0, 7.0).reshape(2, 3), u),
        u_length_x=(("y", "x"), np.arange(11.0, 17.0).reshape(2, 3), {"units": "km"}),
        u_length_y=(("y", "x"), np.arange(21.0, 27.0).reshape(2, 3), {"units": "km"}),
    )
    members = ("realization", "y", "x")
    return {
        "lengths": stdev,
        "matrix": data.assign(u_covariance=(dims, matrix, {"units": "m2 s-2"})),
        "members": data.assign(u_perturbation=(members, rng.standard_normal((5, 2, 3)), u)),
    }


def turned(dataset):
    """The same content, from north to south and from the last x to the first."""
    matrix = {d: slice(None, None, -1) for d in ("y_other", "x_other") if d in dataset.dims}
    return dataset.isel(
        y=slice(None, None, -1), x=[1, 2, 0] if not matrix else slice(None, None, -1), **matrix
    )


@pytest.mark.parametrize("read", [read_state, read_stdev])
def test_states_and_their_spreads_are_read_in_the_model_s_order(read):
    np.testing.assert_array_equal(
        read(turned(background_file()), toy())["u"], read(background_file(), toy())["u"]
    )


@pytest.mark.parametrize("kind", ["lengths", "matrix", "members"])
def test_covariances_are_read_in_the_model_s_order(kind):
    plain, other = (
        read_covariance(dataset, toy(), ["u"])["u"]
        for dataset in (covariances()[kind], turned(covariances()[kind]))
    )
    for one, two in zip(vars(plain).values(), vars(other).values(), strict=True):
        for first, second in zip(np.atleast_1d(one), np.atleast_1d(two), strict=True):
            np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_fields_over_time_are_read_in_the_model_s_order():
    axes = {"y": Coordinate(np.arange(2.0)), "x": Coordinate(np.arange(3.0))}
    time = ("time", [0.0, 1.0], {"units": "days since 2000-01-01"})
    rain = (("time", "y", "x"), np.arange(12.0).reshape(2, 2, 3), {"units": "mm"})
    data = xr.Dataset({"rain": rain}, {"time": time, "y": [0.0, 1.0], "x": [0.0, 1.0, 2.0]})
    plain, other = (
        read_forcing(dataset, "rain", "days", "2000-01-01", axes=axes).values
        for dataset in (data, turned(data))
    )
    np.testing.assert_array_equal(plain, other)
