"""Time-dependent inputs from files: units, times and intervals."""

import numpy as np
import pytest
import xarray as xr

from assim.files.errors import DataError
from assim.files.read.forcings import read_forcing
from assim.problem.arrays import Coordinate


def series(**variables):
    """Three yearly means from 2001, a leap year missing nothing; values in W m-2."""
    days = np.array([0.0, 365.0, 730.0, 1095.0])
    bounds = np.stack([days[:-1], days[1:]], axis=1)
    time = {"units": "days since 2001-01-01", "bounds": "time_bnds"}
    return xr.Dataset(
        {
            "erf": ("time", [1.0, 2.0, 4.0], {"units": "W m-2"}),
            "time_bnds": (("time", "nv"), bounds),
            **variables,
        },
        {"time": ("time", bounds.mean(axis=1), time)},
    )


def read(dataset, variable="erf", unit="years", **options):
    return read_forcing(dataset, variable, unit, "2000-01-01", **options)


def test_steps_of_yearly_means():
    forcing = read(series(), units="W/m2", interpolation="steps")
    assert (forcing.interpolation, forcing.units) == ("steps", "W/m2")
    np.testing.assert_allclose(forcing.times, [1.0, 2.0, 3.0, 4.0], rtol=1e-15)
    np.testing.assert_array_equal(forcing.values, [1.0, 2.0, 4.0])


def test_linear_between_times():
    forcing = read(series())
    np.testing.assert_allclose(forcing.times, [1.5, 2.5, 3.5], rtol=1e-15)
    np.testing.assert_allclose(forcing(2.0), 1.5, rtol=1e-12)


def test_bounds_that_xarray_has_moved_to_the_encoding():
    """As `open_dataset` does with `decode_coords="all"`."""
    moved = series()
    moved.time.encoding["bounds"] = moved.time.attrs.pop("bounds")
    found = read(moved, interpolation="steps")
    np.testing.assert_array_equal(found.times, read(series(), interpolation="steps").times)


def test_from_a_file(tmp_path):
    series().to_netcdf(tmp_path / "forcing.nc")
    np.testing.assert_allclose(read(tmp_path / "forcing.nc")(3.0), 3.0, rtol=1e-12)


def test_several_series():
    agents = xr.Variable(("time", "agent"), np.arange(6.0).reshape(3, 2), {"units": "W m-2"})
    assert read(series(agents=agents), "agents").values.shape == (3, 2)


AXES = {"y": Coordinate(np.arange(2.0), "km"), "x": Coordinate(np.arange(2.0), "km")}


def on_a_grid(*dims, **coordinates):
    """Rain of (4t, 4t + 1; 4t + 2, 4t + 3) on (y, x), its dimensions in this order."""
    rain = xr.Variable(("time", "y", "x"), np.arange(12.0).reshape(3, 2, 2), {"units": "W m-2"})
    places = {dim: (dim, values, {"units": "km"}) for dim, values in coordinates.items()}
    return series(rain=rain.transpose(*dims)).assign_coords(places)


@pytest.mark.parametrize("places", [{}, {"y": [0.0, 1.0]}, {"y": [0.0, 1.0], "x": [0.0, 1.0]}])
@pytest.mark.parametrize("order", [("time", "y", "x"), ("time", "x", "y")])
def test_fields_come_in_the_order_of_the_model(order, places):
    forcing = read(on_a_grid(*order, **places), "rain", axes=AXES)
    np.testing.assert_array_equal(forcing.values, np.arange(12.0).reshape(3, 2, 2))


def test_members_that_are_all_kept_come_last():
    values = np.arange(18.0).reshape(3, 2, 3)  # three times, two points, three members
    several = xr.Variable(("time", "x", "member"), values, {"units": "W m-2"})
    dataset = series(rain=several.transpose("time", "member", "x"))
    forcing = read(dataset, "rain", axes={"x": AXES["x"]}, select={"member": "all"})
    np.testing.assert_array_equal(forcing.values, values)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (on_a_grid("time", "y", "x", x=[0.0, 1.5]), r"dataset: x: .*number 1 .*is at 1\.5"),
        (on_a_grid("time", "y", "x").isel(x=[0]), "expected 2 points along 'x'.* got 1"),
        (on_a_grid("time", "y", "x").isel(x=0), r"rain: expected the dimensions .*add 'x'"),
        (on_a_grid("time", "y", "x").rename(x="lon"), r"select = \{ lon = 0 \}"),
    ],
)
def test_fields_on_another_grid_are_refused(dataset, message):
    with pytest.raises(DataError, match=message):
        read(dataset, "rain", axes=AXES)


def test_without_physical_time():
    dataset = xr.Dataset({"load": ("t", [1.0, 2.0])}, {"t": [0.0, 5.0]})
    forcing = read_forcing(dataset, "load", "1", units="1")
    np.testing.assert_array_equal(forcing.times, [0.0, 5.0])


def _gap(dataset):
    bounds = dataset.time_bnds.values.copy()
    bounds[1, 0] += 10
    return dataset.assign(time_bnds=(("time", "nv"), bounds))


def _unbounded(dataset):
    del dataset.time.attrs["bounds"]
    return dataset


def _missing(dataset):
    dataset.erf.values[1] = np.nan
    return dataset


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lambda d: d, {"variable": "erff"}, r"no variable 'erff'; did you mean 'erf'\?"),
        (lambda d: d, {"units": "K"}, r"dataset: erf: expected units 'K', got 'W m-2'"),
        (lambda d: d, {"unit": "1"}, "expected a number without dates"),
        (lambda d: d, {"interpolation": "cubic"}, "interpolation must be one of"),
        (
            _gap,
            {"interpolation": "steps"},
            r"time_bnds\[0\] ends at 2002-01-01 00:00:00 and the next starts at",
        ),
        (_unbounded, {"interpolation": "steps"}, "expected the interval of every value"),
        (_missing, {}, r"1 of 3 that are missing or infinite \(1 NaN\), the first at"),
        (lambda d: d.isel(time=slice(None, None, -1)), {}, "times must increase"),
        (lambda d: d.isel(time=0), {}, "expected a variable 'time' on its first dimension"),
        (lambda d: d.assign(erf=d.erf.astype(str)), {"units": None}, "expected numbers"),
    ],
)
def test_bad_series(spoil, options, message):
    with pytest.raises(DataError, match=message):
        read(spoil(series()), **options)
