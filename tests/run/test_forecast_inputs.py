"""Inputs of a forecast's model: the same inside the window of its analysis, free after it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from assim.analysis.forecast import Readings
from assim.case.case import read_case
from assim.case.pose_cycle import pose_cycle
from assim.case.setting import set_up
from assim.case.toml import write
from assim.files.fingerprint import digests
from assim.files.netcdf import hash_file
from assim.files.record import Record, together
from assim.files.write.forecast import mark_stale
from assim.findings.verification import judged
from assim.run.cycle.ledger import Ledger
from tests.run.toy import invoke

STORE = '''
"""One linear store: dS/dt = rain - k S."""

import equinox as eqx
import jax.numpy as jnp

from assim import AbstractModel, Forcing, Label, Labels


class Store(AbstractModel):
    rain: Forcing
    dt: float = eqx.field(default=1.0, static=True)
    parameters: dict = eqx.field(default_factory=lambda: {"k": jnp.asarray(0.1)})

    def labels(self):
        return Labels(
            state={"S": Label((), "mm", "store")},
            parameters={"k": Label((), "day-1", "rate")},
            inputs={"rain": Label((), "mm day-1", "rain")},
            time_unit="days",
        )

    def step(self, x, theta, t):
        return {"S": (x["S"] + self.rain(t)) * jnp.exp(-theta["k"])}
'''
DAYS, WINDOW = 12, 6  # of the series of rain; slots of the window, of a day each


def prior(median: float) -> dict[str, Any]:
    return {"prior": {"use": "LogNormal", "median": median, "log_stdev": 0.5}}


CASE = {
    "title": "A store",
    "model": {"use": "store.py:Store", "rain": {"file": "rain.nc", "variable": "rain"}},
    "window": {"start": "2001-01-01", "slots": WINDOW},
    "background": {"fields": {"S": prior(15.0)}},
    "parameters": {"k": prior(0.15)},
    "observations": [{"file": "store.nc", "variable": "S", "error": {"stdev": 1.0}}],
}


def series(folder: Path, name: str, values: np.ndarray, variable: str = "rain") -> None:
    """A daily series from the window's start on."""
    units = "mm day-1" if variable == "rain" else "mm"
    time = np.arange(values.size) * 1.0, {"units": "days since 2001-01-01"}
    content = {variable: ("time", values, {"units": units})}
    xr.Dataset(content, {"time": ("time", *time)}).to_netcdf(folder / name)


def rain(days: int = DAYS) -> np.ndarray:
    return np.random.default_rng(0).exponential(3.0, days)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A case with members of its posterior, as a run leaves them."""
    (tmp_path / "store.py").write_text(STORE)
    (tmp_path / "case.toml").write_text(write(CASE))
    series(tmp_path, "rain.nc", rain())
    series(tmp_path, "store.nc", np.full(WINDOW, 20.0), "S")
    setting = set_up(read_case(tmp_path / "case.toml"))
    made_with = digests(setting.model, setting.window([]))
    random = np.random.default_rng(1)
    along = "realization"
    (tmp_path / "results").mkdir()
    xr.Dataset(
        {
            "S": (along, 20 + random.standard_normal(40), {"units": "mm"}),
            "k": (along, 0.1 * np.exp(0.1 * random.standard_normal(40)), {"units": "day-1"}),
            "weight": (along, np.full(40, 1 / 40)),
        },
        attrs={
            "assim_config": setting.case.text(),
            "assim_status": "converged",
            "assim_window_inputs": "\n".join(f"{d}  {name}" for name, d in made_with.items()),
            "assim_inputs": f"{hash_file(tmp_path / 'store.py')}  store.py",
        },
    ).to_netcdf(tmp_path / "results" / "posterior.nc")
    return tmp_path


def forecast(folder: Path, *options: str) -> Any:
    given = (str(folder / "case.toml"), "--from", str(folder / "results"), "--slots", "4")
    return invoke("forecast", *given, *options)


def stores(folder: Path) -> np.ndarray:
    with xr.open_dataset(folder / "results" / "forecast.nc") as file:
        return file["S"].values


def test_inputs_that_go_on_or_differ_after_the_window(folder: Path) -> None:
    done = forecast(folder)
    assert done.exit_code == 0, done.output
    before = stores(folder)
    series(folder, "rain.nc", np.concatenate([rain(), [50.0, 60.0]]))
    assert forecast(folder).exit_code == 0
    np.testing.assert_array_equal(stores(folder), before)
    wet = rain()
    wet[WINDOW + 1 :] += 10.0
    series(folder, "wet.nc", wet)
    done = forecast(folder, "--set", "model.rain.file=wet.nc")
    assert done.exit_code == 0, done.output
    after = stores(folder)
    np.testing.assert_array_equal(after[:2], before[:2])
    assert np.all(after[2:] > before[2:] + 5)


@pytest.mark.parametrize("day", [0, 3, WINDOW])
def test_an_input_that_differs_inside_the_window_is_refused(folder: Path, day: int) -> None:
    """At its ends, too."""
    wet = rain()
    wet[day] += 1.0
    for name, options in (("wet.nc", ("--set", "model.rain.file=wet.nc")), ("rain.nc", ())):
        series(folder, name, wet)
        done = forecast(folder, *options)
        assert done.exit_code == 3
        assert "posterior.nc: was made with another input 'rain'" in done.stderr


def test_other_slots_and_other_keys_are_refused(folder: Path) -> None:
    assert forecast(folder, "--set", "model.dt=0.5").exit_code == 3
    assert forecast(folder, "--set", "window.slots=5").exit_code == 3


def test_a_model_that_has_changed_is_refused(folder: Path) -> None:
    (folder / "store.py").write_text(STORE.replace('-theta["k"]', '-2 * theta["k"]'))
    done = forecast(folder)
    assert done.exit_code == 3
    assert "store.py: has changed since" in done.stderr and "run the case again" in done.stderr
    (folder / "store.py").write_text(STORE)
    assert forecast(folder).exit_code == 0


def test_a_cycle_takes_other_inputs_after_its_windows_alone(folder: Path) -> None:
    cycle = {**CASE, "background": {"fields": {"S": {"mean": 15.0, "stdev": 2.0}}}}
    cycle |= {"window": {"start": "2001-01-01", "slots": 3}, "cycle": {"windows": 2}}
    cycle["observations"] = [{**CASE["observations"][0], "file": "store.nc"}]
    (folder / "case.toml").write_text(write(cycle))
    case, out = read_case(folder / "case.toml"), folder / "cycled"
    posed = pose_cycle(set_up(case))
    out.mkdir()
    ledger = Ledger.opened(out, case, resume=False, series=posed.series())
    for window in range(2):
        with ledger.writing(window) as part:
            (part / "summary.json").write_text("{}")
        ledger.finish(window, posed.cycle.start(), {"state": "analysed"})

    def ended(rain_of: np.ndarray) -> Any:
        series(folder, "rain.nc", rain_of)
        return forecast(folder, "--from", str(out))

    wet = rain(DAYS + 2)
    wet[WINDOW + 1 :] += 10.0
    done = ended(wet)
    assert done.exit_code == 0, done.output
    for day in (0, WINDOW - 1, WINDOW):
        wet = rain()
        wet[day] += 1.0
        refused = ended(wet)
        assert refused.exit_code == 3
        assert "was made with another input 'rain' of the model" in refused.stderr


def test_means_and_quantiles_are_of_the_same_members() -> None:
    """Of those all of whose readings are finite."""
    exact = np.array([[1.0], [2.0], [np.nan], [3.0], [40.0]])
    drawn = np.array([[1.0], [2.0], [7.0], [3.0], [np.nan]])
    rows = judged(Readings(exact, drawn, -(exact**2), np.array([True])), np.array([2.0]))
    assert rows.mean[0] == 2.0 and rows.stdev[0] == 1.0 and rows.median[0] == 2.0
    assert np.isfinite(rows.log_score[0])


def test_forecasts_of_an_analysis_that_was_made_again(tmp_path: Path) -> None:
    assert mark_stale(tmp_path) == []
    with together(tmp_path, "forecast") as batch:
        with batch.part("forecast.nc") as path:
            xr.Dataset({"S": ("time", [1.0])}).to_netcdf(path)
        with batch.part("forecast.json") as path:
            path.write_text('{"members": 3}')
    (tmp_path / "forecast_feedback.nc").write_bytes(b"someone else's")
    names = {path.name for path in mark_stale(tmp_path)}
    assert names == {"forecast.nc", "forecast.json"}
    content = json.loads((tmp_path / "forecast.json").read_text())
    assert content["members"] == 3 and "made again" in content["stale"]
    with xr.open_dataset(tmp_path / "forecast.nc") as file:
        assert "made again" in file.attrs["assim_stale"] and file["S"][0] == 1.0
    assert all(Record(tmp_path).owns(name) for name in names)
    assert (tmp_path / "forecast_feedback.nc").read_bytes() == b"someone else's"
