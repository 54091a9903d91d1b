"""What comes in by the door: times, dimensions and places. A row is a kind of fault and a place."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assim.analysis.cycle.batches import batch_numbers
from assim.case.observations import ObservationTable
from assim.files.errors import DataError
from assim.files.read.covariances import read_covariance
from assim.files.read.dimensions import _same, _shown
from assim.files.read.forcings import read_forcing
from assim.files.read.observations import to_instrument
from assim.files.read.places import _check_angles
from assim.files.read.quality import QualityControl
from assim.files.read.states import read_state, read_stdev, read_trajectory
from assim.files.read.tables import observed_variables, open_observations
from assim.files.read.windows import read_window, window_of
from assim.files.write.forecast import edges_within
from assim.problem.arrays import Coordinate, Grid, Label, Labels, Trajectory
from assim.problem.forcing import Forcing, Gap, check_span, gaps
from assim.problem.model import AbstractModel
from assim.problem.operator import PointSample
from assim.problem.points import Points
from assim.problem.window import Window

START = "1992-01-01"
DAYS = f"days since {START}"
PLACES = np.arange(-10.0, 11.0, 5.0)


class Still(AbstractModel):
    """T, on a part of a parallel across Greenwich or a number, does not change; time in days."""

    dims: tuple = eqx.field(default=(), static=True)
    dt: float = eqx.field(default=1.0, static=True)
    first: float = eqx.field(default=-10.0, static=True)
    inflow: Forcing | None = None
    parameters: dict = eqx.field(default_factory=dict)

    def labels(self):
        axis = Coordinate(self.first + np.arange(0.0, 21.0, 5.0), "degrees_east")
        return Labels({"T": Label(self.dims, "K")}, coordinates={"x": axis}, time_unit="days")

    def step(self, x, theta, t):
        del theta, t
        return x


POINT, PARALLEL = Still(), Still(("x",))
HOURLY, NARROW = Still(dt=1 / 24), Still(("x",), first=-10.1)
LABELS = POINT.labels()


# ---- files ---------------------------------------------------------------------------------------


def series(days=(1.0, 2.0, 4.0), calendar="standard", units=DAYS, dtype=float):
    """T at some days, one K more every time, exact to 0.5 K."""
    days = np.array(days, dtype)
    return xr.Dataset(
        {
            "T": ("time", 10.0 + np.arange(days.size), {"units": "K"}),
            "T_stddev": ((), 0.5, {"units": "K"}),
        },
        {"time": ("time", days, {"units": units, "calendar": calendar})},
    )


def grib():
    """The time of every value is called valid_time; `time` is when the forecast began."""
    days = np.array([0.5, 1.0, 3.0])
    lead = {"units": "days", "standard_name": "forecast_period"}
    began = {"units": DAYS, "standard_name": "forecast_reference_time"}
    valid = {"units": DAYS, "standard_name": "time"}
    return xr.Dataset(
        {"T": ("step", days, {"units": "K"}), "T_stddev": ((), 0.5, {"units": "K"})},
        {
            "time": ((), 0.0, began),
            "step": ("step", days, lead),
            "valid_time": ("step", days, valid),
        },
    )


def parts(lead_unit="hours", calendar="standard"):
    """A file of forecasts with the time at which they began, and how long they had run."""
    file = grib().drop_vars("valid_time")
    file["time"].attrs["calendar"] = calendar
    hours = 24.0 * file["step"].values
    if lead_unit is None:  # as xarray decodes both
        begin = ((), np.datetime64(START, "ns"), {"standard_name": "forecast_reference_time"})
        step = (hours * 3600e9).astype("timedelta64[ns]")
        file = file.assign_coords(time=begin)
        return file.assign_coords(step=("step", step, {"standard_name": "forecast_period"}))
    units = {"units": lead_unit, "standard_name": "forecast_period"}
    return file.assign_coords(step=("step", hours, units))


def called_valid_time():
    """The same by name alone."""
    file = grib()
    del file["valid_time"].attrs["standard_name"]
    return file


def twice():
    """Two variables that may be the time, of which the second is a day later."""
    time = {"units": DAYS, "standard_name": "time"}
    return series().assign_coords(landed=("time", [2.0, 3.0, 5.0], time))


def members(**more):
    """Four members, 3 and 1 K below and above their mean, labelled 1 to 4."""
    spread = xr.DataArray([-3.0, -1.0, 1.0, 3.0], dims="realization")
    ensemble = (series()["T"] + spread).transpose("realization", "time").assign_attrs(units="K")
    return series().assign(T=ensemble, **more).assign_coords(realization=[1, 2, 3, 4])


def row(*places, dtype=float):
    """T at places, 1 K more at each, half a day after the start."""
    places = np.array(places, dtype)
    return xr.Dataset(
        {
            "T": ("obs", np.arange(places.size) + 1.0, {"units": "K"}),
            "T_stddev": ((), 0.5, {"units": "K"}),
        },
        {
            "time": ("obs", np.full(places.size, 0.5), {"units": DAYS}),
            "x": ("obs", places, {"units": "degrees_east"}),
        },
    )


# ---- what is read of them ------------------------------------------------------------------------


def rows(dataset, **given):
    return open_observations(dataset, "T", LABELS, **given)


def days(dataset, **given):
    return rows(dataset, **given).times.to_model("days", START)


def of_case(dataset, **keys):
    """As window, cycle and forecast read it."""
    return ObservationTable(file="readings.nc", variable="T", **keys).rows(dataset, LABELS)


def forcing(dataset, **given):
    return read_forcing(dataset, "T", "days", START, "K", axes={}, **given)


def state(dataset, day="1992-01-04", select=None, clock=None):
    return read_state(dataset, POINT, ["T"], day, clock=clock, select=select or {})["T"]


def truth(dataset, *times):
    return read_trajectory(dataset, POINT, np.array(times), START)["T"]


def window(end, slots=1):
    return Window(jnp.linspace(0.0, end, slots + 1), reference=START)


def instrument(dataset, where, model=PARALLEL, **given):
    return to_instrument(open_observations(dataset, "T", model.labels()), model, where, **given)


def at_hand_made_points(*places):
    """T(x) = x read at places that no file has given."""
    field = jnp.stack([jnp.asarray(PLACES)] * 2)
    grid = Grid.of(PARALLEL.labels())
    half = jnp.full(len(places), 0.5)
    points = Points(half, half, half, {"x": jnp.array(places)}, START)
    return PointSample("T")(Trajectory(jnp.array([0.0, 1.0]), {"T": field}, {}, grid), points)


def on_axis(longitudes):
    field = xr.Dataset(
        {"T": ("x", np.arange(5.0), {"units": "K"})},
        {"x": ("x", longitudes, {"units": "degree_east"})},
    )
    return read_state(field, PARALLEL)["T"]


# ---- the table -----------------------------------------------------------------------------------

NO_LEAP = (57.0, 58.0, 59.0, 60.0)  # of a year without leap day: 27 and 28 February, 1 and 2 March
IN_1992 = [57.0, 58.0, 60.0, 61.0]
SINCE_1950 = {"units": "days since 1950-01-01", "dtype": np.float32}  # spaced by 84 s in 1992
HOURS = 15340.0 + np.arange(1.0, 9.0) / 24  # of 1 January 1992, since 1950
EIGHT = window(8 / 24, 8)
ENSEMBLE = {"realization": "mean"}
MEANS = [10.0, 11.0, 12.0]

RIGHT = {
    "time by standard name": {
        "observations": lambda: (days(grib()), [0.5, 1, 3]),
        "window": lambda: (read_window(grib(), POINT, START).edges, [0, 1, 2, 3]),
        "variables": lambda: (observed_variables(grib(), LABELS) == ["T"], True),
        "forcing": lambda: (forcing(grib()).times, [0.5, 1, 3]),
        "background": lambda: (state(grib()), 3.0),
        "truth": lambda: (truth(grib(), 1.0, 3.0), [1, 3]),
        "forecast": lambda: (edges_within(grib(), LABELS, window(3.0, 3)), [1, 3]),
    },
    "time by its name, valid_time": {
        "observations": lambda: (days(called_valid_time()), [0.5, 1, 3]),
        "forcing": lambda: (forcing(called_valid_time()).times, [0.5, 1, 3]),
        "background": lambda: (state(called_valid_time()), 3.0),
        "one background": lambda: (state(called_valid_time().isel(step=2)), 3.0),
        "after a standard name": lambda: (
            days(series().assign_coords(valid_time=("time", [9.0, 9.0, 9.0], {"units": DAYS}))),
            [1, 2, 4],
        ),
    },
    "time in two parts": {
        "observations": lambda: (days(parts()), [0.5, 1, 3]),
        "decoded": lambda: (days(parts(None)), [0.5, 1, 3]),
        "another calendar": lambda: (days(parts(calendar="noleap")), [0.5, 1, 3]),
        "variables": lambda: (observed_variables(parts(), LABELS) == ["T"], True),
        "forcing": lambda: (forcing(parts()).times, [0.5, 1, 3]),
        "background": lambda: (state(parts()), 3.0),
        "one background": lambda: (state(parts().isel(step=2)), 3.0),
        "truth": lambda: (truth(parts(), 1.0, 3.0), [1, 3]),
        "two beginnings": lambda: (
            days(
                parts()
                .isel(step=[0, 2])
                .assign_coords(time=("run", [0.0, 1.0], parts()["time"].attrs))
                .assign(T=(("run", "step"), np.ones((2, 2)), {"units": "K"}))
            ),
            [0.5, 3, 1.5, 4],
        ),
    },
    "time by its key": {
        "observations": lambda: (days(twice(), clock="landed"), [2, 3, 5]),
        "case": lambda: (of_case(twice(), time="landed").times.numbers, [2, 3, 5]),
        "variables": lambda: (
            observed_variables(series().rename(time="when"), LABELS, "when") == ["T"],
            True,
        ),
        "forcing": lambda: (forcing(twice(), clock="time").times, [1, 2, 4]),
        "background": lambda: (state(twice(), clock="landed"), 11.0),
    },
    "dates of other calendars": {
        "observations": lambda: (days(series(NO_LEAP, "noleap")), IN_1992),
        "julian": lambda: (days(series(IN_1992, "julian")), IN_1992),
        "all_leap": lambda: (days(series(IN_1992, "all_leap")), IN_1992),
        "first days of months": lambda: (days(series([0.0, 30, 60], "360_day")), [0, 31, 60]),
        "time of day": lambda: (days(series([59.25], "noleap")), [60.25]),
        "before the reform": lambda: (
            days(series([0.0], units="days since 1200-03-05")),
            [-289208],
        ),
        "forcing": lambda: (forcing(series(NO_LEAP, "noleap")).times, IN_1992),
        "background": lambda: (state(series(NO_LEAP, "noleap"), "1992-03-01"), 12.0),
        "truth": lambda: (truth(series(NO_LEAP, "noleap"), 60.0), [12]),
        "window": lambda: (
            read_window(series(NO_LEAP, "noleap"), POINT, "1992-02-28").edges,
            [0, 1, 2, 3],
        ),
        "two instruments": lambda: (
            window_of([rows(series(NO_LEAP, "noleap")), rows(series(IN_1992))], POINT, START).edges,
            np.arange(62.0),
        ),
    },
    "times rounded by their type": {
        "observations": lambda: (
            instrument(series(HOURS, **SINCE_1950), EIGHT, POINT).observations.points.times[-1],
            8 / 24,
        ),
        "rejected": lambda: (instrument(series(HOURS, **SINCE_1950), EIGHT, POINT).flags, [0] * 8),
        "window": lambda: (
            window_of(
                [rows(series(HOURS, **SINCE_1950)), rows(series(HOURS - 15340))], HOURLY, START
            ).edges,
            np.arange(9) / 24,
        ),
        "forcing": lambda: (
            check_span(
                Still(inflow=forcing(series(HOURS, **SINCE_1950))),
                Window(jnp.array([1.5, 8.0]) / 24, reference=START),
            ),
            None,
        ),
        "background": lambda: (state(series(HOURS, **SINCE_1950), "1992-01-01T08:00:00"), 17.0),
        "truth": lambda: (truth(series(HOURS, **SINCE_1950), 1 / 24, 2 / 24), [10, 11]),
        "cycle": lambda: (
            batch_numbers(
                rows(series(HOURS, **SINCE_1950)).times.to_model("days", START, EIGHT.edges),
                np.asarray(EIGHT.edges),
                4,
            ),
            [0, 0, 0, 0, 1, 1, 1, 1],
        ),
    },
    "places rounded by their type": {
        "observations": lambda: (
            instrument(row(-10.1, 9.9, dtype=np.float32), window(1.0), NARROW).flags,
            [0, 0],
        ),
    },
    "dimensions that nobody knows": {
        "one": lambda: (rows(members(), select={"realization": 3}).values, [11, 12, 13]),
        "by number": lambda: (
            rows(members().drop_vars("realization"), select={"realization": 3}).values,
            [13, 14, 15],
        ),
        "by name": lambda: (
            rows(
                members().assign_coords(realization=list("abcd")), select={"realization": "a"}
            ).values,
            [7, 8, 9],
        ),
        "mean": lambda: (rows(members(), select=ENSEMBLE).values, MEANS),
        "all": lambda: (rows(members(), select={"realization": "all"}).rows, 12),
        "case": lambda: (of_case(members(), select={"realization": 3}).values, [11, 12, 13]),
        "times of a mean": lambda: (days(members(), select=ENSEMBLE), [1, 2, 4]),
        "stdev of a mean": lambda: (
            rows(
                members(T_stddev=("realization", [0.1, 0.2, 0.3, 0.4], {"units": "K"})),
                select=ENSEMBLE,
            ).stdev,
            [0.25, 0.25, 0.25],
        ),
        "flags of a mean": lambda: (
            rows(
                members(T_qc=(("time", "realization"), [[0, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]])),
                select=ENSEMBLE,
            ).qc
            > 0,
            [False, True, False],
        ),
        "notes of a mean": lambda: (len(rows(members(), select=ENSEMBLE).notes), 0),
        "forcing": lambda: (forcing(members(), select={"realization": 2}).values, [9, 10, 11]),
        "mean of forcings": lambda: (forcing(members(), select=ENSEMBLE).values, MEANS),
        "background": lambda: (state(members(), "1992-01-03", {"realization": 1}), 8.0),
        "mean of backgrounds": lambda: (state(members(), "1992-01-03", ENSEMBLE), 11.0),
        "stdev of backgrounds": lambda: (
            read_stdev(
                members(T_stddev=("realization", [0.1, 0.2, 0.3, 0.4], {"units": "K"})),
                POINT,
                ["T"],
                select=ENSEMBLE,
            )["T"],
            0.25,
        ),
    },
    "longitudes in another turn": {
        "observations": lambda: (instrument(row(-7, 353, 8, 368), window(1.0)).flags, [0] * 4),
        "places": lambda: (
            instrument(row(353, 358, 3), window(1.0)).observations.points.coordinates["x"],
            [-7, -2, 3],
        ),
        "outside": lambda: (instrument(row(180, 190, 345, 0), window(1.0)).flags, [13, 13, 13, 0]),
        "repeated": lambda: (len(instrument(row(353, -7), window(1.0)).table.notes), 1),
        "thinning": lambda: (
            instrument(
                row(352, -8, 3), window(1.0), quality=QualityControl(thin_distance=5.0)
            ).flags,
            [0, 16, 0],
        ),
        "script": lambda: (at_hand_made_points(353.0, -7.0, 368.0), [-7, -7, 8]),
        "background": lambda: (on_axis(np.array([350.0, 355.0, 0.0, 5.0, 370.0])), np.arange(5.0)),
        "covariance": lambda: (
            read_covariance(
                xr.Dataset(
                    {"T_stddev": ("x", np.ones(5), {"units": "K"})},
                    {"x": ("x", PLACES + 360, {"units": "degrees_east"})},
                ),
                PARALLEL,
            )["T"].stdev,
            np.ones(5),
        ),
    },
    "gaps": {
        "forcing": lambda: (gaps(forcing(series([0.0, 1, 2, 3, 9, 10])), 0, 10), [Gap(3, 9, 1)]),
        "weekends": lambda: (len(gaps(forcing(series([0.0, 1, 2, 5, 6, 7])), 0, 7)), 0),
        "after the window": lambda: (len(gaps(forcing(series([0.0, 1, 2, 3, 9, 10])), 0, 3)), 0),
    },
}


REFUSED = {
    "two times": {
        "observations": (lambda: days(twice()), "'time' or 'landed'.*time = \"landed\""),
        "forcing": (lambda: forcing(twice()), "'time' or 'landed'.*time = \"landed\""),
        "background": (lambda: state(twice()), "'time' or 'landed'.*time = \"landed\""),
        "truth": (lambda: truth(twice(), 1.0), "'time' or 'landed'"),
    },
    "no time": {
        "observations": (lambda: days(parts("1")), 'is none.*time = "name"'),
        "forcing": (lambda: forcing(parts("1")), 'time = "name"'),
        "truth": (lambda: truth(parts("1"), 1.0), "trajectory"),
        "no such variable": (lambda: days(grib(), clock="valid"), "did you mean 'valid_time'"),
        "other dimensions": (lambda: forcing(grib(), clock="time"), "not on the dimensions"),
    },
    "another time than the window's start": {
        "its parts": (
            lambda: state(parts().isel(step=0)),
            r"time \+ step: expected a state at 1992-01-04, the nearest is at 1992-01-01 12:00:00",
        ),
        "decoded": (lambda: state(parts(None).isel(step=0)), r"time \+ step: expected a state"),
        "on a dimension": (lambda: state(parts().isel(step=[0])), r"time \+ step: expected a st"),
        "valid_time": (
            lambda: state(called_valid_time().isel(step=0)),
            "valid_time: expected a state at 1992-01-04, the nearest is at 1992-01-01 12:00:00",
        ),
    },
    "dates of other calendars": {
        "observations": (lambda: days(series([59.0], "360_day")), "1992-02-30.*convert_calendar"),
        "forcing": (lambda: forcing(series([58.0, 59], "360_day")), "1992-02-30"),
        "background": (lambda: state(series([59.0], "360_day")), "1992-02-30"),
        "window": (
            lambda: read_window(series([59.0, 80.0], "360_day"), POINT),
            "1992-02-30",
        ),
    },
    "dimensions that nobody knows": {
        "observations": (
            lambda: rows(members()),
            r'realization.*\{ realization = 1 \}.*\{ realization = "mean" \}.*= "all"',
        ),
        "forcing": (lambda: forcing(members().transpose()), r"\{ realization = 1 \}.*mean"),
        "background": (lambda: state(members(), "1992-01-03"), r"\{ realization = 1 \}.*mean"),
        "no such dimension": (lambda: rows(members(), select={"number": 1}), "it has realization"),
        "no such label": (
            lambda: rows(members(), select={"realization": 0}),
            "T: select: expected realization = 0, there is none; did you mean 1.*it has 1, 2, 3, 4",
        ),
        "no such text": (
            lambda: rows(
                members().assign_coords(realization=["control", "first", "second", "third"]),
                select={"realization": "contrl"},
            ),
            'did you mean "control"',
        ),
        "several labels": (
            lambda: rows(members(), select={"realization": [1, 2]}),
            "expected one label.*got .1, 2. for 'realization'",
        ),
        "no mapping": (lambda: rows(members(), select=[1, 2]), "expected one label.*got .1, 2."),
        "mean of times": (lambda: rows(series(), select={"time": "mean"}), "no mean.*'time'"),
        "mean of covariances": (
            lambda: rows(
                row(1, 2)
                .isel(obs=0)
                .expand_dims("realization")
                .assign(T_covariance=(("realization", "other"), np.ones((1, 1)))),
                select=ENSEMBLE,
            ),
            "with a covariance",
        ),
    },
}


def cells(table):
    return [pytest.param(cell, id=f"{k}, {p}") for k, at in table.items() for p, cell in at.items()]


@pytest.mark.parametrize("cell", cells(RIGHT))
def test_what_comes_is_what_the_file_means(cell):
    value, expected = cell()
    if expected is None:
        assert value is None
    else:
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", cells(REFUSED))
def test_what_may_be_wrong_is_refused_with_the_way_out(cell):
    read, words = cell
    with pytest.raises(DataError, match=words):
        read()


def test_longitudes_that_are_none_are_refused():
    """An angle may be given in another turn; a fill value that nobody declared is no angle."""
    with pytest.raises(
        DataError, match=r"expected longitudes in degrees east, got 1e\+20 at row 1"
    ):
        _check_angles(np.array([353.0, 1e20, np.nan]), "obs.nc: lon")
    _check_angles(np.array([-180.0, 367.0, 719.0, np.nan]), "obs.nc: lon")


@pytest.mark.parametrize(
    ("label", "own", "same"),
    [(5900001, 5900002.0, False), (5900002, 5900002.0, True), (0.1, 0.1 + 1e-9, True)],
)
def test_labels_that_are_whole_numbers_are_themselves(label, own, same):
    assert _same(label, own) is same
    assert _shown(5900001.0) == "5900001" and _shown(0.25) == "0.25"
