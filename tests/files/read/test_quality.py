"""Quality control: bounds, background check, thinning, superobbing, and their flags."""

import numpy as np
import pytest
import xarray as xr

from assim import BiasCorrection, Coordinate
from assim.files.errors import DataError
from assim.files.netcdf import flag_attributes
from assim.files.read.grouping import cells_of
from assim.files.read.quality import QualityControl, fails_background_check
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.problem import likelihood
from assim.problem.covariance import Dense
from assim.problem.observation import ErrorScale
from assim.problem.operator import PointSample, TimeMean
from assim.problem.prior import LogNormal, Normal
from tests.files.toy import UNITS, made, observation_file, observations_dataset, toy


def rows(values, days, x, y=0.0, stdev=0.1, **more):
    """A point table of the toy model, over four days."""
    n = len(values)
    columns = {name: ("obs", np.asarray(column)) for name, column in more.items()}
    return xr.Dataset(
        {
            "u": ("obs", np.asarray(values, float), {"units": UNITS}),
            "u_stddev": ("obs", np.broadcast_to(stdev, n).astype(float), {"units": UNITS}),
            **columns,
        },
        {
            "time": ("obs", np.asarray(days, float), {"units": "days since 2000-01-01"}),
            "x": ("obs", np.asarray(x, float), {"units": "km"}),
            "y": ("obs", np.full(n, y), {"units": "km"}),
        },
    )


def read(dataset, **given):
    model = toy()
    window = read_window(observation_file(), model)
    table = open_observations(dataset, "u", model.labels())
    return made(table, model, window, **given)


def asked(**given):
    return {"quality": QualityControl(**given)}


def test_bounds():
    found = read(observation_file((-5.0, 1.0, 2.0, 9.0)), **asked(lower=-1.0, upper=8.0))
    np.testing.assert_array_equal(found.flags, [12, 0, 0, 12])
    assert found.rejected() == {"bounds": 2}
    np.testing.assert_array_equal(found.within, [True] * 4)
    np.testing.assert_array_equal(found.observations.values, [1.0, 2.0])


def test_background_check():
    dataset = observation_file((1.0, np.nan, 30.0, 2.0))
    found = read(dataset, **asked(threshold=3.0))
    checked = found.check_background(np.array([0.5, 29.0, -1.4]), np.array([0.2, 0.5, 0.5]))
    np.testing.assert_array_equal(checked.flags, [0, 10, 19, 0])
    np.testing.assert_array_equal(checked.observations.values, [1.0, 2.0])
    np.testing.assert_array_equal(checked.observations.points.times, [0.0, 3.0])
    assert checked.rejected() == {"missing": 1, "background_check": 1}
    assert read(dataset).check_background(np.full(3, 1e9), np.ones(3)).rejected() == {"missing": 1}
    with pytest.raises(DataError, match="all 3 values fail the background check"):
        found.check_background(np.full(3, 10.0), np.ones(3))


def test_background_check_of_numbers():
    failed = fails_background_check(np.array([3.0, -3.1, np.nan, np.inf]), np.ones(4), 3.0)
    np.testing.assert_array_equal(failed, [False, True, True, True])


def test_values_without_a_predictor_cannot_be_predicted():
    bias = BiasCorrection({"slope": Normal(0.0, 1.0)}, {"slope": [1.0, np.nan, 3.0, 4.0]})
    found = read(observation_file(), bias=bias)
    np.testing.assert_array_equal(found.flags, [0, 15, 0, 0])
    np.testing.assert_array_equal(found.within, found.used)
    np.testing.assert_array_equal(found.observations.bias.predictors["slope"], [1.0, 3.0, 4.0])
    short = BiasCorrection({"slope": Normal(0.0, 1.0)}, {"slope": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"'slope' has shape \(2,\), not \(4,\)"):
        read(observation_file(), bias=short)


# ---- thinning ------------------------------------------------------------------------------------


def test_thinning_keeps_the_row_nearest_to_the_centre():
    days = [0.1, 0.6, 0.9, 1.5, 1.5, 2.2, 0.4]
    dataset = rows(np.arange(7.0), days, np.zeros(7), u_qc=[0, 0, 0, 0, 0, 0, 1])
    dataset["u_qc"].attrs = flag_attributes("flag")
    found = read(dataset, **asked(thin_time=1.0, thin_distance=5.0))
    # Day 0: 0.6 (the passive 0.4 does not count); day 1: two alike, the first; day 2: one.
    np.testing.assert_array_equal(found.flags, [16, 0, 16, 0, 16, 0, 1])
    assert found.rejected() == {"passive": 1, "thinned": 3}


def test_thinning_in_space_leaves_other_times_alone():
    dataset = rows(np.arange(4.0), [1, 1, 2, 2], [0.4, 0.9, 0.1, 1.2])
    found = read(dataset, **asked(thin_distance={"x": 1.0}))
    np.testing.assert_array_equal(found.flags, [0, 16, 0, 0])
    found = read(dataset, **asked(thin_time=10.0))  # four places
    assert found.used.all()


def test_thinning_does_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    days, x = rng.uniform(0, 3, 60), rng.uniform(0, 2, 60)
    given = asked(thin_time=0.7, thin_distance=0.5)
    kept = read(rows(x, days, x), **given).observations.values
    order = rng.permutation(60)
    shuffled = read(rows(x[order], days[order], x[order]), **given).observations.values
    np.testing.assert_array_equal(np.sort(kept), np.sort(shuffled))
    assert 10 < kept.size <= 20


# ---- superobbing ---------------------------------------------------------------------------------


def test_superobs_are_means():
    dataset = rows(
        [1, 2, 6, 9], [0.2, 0.4, 0.9, 2.5], [0.1, 0.3, 0.2, 1.9], stdev=[0.1, 0.2, 0.2, 0.5]
    )
    found = read(dataset, **asked(superob_time=1.0, superob_distance=1.0))
    np.testing.assert_array_equal(found.flags, [31, 31, 31, 0, 0])
    np.testing.assert_array_equal(found.table.qc, np.zeros(5))
    observations = found.observations
    np.testing.assert_allclose(observations.values, [9.0, 3.0])
    np.testing.assert_allclose(observations.points.times, [2.5, 0.5])
    np.testing.assert_allclose(observations.points.coordinates["x"], [1.9, 0.2])
    np.testing.assert_allclose(observations.covariance.stdev, [0.5, 0.1])  # √(.01 + .04 + .04)/3
    assert found.rejected() == {"superobbed": 3}


def test_correlated_errors_do_not_average_out():
    for correlation, variance in (
        (0.0, 0.04 / 4),
        (1.0, 0.04),
        (0.5, (0.5 * 0.16 + 0.5 * 0.64) / 16),
    ):
        dataset = rows(np.arange(4.0), np.ones(4), np.full(4, 0.5), stdev=0.2)
        found = read(dataset, **asked(superob_distance=1.0, correlation=correlation))
        np.testing.assert_allclose(found.observations.covariance.stdev, [np.sqrt(variance)])


def test_superobs_have_the_error_given_or_scaled():
    dataset = rows(np.arange(4.0), np.ones(4), np.full(4, 0.5))
    given = asked(superob_distance=1.0)
    found = read(dataset, stdev=2.0, **given).observations
    np.testing.assert_allclose(found.covariance.stdev, [1.0])
    scale = ErrorScale("sigma", LogNormal(1.0, 0.5))
    bare = read(dataset.drop_vars("u_stddev"), scale=scale, **given).observations
    np.testing.assert_allclose(bare.covariance.stdev, [0.5])


def test_superobs_with_predictors_and_in_the_feedback():
    dataset = rows([1, 3, 5], [1, 1, 2], [0.2, 0.4, 0.4])
    bias = BiasCorrection({"slope": Normal(0.0, 1.0)}, {"slope": np.array([10.0, 30.0, 50.0])})
    found = read(dataset, bias=bias, **asked(superob_distance=1.0))
    np.testing.assert_array_equal(found.observations.bias.predictors["slope"], [50.0, 20.0])
    window = read_window(observation_file(), toy())
    written = observations_dataset([found], toy().labels(), window)
    np.testing.assert_allclose(written["u"], [1, 3, 5, 2])
    np.testing.assert_allclose(written["x"], [0.2, 0.4, 0.4, 0.3])


def test_a_cell_of_one_row_is_left_alone():
    dataset = rows([1, 3], [1, 2], [0.2, 0.4])
    found = read(dataset, **asked(superob_distance=1.0))
    assert found.used.all() and found.table.rows == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"likelihood": likelihood.LogNormal(), "stdev": 0.1}, "LogNormal likelihood; thin"),
        ({"covariance": Dense(np.eye(4))}, "not a covariance"),
        ({"quality": QualityControl(thin_distance={"z": 1.0})}, "no distance along 'z'"),
    ],
)
def test_what_cannot_be_grouped(given, words):
    given = {**asked(superob_distance=1.0), **given}
    with pytest.raises(DataError, match=words):
        read(rows([1, 2, 3, 4], [1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4]), **given)


def test_intervals_are_not_averaged_in_time():
    dataset = rows([1, 2], [1, 2], [0.1, 0.1]).assign(
        time_bnds=(("obs", "nv"), np.array([[0.0, 1.0], [1.0, 2.0]]))
    )
    dataset["time"].attrs["bounds"] = "time_bnds"
    with pytest.raises(DataError, match="intervals of time cannot be averaged in time"):
        read(dataset, operator=TimeMean("u"), **asked(superob_time=5.0))
    found = read(dataset, operator=PointSample("u"), **asked(superob_distance=5.0))
    assert found.used.all()


def test_means_in_space_are_of_equal_intervals():
    """Of a day and of its last quarter, both stamped at its end, no mean is the mean of either."""
    ends = np.full(5, 1.0)
    starts = np.array([0.0, 0.75, 0.0, 0.75, 0.0])
    dataset = rows([1.0, 5.0, 3.0, 9.0, 2.0], ends, [0.1, 0.1, 0.3, 0.3, 1.7])
    dataset = dataset.assign(time_bnds=(("obs", "nv"), np.stack([starts, ends], axis=1)))
    dataset["time"].attrs["bounds"] = "time_bnds"
    found = read(dataset, operator=TimeMean("u"), **asked(superob_distance=1.0))
    np.testing.assert_array_equal(found.flags, [31, 31, 31, 31, 0, 0, 0])
    np.testing.assert_array_equal(found.observations.values, [2.0, 2.0, 7.0])
    np.testing.assert_array_equal(found.observations.points.starts, [0.0, 0.0, 0.75])
    np.testing.assert_array_equal(found.observations.points.ends, [1.0, 1.0, 1.0])
    read_at_ends = read(dataset, operator=PointSample("u"), **asked(superob_distance=1.0))
    np.testing.assert_array_equal(read_at_ends.observations.values, [2.0, 4.5])


# ---- cells ---------------------------------------------------------------------------------------


def test_cells_of_a_periodic_axis_do_not_break_at_its_start():
    axes = {"x": Coordinate(np.arange(10.0), period=10.0)}
    places = {"x": np.array([9.9, -0.3, 9.5, 10.1, 0.2])}
    cells = cells_of(np.zeros(5), 0.0, None, axes, places, 2.0)
    np.testing.assert_array_equal(cells.label, [1, 1, 1, 0, 0])
    np.testing.assert_allclose(cells.centres_of_mass("x"), [0.15, 9.7])


def test_cells_on_the_sphere_keep_their_length():
    axes = {
        "lat": Coordinate(np.linspace(-80, 80, 9), "degrees_north"),
        "lon": Coordinate(np.arange(0.0, 360.0, 20.0), "degrees_east", period=360.0),
    }
    longitude = np.arange(-180.0, 180.0, 1.0)
    for latitude, expected in ((2.5, 36), (-62.5, 15), (89.0, 3)):
        places = {"lat": np.full(360, latitude), "lon": longitude}
        cells = cells_of(np.zeros(360), 0.0, None, axes, places, 10.0)
        assert cells.counts().size == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lower": 2.0, "upper": 1.0}, "lower must be below upper"),
        ({"threshold": 0.0}, "threshold must be positive"),
        ({"thin_distance": {"x": -1.0}}, "thin_distance must be positive"),
        ({"correlation": 1.5}, "correlation must lie"),
        ({"correlation": 0.5, "thin_distance": 1.0}, "correlation is of .* superobbing"),
        ({"thin_time": 1.0, "superob_distance": 1.0}, "either"),
    ],
)
def test_what_quality_control_refuses(given, words):
    with pytest.raises(ValueError, match=words):
        QualityControl(**given)
