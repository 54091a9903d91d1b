"""Values that stand for a stretch of time are read as such, or told to be read otherwise."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assim.analysis.analyse import analyse
from assim.case.case import read_case
from assim.case.pose import pose
from assim.files.read.cells import method_in_time
from assim.files.read.forcings import intervals_of
from assim.files.read.observations import to_instrument
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.problem.arrays import Label, Labels
from assim.problem.constraint import strong_constraint
from assim.problem.covariance import Diagonal
from assim.problem.model import AbstractModel
from assim.problem.operator import PointSample, TimeMean
from assim.problem.prior import Normal
from assim.problem.window import Window
from tests.files.toy import made, observation_file, toy
from tests.run.toy import Toy


def means(methods, bounds=True):
    """The toy's values over the day after each time."""
    dataset = observation_file()
    dataset["u"].attrs["cell_methods"] = methods
    if bounds:
        starts = dataset["time"].values
        dataset["time_bnds"] = (("obs", "nv"), np.stack([starts - 0.5, starts + 0.5], axis=1))
        dataset["time"].attrs["bounds"] = "time_bnds"
    return dataset


def instrument(dataset, **given):
    """In a window that holds all intervals."""
    days = read_window(observation_file(), toy(), start="1999-12-30")
    window = Window(np.append(days.edges, days.edges[-1] + 1.0), days.steps, days.reference)
    return made(open_observations(dataset, "u", toy().labels()), toy(), window, **given)


@pytest.mark.parametrize(
    ("methods", "method"),
    [
        ("time: mean", "mean"),
        ("time: lat: mean", "mean"),
        ("area: mean time: maximum", "maximum"),
        ("time: maximum within days time: mean over days", "mean"),
        ("time: mean (interval: 1 hr comment: sampled)", "mean"),
        ("clock: sum", "sum"),
        ("area: mean", ""),
        ("time: point", "point"),
        ("", ""),
    ],
)
def test_the_method_along_time(methods, method):
    times = {"clock": ("obs", [0.0, 1.0])}
    array = xr.DataArray([1.0, 2.0], dims="obs", coords=times, attrs={"cell_methods": methods})
    assert method_in_time(array, "clock") == method


def test_means_over_known_intervals_are_read_as_means_and_this_is_said():
    read = instrument(means("time: mean"))
    assert isinstance(read.observations.operator, TimeMean)
    (note,) = read.table.notes
    assert note.startswith("dataset: u: read as means over the intervals of its times")


@pytest.mark.parametrize(
    ("methods", "bounds", "way"),
    [
        ("time: mean", False, "name the intervals by the attribute `bounds`"),
        ("time: maximum", True, "such as TimeMean"),
        ("time: sum", True, "TimeIntegral"),
    ],
)
def test_others_are_told_to_be_read_at_their_times(methods, bounds, way):
    read = instrument(means(methods, bounds))
    assert isinstance(read.observations.operator, PointSample)
    (note,) = read.table.notes
    assert f'read as values at their times, though cell_methods says "{methods}"' in note
    assert way in note


def test_the_word_of_the_case_is_the_last():
    read = instrument(means("time: mean"), operator=PointSample("u"))
    assert isinstance(read.observations.operator, PointSample)
    assert read.table.notes == ()


@pytest.mark.parametrize(("method", "told"), [("mean", 0), ("sum", 1), ("maximum", 1), ("", 0)])
def test_an_operator_that_predicts_something_else_is_told(method, told):
    read = instrument(means(f"time: {method}" if method else "area: mean"), operator=TimeMean("u"))
    assert isinstance(read.observations.operator, TimeMean)
    assert len(read.table.notes) == told
    assert all(
        f'TimeMean, though cell_methods says "time: {method}"' in n for n in read.table.notes
    )


def test_a_background_that_is_a_mean_is_told(tmp_path):
    case = Toy(tmp_path)
    case.background["x"].attrs["cell_methods"] = "time: mean"
    case.write()
    (note,) = pose(read_case(tmp_path / "case.toml")).notes()
    assert note.endswith(
        'background.nc: x: read as the state at one time, though cell_methods says "time: mean"; '
        "take a file of states at points of time, or let its standard deviation cover the "
        "difference"
    )


def test_a_series_that_is_a_mean_without_bounds_is_told(tmp_path):
    times = {"time": ("time", [0.0, 1.0], {"units": "days since 2000-01-01"})}
    pump = ("time", [1.0, 2.0], {"units": "1", "cell_methods": "time: mean"})
    dataset = xr.Dataset({"pump": pump}, times)
    assert intervals_of(dataset, "pump", "days") == 'cell_methods ("time: mean")'
    dataset["pump"].attrs["cell_methods"] = "time: point"
    assert intervals_of(dataset, "pump", "days") is None


def test_the_mean_of_a_day_is_not_the_state_at_its_start():
    """Of x = 10 + 2 t, stamped where each day begins: the start is 10, and not half a day later."""
    days = np.arange(10.0)
    dataset = xr.Dataset(
        {
            "x": ("time", 10 + 2 * (days + 0.5), {"units": "1", "cell_methods": "time: mean"}),
            "x_stddev": ("time", np.full(10, 0.1), {"units": "1"}),
            "time_bnds": (("time", "nv"), np.stack([days, days + 1], axis=1)),
        },
        {"time": ("time", days, {"units": "days since 2000-01-01", "bounds": "time_bnds"})},
    )
    model = Trend({"slope": jnp.asarray(0.0)})
    window = Window.regular(model, slots=10, reference="2000-01-01")
    read = to_instrument(open_observations(dataset, "x", model.labels()), model, window)
    prior = {"slope": Normal(0.0, 5.0)}
    problem = strong_constraint(model, window, {"x": 5.0}, Diagonal(10.0), read.observations, prior)
    start = problem.simulate(analyse(problem, posterior=None).solution.chi).trajectory.states["x"][
        0
    ]
    assert start == pytest.approx(10.0, abs=0.01)


class Trend(AbstractModel):
    """dx/dt = slope."""

    parameters: dict
    dt: float = 1.0

    def step(self, x, theta, t):
        del t
        return {"x": x["x"] + theta["slope"] * self.dt}

    def labels(self):
        state, slope = {"x": Label((), "1", "x")}, {"slope": Label((), "day-1", "trend")}
        return Labels(state=state, parameters=slope, time_unit="days")


def test_values_across_an_end_of_the_window_are_told():
    """Days about midnight, in a window that ends at the last of them: a half is missing."""
    dataset = means("time: mean")
    last = float(np.max(dataset["time"].values))
    window = read_window(dataset, toy(), start="1999-12-30")
    short = Window(window.edges[window.edges <= last], window.steps, window.reference)
    read = made(open_observations(dataset, "u", toy().labels()), toy(), short)
    (note,) = (note for note in read.table.notes if "across" in note)
    assert "one value covers an interval across an end of the window" in note
    dataset["u"].attrs["cell_methods"] = "time: point"
    read = made(open_observations(dataset, "u", toy().labels()), toy(), short)
    assert not any("across" in note for note in read.table.notes)
