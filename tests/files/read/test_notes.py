"""What is unusual in the rows of an instrument, but accepted, and what it does to errors."""

import numpy as np
import pytest
import xarray as xr

from assim.files.read.quality import QualityControl
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.problem.bias import BiasCorrection
from assim.problem.covariance import Dense
from assim.problem.prior import Normal
from tests.files.toy import UNITS, made, observation_file, toy

TWICE, TAKEN = "repeat the time and place of another", [0, 1, 1, 1, 2, 3]


def instrument(dataset, **given):
    window = read_window(observation_file(), toy())
    return made(open_observations(dataset, "u", toy().labels()), toy(), window, **given)


def copied(**values):
    return observation_file().isel(obs=TAKEN).assign(values)


def test_copies_are_told_with_what_they_do_and_how_to_keep_one():
    (note,) = instrument(copied()).table.notes
    assert note.startswith(f"dataset: u: 2 values {TWICE}, 2 of them its value, too: each counts")
    assert "errors too small, by up to √3, where" in note
    assert "quality.thin_time" in note
    kept = instrument(copied(), quality=QualityControl(thin_time=1e-3))
    assert kept.table.notes == ()
    np.testing.assert_array_equal(kept.observations.values, [1, 2, 3, 4])


def test_other_values_at_the_same_time_and_place():
    (note,) = instrument(copied(u=("obs", np.arange(6.0), {"units": UNITS}))).table.notes
    assert f"2 values {TWICE}: each counts" in note


def test_what_is_not_used_twice_is_not_told():
    flags = ("obs", np.array([0, 0, 1, 1, 0, 0], np.int32))
    notes = instrument(copied(u_qc=flags)).table.notes
    assert not any(TWICE in note for note in notes)


def test_errors_that_are_correlated_are_not_said_to_be_independent():
    matrix = Dense(0.01 * (np.eye(6) + 1.0))
    (note,) = instrument(copied(), covariance=matrix).table.notes
    assert note.endswith(f"2 values {TWICE}, 2 of them its value, too")


@pytest.mark.parametrize("dims", [("x", "time", "y"), ("time", "y", "x"), ("y", "x", "time")])
@pytest.mark.parametrize(("days", "told"), [([0.0, 1.0, 2.0], False), ([0.0, 2.0, 1.0], True)])
def test_the_order_of_time_is_that_of_the_times_on_their_own_dimension(dims, days, told):
    grid = observation_file().isel(obs=[0]).squeeze(drop=True)["u"] + xr.DataArray(
        np.zeros((3, 2, 3)), dims=("time", "y", "x")
    )
    places = {"y": ("y", [0.0, 1.0], {"units": "km"}), "x": ("x", [0.0, 1.0, 2.0], {"units": "km"})}
    time = ("time", days, {"units": "days since 2000-01-01"})
    values = grid.drop_vars(["time", "x", "y"], errors="ignore").transpose(*dims)
    dataset = xr.Dataset({"u": values.assign_attrs(units=UNITS)}, {"time": time, **places})
    notes = open_observations(dataset, "u", toy().labels()).notes
    assert notes == (("dataset: time: not in the order of time",) if told else ())


def test_stations_each_in_the_order_of_its_times():
    """time(y, obs): along y the times are others, along obs they increase."""
    times = (("y", "obs"), [[5.0, 6.0, 7.0], [0.0, 1.0, 2.0]], {"units": "days since 2000-01-01"})
    u = (("y", "obs"), np.ones((2, 3)), {"units": UNITS})
    dataset = xr.Dataset({"u": u}, {"time": times, "y": ("y", [0.0, 1.0], {"units": "km"})})
    assert open_observations(dataset, "u", toy().labels()).notes == ()
    turned = dataset.isel(obs=[1, 0, 2])
    assert open_observations(turned.isel(y=[1]), "u", toy().labels()).notes


def test_a_fill_value_of_a_predictor_that_nobody_declared_is_told():
    bias = BiasCorrection({"slope": Normal(0.0, 1.0)}, {"slope": [1.0, 2.0, -9999.0, 4.0]})
    (note,) = instrument(observation_file(), bias=bias).table.notes
    assert note.startswith("dataset: u: predictor of the bias 'slope': one value is exactly -9999")
