"""Series of instruments and of fields: what has a panel, in which order, and what it shows."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from assim.files.names import OBSERVABLE
from assim.show.finished import finished_run
from assim.show.observed import observed
from assim.show.series import of_no_field, series_of
from assim.show.trajectory import draw_series, draw_trajectory
from tests.show import runs


@pytest.fixture
def lynx_hare(tmp_path: Path) -> Path:
    return runs.lynx_hare(tmp_path)


def add_observable(
    folder: Path, name: str, values: np.ndarray, places: np.ndarray | None = None
) -> None:
    """Series of an instrument in trajectory.nc, whose quantiles lie 1 and 5 away from them."""
    data = xr.load_dataset(folder / "trajectory.nc")
    dims = ("time",) if places is None else ("time", f"{name}_place")
    offsets = {"_hofx_analysis": 0, "_hofx_background": 9}
    offsets |= {"_hofx_q05": -1, "_hofx_q95": 1, "_reading_q05": -5, "_reading_q95": 5}
    for ending, offset in offsets.items():
        attributes = {"units": "1000", OBSERVABLE: name}
        data[name + ending] = xr.Variable(dims, values + offset, attributes)
    if places is not None:
        data = data.assign_coords({f"{name}_x": (f"{name}_place", places)})
    runs.save(folder / "trajectory.nc", data)


def test_an_instrument_comes_first_and_the_field_that_it_reads_is_drawn_once(lynx_hare):
    field = xr.load_dataset(lynx_hare / "trajectory.nc")["lynx"].values
    add_observable(lynx_hare, "lynx", field)
    with finished_run(lynx_hare) as run:
        first, second = series_of(run)
        assert of_no_field(run) == []
    assert (first.name, second.name) == ("lynx", "hare")
    assert first.stdev is None and second.predicted is None
    np.testing.assert_allclose(first.predicted[1] - first.predicted[0], np.full(21, 2.0))
    np.testing.assert_allclose(first.readings[1] - first.readings[0], np.full(21, 10.0))


def test_an_instrument_that_reads_something_else_has_its_panel_beside_the_field(lynx_hare):
    field = xr.load_dataset(lynx_hare / "trajectory.nc")["lynx"].values
    add_observable(lynx_hare, "lynx", field / 2)
    with finished_run(lynx_hare) as run:
        assert [series.name for series in series_of(run)] == ["lynx", "hare", "lynx"]


def test_the_place_with_most_readings_comes_first_with_its_readings(lynx_hare):
    data = xr.load_dataset(lynx_hare / "feedback.nc")
    places = np.where(np.arange(21) % 3 == 0, 100.0, 200.0)  # 7 and 14 readings
    data = data.assign_coords(x=("obs", places, {"units": "km"}))
    runs.save(lynx_hare / "feedback.nc", data)
    several = np.stack([np.full(21, 10.0), np.full(21, 20.0)], axis=1)
    add_observable(lynx_hare, "lynx", several, np.array([100.0, 200.0]))
    with finished_run(lynx_hare) as run:
        series = series_of(run)
    assert [one.name for one in series] == ["lynx", "lynx", "hare", "lynx"]
    assert series[0].label.endswith("x = 200") and series[0].value[0] == 20.0
    assert series[0].observed[0].value.size == 14 and series[1].observed[0].value.size == 7


def drawn(folder: Path) -> tuple:
    axes = Figure().subplots()
    with finished_run(folder) as run:
        draw_series(axes, series_of(run)[0])
        picture = draw_trajectory(run)
    return axes, picture


def test_bands_of_the_state_and_of_new_readings_are_two(lynx_hare):
    add_observable(lynx_hare, "hare", np.full(21, 30.0))
    axes, picture = drawn(lynx_hare)
    labels = [band.get_label() for band in axes.collections]
    assert labels[:2] == ["90 % of new readings", "90 % band"]
    assert "grey: 90 % of new readings, errors included" in picture.caption
    line = next(line for line in axes.lines if line.get_label() == "analysis")
    (bars,) = axes.containers
    assert line.get_zorder() > bars.lines[0].get_zorder()


@pytest.mark.parametrize(("errors", "scale"), [("logarithm", "log"), ("value", "linear")])
def test_values_with_log_normal_errors_have_a_log_axis(lynx_hare, errors, scale):
    data = xr.load_dataset(lynx_hare / "feedback.nc")
    data["hare"].attrs["errors_of"] = errors
    data["hare_stddev"] = 0 * data["hare_stddev"] + 0.2
    runs.save(lynx_hare / "feedback.nc", data)
    axes, _ = drawn(lynx_hare)
    assert axes.get_yscale() == scale


def test_values_outside_the_window_are_not_drawn_as_rejected(lynx_hare):
    data = xr.load_dataset(lynx_hare / "feedback.nc")
    data["hare_effective_qc"].values[:2] = 14
    data["hare"].values[0] = 1e6
    runs.save(lynx_hare / "feedback.nc", data)
    with finished_run(lynx_hare) as run:
        assert observed(run)[0].rejected.nonzero()[0].tolist() == [6]
    axes, _ = drawn(lynx_hare)
    assert axes.get_ylim()[1] < 1e3
