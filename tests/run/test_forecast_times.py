"""Readings between the slot edges of a forecast, and a forecast that ends inside a slot."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from assim.case.case import read_case
from assim.case.setting import set_up
from assim.case.toml import write
from assim.files.fingerprint import digests
from assim.files.netcdf import hash_file
from tests.run.toy import invoke

POOL = """
import equinox as eqx
import jax.numpy as jnp

from assim import AbstractIntegrator, AbstractModel, AbstractODE, Adaptive, Label, Labels

LABELS = Labels({"S": Label((), "mm")}, {"k": Label((), "day-1")}, time_unit="days")


def rate():
    return {"k": jnp.asarray(1.0)}


class Pool(AbstractODE):
    integrator: AbstractIntegrator = eqx.field(default_factory=Adaptive)
    parameters: dict = eqx.field(default_factory=rate)

    def labels(self):
        return LABELS

    def tendency(self, x, theta, t):
        return {"S": -theta["k"] * x["S"]}


class Steps(AbstractModel):
    dt: float = eqx.field(default=1.0, static=True)
    parameters: dict = eqx.field(default_factory=rate)

    def labels(self):
        return LABELS

    def step(self, x, theta, t):
        return {"S": x["S"] * jnp.exp(-theta["k"])}
"""
DAYS, LATER = np.array([1.0, 2.0, 6.0]), np.array([6.5, 7.0, 8.25, 9.0, 9.75])
WORDS = "of 5 readings lie between slot edges where the trajectory bends"


def series(path: Path, days: np.ndarray) -> None:
    units = {"units": "days since 2001-01-01"}
    values = 50 * np.exp(-0.5 * days)
    xr.Dataset({"S": ("obs", values, {"units": "mm"})}, {"time": ("obs", days, units)}).to_netcdf(
        path
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pool.py").write_text(POOL)
    series(tmp_path / "pool.nc", DAYS)
    series(tmp_path / "later.nc", LATER)
    return tmp_path


def finished(folder: Path, model: str = "Pool", **window: Any) -> np.ndarray:
    """A case with members of its posterior, as a run leaves them; their rates."""
    k = 0.5 * np.exp(0.05 * np.random.default_rng(1).standard_normal(40))
    case = {
        "title": "A pool",
        "model": {"use": f"pool.py:{model}"},
        "window": {"start": "2001-01-01", **window},
        "background": {"fields": {"S": {"value": 50.0}}},
        "parameters": {"k": {"prior": {"use": "LogNormal", "median": 0.5, "log_stdev": 0.5}}},
        "observations": [{"file": "pool.nc", "variable": "S", "error": {"stdev": 0.05}}],
    }
    (folder / "case.toml").write_text(write(case))
    setting = set_up(read_case(folder / "case.toml"))
    tables = setting.tables.observations
    rows = [table.rows(table.file_path(table.file), setting.labels) for table in tables]
    inside = digests(setting.model, setting.window(rows))
    (folder / "results").mkdir()
    along, weight = "realization", np.full(40, 1 / 40)
    xr.Dataset(
        {
            "S": (along, np.full(40, 50.0), {"units": "mm"}),
            "k": (along, k, {"units": "day-1"}),
            "weight": (along, weight),
        },
        attrs={
            "assim_config": setting.case.text(),
            "assim_status": "converged",
            "assim_window_inputs": "\n".join(f"{d}  {name}" for name, d in inside.items()),
            "assim_inputs": f"{hash_file(folder / 'pool.py')}  pool.py",
        },
    ).to_netcdf(folder / "results" / "posterior.nc")
    return k


def forecast(folder: Path, *options: str, later: bool = True) -> tuple[Any, np.ndarray]:
    """What the command says, and the times of forecast.nc in days after the window's start."""
    given = ("--observations", str(folder / "later.nc")) if later else ()
    where = (str(folder / "case.toml"), "--from", str(folder / "results"), "--members", "40")
    done = invoke("forecast", *where, *given, *options)
    assert done.exit_code == 0, done.stderr or done.exception
    with xr.open_dataset(folder / "results" / "forecast.nc") as file:
        times = (file["time"].values - np.datetime64("2001-01-01")) / np.timedelta64(1, "D")
    return done, times


def test_edges_at_the_readings_where_the_case_has_them_there(folder: Path) -> None:
    k = finished(folder, times="observations")
    done, times = forecast(folder)
    np.testing.assert_allclose(times, [6, 6.5, 7, 8, 8.25, 9, 9.75, 10, 12], atol=1e-6)
    assert "slot edges" not in done.stdout
    with xr.open_dataset(folder / "results" / "forecast_feedback.nc") as file:
        exact = np.mean(50 * np.exp(-k * LATER[:, None]), axis=1)
        np.testing.assert_allclose(file["S_hofx_forecast"].values, exact, rtol=1e-5)


@pytest.mark.parametrize(("model", "window"), [
    ("Pool", {"slots": 3, "end": "2001-01-07"}), ("Steps", {"times": "observations"}),
])  # fmt: skip
def test_other_readings_between_edges_are_told(
    folder: Path, model: str, window: dict[str, Any]
) -> None:
    finished(folder, model, **window)
    done, times = forecast(folder)
    assert np.ptp(np.diff(times)) < 1e-6
    assert WORDS in done.stdout


def test_it_ends_where_it_is_asked_to_or_says_so(folder: Path) -> None:
    k = finished(folder, slots=3, end="2001-01-07")
    done, times = forecast(folder, "--until", "2001-01-10T12:00", later=False)
    np.testing.assert_allclose(times, [6, 8, 9.5], atol=1e-6)
    with xr.open_dataset(folder / "results" / "forecast.nc") as file:
        np.testing.assert_allclose(file["S"].values[-1], np.mean(50 * np.exp(-9.5 * k)), rtol=1e-5)
    assert "whole slots" not in done.stdout
    _, times = forecast(folder, "--until", "2001-01-07T06:00", later=False)
    np.testing.assert_allclose(times, [6, 6.25], atol=1e-6)


def test_a_model_of_steps_says_where_it_ends(folder: Path) -> None:
    finished(folder, "Steps", slots=6)
    done, times = forecast(folder, "--until", "2001-01-09T12:00", later=False)
    assert times[-1] == 8
    assert "the forecast ends at 2001-01-09, after whole slots, as the model has steps" in (
        done.stdout.replace("2001-01-09T00:00:00", "2001-01-09")
    )
    assert "whole" not in forecast(folder, "--until", "2001-01-09", later=False)[0].stdout
