import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assim.files.errors import DataError
from assim.files.netcdf import flag_attributes
from assim.files.read.observations import read_observations
from assim.files.read.quality import QualityControl
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window, window_of
from assim.files.write.applied import checks_of
from assim.problem.arrays import Label, Labels
from assim.problem.covariance import Dense, Diagonal
from assim.problem.integrator import FixedStep
from assim.problem.likelihood import LogNormal, Poisson
from assim.problem.model import AbstractIntegrator, AbstractODE
from assim.problem.observation import ErrorScale
from assim.problem.operator import PointSample, TimeDifference, TimeMean
from assim.problem.prior import Jeffreys
from tests.files.toy import UNITS, made, observation_file, toy

SCALE = ErrorScale("sigma", Jeffreys())


class Still(AbstractODE):
    """A scalar that does not change."""

    parameters: dict = eqx.field(default_factory=dict)
    integrator: AbstractIntegrator = FixedStep(1.0)
    time_unit: str = eqx.field(default="years", static=True)

    def tendency(self, x, theta, t):
        del theta, t
        return {"c": jnp.zeros_like(x["c"])}

    def labels(self):
        return Labels({"c": Label((), UNITS)}, time_unit=self.time_unit)


def yearly(days=(0.0, 365.0, 730.0), **attrs):
    n = len(days)
    attrs = {"units": "days since 1900-01-01", **attrs}
    return xr.Dataset(
        {
            "c": ("obs", np.arange(n) + 1.0, {"units": UNITS}),
            "c_stddev": ("obs", np.full(n, 0.1), {"units": UNITS}),
        },
        {"time": ("obs", np.array(days), attrs)},
    )


def monthly():
    """Means over intervals, stamped at their middles."""
    bounds = np.array([[0.0, 31.0], [31.0, 59.0], [59.0, 90.0]])
    dataset = yearly(bounds.mean(axis=1), bounds="time_bnds")
    return dataset.assign(time_bnds=(("obs", "nv"), bounds))


def rejects(source, *words, model=None, **given):
    with pytest.raises(DataError) as error:
        read_observations(source, model or toy(), **given)
    for word in ("dataset", *words):
        assert word in str(error.value)


def read(dataset, model=None, window=None, **given):
    model = model or toy()
    table = open_observations(dataset, None, model.labels())
    window = window or read_window(observation_file(), toy())
    return made(table, model, window, **given)


def test_a_point_table_is_read_whole():
    found = read_observations(observation_file(), toy())
    assert (found.name, found.units) == ("u", UNITS)
    np.testing.assert_array_equal(found.values, [1, 2, 3, 4])
    np.testing.assert_array_equal(found.points.times, [0, 1, 2, 3])
    np.testing.assert_array_equal(found.points.coordinates["x"], np.linspace(0, 2, 4))
    np.testing.assert_array_equal(found.covariance.stdev, np.full(4, 0.1))
    assert found.operator == PointSample("u")


def test_the_window_spans_the_observations():
    window = read_window(observation_file(), toy())
    np.testing.assert_array_equal(window.edges, [0, 1, 2, 3])
    assert window.reference == "2000-01-01T00:00:00"
    window = read_window(observation_file(), toy(), start="1999-12-30", end="2000-01-02")
    np.testing.assert_array_equal(window.edges, [0, 1, 2, 3])
    assert window.reference == "1999-12-30"


def test_slots_of_a_stepping_model_meet_the_observations():
    some = observation_file().isel(obs=[0, 2])
    assert (read_window(some, toy()).slots, read_window(some, toy()).steps) == (1, 2)
    between = observation_file(units="hours since 2000-01-01")
    window = read_window(between, toy(), start="2000-01-01")
    np.testing.assert_array_equal(window.edges, [0, 1])


def test_calendar_years():
    window = read_window(yearly(), Still())
    np.testing.assert_array_equal(window.edges, [0, 1, 2])
    found = read_observations(yearly(calendar="noleap"), Still())
    np.testing.assert_array_equal(found.points.times, [0, 1, 2])


def test_several_files_share_a_window_whatever_their_calendars():
    labels = Still().labels()
    tables = [open_observations(yearly(calendar=c), None, labels) for c in ("standard", "360_day")]
    window = window_of(tables, Still())
    np.testing.assert_allclose(window.edges, [0, 1, 1 + 5 / 365, 2, 2 + 10 / 365], atol=1e-12)


def test_intervals_come_from_the_bounds_of_the_time():
    model = Still(time_unit="days")
    window = read_window(monthly(), model)
    assert window.edges[0] == 0 and window.edges[-1] == 90 and 59.0 in window.edges
    found = read_observations(monthly(), model, operator=TimeMean("c"))
    np.testing.assert_array_equal(found.points.starts, [0, 31, 59])
    np.testing.assert_array_equal(found.points.ends, [31, 59, 90])
    late = read_window(monthly(), model, start="1900-01-15")
    kept = read(monthly(), model, late, operator=TimeMean("c"))
    assert kept.rejected() == {"window": 1}
    assert kept.observations.values.size == 2


def test_non_physical_time():
    dataset = yearly().rename(time="t").drop_vars("t").assign_coords(t=("obs", [0.5, 1.0, 2.0]))
    model = Still(time_unit="1")
    found = read_observations(dataset, model, read_window(dataset, model, start=0.0))
    np.testing.assert_array_equal(found.points.times, [0.5, 1, 2])
    np.testing.assert_array_equal(read_window(dataset, model, 0.0, 3.0).edges, [0, 0.5, 1, 2, 3])
    rejects(yearly(), "time", "number without dates", "days since", model=model)


def test_fates_of_rows():
    dataset = observation_file((1.0, np.nan, 3.0, 4.0, 5.0, 6.0))
    dataset["u_qc"] = ("obs", [0, 0, 19, 0, 0, 0], flag_attributes("flag"))
    dataset["x"].values[3] = 2.5
    instrument = read(dataset)
    np.testing.assert_array_equal(instrument.flags, [0, 10, 19, 13, 14, 14])
    np.testing.assert_array_equal(instrument.observations.values, [1.0])
    assert instrument.rejected() == {"missing": 1, "background_check": 1, "domain": 1, "window": 2}


def test_a_flag_of_the_file_says_nothing_of_this_window():
    """What another run left out as outside its window is not outside this one, nor checked here."""
    dataset = observation_file((1.0, 2.0, 3.0, 4.0))
    dataset["u_qc"] = ("obs", [0, 14, 14, 12], flag_attributes("flag"))
    instrument = read(dataset, quality=QualityControl(lower=0.0))
    assert instrument.rejected() == {"bounds": 1, "window": 2}
    assert instrument.table.notes == ()
    assert checks_of(instrument) == {"bounds": 0}


@pytest.mark.parametrize(("days", "said"), [((0, 1, 2, 3, 6), False), ((0, 1, 2, 6, 7), True)])
def test_many_values_outside_the_window_are_told_with_both_spans(days, said):
    dataset = yearly(np.array(days, float))
    window = read_window(yearly((0.0, 5.0)), Still())
    notes = [note for note in read(dataset, Still(), window).table.notes if "time zone" in note]
    assert len(notes) == said
    if said:
        assert "2 of 5 values that could be used lie outside the window" in notes[0]
        assert "the times run from 1900-01-01 to 1900-01-08, the window from 1900-01-01" in notes[0]


def test_the_file_is_kept_in_its_order_with_notes():
    dataset = observation_file().isel(obs=[2, 0, 0, 1])
    instrument = read(dataset)
    np.testing.assert_array_equal(instrument.observations.points.times, [2, 0, 0, 1])
    assert any("1 values repeat" in note for note in instrument.table.notes)
    assert any("order of time" in note for note in instrument.table.notes)
    assert open_observations(observation_file(), "u", toy().labels()).notes == ()


@pytest.mark.parametrize("order", [("time", "y", "x"), ("x", "time", "y")])
def test_a_grid_becomes_points(order):
    values = np.arange(12.0).reshape(2, 2, 3)
    values[1, 1, 2] = np.nan
    unit = {"units": UNITS}
    grid = xr.Dataset(
        {"u": (("time", "y", "x"), values, unit), "u_stddev": ((), 0.1, unit)},
        {
            "time": ("time", np.array(["2000-01-01", "2000-01-03"], "M8[ns]")),
            "y": ("y", [0.0, 1.0], {"units": "km"}),
            "x": ("x", [0.0, 1.0, 2.0], {"units": "km"}),
        },
    ).transpose(*order)
    found = read(grid).observations
    assert found.values.size == 11
    for value, time, y, x in zip(
        found.values, found.points.times, *map(found.points.coordinates.get, "yx"), strict=True
    ):
        assert value == values[int(time) // 2, int(y), int(x)]


def without(*names):
    return observation_file().drop_vars(names)


def altered(name, row, value):
    dataset = observation_file()
    dataset[name].values[row] = value
    return dataset


def relabelled(name, **attrs):
    dataset = observation_file()
    dataset[name].attrs.update(attrs)
    return dataset


@pytest.mark.parametrize(
    ("dataset", "given", "words"),
    [
        (without("u", "u_stddev"), {}, ["expected one observed variable", "none", "add"]),
        (observation_file().assign(w=("obs", np.ones(4))), {}, ["u, w", "variable="]),
        (observation_file().isel(obs=[]), {}, ["u", "at least one value", "'obs': 0"]),
        (observation_file(), {"variable": "uu"}, ["'uu'", "did you mean 'u'?"]),
        (observation_file().rename(u="w", u_stddev="w_stddev"), {}, ["'w'", "operator"]),
        (without("u_stddev"), {}, ["'u_stddev'", "stdev=", "scale="]),
        (without("x"), {}, ["PointSample", "'x'", "add a variable"]),
        (without("time"), {}, ["time", "days since"]),
        (relabelled("u", units="km"), {}, ["'m s-1'", "'km'", "PointSample"]),
        (relabelled("u_stddev", units="km"), {}, ["u_stddev", "'km'"]),
        (relabelled("x", units="s"), {}, ["x", "'km'", "'s'"]),
        (relabelled("time", units="1"), {}, ["time", "expected dates"]),
        (relabelled("time", bounds="time_bnds"), {}, ["time_bnds", "no such variable"]),
        (altered("u_stddev", 2, 0.0), {}, ["u_stddev", "positive", "(0) at index 2"]),
        (altered("u_stddev", 1, np.nan), {}, ["u_stddev", "(nan) at index 1"]),
        (altered("time", 1, np.nan), {}, ["time", "index 1", "drop"]),
        (altered("u", slice(None), np.nan), {}, ["none of 4", "4 missing", "2000-01-01"]),
        (altered("x", slice(None), 9.0), {}, ["none of 4", "4 domain"]),
        (observation_file(), {"operator": TimeMean("u")}, ["TimeMean", "bounds", "time_bnds"]),
        (observation_file(), {"operator": PointSample("uu")}, ["'uu'", "did you mean 'u'?"]),
        (
            altered("u", 0, -1.0),
            {"likelihood": LogNormal(), "stdev": 0.1},
            ["log-normal", "4 of 4"],
        ),
        (observation_file(), {"covariance": Dense(np.eye(3))}, ["4 of 4", "3 rows"]),
        (observation_file(), {"stdev": -1.0}, ["positive"]),
        (observation_file(), {"stdev": np.ones(3)}, ["shape (3,)"]),
    ],
)
def test_what_cannot_be_used_is_named(dataset, given, words):
    window = read_window(observation_file(), toy())
    rejects(dataset, *words, window=window, **given)


def without_units(name):
    dataset = observation_file()
    del dataset[name].attrs["units"]
    return dataset


def test_errors_without_units_are_dimensionless():
    """As all variables without units are: no percentage, and no unit of the values."""
    given = {"window": read_window(observation_file(), toy())}
    rejects(without_units("u_stddev"), "u_stddev", "'m s-1'", "no units attribute", **given)
    stated = read(without_units("u_stddev"), stdev=0.5, **given)  # the file's do not count
    np.testing.assert_array_equal(stated.observations.covariance.stdev, 0.5)
    logarithms = read(without_units("u_stddev"), likelihood=LogNormal(), **given)
    np.testing.assert_array_equal(logarithms.observations.covariance.stdev, 0.1)


def test_log_normal_errors_have_no_units():
    given = {"likelihood": LogNormal(), "window": read_window(observation_file(), toy())}
    rejects(observation_file(), "u_stddev", "'1'", "'m s-1'", **given)
    assert read(relabelled("u_stddev", units="1"), **given).observations.values.size == 4


def test_a_missing_value_needs_no_error():
    dataset = altered("u_stddev", 1, np.nan)
    dataset["u"].values[1] = np.nan
    assert read(dataset).observations.values.size == 3


def test_a_flagged_value_needs_no_error():
    dataset = altered("u_stddev", 1, 0.0)
    flags = ("obs", np.array([0, 1, 0, 0], np.int32))
    assert read(dataset.assign(u_qc=flags)).observations.values.size == 3


def test_a_missing_flag_is_no_pass():
    dataset = observation_file().assign(u_qc=("obs", [0.0, np.nan, 0.0, 0.0]))
    assert read(dataset).observations.values.size == 3


def test_errors_given_by_the_caller():
    for given, stdev in ((0.3, [0.3] * 3), (np.arange(1.0, 5.0), [1, 3, 4])):
        found = read(altered("u", 1, np.nan), stdev=given).observations
        np.testing.assert_array_equal(found.covariance.stdev, stdev)
    found = read(observation_file(), covariance=Diagonal(0.2)).observations
    assert found.covariance.stdev.shape == (4,)
    assert read(without("u_stddev"), scale=SCALE).observations.covariance.stdev[0] == 1
    assert read(without("u_stddev"), likelihood=Poisson()).observations.covariance.stdev[0] == 1


def test_a_window_without_observations_is_refused():
    with pytest.raises(DataError, match="2000-01-04"):
        read_window(observation_file(), toy(), start="2010-01-01")
    late = read_window(observation_file(units="days since 2010-01-01"), toy())
    spans = "times run from 2000-01-01 to 2000-01-04, the window from 2010-01-01 to 2010-01-04"
    rejects(observation_file(), "4 window", spans, window=late)


def test_where_nothing_is_left_spans_and_reasons_are_told():
    east = observation_file()
    east["x"].values[:] += 100.0
    window = read_window(observation_file(), toy())
    runs = "'x' runs from 100 to 102, the model's from 0 to 2"
    rejects(east, "4 domain", runs, window=window)
    missing = observation_file((np.nan,) * 4)
    rejects(missing, "4 missing, of which missing: 4 NaN", "the times run from", window=window)
    filled = observation_file((-9.0, -9.0, -9.0, np.nan))
    filled["u"].attrs["missing_value"] = -9.0
    rejects(filled, "3 missing_value, 1 NaN", window=window)


def test_units_that_are_not_given_are_told_as_such():
    plain = observation_file()
    del plain["u"].attrs["units"]
    rejects(plain, "expected units 'm s-1'", "got no units attribute; add `units` = 'm s-1'")
    with pytest.raises(DataError, match="got 'K', which cannot be converted; convert the values,"):
        read(relabelled("u", units="K"))


def test_intervals_must_go_forward():
    dataset = monthly()
    dataset["time_bnds"].values[1] = [59.0, 31.0]
    model = Still(time_unit="days")
    rejects(dataset, "time_bnds", "row 1", model=model)
    rejects(monthly().isel(nv=[0]), "one of length 2", model=model)


def test_differences_take_the_units_of_the_field():
    window = read_window(monthly(), Still(time_unit="days"))
    operator = TimeDifference("c")
    found = read(monthly(), Still(time_unit="days"), window, operator=operator).observations
    assert found.operator == operator
