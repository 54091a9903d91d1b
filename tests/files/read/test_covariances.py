import cftime
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assim import Coordinate, Label, Labels
from assim.files.errors import DataError
from assim.files.read.covariances import read_covariance, write_covariance
from assim.files.read.estimates import (
    covariance_from_ensemble,
    covariance_from_forecasts,
    covariance_from_increments,
    daley_length,
)
from assim.files.units import squared
from assim.problem.covariance import Dense, Diagonal, Diffusion, Ensemble, GaspariCohn
from tests.files.toy import UNITS, toy

RING = Coordinate(np.arange(60) * 0.5, "km", "distance", period=30.0)
LEVEL = Coordinate(np.array([0.0, 1.0, 2.5, 4.0]), "m", "height")


class Grid:
    """As much of a model as files need: a field u(z, x) and a field v(x)."""

    def labels(self):
        return Labels(
            {"u": Label(("z", "x"), "m s-1", "wind"), "v": Label(("x",), "K", "temperature")},
            coordinates={"x": RING, "z": LEVEL},
            time_unit="days",
        )


TRUE = {
    "u": Diffusion(2.0, [3.0, 2.0]).on((4, 60), (LEVEL, RING)),
    "v": Diffusion(0.5, 1.5).on((60,), (RING,)),
}
DIMS = {"u": ("z", "x"), "v": ("x",)}
UNIT = {"u": "m s-1", "v": "K"}


@jax.jit
def draws(covariance, w):
    return jax.vmap(covariance.sqrt)(w)


def states(number, dim, seed=0, **coordinates):
    """Draws from the known covariances about a state that is not 0."""
    rng = np.random.default_rng(seed)
    content = {}
    for name, covariance in TRUE.items():
        values = draws(covariance, rng.normal(size=(number, covariance.size())))
        content[name] = ((dim, *DIMS[name]), 10.0 + np.asarray(values), {"units": UNIT[name]})
    x, z = (c.values for c in (RING, LEVEL))
    return xr.Dataset(
        content, {"x": ("x", x, {"units": "km"}), "z": ("z", z, {"units": "m"})} | coordinates
    )


def days(number):
    return {"time": ("time", np.arange(float(number)), {"units": "days since 2000-01-01"})}


def test_diffusion_is_recovered_from_an_ensemble(tmp_path):
    """Standard deviations within 4 of their standard errors, lengths within 10 %."""
    file = tmp_path / "B.nc"
    write_covariance(covariance_from_ensemble(states(200, "realization"), Grid()), file)
    found = read_covariance(file, Grid())
    assert set(found) == {"u", "v"}
    for name, true in TRUE.items():
        assert isinstance(found[name], Diffusion)
        stdev = np.sqrt(true.variance())
        assert np.all(np.abs(found[name].stdev / stdev - 1) < 4.5 / np.sqrt(2 * 199))
        lengths = np.broadcast_to(np.ravel(true.length[0]), len(DIMS[name]))
        np.testing.assert_allclose(np.ravel(found[name].length[0]), lengths, rtol=0.1)
        fitted = found[name].on(
            true.variance().shape, tuple(Grid().labels().coordinates[d] for d in DIMS[name])
        )
        assert fitted.size() == true.size()


def test_units_and_names_follow_the_labels():
    dataset = covariance_from_ensemble(states(5, "realization"), Grid())
    assert dataset["u_stddev"].attrs == {
        "units": "m s-1",
        "long_name": "standard deviation of wind",
    }
    assert dataset["u_length_x"].attrs["units"] == "km"
    assert dataset["u_length_z"].attrs["units"] == "m"
    assert dataset["v_length"].attrs["units"] == "km"
    assert dataset["x"].attrs["units"] == "km"


def test_forecast_differences_count_half():
    """Two independent errors of the same covariance."""
    longer = states(300, "time", 1, **days(300))
    shorter = states(300, "time", 2, **days(300))
    found = read_covariance(covariance_from_forecasts(longer, shorter, Grid()), Grid(), ["v"])
    assert set(found) == {"v"}
    assert np.mean(found["v"].stdev ** 2) == pytest.approx(0.25, rel=0.1)
    twice = covariance_from_forecasts(longer, shorter, Grid(), ["v"], factor=1.0)
    np.testing.assert_allclose(twice["v_stddev"] ** 2, 2 * found["v"].stdev ** 2, rtol=1e-12)


def test_model_error_from_what_forecasts_missed():
    analyses = states(100, "time", 3, **days(100))
    forecasts = analyses - states(100, "time", 4)
    for name in ("u", "v"):
        forecasts[name].attrs["units"] = UNIT[name]
    found = read_covariance(covariance_from_increments(forecasts, analyses, Grid()), Grid())
    assert np.mean(found["u"].stdev) == pytest.approx(2.0, rel=0.05)


def test_ensemble_form_keeps_the_perturbations(tmp_path):
    members, file = states(6, "realization"), tmp_path / "B.nc"
    dataset = covariance_from_ensemble(
        members, Grid(), form="ensemble", localisation={"x": 5.0, "z": 0.0}, factor=1.1
    )
    write_covariance(dataset, file)
    found = read_covariance(file, Grid())
    assert isinstance(found["u"], Ensemble)
    centred = members["u"].values - members["u"].values.mean(axis=0)
    np.testing.assert_allclose(found["u"].perturbations, centred * np.sqrt(1.1), atol=1e-14)
    assert isinstance(found["u"].localisation, GaspariCohn)
    np.testing.assert_array_equal(found["u"].localisation.length, [0.0, 5.0])
    np.testing.assert_array_equal(found["v"].localisation.length, [5.0])
    alone = covariance_from_ensemble(members, Grid(), form="ensemble")
    assert read_covariance(alone, Grid())["u"].localisation is None


def test_dense_form_is_the_sample_covariance(tmp_path):
    members, file = states(80, "realization"), tmp_path / "B.nc"
    write_covariance(covariance_from_ensemble(members, Grid(), ["v"], "dense"), file)
    with xr.open_dataset(file) as dataset:
        assert dataset["v_covariance"].dims == ("x", "x_other")
        assert dataset["v_covariance"].attrs["units"] == "K2"
    found = read_covariance(file, Grid())["v"]
    assert isinstance(found, Dense)
    matrix = np.cov(members["v"].values.T)
    np.testing.assert_allclose(found.factor @ found.factor.T, matrix, atol=1e-13)


def test_standard_deviations_alone_are_diagonal():
    members = states(5, "realization")
    found = read_covariance(covariance_from_ensemble(members, Grid(), form="diagonal"), Grid())
    assert isinstance(found["u"], Diagonal)
    np.testing.assert_allclose(
        found["u"].stdev, members["u"].values.std(axis=0, ddof=1), rtol=1e-12
    )


def test_a_map_of_lengths():
    dataset = covariance_from_ensemble(states(5, "realization"), Grid(), ["v"])
    dataset["v_length"] = ("x", 1 + 0.1 * np.arange(60.0), {"units": "km"})
    found = read_covariance(dataset, Grid())["v"]
    np.testing.assert_allclose(found.length[0], [1 + 0.1 * np.arange(60.0)])
    found.on((60,), (RING,))


@pytest.mark.parametrize("seed", range(3))
def test_daley_length_of_white_noise_is_below_a_gap(seed):
    noise = np.random.default_rng(seed).normal(size=(50, 60))
    assert daley_length(noise, 0, RING) < 0.5


def test_daley_length_of_one_point():
    assert daley_length(np.ones((3, 1)), 0, Coordinate(np.zeros(1))) == 0


@pytest.mark.parametrize(
    ("unit", "square"),
    [
        ("K", "K2"),
        ("m s-1", "m2 s-2"),
        ("1", "1"),
        ("m2", "m4"),
        ("m/s", "m2 s-2"),
        ("10 m", "(10 m)2"),
    ],
)
def test_squares_of_units(unit, square):
    assert squared(unit) == square


def with_attrs(variable, **attrs):
    dataset = covariance_from_ensemble(states(5, "realization"), Grid())
    dataset[variable].attrs |= attrs
    return dataset


def dense(units="K2", n=60):
    matrix = np.eye(n)
    return xr.Dataset({"v_covariance": (("x", "x_other"), matrix, {"units": units})})


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (with_attrs("u_stddev", units="K"), ["u_stddev", "'m s-1'", "'K'"]),
        (with_attrs("u_length_x", units="s"), ["u_length_x", "'km'", "'s'"]),
        (with_attrs("u_stddev").drop_vars("u_length_z"), ["u_length", "along each"]),
        (with_attrs("u_stddev").drop_vars("v_stddev"), ["'v'", "v_covariance"]),
        (dense("K"), ["v_covariance", "'K2'"]),
        (dense(n=59), ["v_covariance", "60"]),
        (dense().assign_coords(x=np.arange(60.0)), ["x", "at 1 instead of 0.5"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused(dataset, words):
    with pytest.raises(DataError) as error:
        read_covariance(dataset, Grid(), ["u", "v"] if "u_stddev" in dataset else ["v"])
    for word in words:
        assert word in str(error.value)


TENDENCY = {"u": "m s-1 days-1", "v": "K days-1"}


@pytest.mark.parametrize("form", ["diffusion", "diagonal", "ensemble"])
def test_tendencies_have_units_of_their_own(form):
    members = states(5, "realization")
    for name, unit in {"u": "m s-1 d-1", "v": "K/day"}.items():
        members[name].attrs["units"] = unit
    with pytest.raises(DataError, match="expected units 'm s-1'"):
        covariance_from_ensemble(members, Grid(), form=form)
    estimate = covariance_from_ensemble(members, Grid(), form=form, units=TENDENCY)
    for name, variable in estimate.data_vars.items():
        if name.endswith(("_stddev", "_perturbation")):
            assert variable.attrs["units"] == TENDENCY[name[0]]
    assert read_covariance(estimate, Grid(), units=TENDENCY).keys() == {"u", "v"}
    with pytest.raises(DataError, match="expected units 'm s-1', got 'm s-1 days-1'"):
        read_covariance(estimate, Grid())


def test_a_matrix_of_tendencies_has_their_square():
    read = read_covariance(dense("K2 day-2"), Grid(), ["v"], units=TENDENCY)
    np.testing.assert_array_equal(read["v"].variance(), 1.0)
    with pytest.raises(DataError, match="expected units 'K2 days-2'"):
        read_covariance(dense("K2"), Grid(), ["v"], units=TENDENCY)


def test_a_matrix_that_is_no_covariance_is_refused_by_name():
    dataset = dense()
    dataset["v_covariance"].values[0, 0] = -1.0
    with pytest.raises(DataError, match=r"v_covariance.*positive definite"):
        read_covariance(dataset, Grid())


def test_too_few_states_are_refused():
    with pytest.raises(DataError, match="at least 2 states along 'realization', got 1"):
        covariance_from_ensemble(states(1, "realization"), Grid())
    with pytest.raises(DataError, match="dense matrix of u needs more states"):
        covariance_from_ensemble(states(80, "realization"), Grid(), form="dense")
    same = states(4, "realization").isel(realization=[1, 1])
    with pytest.raises(DataError, match="same in all states"):
        covariance_from_ensemble(same, Grid())
    with pytest.raises(ValueError, match="form must be one of"):
        covariance_from_ensemble(states(4, "realization"), Grid(), form="spectral")


def test_a_localisation_that_leaves_out_a_dimension_is_refused():
    with pytest.raises(DataError, match="localisation has x, but u also varies along 'z'; 0 is"):
        covariance_from_ensemble(
            states(4, "realization"), Grid(), form="ensemble", localisation={"x": 5.0}
        )


def test_other_valid_times_are_refused():
    one = states(4, "time", 1, **days(4))
    with pytest.raises(DataError, match="valid times"):
        covariance_from_forecasts(one, one.assign_coords(time=one["time"] + 1), Grid())


def daily(number, first, calendar="standard", unit="days"):
    """Dates of so many days from the first, as numbers since 2000 in a calendar."""
    dates = xr.date_range(first, periods=number, calendar=calendar, use_cftime=True)
    units = f"{unit} since 2000-01-01"
    numbers = cftime.date2num(dates.to_numpy(), units, calendar)
    return {"time": ("time", np.asarray(numbers, float), {"units": units, "calendar": calendar})}


def test_times_are_the_same_by_date():
    """29 February is no date of one calendar, and days of equal numbers after it differ by one."""
    before, after = "2001-02-20", "2001-03-02"  # a year after the leap day
    longer = states(9, "time", 1, **daily(9, before))
    expected = covariance_from_forecasts(longer, states(9, "time", 2, **daily(9, before)), Grid())
    for calendar, unit in (("noleap", "days"), ("standard", "hours"), ("noleap", "hours")):
        same = states(9, "time", 2, **daily(9, before, calendar, unit))
        estimate = covariance_from_forecasts(longer, same, Grid())
        np.testing.assert_array_equal(estimate["v_stddev"], expected["v_stddev"])
    shifted = states(9, "time", 2, **daily(9, after))
    shifted["time"].attrs["calendar"] = "noleap"
    numbers = states(9, "time", 1, **daily(9, after))
    np.testing.assert_array_equal(numbers["time"], shifted["time"])
    with pytest.raises(DataError, match=r"time: expected the valid times of dataset, by date"):
        covariance_from_forecasts(numbers, shifted, Grid())
    with pytest.raises(DataError, match="expected the valid times"):
        covariance_from_increments(numbers, shifted, Grid())


def test_the_valid_time_may_have_another_name():
    longer, shorter = (states(9, "time", seed, **days(9)) for seed in (1, 2))
    expected = covariance_from_forecasts(longer, shorter, Grid())
    other = shorter.rename(time="valid")
    other["valid"].attrs["standard_name"] = "time"
    estimate = covariance_from_forecasts(longer, other, Grid())
    np.testing.assert_array_equal(estimate["u_stddev"], expected["u_stddev"])
    for dataset in (longer, shorter):
        stamps = {"units": "days since 2000-01-01", "standard_name": "time"}
        dataset["made"] = ("time", dataset["time"].values - 1.0, stamps)
    with pytest.raises(DataError, match="the time may be 'time' or 'made'"):
        covariance_from_forecasts(longer, shorter, Grid())
    estimate = covariance_from_forecasts(longer, shorter, Grid(), clock="time")
    np.testing.assert_array_equal(estimate["u_stddev"], expected["u_stddev"])


def test_scalar_fields_have_a_standard_deviation_only():
    model = toy()
    values = np.arange(4.0)
    dataset = xr.Dataset({"c": ("realization", values, {"units": "m s-1"})})
    found = read_covariance(covariance_from_ensemble(dataset, model, ["c"]), model)
    assert isinstance(found["c"], Diagonal)
    assert found["c"].stdev == pytest.approx(np.std(values, ddof=1))
    assert jnp.ndim(found["c"].stdev) == 0


FORMS = {"diffusion": {}, "ensemble": {"localisation": 5.0}, "dense": {"fields": ["v"]}}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
def test_conventions_are_kept(form, tmp_path, conventions):
    file = tmp_path / "B.nc"
    members = states(80, "realization")
    write_covariance(covariance_from_ensemble(members, Grid(), form=form, **FORMS[form]), file)
    assert conventions(file) == []


def test_a_dense_covariance_of_a_scalar():
    """A field without dimensions has a matrix of one entry."""
    values = np.random.default_rng(0).normal(size=(9, 1))
    source = xr.Dataset({"c": ("realization", values[:, 0], {"units": UNITS})})
    written = covariance_from_ensemble(source, toy(), ["c"], "dense")
    np.testing.assert_allclose(written["c_covariance"], np.var(values, ddof=1))
    dense = read_covariance(written, toy())["c"]
    np.testing.assert_allclose(dense.variance(), np.var(values, ddof=1))
